//! The verbs of the trait as values.

/// A verb of the trait. The single forms of the hot verbs count as their batch forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// `register`.
    Register,
    /// `renew`.
    Renew,
    /// `drain`.
    Drain,
    /// `deregister`.
    Deregister,
    /// `peers`.
    Peers,
    /// `claim` and `claim_many`.
    Claim,
    /// `release` and `release_many`.
    Release,
    /// `restore_many`.
    Restore,
    /// `lookup` and `lookup_many`.
    Lookup,
    /// `reclaim`.
    Reclaim,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Register,
        Self::Renew,
        Self::Drain,
        Self::Deregister,
        Self::Peers,
        Self::Claim,
        Self::Release,
        Self::Restore,
        Self::Lookup,
        Self::Reclaim,
    ];

    /// The verb as one lower-case word, as errors name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Renew => "renew",
            Self::Drain => "drain",
            Self::Deregister => "deregister",
            Self::Peers => "peers",
            Self::Claim => "claim",
            Self::Release => "release",
            Self::Restore => "restore",
            Self::Lookup => "lookup",
            Self::Reclaim => "reclaim",
        }
    }

    /// Whether it changes nothing in the datastore.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Peers | Self::Lookup)
    }
}
