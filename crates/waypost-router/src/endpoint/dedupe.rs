//! Which acked messages this incarnation has had already.
//!
//! Every acked message carries its origin's floor: the lowest id that still lacks its outcome. Ids below it are never sent
//! again, so that only what lies between the floor and the newest id has to be remembered: at most as many ids an origin
//! as it may have in flight.

use core::hash::BuildHasher as _;
use std::collections::VecDeque;

use waypost_types::{Identity, Incarnation, Owner};
use waypost_wire::Numbers;

use crate::map::{Map, map};

/// What became of an id when it came the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Delivered,
    /// Refused with a final outcome: a repetition gets the same answer.
    Refused(waypost_types::Outcome),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: u64,
    seen: Seen,
    /// Whom it was for, as a hash of the address.
    to: u64,
}

#[derive(Debug)]
struct Window {
    identity: Identity,
    incarnation: Incarnation,
    floor: u64,
    /// The newest that has been delivered.
    newest: u64,
    /// By id, lowest first. They come nearly in this order, so that one is nearly always put at the end.
    seen: VecDeque<Entry>,
}

impl Window {
    fn find(&self, id: u64) -> Result<usize, usize> {
        let (Some(first), Some(last)) = (self.seen.front(), self.seen.back()) else {
            return Err(0);
        };
        if last.id < id {
            return Err(self.seen.len());
        }
        // Where all between have come, which is nearly always so.
        let place = usize::try_from(id.wrapping_sub(first.id)).unwrap_or(usize::MAX);
        match self.seen.get(place) {
            Some(entry) if entry.id == id => Ok(place),
            _ => self.seen.binary_search_by_key(&id, |entry| entry.id),
        }
    }

    fn raise_floor(&mut self, floor: u64) {
        if floor > self.floor {
            self.floor = floor;
            while self.seen.front().is_some_and(|entry| entry.id < floor) {
                self.seen.pop_front();
            }
            // What a burst took is given back.
            if self.seen.capacity() > SPARE_ENTRIES && self.seen.len() < self.seen.capacity() / 8 {
                self.seen.shrink_to(self.seen.len() * 2);
            }
        }
    }

    /// Whether the message `id` no longer stands in the way of later ones.
    fn is_settled(&self, id: u64) -> bool {
        id < self.floor || self.find(id).is_ok()
    }

    fn is_overtaken(&self, newer: usize, to: u64) -> bool {
        let mut newer = self.seen.range(newer..).take(OVERTAKERS_MAX);
        newer.any(|entry| (entry.seen, entry.to) == (Seen::Delivered, to))
    }
}

/// Room that a window keeps without need, in entries.
const SPARE_ENTRIES: usize = 1024;
/// How many newer messages are looked at for one that comes behind them.
const OVERTAKERS_MAX: usize = 1024;

/// The windows of all origins.
#[derive(Debug)]
pub(crate) struct Dedupe {
    index: Map<Identity, usize>,
    windows: Vec<Window>,
    /// The window asked for last: the next message is nearly always of the same server.
    last: usize,
    /// The endpoint's number of the server and the life that it belongs to, when that is known.
    last_origin: Option<u32>,
    ids_max: usize,
}

impl Dedupe {
    pub(crate) fn new(seed: u64, ids_max: usize) -> Self {
        Self {
            index: map(seed),
            windows: Vec::new(),
            last: 0,
            last_origin: None,
            ids_max,
        }
    }

    #[inline]
    fn at(&self, identity: &Identity) -> Option<usize> {
        match self.windows.get(self.last) {
            Some(window) if window.identity == *identity => Some(self.last),
            _ => self.index.get(identity).copied(),
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
            identity: origin.identity.clone(),
            incarnation: origin.incarnation,
            floor,
            newest: 0,
            seen: VecDeque::new(),
        };
        self.last_origin = None;
        self.last = match self.at(&origin.identity) {
            Some(at) => at,
            None => {
                self.index.insert(origin.identity.clone(), self.windows.len());
                self.windows.push(fresh());
                self.windows.len() - 1
            }
        };
        let Some(window) = self.windows.get_mut(self.last) else {
            return Err(());
        };
        if window.incarnation < origin.incarnation {
            *window = fresh();
        }
        if window.incarnation > origin.incarnation || id < window.floor {
            return Err(());
        }
        window.raise_floor(floor);
        let place = match window.find(id) {
            Ok(at) => return Ok(window.seen.get(at).map(|entry| entry.seen)),
            Err(_) if window.seen.len() >= self.ids_max => return Err(()),
            Err(_) if id > window.newest => return Ok(None),
            Err(place) => place,
        };
        if window.is_overtaken(place, self.index.hasher().hash_one(to)) {
            Err(())
        } else {
            Ok(None)
        }
    }

    /// Whether the message `id` of this origin no longer stands in the way of later ones. What an older life of the origin
    /// has sent is dropped when its turn comes, and so stands in the way for ever.
    pub(crate) fn settled(&self, origin: &Owner, id: u64) -> bool {
        let window = self.at(&origin.identity).and_then(|at| self.windows.get(at));
        window.is_some_and(|window| window.incarnation == origin.incarnation && window.is_settled(id))
    }

    /// Notes a message as delivered if it is what nearly all are: newer than all before it, and with nothing in its way. False:
    /// nothing was noted. `number` is the endpoint's of `origin`.
    pub(crate) fn note_next(&mut self, number: u32, origin: &Owner, numbers: &Numbers, to: &str) -> bool {
        let Numbers { id, floor, after, .. } = *numbers;
        if self.last_origin != Some(number) {
            let Some(at) = self.at(&origin.identity) else {
                return false;
            };
            let life = self.windows.get(at).map(|window| window.incarnation);
            if life != Some(origin.incarnation) {
                return false;
            }
            (self.last, self.last_origin) = (at, Some(number));
        }
        let to = self.index.hasher().hash_one(to);
        let Some(window) = self.windows.get_mut(self.last) else {
            return false;
        };
        window.raise_floor(floor);
        let newest = window.seen.back().map_or(0, |entry| entry.id).max(window.newest);
        let is_next = id > newest && id >= window.floor && window.seen.len() < self.ids_max;
        if !is_next || !(after == 0 || window.is_settled(after)) {
            return false;
        }
        window.newest = id;
        let seen = Seen::Delivered;
        window.seen.push_back(Entry { id, seen, to });
        true
    }

    /// Notes what became of `id`, which [`check`](Self::check) has let through.
    pub(crate) fn note(&mut self, origin: &Owner, id: u64, to: &str, seen: Seen) {
        let to = self.index.hasher().hash_one(to);
        let at = self.at(&origin.identity);
        if let Some(window) = at.and_then(|at| self.windows.get_mut(at))
            && window.incarnation == origin.incarnation
        {
            if seen == Seen::Delivered {
                window.newest = window.newest.max(id);
            }
            let entry = Entry { id, seen, to };
            match window.find(id) {
                Ok(at) => window.seen[at] = entry,
                Err(place) => window.seen.insert(place, entry),
            }
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
    fn what_comes_out_of_order_and_in_a_burst_is_remembered_and_let_go() {
        let origin = Owner::new(Identity::new("a").unwrap(), Incarnation(1));
        let mut dedupe = Dedupe::new(0, 1 << 16);
        let name = |id: u64| format!("client {id}");
        let ids = || (8..5008_u64).map(|n| n ^ 7);
        for id in ids() {
            assert_eq!(dedupe.check(&origin, id, 1, &name(id)), Ok(None));
            dedupe.note(&origin, id, &name(id), Seen::Delivered);
        }
        for id in ids() {
            assert_eq!(dedupe.check(&origin, id, 1, &name(id)), Ok(Some(Seen::Delivered)));
            assert!(dedupe.settled(&origin, id));
        }
        assert_eq!(dedupe.check(&origin, 9000, 4999, "x"), Ok(None));
        assert!(dedupe.windows[0].seen.capacity() <= SPARE_ENTRIES);
        assert_eq!(dedupe.check(&origin, 5000, 4999, "x"), Ok(Some(Seen::Delivered)));
        assert_eq!(dedupe.check(&origin, 4998, 4999, "x"), Err(()));
    }

    #[test]
    fn only_the_next_one_with_nothing_in_its_way_is_noted_at_once() {
        let origin = |n| Owner::new(Identity::new("a").unwrap(), Incarnation(n));
        let numbers = |id, floor, after| Numbers {
            id,
            floor,
            after,
            ..Numbers::default()
        };
        let mut dedupe = Dedupe::new(0, 3);
        assert!(
            !dedupe.note_next(0, &origin(1), &numbers(1, 1, 0), "x"),
            "not known"
        );
        assert_eq!(dedupe.check(&origin(1), 1, 1, "x"), Ok(None));
        assert!(dedupe.note_next(0, &origin(1), &numbers(1, 1, 0), "x"));
        assert!(!dedupe.note_next(0, &origin(1), &numbers(1, 1, 0), "x"), "a copy");
        assert!(dedupe.note_next(0, &origin(1), &numbers(3, 1, 1), "x"));
        assert!(
            !dedupe.note_next(0, &origin(1), &numbers(2, 1, 0), "x"),
            "a late one"
        );
        assert!(
            !dedupe.note_next(0, &origin(1), &numbers(5, 1, 4), "x"),
            "what it names has not come"
        );
        assert!(dedupe.note_next(0, &origin(1), &numbers(5, 1, 3), "x"));
        assert!(
            !dedupe.note_next(0, &origin(1), &numbers(6, 1, 0), "x"),
            "too many"
        );
        assert!(dedupe.note_next(0, &origin(1), &numbers(6, 5, 4), "x"));
        assert!(
            !dedupe.note_next(0, &origin(1), &numbers(7, 8, 0), "x"),
            "below the floor"
        );
        assert_eq!(dedupe.check(&origin(1), 6, 5, "x"), Err(()));
        assert_eq!(dedupe.check(&origin(2), 1, 1, "x"), Ok(None));
        assert!(
            !dedupe.note_next(0, &origin(1), &numbers(9, 8, 0), "x"),
            "of an older life"
        );
        assert!(dedupe.note_next(1, &origin(2), &numbers(1, 1, 0), "x"));
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
