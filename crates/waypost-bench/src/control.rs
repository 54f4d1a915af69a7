//! What the conductor and a role say to each other: one JSON line each way, on the role's stdin and stdout.

use serde::{Deserialize, Serialize};

/// How messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// Without waiting for anything but room.
    BestEffort,
    /// With an acknowledgement by the receiving server, 256 in flight.
    Acked,
}

/// What a role is told to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Command {
    /// Makes this server's clients addressable until it has `count`.
    Register { count: usize, batched: bool },
    /// Sends in the background to the first `targets` clients of the other server, until `Stop`.
    Start { mode: Mode, targets: usize, size: usize },
    /// Sends one message to each of the first `targets` clients of the other server, without acknowledgement.
    Touch { targets: usize },
    /// Ends what `Start` began.
    Stop,
    /// Reads the counters.
    Look,
    /// Asks clients of the other server, one question in flight.
    RoundTrips {
        targets: usize,
        size: usize,
        millis: u64,
    },
    /// Sends to all clients of the other server, one broadcast in flight.
    Broadcast { size: usize, millis: u64 },
    /// Takes `count` clients over, whoever holds them; the same ones each time.
    Take { count: usize },
    /// Ends the role.
    Quit,
}

/// What a role answers. What does not apply stays zero or empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    /// Where the role is reached, in its first line.
    pub(crate) address: String,
    /// What went wrong.
    pub(crate) error: Option<String>,
    /// This system has nothing of the kind.
    pub(crate) unsupported: bool,
    /// The role's clock.
    pub(crate) nanos: u64,
    /// How long the work took.
    pub(crate) took_nanos: u64,
    pub(crate) sent: u64,
    pub(crate) refused: u64,
    pub(crate) acked: u64,
    pub(crate) received: u64,
    pub(crate) store_reads: u64,
    pub(crate) count: u64,
    /// Percentiles of round trips.
    pub(crate) p50_nanos: u64,
    pub(crate) p99_nanos: u64,
}
