//! Which executable this is.

/// Which executable this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `waypost-broker`.
    Broker,
    /// `waypost-server`, attached to a broker.
    Server,
    /// `waypost-brokerless`, a node of the mesh.
    Brokerless,
}

impl Program {
    /// The executable's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broker => "waypost-broker",
            Self::Server => "waypost-server",
            Self::Brokerless => "waypost-brokerless",
        }
    }

    /// Whether it has clients.
    #[must_use]
    pub const fn is_server(self) -> bool {
        matches!(self, Self::Server | Self::Brokerless)
    }

    /// Whether it opens a session store.
    #[must_use]
    pub const fn has_store(self) -> bool {
        matches!(self, Self::Broker | Self::Brokerless)
    }
}
