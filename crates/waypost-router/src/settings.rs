//! The settings that the pure machines share.

use core::time::Duration;

use waypost_types::{
    DEFAULT_HEARTBEAT_DIVISOR, DEFAULT_INBOX_BYTES_MAX, DEFAULT_LEASE_TERM, DEFAULT_QUEUE_BYTES_MAX,
    DEFAULT_SEND_DEADLINE,
};

/// What a server does while its lease has lapsed and the datastore cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenStoreIsLost {
    /// Goes on delivering what reaches it. A server that is cut off from the datastore may so deliver to a client which
    /// has moved meanwhile.
    #[default]
    Serve,
    /// Delivers nothing until the datastore has answered.
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

/// Bounds and paces of a router or an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How long a lease is valid after its last renewal. Default 10 s.
    pub lease_term: Duration,
    /// How often leases are renewed. Default: a third of the term.
    pub heartbeat: Duration,
    /// How long a send may take when its caller does not say. Default 5 s.
    pub send_deadline: Duration,
    /// Bound of each link's outgoing queue, of each address's hold-back queue, and of what is held for a server that is
    /// not there, in bytes. Default 4 MiB.
    pub queue_bytes_max: usize,
    /// Bound of the inbox that all clients of a peer share, in bytes. Default 4 MiB.
    pub inbox_bytes_max: usize,
    /// Bound of an inbox of a single client's own, in bytes. Default 1 MiB.
    pub client_inbox_bytes_max: usize,
    /// A full queue is waited for as long as its reader takes an eighth of its bound within each such time; otherwise
    /// messages for it fail at once. Default 100 ms. The inbox of a program, which holds up nobody but those who send to
    /// it, is given ten times as long.
    pub stall: Duration,
    /// When an acked message without outcome is sent again the first time; the pause doubles. Default 1 s.
    pub retransmit_after: Duration,
    /// How long a claim waits for the server that held the client to stop delivering to it. Default 1 s.
    pub takeover_wait: Duration,
    /// How long messages for a server whose link broke are kept for it to come back. Default 1 s.
    pub reattach_wait: Duration,
    /// How many sessions a second are announced or restored after a reconnection. Default 50,000.
    pub announce_per_second: u32,
    /// How many claims a second a node carries out where others feel it: a broker while messages pass through it, and every
    /// node while it takes clients over from servers that live. Otherwise as many as the datastore takes. Default 20,000.
    pub claims_per_second: u32,
    /// How many acked messages and requests of one endpoint may be without outcome. Default 65,536.
    pub in_flight_max: usize,
    /// How many servers, each life of one by itself, a router keeps numbers for; a link by which another node introduces more
    /// is closed. Default 1,048,576.
    pub servers_max: usize,
    /// How many connects of one endpoint may be under way; more are refused. Default 1,048,576.
    pub connects_max: usize,
    /// How many routes to clients of other servers are remembered. Default 4,194,304.
    pub routes_max: usize,
    /// What a server does while its lease has lapsed and the datastore cannot be asked.
    pub when_store_is_lost: WhenStoreIsLost,
    /// Keys the hash tables; a driver gives a random one.
    pub seed: u64,
}

impl Settings {
    /// Who is called at every heartbeat and was not for longer than this has slept.
    pub(crate) fn lease_gap_max(&self) -> Duration {
        (self.lease_term / 2).max(self.heartbeat)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_term: DEFAULT_LEASE_TERM,
            heartbeat: DEFAULT_LEASE_TERM / DEFAULT_HEARTBEAT_DIVISOR,
            send_deadline: DEFAULT_SEND_DEADLINE,
            queue_bytes_max: DEFAULT_QUEUE_BYTES_MAX,
            inbox_bytes_max: DEFAULT_INBOX_BYTES_MAX,
            client_inbox_bytes_max: 1 << 20,
            stall: Duration::from_millis(100),
            retransmit_after: Duration::from_secs(1),
            takeover_wait: Duration::from_secs(1),
            reattach_wait: Duration::from_secs(1),
            announce_per_second: 50_000,
            claims_per_second: 20_000,
            in_flight_max: 65_536,
            servers_max: 1 << 20,
            connects_max: 1 << 20,
            routes_max: 4 << 20,
            when_store_is_lost: WhenStoreIsLost::Serve,
            seed: 0,
        }
    }
}
