//! The record `address -> (identity, incarnation, seq)`.

use core::fmt;

use crate::Identity;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter! {
    /// Grows each time an identity is registered anew: tells a restarted server from the one before. Never 0 for a
    /// registered server.
    Incarnation
}

counter! {
    /// Grows with every claim of an address, and is never given twice for one address. Never 0 for a claimed address.
    Seq
}

/// A server process: its identity and which life of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The server's name.
    pub identity: Identity,
    /// Which life of the server.
    pub incarnation: Incarnation,
}

impl Owner {
    /// Puts the two together.
    #[must_use]
    pub const fn new(identity: Identity, incarnation: Incarnation) -> Self {
        Self {
            identity,
            incarnation,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.identity, self.incarnation)
    }
}

/// Which server holds a client. It names a server and never a location, so that a server which moves to another
/// broker costs one lease and not one write a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    /// The server that holds the client.
    pub owner: Owner,
    /// Which claim of the address this is.
    pub seq: Seq,
}

impl Session {
    /// Puts the two together.
    #[must_use]
    pub const fn new(owner: Owner, seq: Seq) -> Self {
        Self { owner, seq }
    }
}
