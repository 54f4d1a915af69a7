//! The record `identity -> (incarnation, location, renewal counter, state)`.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use std::sync::Arc;

use crate::limits::LOCATION_BYTES_MAX;
use crate::{NameError, Owner};

/// Where a server is reached: its own endpoint in the mesh, its broker's when it is attached to one.
///
/// A URL such as `tcp://10.0.0.1:4500` or `unix:/run/waypost.sock`, 1 to [`LOCATION_BYTES_MAX`] bytes, opaque here: the
/// node that dials it gives it its meaning.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(Arc<str>);

impl Location {
    /// Takes a copy of `url`.
    ///
    /// # Errors
    /// [`NameError`] when the text is empty or too long.
    pub fn new(url: &str) -> Result<Self, NameError> {
        if url.is_empty() {
            return Err(NameError::Empty {
                what: "location",
                max_bytes: LOCATION_BYTES_MAX,
            });
        }
        if url.len() > LOCATION_BYTES_MAX {
            return Err(NameError::TooLong {
                what: "location",
                len_bytes: url.len(),
                max_bytes: LOCATION_BYTES_MAX,
            });
        }
        Ok(Self(url.into()))
    }

    /// The location as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for Location {
    type Err = NameError;
    fn from_str(url: &str) -> Result<Self, NameError> {
        Self::new(url)
    }
}

/// Whether a server takes part fully or is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LeaseState {
    /// Serves.
    #[default]
    Live,
    /// Moves out: still serves what it holds, takes no new clients.
    Draining,
}

impl LeaseState {
    /// The state as one lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Draining => "draining",
        }
    }
}

/// A server's lease. Its sessions are valid only while it is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The server, and which life of it.
    pub owner: Owner,
    /// Where it is reached.
    pub location: Location,
    /// Grows with every renewal. An observer who sees it stand still for longer than `term`, by its own monotonic
    /// clock, may take the server for dead: no synchronised clocks are needed.
    pub counter: u64,
    /// Whether the server is on its way out.
    pub state: LeaseState,
    /// How long a renewal is good for.
    pub term: Duration,
}
