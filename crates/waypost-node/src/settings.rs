//! The settings that every program shares.

use core::time::Duration;

pub use waypost_router::WhenStoreIsLost;

use waypost_types::{
    DEFAULT_FRAME_BYTES_MAX, DEFAULT_HANDSHAKE_FRAME_BYTES_MAX, DEFAULT_HEARTBEAT_DIVISOR,
    DEFAULT_INBOX_BYTES_MAX, DEFAULT_LEASE_TERM, DEFAULT_QUEUE_BYTES_MAX, DEFAULT_SEND_DEADLINE,
};

use crate::StartError;

/// Sessions that a server announces again per second, when nothing else is said.
pub const DEFAULT_ANNOUNCE_PER_SECOND: u32 = 10_000;

/// Clients that a node connects per second where others feel it, when nothing else is said.
pub const DEFAULT_CLAIMS_PER_SECOND: u32 = 20_000;

/// Connects of one server that may be under way, when nothing else is said.
pub const DEFAULT_CONNECTS_MAX: usize = 1 << 20;

/// Longest time of any of the settings: one further away cannot be told from none.
const TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Largest queue or inbox.
const BYTES_MAX: usize = 1 << 30;

/// Bounds and times of a node. The defaults suit a cluster in one data centre. What is out of range is told at the start,
/// by [`StartError::Setting`]; times are at most 366 days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a lease is valid after its last renewal; at least 100 ms. Default 10 s.
    pub lease_term: Duration,
    /// How often a lease is renewed; at most half of its term, and a third of it when `None`.
    pub heartbeat: Option<Duration>,
    /// How long a send may take before its outcome is `Expired` or `Unknown`. Default 5 s.
    pub send_deadline: Duration,
    /// Bound of one link's outgoing queue, in bytes of encoded frames: from the frame limit to 1 GiB. Default 4 MiB.
    pub queue_bytes_max: usize,
    /// Bound of one inbox, in bytes; at most 1 GiB. Default 4 MiB.
    pub inbox_bytes_max: usize,
    /// Largest frame on an established link, in bytes without its length prefix; at least 4 KiB. Default 1 MiB.
    pub frame_bytes_max: usize,
    /// How long a full queue is waited for before it counts as stalled and messages for it fail at once. Default 100 ms.
    pub stall: Duration,
    /// How many sessions a server announces again per second after the store or its broker came back; at least 1. Default
    /// 10,000.
    pub announce_per_second: u32,
    /// How many clients a second a node connects where others feel it: a broker, for all of its servers together, while
    /// messages pass through it, and every node while it takes clients over from servers that live. Otherwise it is as many as
    /// the store takes. What waits for its turn longer than the send deadline times out. At least 1; default 20,000.
    pub claims_per_second: u32,
    /// How many connects of one server may be under way; more are refused as overloaded. At least 1; default
    /// 1,048,576.
    pub connects_max: usize,
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
            stall: Duration::from_millis(100),
            announce_per_second: DEFAULT_ANNOUNCE_PER_SECOND,
            claims_per_second: DEFAULT_CLAIMS_PER_SECOND,
            connects_max: DEFAULT_CONNECTS_MAX,
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

    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let invalid = |name, reason: &str| {
            Err(StartError::Setting {
                name,
                reason: reason.to_owned(),
            })
        };
        let heartbeat = self.heartbeat_every();
        if !(Duration::from_millis(100)..=TIME_MAX).contains(&self.lease_term) {
            return invalid("lease-term", "100 ms to 366 days");
        }
        if heartbeat.is_zero() || heartbeat > self.lease_term / 2 {
            return invalid(
                "heartbeat",
                "more than nothing and at most half of the lease term",
            );
        }
        if self.send_deadline.is_zero() || self.send_deadline > TIME_MAX {
            return invalid("send-deadline", "more than nothing and at most 366 days");
        }
        if self.stall > TIME_MAX {
            return invalid("stall", "at most 366 days");
        }
        if self.frame_bytes_max < DEFAULT_HANDSHAKE_FRAME_BYTES_MAX {
            return invalid("frame-bytes", "at least 4 KiB");
        }
        if !(self.frame_bytes_max..=BYTES_MAX).contains(&self.queue_bytes_max) {
            return invalid("queue-bytes", "at least frame-bytes and at most 1 GiB");
        }
        if self.inbox_bytes_max > BYTES_MAX {
            return invalid("inbox-bytes", "at most 1 GiB");
        }
        if self.announce_per_second == 0 {
            return invalid("announce-per-second", "at least 1");
        }
        if self.claims_per_second == 0 {
            return invalid("claims-per-second", "at least 1");
        }
        if self.connects_max == 0 {
            return invalid("connects-max", "at least 1");
        }
        Ok(())
    }

    /// What the machines of a process are told.
    pub(crate) fn for_machines(&self, seed: u64) -> waypost_router::Settings {
        let mut settings = waypost_router::Settings::default();
        settings.lease_term = self.lease_term;
        settings.heartbeat = self.heartbeat_every();
        settings.send_deadline = self.send_deadline;
        settings.queue_bytes_max = self.queue_bytes_max;
        settings.inbox_bytes_max = self.inbox_bytes_max;
        settings.stall = self.stall;
        settings.announce_per_second = self.announce_per_second;
        settings.claims_per_second = self.claims_per_second;
        settings.connects_max = self.connects_max;
        settings.when_store_is_lost = self.when_store_is_lost;
        settings.seed = seed;
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_no_clock_can_count_are_refused() {
        let refused = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            match settings.check() {
                Err(StartError::Setting { name, .. }) => name,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(|it| it.lease_term = Duration::MAX), "lease-term");
        assert_eq!(refused(|it| it.heartbeat = Some(Duration::MAX)), "heartbeat");
        assert_eq!(refused(|it| it.send_deadline = Duration::MAX), "send-deadline");
        assert_eq!(refused(|it| it.stall = Duration::MAX), "stall");
    }

    #[test]
    fn a_queue_that_holds_no_frame_is_refused() {
        let mut settings = Settings::default();
        settings.queue_bytes_max = settings.frame_bytes_max - 1;
        assert!(matches!(
            settings.check(),
            Err(StartError::Setting {
                name: "queue-bytes",
                ..
            })
        ));
    }
}
