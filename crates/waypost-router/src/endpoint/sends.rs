//! Acked messages and requests that still lack their outcome.

use core::hash::BuildHasher as _;
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use waypost_types::{MonoTime, Outcome};
use waypost_wire::{Delivery, Message, Numbers};

use crate::map::hasher;

#[derive(Debug)]
pub(crate) struct Pending<T> {
    pub(crate) token: T,
    pub(crate) message: Delivery,
    pub(crate) request: bool,
    pub(crate) deadline: MonoTime,
    /// When it was last handed to the router; `None`: never.
    pub(crate) sent_at: Option<MonoTime>,
    pub(crate) attempts: u32,
    /// How many of the copies came to nothing for certain, and why the newest of them did.
    pub(crate) failed: u32,
    pub(crate) failure: Option<Outcome>,
    /// When it comes due next; time-outs of other points are void.
    due: MonoTime,
    /// A request whose message has been delivered and which waits for its reply.
    pub(crate) delivered: bool,
    /// The messages to the same client before and after this one; 0: none.
    previous: u64,
    pub(crate) next: u64,
    /// Of the address it is for.
    hash: u64,
}

/// The messages in flight, by id. Ids are dense, so the table is a ring whose first entry is the floor.
#[derive(Debug)]
pub(crate) struct Sends<T> {
    ring: Ring<T>,
    floor: u64,
    in_flight: usize,
    max: usize,
    bytes: usize,
    bytes_max: usize,
    /// Room came free that somebody may wait for.
    room_freed: bool,
    /// The newest message to each client, by the hash of its address, which the message itself holds.
    newest_to: HashTable<u64>,
    hasher: SeedableRandomState,
    /// First time-outs: in order, because all come the same time after their message.
    first: VecDeque<(MonoTime, u64)>,
    later: BTreeSet<(MonoTime, u64)>,
    retransmit_after: Duration,
    again: Option<Again>,
}

/// What has yet to be sent to the router that this server has attached to.
#[derive(Debug, Clone, Copy)]
struct Again {
    next: u64,
    /// The first that was sent since.
    end: u64,
    since: MonoTime,
}

impl<T> Sends<T> {
    pub(crate) fn new(seed: u64, max: usize, bytes_max: usize, retransmit_after: Duration) -> Self {
        Self {
            ring: VecDeque::new(),
            floor: 1,
            in_flight: 0,
            max,
            bytes: 0,
            bytes_max,
            room_freed: false,
            newest_to: HashTable::new(),
            hasher: hasher(seed),
            first: VecDeque::new(),
            later: BTreeSet::new(),
            retransmit_after,
            again: None,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.in_flight == 0
    }

    pub(crate) const fn len(&self) -> usize {
        self.in_flight
    }

    /// Whether another one may be sent: the ids from the floor to the newest are bounded, because receivers remember
    /// them, and so are the bytes of the messages, which are kept here.
    pub(crate) fn has_room(&self) -> bool {
        self.ring.len() < self.max && self.bytes < self.bytes_max
    }

    /// Bytes of the messages that are kept.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether room came free since the last call that somebody may wait for.
    pub(crate) const fn take_room_freed(&mut self) -> bool {
        core::mem::replace(&mut self.room_freed, false)
    }

    /// Whoever waits may try again, for another reason than room that came free here.
    pub(crate) const fn note_room(&mut self) {
        self.room_freed = true;
    }

    /// Takes a message in and gives it its id.
    pub(crate) fn add(
        &mut self,
        now: MonoTime,
        token: T,
        message: Delivery,
        request: bool,
        deadline: MonoTime,
    ) -> u64 {
        let id = self.floor + self.ring.len() as u64;
        self.bytes += message.cost();
        let to = message.receiver_utf8();
        let hash = self.hasher.hash_one(to);
        let (ring, floor) = (&self.ring, self.floor);
        let entry = self.newest_to.entry(
            hash,
            |newest| is_to(ring, floor, *newest, to),
            |newest| find(ring, floor, *newest).map_or(0, |pending| pending.hash),
        );
        let previous = match entry {
            Entry::Occupied(mut newest) => core::mem::replace(newest.get_mut(), id),
            Entry::Vacant(place) => {
                place.insert(id);
                0
            }
        };
        self.ring.push_back(Some(Pending {
            token,
            message,
            request,
            deadline,
            sent_at: None,
            attempts: 0,
            failed: 0,
            failure: None,
            due: deadline.min(now + self.retransmit_after),
            delivered: false,
            previous,
            next: 0,
            hash,
        }));
        if let Some(before) = self.get_mut(previous) {
            before.next = id;
        }
        self.in_flight += 1;
        let due = now + self.retransmit_after;
        if deadline < due || self.first.back().is_some_and(|(last, _)| *last > due) {
            self.later.insert((deadline.min(due), id));
        } else {
            self.first.push_back((due, id));
        }
        id
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut Pending<T>> {
        let at = usize::try_from(id.checked_sub(self.floor)?).ok()?;
        self.ring.get_mut(at)?.as_mut()
    }

    /// The numbers with which the message is to be sent now, or `None` when it has its outcome.
    pub(crate) fn numbers(&mut self, now: MonoTime, id: u64) -> Option<Numbers> {
        let floor = self.floor;
        let previous = self.get_mut(id)?.previous;
        let after = self.undelivered(previous);
        let pending = self.get_mut(id)?;
        if pending.delivered {
            return None;
        }
        pending.sent_at = Some(now);
        pending.attempts += 1;
        Some(Numbers {
            id,
            floor,
            after,
            request: pending.request,
            ttl_ms: u32::try_from(pending.deadline.since(now).as_millis())
                .unwrap_or(u32::MAX)
                .max(1),
            ..Numbers::default()
        })
    }

    /// The message as it is to be sent now, or `None` when it has its outcome.
    pub(crate) fn copy(&mut self, now: MonoTime, id: u64) -> Option<Message> {
        let numbers = self.numbers(now, id)?;
        let mut message: Message = self.get_mut(id)?.message.clone().into();
        message.set_numbers(numbers);
        Some(message)
    }

    /// The newest message to this client that is not known to be delivered or refused; 0: none. What is sent to it now
    /// comes after it.
    #[inline]
    pub(crate) fn newest_to(&mut self, to: &str) -> u64 {
        // Nearly always so where best-effort messages are sent, and they ask each time.
        if self.newest_to.is_empty() {
            return 0;
        }
        self.find_newest_to(to)
    }

    #[inline(never)]
    fn find_newest_to(&mut self, to: &str) -> u64 {
        let hash = self.hasher.hash_one(to.as_bytes());
        let (ring, floor) = (&self.ring, self.floor);
        let newest = self
            .newest_to
            .find(hash, |newest| is_to(ring, floor, *newest, to.as_bytes()));
        newest.copied().map_or(0, |newest| self.undelivered(newest))
    }

    /// This message if it is not known to be delivered, or else the newest one to the same client before it that is not;
    /// 0: none.
    fn undelivered(&mut self, mut id: u64) -> u64 {
        while let Some(pending) = self.get_mut(id) {
            if !pending.delivered {
                return id;
            }
            id = pending.previous;
        }
        0
    }

    /// Ends one: it has its outcome. Gives its token, and whether it is a request.
    pub(crate) fn finish(&mut self, id: u64) -> Option<(T, bool)> {
        let at = usize::try_from(id.checked_sub(self.floor)?).ok()?;
        let was_full = !self.has_room();
        let Pending {
            token,
            message,
            request,
            previous,
            next,
            hash,
            ..
        } = self.ring.get_mut(at)?.take()?;
        self.in_flight -= 1;
        self.bytes -= message.cost();
        if let Some(next) = self.get_mut(next) {
            next.previous = previous;
        }
        if let Some(previous) = self.get_mut(previous) {
            previous.next = next;
        }
        if let Ok(mut newest) = self.newest_to.find_entry(hash, |newest| *newest == id) {
            if previous == 0 {
                newest.remove();
            } else {
                *newest.get_mut() = previous;
            }
        }
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.floor += 1;
        }
        self.room_freed |= was_full && self.has_room();
        Some((token, request))
    }

    /// The next time-out of one that still lacks its outcome.
    pub(crate) fn next_timeout(&mut self) -> Option<MonoTime> {
        while let Some((due, id)) = self.first.front().copied() {
            if self.get_mut(id).is_some_and(|pending| pending.due == due) {
                break;
            }
            self.first.pop_front();
        }
        while let Some((due, id)) = self.later.first().copied() {
            if self.get_mut(id).is_some_and(|pending| pending.due == due) {
                break;
            }
            self.later.remove(&(due, id));
        }
        let first = self.first.front().map(|(due, _)| *due);
        let later = self.later.first().map(|(due, _)| *due);
        match (first, later) {
            (Some(first), Some(later)) => Some(first.min(later)),
            (first, later) => first.or(later),
        }
    }

    /// An id whose time-out has come, its next one set. Ask until it answers `None`.
    pub(crate) fn due(&mut self, now: MonoTime) -> Option<u64> {
        if self.next_timeout()? > now {
            return None;
        }
        let id = match (self.first.front().copied(), self.later.first().copied()) {
            (Some((first, id)), later) if later.is_none_or(|(due, _)| first <= due) => {
                self.first.pop_front();
                id
            }
            (_, Some((due, id))) => {
                self.later.remove(&(due, id));
                id
            }
            _ => return None,
        };
        let pause = self.retransmit_after;
        let (deadline, attempts) = {
            let pending = self.get_mut(id)?;
            (pending.deadline, pending.attempts)
        };
        if deadline > now {
            let next = now + pause * (1 << attempts.min(4));
            self.set_due(id, next.min(deadline));
        }
        Some(id)
    }

    /// Has the message come due at this point, and at no other.
    pub(crate) fn set_due(&mut self, id: u64, due: MonoTime) {
        if let Some(pending) = self.get_mut(id) {
            pending.due = due.min(pending.deadline);
            let due = pending.due;
            self.later.insert((due, id));
        }
    }

    /// All that lack their outcome are to be sent again: what a former router was given may be lost with it.
    pub(crate) fn begin_again(&mut self, now: MonoTime) {
        self.again = Some(Again {
            next: self.floor,
            end: self.floor + self.ring.len() as u64,
            since: now,
        });
    }

    /// The next of those, lowest first, until `None`. A copy of the new router's needs no other.
    pub(crate) fn next_again(&mut self) -> Option<u64> {
        let Again { next, end, since } = self.again?;
        for id in next.max(self.floor)..end {
            let sent_at = self.get_mut(id).map(|pending| pending.sent_at);
            if sent_at.is_some_and(|sent_at| sent_at.is_none_or(|sent_at| sent_at < since)) {
                self.again = Some(Again {
                    next: id + 1,
                    end,
                    since,
                });
                return Some(id);
            }
        }
        self.again = None;
        None
    }

    /// Ids without outcome, lowest first.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.ring
            .iter()
            .enumerate()
            .filter(|(_, pending)| pending.is_some())
            .map(|(at, _)| self.floor + at as u64)
            .collect()
    }
}

impl<T> Pending<T> {
    /// By when the newest copy has arrived, and its answer been read, or is lost; `None` when all have come to nothing for certain,
    /// or there is none. While this process was stopped, so may have been all others.
    pub(crate) fn copy_arrives_by(&self, woke_at: MonoTime, patience: Duration) -> Option<MonoTime> {
        self.sent_at
            .filter(|_| self.failed < self.attempts)
            .map(|sent_at| sent_at.max(woke_at) + patience)
    }

    /// Whether all copies were refused because an earlier message was missing.
    pub(crate) const fn is_refused(&self) -> bool {
        self.attempts > 0 && self.failed >= self.attempts && self.failure.is_none() && !self.delivered
    }
}

type Ring<T> = VecDeque<Option<Pending<T>>>;

fn find<T>(ring: &Ring<T>, floor: u64, id: u64) -> Option<&Pending<T>> {
    let at = usize::try_from(id.checked_sub(floor)?).ok()?;
    ring.get(at)?.as_ref()
}

fn is_to<T>(ring: &Ring<T>, floor: u64, id: u64, to: &[u8]) -> bool {
    find(ring, floor, id).is_some_and(|pending| pending.message.receiver_utf8() == to)
}

/// The outcome of a message whose deadline has come.
pub(crate) const fn at_deadline(attempts: u32, delivered: bool) -> Outcome {
    match (attempts, delivered) {
        (0, _) => Outcome::Expired,
        (_, true) => Outcome::Delivered,
        (_, false) => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const MS: fn(u64) -> MonoTime = |ms| MonoTime::from_micros(ms * 1000);

    fn message(to: &str) -> Delivery {
        Delivery::new("from", to, Bytes::new()).unwrap()
    }

    #[test]
    fn floor_follows_the_oldest_and_after_the_newest_to_the_same_client() {
        let mut sends = Sends::new(0, 10, 1 << 20, Duration::from_millis(100));
        let a = sends.add(MS(0), 'a', message("x"), false, MS(1000));
        let b = sends.add(MS(0), 'b', message("y"), false, MS(1000));
        let c = sends.add(MS(0), 'c', message("x"), false, MS(1000));
        assert_eq!((a, b, c), (1, 2, 3));
        assert_eq!(sends.copy(MS(0), c).map(|m| (m.floor, m.after)), Some((1, a)));
        assert_eq!(sends.finish(b), Some(('b', false)));
        assert_eq!(sends.copy(MS(0), c).map(|m| (m.floor, m.after)), Some((1, a)));
        sends.finish(a);
        assert_eq!(sends.copy(MS(0), c).map(|m| (m.floor, m.after)), Some((3, 0)));
        assert_eq!(sends.newest_to("x"), c);
        assert_eq!(sends.newest_to("y"), 0);
        sends.finish(c);
        assert_eq!(sends.newest_to("x"), 0);
        assert!(sends.is_empty());
        assert_eq!(sends.next_timeout(), None);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_too_and_who_waits_hears_of_room() {
        let mut sends = Sends::new(0, 10, 200, Duration::from_millis(100));
        let large = || Delivery::new("from", "x", Bytes::from(vec![0; 100])).unwrap();
        let (a, b) = (
            sends.add(MS(0), (), large(), false, MS(1000)),
            sends.add(MS(0), (), large(), false, MS(1000)),
        );
        assert!(!sends.has_room() && !sends.take_room_freed());
        sends.finish(b);
        assert!(sends.has_room() && sends.take_room_freed() && !sends.take_room_freed());
        sends.finish(a);
        assert!(
            sends.bytes() == 0 && !sends.take_room_freed(),
            "nobody waits where there was room"
        );
    }

    #[test]
    fn one_that_fails_leaves_the_order_of_those_around_it() {
        let mut sends = Sends::new(0, 10, 1 << 20, Duration::from_millis(100));
        let ids: Vec<u64> = (0..3)
            .map(|_| sends.add(MS(0), (), message("x"), false, MS(1000)))
            .collect();
        sends.finish(ids[1]);
        assert_eq!(sends.copy(MS(0), ids[2]).map(|m| m.after), Some(ids[0]));
        sends.finish(ids[2]);
        assert_eq!(sends.newest_to("x"), ids[0]);
        sends.finish(ids[0]);
        assert_eq!(sends.newest_to("x"), 0);
    }

    #[test]
    fn time_outs_back_off_and_end_at_the_deadline() {
        let mut sends = Sends::new(0, 10, 1 << 20, Duration::from_millis(100));
        let id = sends.add(MS(0), (), message("x"), false, MS(450));
        sends.copy(MS(0), id);
        let mut seen = Vec::new();
        while let Some(due) = sends.next_timeout() {
            assert_eq!(sends.due(due), Some(id));
            seen.push(due.as_micros() / 1000);
            if sends.get_mut(id).unwrap().deadline <= due {
                sends.finish(id);
            } else {
                sends.copy(due, id);
            }
        }
        assert_eq!(seen, [100, 300, 450]);
    }
}
