//! Noticing that this process did not run for a while: it was stopped, or the machine stood still.
//!
//! Whoever is called often enough, at every heartbeat or while something is awaited, sees that by its clock. An answer that was
//! on its way meanwhile says how things stood before, or waits to be read.

use core::time::Duration;

use waypost_types::MonoTime;

#[derive(Debug)]
pub(crate) struct Wake {
    seen_at: MonoTime,
    woke_at: MonoTime,
    /// A gap longer than this is no delay of a process that runs.
    gap_max: Duration,
}

impl Wake {
    pub(crate) const fn new(gap_max: Duration) -> Self {
        Self {
            seen_at: MonoTime::ZERO,
            woke_at: MonoTime::ZERO,
            gap_max,
        }
    }

    /// It is seen from now on, and whether it slept before is all the same.
    pub(crate) const fn begin(&mut self, now: MonoTime) {
        self.seen_at = now;
    }

    /// It runs.
    pub(crate) fn see(&mut self, now: MonoTime) {
        if now.since(self.seen_at) > self.gap_max {
            self.woke_at = now;
        }
        self.seen_at = now;
    }

    /// When it woke last.
    pub(crate) const fn woke_at(&self) -> MonoTime {
        self.woke_at
    }

    /// Whether what was asked at this time was asked before it slept last.
    pub(crate) fn is_from_before(&self, asked_at: MonoTime) -> bool {
        asked_at < self.woke_at
    }

    /// When it has to be seen again at the latest, so that a gap is one.
    pub(crate) fn look_by(&self) -> MonoTime {
        self.seen_at + self.gap_max / 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_a_sleep_and_what_was_asked_before_it_is_old() {
        let at = |ms: u64| MonoTime::from_micros(ms * 1000);
        let mut wake = Wake::new(Duration::from_secs(5));
        for ms in [0, 3000, 6000, 11_000] {
            wake.see(at(ms));
        }
        assert!(!wake.is_from_before(at(0)), "that was no sleep");
        assert!(wake.look_by() < at(13_000));
        wake.see(at(16_001));
        wake.see(at(16_002));
        assert!(wake.is_from_before(at(16_000)));
        assert!(!wake.is_from_before(at(16_001)));
    }
}
