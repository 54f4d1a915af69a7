//! What a peer's calls fail with.

use waypost_router::Refusal;
use waypost_types::{NameError, Outcome};

/// Why a call did not take place. What became of a message that was sent is an [`Outcome`] instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// An address or an identity is not valid.
    #[error("not a valid name")]
    Name(#[from] NameError),
    /// The body does not fit into a frame.
    #[error("the body has {len_bytes} bytes: a frame takes at most {max_bytes}")]
    TooLarge {
        /// Its length in bytes.
        len_bytes: usize,
        /// The most that is accepted, in bytes.
        max_bytes: usize,
    },
    /// No identity is registered yet, or the sending client is not connected here.
    #[error("not registered: call register_identity, then connect_client, first")]
    NotRegistered,
    /// There is no link to a broker now, or the server was fenced and is registering anew: it does both by itself.
    #[error(
        "not attached: there is no link to a broker now; try again after Event::Reconnected or Event::Registered"
    )]
    NotAttached,
    /// The session store did not answer.
    #[error("the session store did not answer: try again later")]
    StoreUnavailable,
    /// A newer process of the same identity has taken over.
    #[error("fenced: a newer process has registered this identity")]
    Fenced,
    /// A bounded queue stayed full.
    #[error("overloaded: a bounded queue stayed full; send slower")]
    Overloaded,
    /// The deadline passed.
    #[error("no answer before the deadline")]
    TimedOut,
    /// The peer is moving out and takes no new clients.
    #[error("draining: this server takes no new clients")]
    Draining,
    /// The peer was shut down.
    #[error("the peer is closed")]
    Closed,
}

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request was sent and this became of it.
    #[error("the request was not answered: {0}")]
    Outcome(Outcome),
    /// The request was not sent.
    #[error("the request was not sent")]
    Peer(#[source] PeerError),
}

impl From<Refusal> for PeerError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::StoreUnavailable => Self::StoreUnavailable,
            Refusal::TimedOut => Self::TimedOut,
            Refusal::Draining => Self::Draining,
            Refusal::Fenced => Self::Fenced,
            Refusal::NotRegistered => Self::NotRegistered,
            Refusal::NotAttached => Self::NotAttached,
            _ => Self::Overloaded,
        }
    }
}
