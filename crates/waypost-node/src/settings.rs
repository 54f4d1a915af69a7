//! The settings that every program shares.

use core::time::Duration;

use waypost_types::{
    DEFAULT_FRAME_BYTES_MAX, DEFAULT_HEARTBEAT_DIVISOR, DEFAULT_INBOX_BYTES_MAX, DEFAULT_LEASE_TERM,
    DEFAULT_QUEUE_BYTES_MAX, DEFAULT_SEND_DEADLINE,
};

/// Sessions that a server announces again per second, when nothing else is said.
pub const DEFAULT_ANNOUNCE_PER_SECOND: u32 = 10_000;

/// What a server does whose lease has lapsed while the session store cannot be reached at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenStoreIsLost {
    /// Goes on serving what it holds: known routes keep working through an outage of the datastore.
    #[default]
    Serve,
    /// Delivers nothing until the store has answered: silence rather than a message in the inbox of a server whose
    /// client may have moved.
    Fence,
}

impl WhenStoreIsLost {
    /// The choice as one lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Fence => "fence",
        }
    }
}

/// Bounds and times of a node. The defaults suit a cluster in one data centre.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a lease is valid after its last renewal; at least 100 ms.
    pub lease_term: Duration,
    /// How often a lease is renewed; a third of its term when `None`.
    pub heartbeat: Option<Duration>,
    /// How long a send may take before its outcome is `Expired` or `Unknown`.
    pub send_deadline: Duration,
    /// Bound of one link's outgoing queue, in bytes of encoded frames.
    pub queue_bytes_max: usize,
    /// Bound of one inbox, in bytes.
    pub inbox_bytes_max: usize,
    /// Largest frame on an established link, in bytes without its length prefix.
    pub frame_bytes_max: usize,
    /// How many sessions a server announces again per second after the store or its broker came back.
    pub announce_per_second: u32,
    /// What a server does whose lease has lapsed while the store cannot be reached.
    pub when_store_is_lost: WhenStoreIsLost,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_term: DEFAULT_LEASE_TERM,
            heartbeat: None,
            send_deadline: DEFAULT_SEND_DEADLINE,
            queue_bytes_max: DEFAULT_QUEUE_BYTES_MAX,
            inbox_bytes_max: DEFAULT_INBOX_BYTES_MAX,
            frame_bytes_max: DEFAULT_FRAME_BYTES_MAX,
            announce_per_second: DEFAULT_ANNOUNCE_PER_SECOND,
            when_store_is_lost: WhenStoreIsLost::default(),
        }
    }
}

impl Settings {
    /// How often a lease is renewed, the default filled in.
    #[must_use]
    pub fn heartbeat_every(&self) -> Duration {
        self.heartbeat
            .unwrap_or(self.lease_term / DEFAULT_HEARTBEAT_DIVISOR)
    }
}
