//! This process's monotonic clock, as the times that pure code takes.

use std::time::Instant;

use waypost_types::MonoTime;

/// This process's monotonic clock: [`MonoTime`] counted from the moment this value was made. A copy counts from the same
/// moment, so that the times of all copies can be compared; those of two separately made clocks cannot.
#[derive(Debug, Clone, Copy)]
pub struct ProcessClock {
    start: Instant,
}

impl ProcessClock {
    /// A clock that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> MonoTime {
        MonoTime::ZERO + self.start.elapsed()
    }
}

impl Default for ProcessClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_the_start_and_time_never_goes_back() {
        let clock = ProcessClock::new();
        let copy = clock;
        let first = clock.now();
        assert!(copy.now() >= first);
    }
}
