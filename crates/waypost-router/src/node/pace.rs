//! Claims wait for their turn here: one bounded queue for each server, served by turns. While messages pass through this
//! node they go in small slices, and at a bounded pace where others feel it: in a broker, whose messages are others', and
//! wherever clients are taken over from servers that live, which have work with each. Otherwise they go as fast as the
//! datastore takes them.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use waypost_session::BATCH_MAX;
use waypost_types::{Address, MonoTime};
use waypost_wire::Frame;

use super::claims::Asked;
use super::{OwnerKey, Router, StoreOp};

/// Bound of the claims of one server that wait here. A server hands over fewer before it has answers to them; what one
/// that does not care sends beyond this is answered as if the datastore had not.
pub(super) const CLAIMS_WAITING_MAX: usize = 65_536;
/// Entries of a batch for the datastore while messages pass: what the work on it costs them is less than a millisecond.
const SLICE: usize = 64;
/// For how long a node counts as busy after a message has passed.
const BUSY: Duration = Duration::from_millis(20);
/// For how long it counts as taking over after it has.
const TAKING_OVER: Duration = Duration::from_millis(200);

/// Whether messages pass through this node, and whether clients are taken over by it.
#[derive(Debug)]
pub(super) struct Traffic {
    forwarded: u64,
    busy_until: MonoTime,
    takes_until: MonoTime,
}

impl Traffic {
    pub(super) const fn new() -> Self {
        Self {
            forwarded: 0,
            busy_until: MonoTime::ZERO,
            takes_until: MonoTime::ZERO,
        }
    }

    /// A client is taken over from a server that lives.
    pub(super) fn note_takeover(&mut self, now: MonoTime) {
        self.takes_until = now + TAKING_OVER;
    }

    fn takes_over(&self, now: MonoTime) -> bool {
        now < self.takes_until
    }

    /// Notes how many messages have passed so far.
    #[inline]
    pub(super) fn note(&mut self, now: MonoTime, forwarded: u64) {
        if self.forwarded != forwarded {
            self.forwarded = forwarded;
            self.busy_until = now + BUSY;
        }
    }

    fn is_busy(&self, now: MonoTime) -> bool {
        now < self.busy_until
    }
}

/// Lets work that has time go on in slices, at a pace: a slice at once, and what it took is waited for before another.
#[derive(Debug)]
pub(super) struct Pace {
    /// When all that has gone is made up for.
    even_at: MonoTime,
    due: MonoTime,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self {
            even_at: MonoTime::ZERO,
            due: MonoTime::ZERO,
        }
    }

    /// How many entries may go now; 0: later.
    pub(super) fn slice(&self, now: MonoTime, traffic: &Traffic) -> usize {
        if !traffic.is_busy(now) && !traffic.takes_over(now) {
            BATCH_MAX
        } else if self.due <= now {
            SLICE
        } else {
            0
        }
    }

    /// So many have gone; without a pace the next may follow at once.
    pub(super) fn spend(&mut self, now: MonoTime, count: usize, per_second: Option<u32>) {
        let Some(per_second) = per_second else { return };
        let time = |count: usize| {
            let micros = (count.min(SLICE) as u64) * 1_000_000 / u64::from(per_second.max(1));
            Duration::from_micros(micros)
        };
        self.even_at = self.even_at.max(now) + time(count);
        // A timer that comes late by up to this costs no pace.
        let slice = MonoTime::ZERO + time(SLICE);
        self.due = MonoTime::ZERO + self.even_at.since(slice);
    }

    pub(super) const fn due(&self) -> MonoTime {
        self.due
    }
}

/// The claims that wait.
#[derive(Debug)]
pub(super) struct ClaimQueue {
    of: BTreeMap<OwnerKey, VecDeque<Address>>,
    /// Whose turn it is.
    turns: VecDeque<OwnerKey>,
}

impl ClaimQueue {
    pub(super) const fn new() -> Self {
        Self {
            of: BTreeMap::new(),
            turns: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.of.values().map(VecDeque::len).sum()
    }

    /// Puts claims of a server in; gives back those that found no room.
    pub(super) fn push(&mut self, owner: OwnerKey, mut addresses: Vec<Address>) -> Vec<Address> {
        let queue = self.of.entry(owner).or_default();
        if queue.is_empty() && !addresses.is_empty() {
            self.turns.push_back(owner);
        }
        let room = CLAIMS_WAITING_MAX.saturating_sub(queue.len());
        let over = addresses.split_off(room.min(addresses.len()));
        queue.extend(addresses);
        if queue.is_empty() {
            self.of.remove(&owner);
        }
        over
    }

    /// A server has gone, or says anew what it wants.
    pub(super) fn forget(&mut self, owner: OwnerKey) {
        if self.of.remove(&owner).is_some() {
            self.turns.retain(|of| *of != owner);
        }
    }

    /// Up to `most` claims of the server whose turn it is, each address once.
    pub(super) fn take(&mut self, most: usize) -> Option<(OwnerKey, Vec<Address>)> {
        let owner = self.turns.pop_front()?;
        let queue = self.of.get_mut(&owner)?;
        let mut seen = BTreeSet::new();
        let count = queue
            .iter()
            .take(most)
            .take_while(|address| seen.insert(*address))
            .count();
        let taken = queue.drain(..count).collect();
        if queue.is_empty() {
            self.of.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        Some((owner, taken))
    }
}

impl Router {
    /// The pace, where others feel it.
    fn claims_per_second(&self, now: MonoTime) -> Option<u32> {
        let is_felt = self.takes_peers || self.queues.traffic.takes_over(now);
        is_felt.then_some(self.settings.claims_per_second)
    }

    /// Claims of an attached server: what finds no room is refused.
    pub(super) fn on_claim(&mut self, owner: OwnerKey, addresses: Vec<Address>) {
        let over = self.queues.claims.push(owner, addresses);
        if let Some(link) = self.entry(owner).attached
            && !over.is_empty()
        {
            let entries = over.into_iter().map(|address| (address, None)).collect();
            self.push(link, Frame::Claimed(entries));
        }
    }

    pub(super) fn flush_claims(&mut self, now: MonoTime) {
        while !self.queues.claims.is_empty()
            && self.queues.has_room(|asked| matches!(asked, Asked::Claim { .. }))
        {
            let most = self.queues.claim_pace.slice(now, &self.queues.traffic);
            if most == 0 {
                return;
            }
            let Some((key, addresses)) = self.queues.claims.take(most) else {
                return;
            };
            if self.entry(key).attached.is_none() {
                // Its peer has gone, and claims anew by its next link what it still wants.
                self.queues.claims.forget(key);
                continue;
            }
            for address in &addresses {
                self.unsettle(address).0.claims += 1;
            }
            let per_second = self.claims_per_second(now);
            self.queues.claim_pace.spend(now, addresses.len(), per_second);
            let owner = self.entry(key).owner.clone();
            self.ask(
                StoreOp::Claim(owner, addresses.clone()),
                Asked::Claim {
                    owner: key,
                    addresses,
                },
            );
        }
    }

    /// Asks whether claims without answer stand, as far as their time has come.
    pub(super) fn flush_audits(&mut self, now: MonoTime) {
        while !self.queues.audits.is_empty() && self.queues.has_room(|asked| matches!(asked, Asked::Audit(_)))
        {
            let most = self.queues.audit_pace.slice(now, &self.queues.traffic);
            if most == 0 {
                return;
            }
            let mut seen = BTreeSet::new();
            let audits = self.queues.audits.iter().take(most);
            let count = audits.take_while(|(address, _)| seen.insert(address)).count();
            let batch: Vec<_> = self.queues.audits.drain(..count).collect();
            let per_second = self.claims_per_second(now);
            self.queues.audit_pace.spend(now, batch.len(), per_second);
            let addresses = batch.iter().map(|(address, _)| address.clone()).collect();
            self.ask(StoreOp::Lookup(addresses), Asked::Audit(batch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(range: core::ops::Range<usize>) -> Vec<Address> {
        range.map(|n| Address::new(&format!("c{n}")).unwrap()).collect()
    }

    const MS: fn(u64) -> MonoTime = |ms| MonoTime::from_micros(ms * 1000);

    #[test]
    fn servers_take_turns_and_each_has_its_own_bound() {
        let (storm, other) = (OwnerKey(1), OwnerKey(2));
        let mut queue = ClaimQueue::new();
        let over = queue.push(storm, addresses(0..CLAIMS_WAITING_MAX + 3));
        assert_eq!(over.len(), 3, "what finds no room is given back");
        assert!(queue.push(other, addresses(0..2)).is_empty());
        assert_eq!(
            queue.take(128).map(|(of, some)| (of, some.len())),
            Some((storm, 128))
        );
        assert_eq!(queue.take(128), Some((other, addresses(0..2))));
        assert_eq!(queue.take(1).map(|(of, some)| (of, some.len())), Some((storm, 1)));
        queue.forget(storm);
        assert!(queue.is_empty() && queue.take(1).is_none());
    }

    #[test]
    fn a_batch_names_an_address_once() {
        let mut queue = ClaimQueue::new();
        let twice = [addresses(0..2), addresses(0..1)].concat();
        assert!(queue.push(OwnerKey(1), twice).is_empty());
        assert_eq!(queue.take(9), Some((OwnerKey(1), addresses(0..2))));
        assert_eq!(queue.take(9), Some((OwnerKey(1), addresses(0..1))));
        assert!(queue.take(9).is_none());
    }

    #[test]
    fn slices_keep_the_pace_while_messages_pass_and_none_while_nothing_does() {
        let (mut traffic, mut pace) = (Traffic::new(), Pace::new());
        assert_eq!(pace.slice(MS(0), &traffic), BATCH_MAX);
        let mut gone = 0;
        for ms in 1..=1000 {
            traffic.note(MS(ms), ms);
            while pace.slice(MS(ms), &traffic) > 0 {
                gone += pace.slice(MS(ms), &traffic);
                pace.spend(MS(ms), SLICE, Some(20_000));
            }
        }
        assert!((19_000..=20_256).contains(&gone), "{gone} in a second");
        assert_eq!(pace.slice(MS(1019), &traffic), SLICE);
        assert_eq!(
            pace.slice(MS(1020), &traffic),
            BATCH_MAX,
            "20 ms after the last message"
        );
        traffic.note_takeover(MS(1020));
        pace.spend(MS(1020), SLICE + 1, Some(20_000));
        assert_eq!(pace.slice(MS(1021), &traffic), SLICE, "what a pause has saved up");
        pace.spend(MS(1021), 1, Some(20_000));
        assert_eq!(pace.slice(MS(1020), &traffic), 0, "without messages too");
    }
}
