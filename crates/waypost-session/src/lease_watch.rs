//! Tells dead servers from live ones by the counters of their leases, without synchronised clocks.

use core::time::Duration;
use std::collections::HashMap;

use waypost_types::{Identity, Incarnation, MonoTime, Owner};

/// One observer's memory of the counters it has seen, for datastores that do not expire leases themselves.
///
/// A server whose counter stood still for longer than its term, by the observer's own monotonic clock, is dead. A first
/// sighting is live, so that a fresh observer takes a dead server for alive for up to one term, and none takes a server
/// for dead that renews in time.
///
/// Pure: it is told what time it is. It holds one entry an identity; call [`retain`](Self::retain) with what the
/// datastore still knows, so that identities which are gone do not stay for ever.
#[derive(Debug, Default)]
pub struct LeaseWatch {
    seen: HashMap<Identity, Sighting>,
}

#[derive(Debug)]
struct Sighting {
    incarnation: Incarnation,
    counter: u64,
    /// When this counter was first seen. Not before it was read: the server gets the benefit of the doubt.
    since: MonoTime,
    dead: bool,
}

impl LeaseWatch {
    /// An observer that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note that the owner's lease had `counter` at `now`, and says whether the owner is live as far as this
    /// observer knows.
    ///
    /// Once dead, it stays dead while its counter is the same. Another counter, or another incarnation of the identity,
    /// counts as a first sighting. Where reading takes noticeable time, use [`observe_read`](Self::observe_read).
    pub fn observe(&mut self, now: MonoTime, owner: &Owner, counter: u64, term: Duration) -> bool {
        self.observe_read(now, now, owner, counter, term)
    }

    /// The same for a counter that was read at some moment from `asked` to `answered`, which may lie far apart when this
    /// process was paused or the datastore was slow: the server gets the benefit of the doubt at both ends.
    pub fn observe_read(
        &mut self,
        asked: MonoTime,
        answered: MonoTime,
        owner: &Owner,
        counter: u64,
        term: Duration,
    ) -> bool {
        let sighting = Sighting {
            incarnation: owner.incarnation,
            counter,
            since: answered,
            dead: false,
        };
        let Some(seen) = self.seen.get_mut(&owner.identity) else {
            self.seen.insert(owner.identity.clone(), sighting);
            return true;
        };
        if seen.incarnation != owner.incarnation || seen.counter != counter {
            *seen = sighting;
            return true;
        }
        seen.dead |= asked.since(seen.since) > term;
        !seen.dead
    }

    /// Forgets the owner: its next sighting is a first one. For owners whose lease is no longer in the datastore.
    pub fn forget(&mut self, owner: &Owner) {
        if self
            .seen
            .get(&owner.identity)
            .is_some_and(|seen| seen.incarnation == owner.incarnation)
        {
            self.seen.remove(&owner.identity);
        }
    }

    /// Forgets every identity for which `keep` says no. Keep all whose lease is in the datastore, the dead among them:
    /// a dead one that is forgotten and seen again counts as live for another term.
    pub fn retain(&mut self, mut keep: impl FnMut(&Identity, Incarnation) -> bool) {
        self.seen
            .retain(|identity, seen| keep(identity, seen.incarnation));
    }

    /// How many identities it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether it remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_millis(300);

    fn owner(incarnation: u64) -> Owner {
        Owner::new(Identity::new("server").unwrap(), Incarnation(incarnation))
    }

    fn at(millis: u64) -> MonoTime {
        MonoTime::from_micros(millis * 1000)
    }

    #[test]
    fn a_first_sighting_is_live_and_a_counter_that_stands_still_longer_than_the_term_is_dead() {
        let mut watch = LeaseWatch::new();
        assert!(watch.observe(at(1000), &owner(1), 7, TERM));
        assert!(
            watch.observe(at(1300), &owner(1), 7, TERM),
            "the term itself is still good"
        );
        assert!(!watch.observe(at(1301), &owner(1), 7, TERM));
    }

    #[test]
    fn a_counter_that_moves_in_time_never_dies() {
        let mut watch = LeaseWatch::new();
        for step in 0..100 {
            assert!(watch.observe(at(step * 299), &owner(1), step, TERM));
            assert!(watch.observe(at(step * 299 + 298), &owner(1), step, TERM));
        }
    }

    #[test]
    fn the_dead_stay_dead_until_the_counter_moves() {
        let mut watch = LeaseWatch::new();
        watch.observe(at(0), &owner(1), 7, TERM);
        assert!(!watch.observe(at(400), &owner(1), 7, TERM));
        assert!(
            !watch.observe(at(400), &owner(1), 7, Duration::from_secs(60)),
            "a longer term revives nobody"
        );
        assert!(
            !watch.observe(at(0), &owner(1), 7, TERM),
            "nor does a clock that went back"
        );
        assert!(watch.observe(at(500), &owner(1), 8, TERM));
    }

    #[test]
    fn a_new_incarnation_starts_afresh_and_costs_no_second_entry() {
        let mut watch = LeaseWatch::new();
        watch.observe(at(0), &owner(1), 7, TERM);
        assert!(!watch.observe(at(400), &owner(1), 7, TERM));
        assert!(watch.observe(at(400), &owner(2), 7, TERM));
        assert_eq!(watch.len(), 1);
    }

    #[test]
    fn a_slow_read_or_a_paused_observer_kills_nobody() {
        let mut watch = LeaseWatch::new();
        // Asked at 0 and answered at 5000: the counter may be as new as 5000.
        assert!(watch.observe_read(at(0), at(5000), &owner(1), 7, TERM));
        // Asked at 5100 and answered at 9000: the counter may be as old as 5100.
        assert!(watch.observe_read(at(5100), at(9000), &owner(1), 7, TERM));
        assert!(!watch.observe_read(at(9000), at(9000), &owner(1), 7, TERM));
    }

    #[test]
    fn what_is_forgotten_takes_no_room_and_counts_as_new() {
        let mut watch = LeaseWatch::new();
        watch.observe(at(0), &owner(2), 7, TERM);
        watch.forget(&owner(1));
        assert_eq!(watch.len(), 1, "another incarnation is not this one");
        watch.forget(&owner(2));
        assert!(watch.is_empty());
        assert!(watch.observe(at(9000), &owner(2), 7, TERM));
        watch.retain(|_, incarnation| incarnation == Incarnation(2));
        assert_eq!(watch.len(), 1);
        watch.retain(|_, _| false);
        assert!(watch.is_empty());
    }
}
