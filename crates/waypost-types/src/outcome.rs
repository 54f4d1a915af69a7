//! What became of one send.

use core::fmt;
use core::str::FromStr;

/// What became of one send. Every send has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The message is in the receiving client's inbox.
    Delivered,
    /// No server holds the client.
    NotConnected,
    /// A bounded queue on the way stayed full. Not delivered; send again later, slower.
    Overloaded,
    /// The client's server is known and cannot be reached. Not delivered.
    Unreachable,
    /// Where the client is could not be found out, because the datastore did not answer. Not delivered.
    StoreUnavailable,
    /// The deadline passed and the message was certainly not delivered.
    Expired,
    /// The deadline passed and the message may have been delivered.
    Unknown,
}

impl Outcome {
    /// All of them, in a fixed order.
    pub const ALL: [Self; 7] = [
        Self::Delivered,
        Self::NotConnected,
        Self::Overloaded,
        Self::Unreachable,
        Self::StoreUnavailable,
        Self::Expired,
        Self::Unknown,
    ];

    /// The outcome in snake case, as executables print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::NotConnected => "not_connected",
            Self::Overloaded => "overloaded",
            Self::Unreachable => "unreachable",
            Self::StoreUnavailable => "store_unavailable",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is none of the outcomes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an outcome: {0:?}")]
pub struct ParseOutcomeError(String);

impl FromStr for Outcome {
    type Err = ParseOutcomeError;
    fn from_str(text: &str) -> Result<Self, ParseOutcomeError> {
        Self::ALL
            .into_iter()
            .find(|o| o.as_str() == text)
            .ok_or_else(|| ParseOutcomeError(text.to_owned()))
    }
}
