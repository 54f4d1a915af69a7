//! Which leases this handle takes for live.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use waypost_session::{LeaseWatch, ProcessClock};
use waypost_types::{Identity, Incarnation, MonoTime, Owner};

use crate::lease::Record;

/// Beyond this age by the datastore's own clock, a lease that this handle sees for the first time is taken for dead: it spares
/// fresh handles from waiting out the terms of those that died long ago. The clocks of two Riak nodes should not differ by as
/// much; where they do, a live server is overlooked until its next heartbeat, and nothing worse.
fn hopeless(record: &Record) -> Duration {
    record.term() * 2 + Duration::from_secs(60)
}

/// What a lease is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Live,
    /// Seen for the first time, or as it was then, and long since written by the datastore's clock: most likely dead.
    Stale,
    /// Its counter stands still: its server is dead, and does not know it yet if it is not.
    Lapsed,
    /// It was ended.
    Over,
}

/// What this handle has seen of leases.
#[derive(Debug)]
pub(crate) struct Liveness {
    clock: ProcessClock,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    watch: LeaseWatch,
    /// The last counter that was seen of each identity, and whether it was taken for dead.
    last: HashMap<Identity, (Incarnation, u64, bool)>,
    /// How many that were dead have moved again: a partition has healed, and both sides may have claimed.
    risen: u64,
}

impl Liveness {
    pub(crate) fn new() -> Self {
        Self {
            clock: ProcessClock::new(),
            seen: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> MonoTime {
        self.clock.now()
    }

    /// Judges a lease that was read at some time since `asked`.
    pub(crate) fn judge(
        &self,
        asked: MonoTime,
        identity: &Identity,
        record: &Record,
        age: Option<Duration>,
    ) -> Standing {
        if record.over {
            return Standing::Over;
        }
        let owner = Owner::new(identity.clone(), Incarnation(record.incarnation));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = &mut *seen;
        let before = seen.last.get(identity).copied();
        let same = before.is_some_and(|(incarnation, counter, _)| {
            (incarnation, counter) == (owner.incarnation, record.counter)
        });
        let was_dead = before.is_some_and(|(_, _, dead)| dead);
        let live = seen
            .watch
            .observe_read(asked, self.clock.now(), &owner, record.counter, record.term());
        let aged = before.is_none() && age.is_some_and(|age| age > hopeless(record));
        let stale = aged || (same && was_dead);
        let dead = !live || stale;
        if was_dead && !dead && before.is_some_and(|(incarnation, _, _)| incarnation == owner.incarnation) {
            seen.risen += 1;
        }
        seen.last
            .insert(identity.clone(), (owner.incarnation, record.counter, dead));
        match (live, stale) {
            (false, _) => Standing::Lapsed,
            (true, true) => Standing::Stale,
            (true, false) => Standing::Live,
        }
    }

    /// How often somebody who was dead turned out not to be.
    pub(crate) fn risen(&self) -> u64 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).risen
    }

    /// Forgets all identities but these.
    pub(crate) fn retain(&self, keep: impl Fn(&Identity) -> bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.watch.retain(|identity, _| keep(identity));
        seen.last.retain(|identity, _| keep(identity));
    }
}

#[cfg(test)]
mod tests {
    use waypost_types::Location;

    use super::*;

    fn lease(counter: u64) -> (Identity, Record) {
        let location = Location::new("tcp://h:1").unwrap();
        let mut record = Record::new(Incarnation(1), 1, Duration::from_millis(1), &location);
        record.counter = counter;
        (Identity::new("server").unwrap(), record)
    }

    #[test]
    fn a_lease_that_was_dead_long_before_the_first_look_is_stale_until_it_moves() {
        let liveness = Liveness::new();
        let (identity, mut record) = lease(7);
        record.term_ms = 60_000;
        let old = Some(Duration::from_secs(181));
        let judge = |record: &Record, age| liveness.judge(liveness.now(), &identity, record, age);
        assert_eq!(judge(&record, old), Standing::Stale);
        assert_eq!(judge(&record, None), Standing::Stale);
        assert_eq!(liveness.risen(), 0);
        record.counter = 8;
        assert_eq!(judge(&record, None), Standing::Live);
        assert_eq!(liveness.risen(), 1, "somebody was taken for dead who was not");
    }

    #[test]
    fn only_this_handles_own_clock_makes_a_stale_lease_lapse() {
        let liveness = Liveness::new();
        let (identity, record) = lease(7);
        let judge = || liveness.judge(liveness.now(), &identity, &record, Some(Duration::from_secs(61)));
        assert_eq!(judge(), Standing::Stale);
        while judge() == Standing::Stale {
            std::thread::yield_now();
        }
        assert_eq!(judge(), Standing::Lapsed);
    }

    #[test]
    fn age_kills_nobody_who_has_been_seen_alive() {
        let liveness = Liveness::new();
        let (identity, mut record) = lease(7);
        assert_eq!(
            liveness.judge(liveness.now(), &identity, &record, None),
            Standing::Live
        );
        let old = Some(Duration::from_secs(3600));
        assert_eq!(
            liveness.judge(MonoTime::ZERO, &identity, &record, old),
            Standing::Live
        );
        record.over = true;
        assert_eq!(
            liveness.judge(MonoTime::ZERO, &identity, &record, old),
            Standing::Over
        );
    }
}
