//! Whether a full queue is worth waiting for.

use core::time::Duration;

use waypost_types::MonoTime;

/// Whether a message may be put into a queue now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is room.
    Yes,
    /// Full, and worth waiting for.
    Wait,
    /// Full, and its reader gets on so slowly that waiting would only hold up others.
    No,
}

/// Judges the reader of a bounded queue.
///
/// A full queue is worth waiting for while its reader gets on: as long as it takes an eighth of the bound within each
/// `stall`. Otherwise the queue counts as stalled until it has been read down to half, and messages for it fail at once
/// instead of holding up those behind them.
#[derive(Debug)]
pub(crate) struct Gate {
    bytes_max: usize,
    stall: Duration,
    full_since: Option<MonoTime>,
    taken: usize,
    stalled: bool,
}

impl Gate {
    pub(crate) const fn new(bytes_max: usize, stall: Duration) -> Self {
        Self {
            bytes_max,
            stall,
            full_since: None,
            taken: 0,
            stalled: false,
        }
    }

    pub(crate) const fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether a message may be put into a queue that holds `bytes`. An empty one takes a message of any size.
    pub(crate) fn room(&mut self, now: MonoTime, bytes: usize) -> Room {
        if bytes < self.bytes_max {
            return Room::Yes;
        }
        if self.taken * 8 >= self.bytes_max {
            self.full_since = None;
            self.taken = 0;
        }
        let since = *self.full_since.get_or_insert(now);
        if !self.stalled && now.since(since) < self.stall {
            return Room::Wait;
        }
        self.stalled = true;
        Room::No
    }

    /// The reader has taken `taken` bytes and left `bytes`. Returns true when somebody may be waiting for the room.
    pub(crate) const fn took(&mut self, taken: usize, bytes: usize) -> bool {
        self.taken = self.taken.saturating_add(taken);
        if self.stalled {
            if bytes * 2 > self.bytes_max {
                return false;
            }
            self.stalled = false;
        }
        bytes < self.bytes_max && self.full_since.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> MonoTime = |ms| MonoTime::from_micros(ms * 1000);

    #[test]
    fn reader_that_does_not_get_on_stalls_the_queue_until_it_is_half_empty() {
        let mut gate = Gate::new(800, Duration::from_millis(100));
        assert_eq!(gate.room(MS(0), 799), Room::Yes);
        assert_eq!(gate.room(MS(0), 800), Room::Wait);
        assert_eq!(gate.room(MS(99), 900), Room::Wait);
        assert_eq!(gate.room(MS(100), 900), Room::No);
        assert!(!gate.took(300, 600), "not yet half empty");
        assert_eq!(gate.room(MS(101), 800), Room::No);
        assert!(gate.took(400, 400));
        assert_eq!(gate.room(MS(102), 800), Room::Wait);
    }

    #[test]
    fn reader_that_gets_on_is_waited_for_however_long_the_queue_is_full() {
        let mut gate = Gate::new(800, Duration::from_millis(100));
        for step in 0..50 {
            assert_eq!(gate.room(MS(step * 60), 850), Room::Wait, "step {step}");
            gate.took(100, 820);
        }
        assert!(gate.took(50, 780), "who waits is told of the first room");
    }
}
