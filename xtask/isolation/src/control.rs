//! What the conductor and a role say to each other: one JSON line each way, on the role's stdin and stdout.

use serde::{Deserialize, Serialize};

/// What a role is told to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Command {
    /// Connects clients `PREFIX0` to `PREFIXcount`, whoever holds them.
    Connect { prefix: String, count: usize },
    /// Gives one client a stream of its own that nobody reads.
    Ignore { client: String },
    /// Sends at full speed, acked, 256 in flight.
    Capacity { to: String, count: usize, millis: u64 },
    /// Sends acked at a pace, and notes each message's latency from when it was due.
    Load {
        to: String,
        count: usize,
        per_second: u64,
        millis: u64,
    },
    /// The same with bodies of `size` bytes and whatever outcome; what is not answered at the end is forgotten.
    Flood {
        to: String,
        count: usize,
        per_second: u64,
        size: usize,
        millis: u64,
    },
    /// Says that it is there.
    Ping,
}

/// What a role answers. What does not apply stays zero or empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    /// Where the role is reached, in its first line.
    pub(crate) address: String,
    pub(crate) error: Option<String>,
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) took_micros: u64,
    pub(crate) p50_micros: u64,
    pub(crate) p99_micros: u64,
    pub(crate) max_micros: u64,
}
