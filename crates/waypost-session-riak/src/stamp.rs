//! Numbers that grow: seqs and incarnations.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many of a number's lowest bits tell handles apart.
const HANDLE_BITS: u32 = 12;
const STEP: u64 = 1 << HANDLE_BITS;

/// Gives numbers that are greater than the one it is shown and than the wall clock: so they also grow after the datastore
/// has lost what it knew.
///
/// A number is milliseconds since 1970 times 4096, plus twelve bits that are this handle's own: two handles that see the same
/// record at the same moment still make different numbers, but for one pair in 4096. It stays below 2^53 until 2039, so
/// that readers of JSON do not round it.
#[derive(Debug)]
pub(crate) struct Stamps {
    own: u64,
    /// The latest time seen: the wall clock may be set back.
    clock: AtomicU64,
}

impl Stamps {
    pub(crate) fn new(random: u64) -> Self {
        Self {
            own: random % STEP,
            clock: AtomicU64::new(0),
        }
    }

    /// A number greater than `seen`; `None` when they are used up.
    pub(crate) fn next(&self, seen: u64) -> Option<u64> {
        self.next_at(now(), seen)
    }

    /// The same when the wall clock shows `now`.
    pub(crate) fn next_at(&self, now: u64, seen: u64) -> Option<u64> {
        let above = seen.max(now).max(self.clock.fetch_max(now, Ordering::Relaxed));
        let next = (above / STEP).checked_mul(STEP)?.checked_add(self.own)?;
        if next > above {
            Some(next)
        } else {
            next.checked_add(STEP)
        }
    }
}

/// The wall clock as such a number.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) fn from_millis(millis: u64) -> u64 {
    millis.saturating_mul(STEP)
}

/// The number `earlier` lies before `number`.
pub(crate) fn before(number: u64, earlier: Duration) -> u64 {
    number.saturating_sub(from_millis(
        u64::try_from(earlier.as_millis()).unwrap_or(u64::MAX),
    ))
}

/// The number `later` lies after `number`.
pub(crate) fn after(number: u64, later: Duration) -> u64 {
    number.saturating_add(from_millis(u64::try_from(later.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_beyond_what_was_seen_and_beyond_the_clock() {
        let stamps = Stamps::new(7);
        let first = stamps.next(0).unwrap();
        assert!(first > before(now(), Duration::from_secs(1)) && first < 1 << 53);
        assert!(stamps.next(first).unwrap() > first);
        let ahead = after(now(), Duration::from_secs(3600));
        assert!(stamps.next(ahead).unwrap() > ahead);
        assert_eq!(stamps.next(ahead).unwrap() % STEP, 7);
        assert_eq!(stamps.next(u64::MAX), None);
    }

    #[test]
    fn two_handles_never_make_the_same_number() {
        let (one, two) = (Stamps::new(1), Stamps::new(2));
        for seen in [0, 1, 1 << 52, (1 << 52) + 1, (1 << 52) + 2] {
            assert_ne!(one.next(seen), two.next(seen));
        }
    }
}
