//! Which acked messages this incarnation has had already.
//!
//! Every acked message carries its origin's floor: the lowest id that still lacks its outcome. Ids below it are never sent
//! again, so that only what lies between the floor and the newest id has to be remembered: at most as many ids an origin
//! as it may have in flight.

use core::hash::BuildHasher as _;
use std::collections::BTreeMap;

use waypost_types::{Identity, Incarnation, Owner};

use crate::map::{Map, map};

/// What became of an id when it came the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Delivered,
    /// Refused with a final outcome: a repetition gets the same answer.
    Refused(waypost_types::Outcome),
}

#[derive(Debug)]
struct Window {
    incarnation: Incarnation,
    floor: u64,
    /// The newest that has been delivered.
    newest: u64,
    /// With whom it was for, as a hash of the address.
    seen: BTreeMap<u64, (Seen, u64)>,
}

/// How many newer messages are looked at for one that comes behind them.
const OVERTAKERS_MAX: usize = 1024;

/// The windows of all origins.
#[derive(Debug)]
pub(crate) struct Dedupe {
    windows: Map<Identity, Window>,
    ids_max: usize,
}

impl Dedupe {
    pub(crate) fn new(seed: u64, ids_max: usize) -> Self {
        Self {
            windows: map(seed),
            ids_max,
        }
    }

    /// Moves the origin's floor up and says what became of `id` before. `Err` for a message that must be dropped: it is
    /// below the floor, from an older life of the origin, or the origin has more in flight than is allowed; or it comes behind
    /// a newer one to the same client. That one named the one that had to come before it, so its sender was done with `id`
    /// by then: what comes now is a copy that has been around for long.
    pub(crate) fn check(
        &mut self,
        origin: &Owner,
        id: u64,
        floor: u64,
        to: &str,
    ) -> Result<Option<Seen>, ()> {
        let fresh = || Window {
            incarnation: origin.incarnation,
            floor,
            newest: 0,
            seen: BTreeMap::new(),
        };
        if !self.windows.contains_key(&origin.identity) {
            self.windows.insert(origin.identity.clone(), fresh());
        }
        let Some(window) = self.windows.get_mut(&origin.identity) else {
            return Err(());
        };
        if window.incarnation < origin.incarnation {
            *window = fresh();
        }
        if window.incarnation > origin.incarnation || id < window.floor {
            return Err(());
        }
        if floor > window.floor {
            window.floor = floor;
            window.seen = window.seen.split_off(&floor);
        }
        match window.seen.get(&id) {
            Some((seen, _)) => return Ok(Some(*seen)),
            None if window.seen.len() >= self.ids_max => return Err(()),
            None if id > window.newest => return Ok(None),
            None => {}
        }
        if self.is_overtaken(origin, id, to) {
            Err(())
        } else {
            Ok(None)
        }
    }

    fn is_overtaken(&self, origin: &Owner, id: u64, to: &str) -> bool {
        let Some(window) = self.windows.get(&origin.identity) else {
            return false;
        };
        let to = self.windows.hasher().hash_one(to);
        let mut newer = window.seen.range(id.saturating_add(1)..).take(OVERTAKERS_MAX);
        newer.any(|(_, seen)| *seen == (Seen::Delivered, to))
    }

    /// Whether the message `id` of this origin no longer stands in the way of later ones. What an older life of the origin
    /// has sent is dropped when its turn comes, and so stands in the way for ever.
    pub(crate) fn settled(&self, origin: &Owner, id: u64) -> bool {
        self.windows.get(&origin.identity).is_some_and(|window| {
            window.incarnation == origin.incarnation && (id < window.floor || window.seen.contains_key(&id))
        })
    }

    /// Notes what became of `id`, which [`check`](Self::check) has let through.
    pub(crate) fn note(&mut self, origin: &Owner, id: u64, to: &str, seen: Seen) {
        let to = self.windows.hasher().hash_one(to);
        if let Some(window) = self.windows.get_mut(&origin.identity)
            && window.incarnation == origin.incarnation
        {
            if seen == Seen::Delivered {
                window.newest = window.newest.max(id);
            }
            window.seen.insert(id, (seen, to));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_exactly_what_lies_above_the_floor() {
        let origin = |n| Owner::new(Identity::new("a").unwrap(), Incarnation(n));
        let mut dedupe = Dedupe::new(0, 3);
        assert_eq!(dedupe.check(&origin(1), 5, 5, "x"), Ok(None));
        dedupe.note(&origin(1), 5, "x", Seen::Delivered);
        assert_eq!(dedupe.check(&origin(1), 5, 5, "x"), Ok(Some(Seen::Delivered)));
        assert_eq!(dedupe.check(&origin(1), 7, 6, "x"), Ok(None));
        assert_eq!(
            dedupe.check(&origin(1), 5, 5, "x"),
            Err(()),
            "below the floor it is late for certain"
        );
        assert!(dedupe.settled(&origin(1), 5));
        assert!(!dedupe.settled(&origin(1), 6));
        assert_eq!(
            dedupe.check(&origin(2), 1, 1, "x"),
            Ok(None),
            "a new life begins anew"
        );
        assert_eq!(
            dedupe.check(&origin(1), 8, 6, "x"),
            Err(()),
            "and the older one is late"
        );
        assert!(
            !dedupe.settled(&origin(1), 8),
            "what was dropped is not out of the way of what names it"
        );
        for id in 1..=3 {
            dedupe.check(&origin(2), id, 1, "x").unwrap();
            dedupe.note(&origin(2), id, "x", Seen::Delivered);
        }
        assert_eq!(
            dedupe.check(&origin(2), 4, 1, "x"),
            Err(()),
            "no more than an origin may have in flight"
        );
        assert_eq!(dedupe.check(&origin(2), 4, 2, "x"), Ok(None));
    }

    #[test]
    fn a_copy_that_comes_behind_a_newer_one_to_its_client_is_known() {
        let origin = Owner::new(Identity::new("a").unwrap(), Incarnation(1));
        let mut dedupe = Dedupe::new(0, 9);
        for (id, to, seen) in [
            (5, "x", Seen::Delivered),
            (6, "y", Seen::Refused(waypost_types::Outcome::Overloaded)),
        ] {
            assert_eq!(dedupe.check(&origin, id, 1, to), Ok(None));
            dedupe.note(&origin, id, to, seen);
        }
        assert_eq!(dedupe.check(&origin, 4, 1, "x"), Err(()));
        assert_eq!(
            dedupe.check(&origin, 4, 1, "y"),
            Ok(None),
            "what was refused is not delivered"
        );
        assert_eq!(dedupe.check(&origin, 7, 1, "x"), Ok(None));
    }
}
