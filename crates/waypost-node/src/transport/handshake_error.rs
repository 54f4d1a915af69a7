//! Why a link did not open.

use std::io;
use std::time::Duration;

use waypost_wire::{Close, CloseCode, DecodeError, LooksLike, PrefaceError, WireError};

/// Why a link did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The other side speaks something else.
    #[error("the other side does not speak Waypost; {looks_like}")]
    NotWaypost {
        /// What it seems to speak.
        looks_like: LooksLike,
    },
    /// The two sides have no version in common.
    #[error("the other side speaks versions {} to {} of Waypost's protocol and this one {} to {}: upgrade the older of the two", theirs.0, theirs.1, ours.0, ours.1)]
    Version {
        /// Lowest and highest of the other side.
        theirs: (u16, u16),
        /// Lowest and highest of this side.
        ours: (u16, u16),
    },
    /// The other side's preface asks for what cannot be.
    #[error("the other side's preface is not acceptable")]
    Preface(#[source] PrefaceError),
    /// The handshake was not done in time.
    #[error("the handshake was not done within {} ms: the other side is silent, slow or not Waypost", after.as_millis())]
    TimedOut {
        /// The deadline.
        after: Duration,
    },
    /// The other side refused and said why.
    #[error("the other side refused the link ({code:?}): {text:?}")]
    Closed {
        /// Why.
        code: CloseCode,
        /// What it says.
        text: String,
    },
    /// The other side closed the connection without a word.
    #[error("the other side closed the connection during the handshake: see its log")]
    Ended,
    /// The other side did not show that it belongs to the cluster.
    #[error("the other side is not authenticated")]
    Unauthenticated(#[from] AuthFailure),
    /// What came is not a frame, or is too large for a handshake.
    #[error("the other side sent a frame that cannot be read")]
    Malformed(#[source] WireError),
    /// What came is a frame, and not the one whose turn it was.
    #[error("the other side sent another frame where {expected} was due: its implementation is wrong")]
    Unexpected {
        /// What should have come.
        expected: &'static str,
    },
    /// The connection failed.
    #[error("the connection failed during the handshake")]
    Io(#[from] io::Error),
}

/// Why the other side is not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AuthFailure {
    /// The proof is not good for this side's key.
    #[error("the cluster keys differ: set the same on every node")]
    WrongKey,
    /// The other side has no key.
    #[error("this cluster has a key and the connecting node has none: set the cluster key on every node")]
    NoKeyThere,
    /// This side has no key and the other has.
    #[error("one node has a cluster key and the other none: set the same on every node, or on none")]
    NoKeyHere,
    /// Another frame came where the proof was due.
    #[error("the proof of the cluster key is missing: set the cluster key on every node")]
    NoProof,
    /// The other side sent this side's own nonce back.
    #[error("the nonce was sent back: the other side is this side's own echo, or an attacker")]
    Reflected,
}

impl HandshakeError {
    /// Whether it is the cluster keys, by this side's judgement or by the other's. Dialling again does not help until
    /// somebody changes a setting.
    #[must_use]
    pub const fn is_authentication(&self) -> bool {
        matches!(
            self,
            Self::Unauthenticated(_)
                | Self::Closed {
                    code: CloseCode::Unauthenticated,
                    ..
                }
        )
    }

    /// What is said to the other side; `None` when it has gone or has closed itself.
    pub(super) fn to_close(&self) -> Option<Close> {
        let (code, text) = match self {
            Self::NotWaypost { looks_like } => (
                CloseCode::Protocol,
                format!("this is a port of Waypost; what was sent is not: {looks_like}"),
            ),
            Self::Version { theirs, ours } => (
                CloseCode::Protocol,
                format!(
                    "no common version: {} to {} was sent, {} to {} is spoken here",
                    theirs.0, theirs.1, ours.0, ours.1
                ),
            ),
            Self::Preface(error) => (CloseCode::Protocol, error.to_string()),
            Self::TimedOut { after } => (
                CloseCode::Overloaded,
                format!("the handshake was not done within {} ms", after.as_millis()),
            ),
            Self::Unauthenticated(failure) => (CloseCode::Unauthenticated, failure.to_string()),
            Self::Malformed(error) => (CloseCode::Malformed, error.to_string()),
            Self::Unexpected { expected } => (
                CloseCode::Protocol,
                format!("another frame came where {expected} was due"),
            ),
            Self::Closed { .. } | Self::Ended | Self::Io(_) => return None,
        };
        Some(Close { code, text })
    }
}

impl From<PrefaceError> for HandshakeError {
    fn from(error: PrefaceError) -> Self {
        match error {
            PrefaceError::NotWaypost { looks_like } => Self::NotWaypost { looks_like },
            PrefaceError::Version { theirs, ours } => Self::Version { theirs, ours },
            other => Self::Preface(other),
        }
    }
}

impl From<WireError> for HandshakeError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Io(error) => Self::Io(error),
            other => Self::Malformed(other),
        }
    }
}

impl From<DecodeError> for HandshakeError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.into())
    }
}
