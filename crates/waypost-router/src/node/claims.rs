//! Claims, releases, restores and look-ups: gathered into batches for the datastore, a few of each under way at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use waypost_session::{BATCH_MAX, Claimed, Restored};
use waypost_types::{Address, Identity, MonoTime, Owner, Seq, Session};
use waypost_wire::{Displaced, Frame, StoreUnavailable};

use super::pace::{ClaimQueue, Pace, Traffic};
use super::{Command, LinkId, OwnerKey, Relay, RelayGoal, Route, Router, StoreFailure, StoreOp, StoreReply};

/// How many batches of one kind are under way at once. What comes meanwhile makes the next batch.
const BATCHES_IN_FLIGHT: usize = 2;
/// Bound of the questions for clients' servers that wait; one more is answered as if the datastore had not.
const LOCATES_MAX: usize = 65_536;
/// Bound of what is kept to be done once the datastore answers again, in entries.
const LATER_MAX: usize = 1 << 20;

/// What an operation under way was asked for.
#[derive(Debug)]
pub(super) enum Asked {
    Register {
        link: LinkId,
        identity: Identity,
        at: MonoTime,
    },
    Resume {
        link: LinkId,
        owner: Owner,
        at: MonoTime,
    },
    Renew {
        owners: Vec<OwnerKey>,
        at: MonoTime,
    },
    /// A lease was marked as draining or ended; nobody waits for the answer.
    Lease,
    Deregister {
        link: LinkId,
        token: u64,
    },
    Peers {
        round: u64,
    },
    Claim {
        owner: OwnerKey,
        addresses: Vec<Address>,
    },
    Release {
        owner: OwnerKey,
        sessions: Vec<(Address, Seq)>,
    },
    Restore {
        sessions: Vec<Restore>,
    },
    /// Whether the store says what attached servers hold.
    Check(Vec<Restore>),
    /// Sessions of an older life of the same server, which stand in the way of a restore.
    MakeWay {
        sessions: Vec<Restore>,
    },
    Lookup(Vec<Address>),
    Locate(Vec<(LinkId, u64, Address)>),
    /// Claims that failed and may have been applied all the same.
    Audit(Vec<(Address, Said)>),
    Reclaim,
}

/// Why an address is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Said {
    /// A claim may stand of which its server does not know.
    Nothing,
    /// The server that the store names has sent back a message for it, or was asked and does not hold it.
    No,
}

/// A session that a peer holds and that is put back or checked.
#[derive(Debug, Clone)]
pub(super) struct Restore {
    owner: OwnerKey,
    address: Address,
    seq: Seq,
    /// Messages to the client wait for it.
    held_up: bool,
}

impl Restore {
    pub(super) const fn new(owner: OwnerKey, address: Address, seq: Seq) -> Self {
        Self {
            owner,
            address,
            seq,
            held_up: false,
        }
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn into_parts(self) -> (OwnerKey, Address, Seq) {
        (self.owner, self.address, self.seq)
    }
}

/// What waits for the datastore.
#[derive(Debug)]
pub(crate) struct StoreQueues {
    pub(super) claims: ClaimQueue,
    pub(super) traffic: Traffic,
    pub(super) claim_pace: Pace,
    pub(super) releases: VecDeque<(OwnerKey, Address, Seq)>,
    restores: VecDeque<Restore>,
    /// Addresses whose messages wait for a restore.
    pub(super) restoring: usize,
    restore_at: MonoTime,
    pub(super) lookups: VecDeque<Address>,
    pub(super) locates: VecDeque<(LinkId, u64, Address)>,
    /// Addresses with messages in their hold-back queues.
    pub(super) holding: BTreeSet<Address>,
    pub(super) held_bytes: usize,
    in_flight: BTreeMap<u64, Asked>,
    /// Releases and restores that failed, and claims that did: seen to once the datastore answers again.
    releases_later: VecDeque<(OwnerKey, Address, Seq)>,
    restores_later: VecDeque<(OwnerKey, Address, Seq)>,
    audits_later: VecDeque<(MonoTime, Address, Said)>,
    /// Those whose time has come, and their pace.
    pub(super) audits: VecDeque<(Address, Said)>,
    pub(super) audit_pace: Pace,
}

impl StoreQueues {
    pub(super) const fn new() -> Self {
        Self {
            claims: ClaimQueue::new(),
            traffic: Traffic::new(),
            claim_pace: Pace::new(),
            releases: VecDeque::new(),
            restores: VecDeque::new(),
            restoring: 0,
            restore_at: MonoTime::ZERO,
            lookups: VecDeque::new(),
            locates: VecDeque::new(),
            holding: BTreeSet::new(),
            held_bytes: 0,
            in_flight: BTreeMap::new(),
            releases_later: VecDeque::new(),
            restores_later: VecDeque::new(),
            audits_later: VecDeque::new(),
            audits: VecDeque::new(),
            audit_pace: Pace::new(),
        }
    }

    pub(super) fn has_room(&self, same_kind: impl Fn(&Asked) -> bool) -> bool {
        self.in_flight.values().filter(|asked| same_kind(asked)).count() < BATCHES_IN_FLIGHT
    }

    pub(super) fn next_timeout(&self) -> Option<MonoTime> {
        let restores =
            !self.restores.is_empty() && self.has_room(|asked| matches!(asked, Asked::Restore { .. }));
        let claims = !self.claims.is_empty() && self.has_room(|asked| matches!(asked, Asked::Claim { .. }));
        let audits = !self.audits.is_empty() && self.has_room(|asked| matches!(asked, Asked::Audit(_)));
        [
            restores.then_some(self.restore_at),
            claims.then_some(self.claim_pace.due()),
            audits.then_some(self.audit_pace.due()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next batch of one owner's entries, with distinct addresses.
    fn batch<E>(
        queue: &mut VecDeque<E>,
        key: impl Fn(&E) -> (OwnerKey, &Address),
    ) -> Option<(OwnerKey, Vec<E>)> {
        let owner = key(queue.front()?).0;
        let mut seen = BTreeSet::new();
        let count = queue
            .iter()
            .take(BATCH_MAX)
            .take_while(|entry| {
                let (of, address) = key(entry);
                of == owner && seen.insert(address)
            })
            .count();
        Some((owner, queue.drain(..count).collect()))
    }
}

impl Router {
    pub(super) fn ask(&mut self, op: StoreOp, asked: Asked) {
        let token = self.token();
        self.queues.in_flight.insert(token, asked);
        self.commands.push_back(Command::Store { token, op });
    }

    /// Turns what waits into batches.
    pub(super) fn flush_store(&mut self, now: MonoTime) {
        self.flush_checks();
        self.queues.traffic.note(now, self.counters.forwarded);
        self.flush_claims(now);
        self.flush_audits(now);
        while self
            .queues
            .has_room(|asked| matches!(asked, Asked::Release { .. }))
        {
            let Some((key, batch)) = StoreQueues::batch(&mut self.queues.releases, |(o, a, _)| (*o, a))
            else {
                break;
            };
            let sessions: Vec<_> = batch
                .into_iter()
                .map(|(_, address, seq)| (address, seq))
                .collect();
            let owner = self.entry(key).owner.clone();
            self.ask(
                StoreOp::Release(owner, sessions.clone()),
                Asked::Release { owner: key, sessions },
            );
        }
        while self.queues.restore_at <= now
            && self
                .queues
                .has_room(|asked| matches!(asked, Asked::Restore { .. }))
        {
            let Some((key, batch)) = StoreQueues::batch(&mut self.queues.restores, |r| (r.owner, &r.address))
            else {
                break;
            };
            let pause = core::time::Duration::from_secs(1) * u32::try_from(batch.len()).unwrap_or(1)
                / self.settings.announce_per_second.max(1);
            self.queues.restore_at = now + pause;
            let (sessions, over): (Vec<_>, Vec<_>) = batch
                .into_iter()
                .partition(|restore| self.is_held(restore) && self.entry(restore.owner).attached.is_some());
            for restore in over {
                // Given up meanwhile, or taken over by a claim that this node knows of.
                if let Some((other, newer)) = self.known(&restore.address)
                    && other != restore.owner
                    && newer > restore.seq
                {
                    let session = Session::new(self.entry(other).owner.clone(), newer);
                    let owner = self.entry(restore.owner).owner.clone();
                    self.lost(&restore, owner, session);
                }
                self.restore_ended(now, &restore);
            }
            if !sessions.is_empty() {
                let owner = self.entry(key).owner.clone();
                let entries = sessions.iter().map(|r| (r.address.clone(), r.seq)).collect();
                self.ask(StoreOp::Restore(owner, entries), Asked::Restore { sessions });
            }
        }
        while !self.queues.lookups.is_empty()
            && self.queues.has_room(|asked| matches!(asked, Asked::Lookup(_)))
        {
            let count = self.queues.lookups.len().min(BATCH_MAX);
            let addresses: Vec<Address> = self.queues.lookups.drain(..count).collect();
            self.counters.lookups += 1;
            self.counters.addresses_looked_up += addresses.len() as u64;
            for address in &addresses {
                if let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) {
                    waiting.note_asked();
                }
            }
            self.ask(StoreOp::Lookup(addresses.clone()), Asked::Lookup(addresses));
        }
        while !self.queues.locates.is_empty()
            && self.queues.has_room(|asked| matches!(asked, Asked::Locate(_)))
        {
            let mut seen = BTreeSet::new();
            let count = self
                .queues
                .locates
                .iter()
                .take(BATCH_MAX)
                .take_while(|(_, _, address)| seen.insert(address))
                .count();
            let questions: Vec<_> = self.queues.locates.drain(..count).collect();
            let addresses = questions.iter().map(|(_, _, address)| address.clone()).collect();
            self.ask(StoreOp::Lookup(addresses), Asked::Locate(questions));
        }
    }

    /// The datastore has answered an operation, or failed.
    pub fn store_done(&mut self, now: MonoTime, token: u64, reply: Result<StoreReply, StoreFailure>) {
        self.leases.wake.see(now);
        self.ways.forget();
        let Some(asked) = self.queues.in_flight.remove(&token) else {
            return;
        };
        match (asked, reply) {
            (Asked::Claim { owner, addresses }, Ok(StoreReply::Claimed(claimed)))
                if claimed.len() == addresses.len() =>
            {
                self.claimed(now, owner, addresses, claimed);
            }
            (Asked::Claim { owner, addresses }, _) => self.claim_failed(now, owner, addresses),
            (Asked::Release { owner, sessions }, reply) => self.released(now, owner, sessions, reply.is_ok()),
            (Asked::Restore { sessions }, Ok(StoreReply::Restored(restored)))
                if restored.len() == sessions.len() =>
            {
                self.restored(now, sessions, restored);
            }
            (Asked::MakeWay { sessions }, Ok(_)) => self.queues.restores.extend(sessions),
            (Asked::Restore { sessions } | Asked::MakeWay { sessions }, _) => {
                for restore in sessions {
                    // The peer goes on with what it holds until the datastore can be asked.
                    self.restore_ended(now, &restore);
                    if self.queues.restores_later.len() < LATER_MAX {
                        let Restore {
                            owner, address, seq, ..
                        } = restore;
                        self.queues.restores_later.push_back((owner, address, seq));
                    }
                }
            }
            (Asked::Check(sessions), Ok(StoreReply::Found(found))) if found.len() == sessions.len() => {
                self.records_found(sessions, Some(found));
            }
            (Asked::Check(sessions), _) => self.records_found(sessions, None),
            (Asked::Lookup(addresses), Ok(StoreReply::Found(found))) if found.len() == addresses.len() => {
                for (address, session) in addresses.into_iter().zip(found) {
                    self.looked_up(now, &address, Ok(session));
                }
            }
            (Asked::Lookup(addresses), _) => {
                for address in addresses {
                    self.looked_up(now, &address, Err(()));
                }
            }
            (Asked::Locate(questions), Ok(StoreReply::Found(found))) if found.len() == questions.len() => {
                for ((link, token, _), session) in questions.into_iter().zip(found) {
                    let result = Ok(session.map(|session| session.owner.identity));
                    self.push(link, Frame::Located { token, result });
                }
            }
            (Asked::Locate(questions), _) => {
                for (link, token, _) in questions {
                    self.push(
                        link,
                        Frame::Located {
                            token,
                            result: Err(StoreUnavailable),
                        },
                    );
                }
            }
            (Asked::Audit(questions), Ok(StoreReply::Found(found))) if found.len() == questions.len() => {
                for ((address, said), session) in questions.into_iter().zip(found) {
                    self.audited(now, address, said, session);
                }
            }
            (Asked::Audit(questions), _) => {
                for (address, said) in questions {
                    self.audit_later(now, address, said);
                }
            }
            (Asked::Deregister { link, token }, _) => self.push(link, Frame::Echo { token }),
            (asked, reply) => self.lease_done(now, asked, reply),
        }
    }

    /// A server asks who holds a client.
    pub(super) fn on_locate(&mut self, link: LinkId, token: u64, address: Address) {
        if self.queues.locates.len() < LOCATES_MAX {
            self.queues.locates.push_back((link, token, address));
        } else {
            let result = Err(StoreUnavailable);
            self.push(link, Frame::Located { token, result });
        }
    }

    // ---- claims

    fn claimed(&mut self, now: MonoTime, key: OwnerKey, addresses: Vec<Address>, claimed: Vec<Claimed>) {
        let owner = self.entry(key).owner.clone();
        let mut finished = Vec::with_capacity(addresses.len());
        for (address, Claimed { seq, displaced }) in addresses.into_iter().zip(claimed) {
            match displaced {
                Some(session) if session.owner != owner && session.seq > seq => {
                    self.overtaken(now, key, &address, seq, session);
                }
                Some(session) if session.owner != owner => self.take_over(now, key, address, seq, &session),
                _ => finished.push((address, seq)),
            }
        }
        self.finish_claims(now, key, finished);
    }

    /// A claim that another one, made at the same time, has beaten already: the peer had the client and has lost it.
    fn overtaken(&mut self, now: MonoTime, key: OwnerKey, address: &Address, seq: Seq, by: Session) {
        if let Some(link) = self.entry(key).attached {
            let displaced = Displaced {
                token: self.token(),
                owner: self.entry(key).owner.clone(),
                address: address.clone(),
                seq: by.seq,
                by: by.owner.identity,
            };
            // In this order it delivers nothing to the client.
            self.push(link, Frame::Displaced(displaced));
            self.push(link, Frame::Claimed(vec![(address.clone(), Some(seq))]));
        }
        let (waiting, _) = self.unsettle(address);
        waiting.claims = waiting.claims.saturating_sub(1);
        if waiting
            .known
            .is_some_and(|(known, older)| known == key && older < by.seq)
        {
            waiting.known = None;
        }
        self.settle(now, address);
    }

    /// Tells the peer that it holds the clients, and then lets their messages go to it.
    pub(super) fn finish_claims(&mut self, now: MonoTime, key: OwnerKey, finished: Vec<(Address, Seq)>) {
        if finished.is_empty() {
            return;
        }
        if let Some(link) = self.entry(key).attached {
            let entries = finished
                .iter()
                .map(|(address, seq)| (address.clone(), Some(*seq)))
                .collect();
            self.push(link, Frame::Claimed(entries));
        }
        let is_attached = self.entry(key).attached.is_some();
        for (address, seq) in finished {
            let (waiting, _) = self.unsettle(&address);
            waiting.claims = waiting.claims.saturating_sub(1);
            if is_attached {
                waiting.learn(key, seq, false);
                self.settle(now, &address);
            } else {
                // Its peer has gone, and claims it anew by its next link if it still wants it.
                self.give_back_ghost(key, address, seq);
            }
        }
    }

    fn claim_failed(&mut self, now: MonoTime, key: OwnerKey, addresses: Vec<Address>) {
        if let Some(link) = self.entry(key).attached {
            self.push(
                link,
                Frame::Claimed(addresses.iter().map(|address| (address.clone(), None)).collect()),
            );
        }
        for address in addresses {
            let (waiting, _) = self.unsettle(&address);
            waiting.claims = waiting.claims.saturating_sub(1);
            self.audit_later(now, address.clone(), Said::Nothing);
            self.settle(now, &address);
        }
    }

    /// Has the store asked later whether it names this server for a client that nobody is connected by.
    pub(super) fn audit_later(&mut self, now: MonoTime, address: Address, said: Said) {
        if self.queues.audits_later.len() < LATER_MAX {
            self.queues.audits_later.push_back((now, address, said));
        }
    }

    /// A server has attached anew, and may have come to hold elsewhere what it once said that it does not.
    pub(super) fn doubt_denials(&mut self) {
        let later = self.queues.audits_later.iter_mut().map(|(_, _, said)| said);
        let soon = self.queues.audits.iter_mut().map(|(_, said)| said);
        let asked = self
            .queues
            .in_flight
            .values_mut()
            .filter_map(|asked| match asked {
                Asked::Audit(questions) => Some(questions),
                _ => None,
            });
        let asked = asked.flatten().map(|(_, said)| said);
        for said in later.chain(soon).chain(asked) {
            *said = Said::Nothing;
        }
    }

    /// A claim that failed turns out to stand: nobody is connected by it, so it is given back.
    fn audited(&mut self, now: MonoTime, address: Address, said: Said, session: Option<Session>) {
        let Some(session) = session else { return };
        // Perhaps another life of the server than the one that was asked about, but one that is attached here.
        let Some(key) = self.owner_index.get(&session.owner).copied() else {
            return;
        };
        if self.entry(key).attached.is_none() {
            // By another link it may be in use.
            return;
        }
        // A server that has gone to another node says there what it holds.
        let lease = self.leases.view.get(&session.owner.identity);
        if lease.is_some_and(|lease| lease.location != self.location) {
            return;
        }
        // One that has been silent (or seems so to a node that has slept) may be gone without this node knowing it.
        let link = self.entry(key).attached.and_then(|id| self.links.get(&id));
        if link.is_none_or(|link| now.since(link.heard_at) > self.settings.heartbeat * 3 / 2) {
            return self.audit_later(now, address, said);
        }
        let in_use = match self.routes.get(&address) {
            Some(Route::At { owner, seq }) if *owner == key && seq.0 != 0 => *seq >= session.seq,
            Some(Route::Waiting(waiting)) if waiting.claims > 0 => true,
            Some(Route::Waiting(waiting)) => match waiting.known {
                Some((owner, seq)) if owner == key && seq >= session.seq => true,
                // Where it is turns out in a moment, and the release under way may be that of another claim.
                _ => return self.audit_later(now, address, said),
            },
            // The server has not spoken of it: it may have attached here a moment ago, and not have said all that it holds.
            _ if said == Said::Nothing => return self.ask_peer(key, &address),
            _ => false,
        };
        if !in_use {
            self.give_back_ghost(key, address, session.seq);
        }
    }

    // ---- releases

    pub(super) fn on_release(&mut self, now: MonoTime, owner: OwnerKey, sessions: Vec<(Address, Seq)>) {
        for (address, seq) in sessions {
            if seq.0 == 0 {
                // It does not hold this client, and another node may have left a claim of it behind.
                self.audit_later(now, address, Said::Nothing);
                continue;
            }
            let (waiting, _) = self.unsettle(&address);
            waiting.releases += 1;
            if waiting
                .known
                .is_some_and(|(known, known_seq)| known == owner && known_seq <= seq)
            {
                waiting.known = None;
            }
            self.queues.releases.push_back((owner, address, seq));
        }
    }

    fn released(&mut self, now: MonoTime, key: OwnerKey, sessions: Vec<(Address, Seq)>, done: bool) {
        if let Some(link) = self.entry(key).attached {
            // The client is gone from the peer in any case; the record follows once the datastore answers again.
            let entries: Vec<_> = sessions
                .iter()
                .filter(|session| !self.is_ghost(session))
                .map(|(address, seq)| (address.clone(), if done { *seq } else { Seq(0) }))
                .collect();
            if !entries.is_empty() {
                self.push(link, Frame::Released(entries));
            }
        }
        for (address, seq) in sessions {
            let (waiting, _) = self.unsettle(&address);
            waiting.releases = waiting.releases.saturating_sub(1);
            self.settle(now, &address);
            if let Some(Route::At { owner, seq: older }) = self.routes.get(&address)
                && *owner == key
                && (1..seq.0).contains(&older.0)
            {
                // What has been given back was a claim that nobody uses, and it stood on an older one that is in use.
                let older = *older;
                self.restore(key, address.clone(), older);
            }
            if done {
                self.ghost_released(now, key, &(address, seq));
            } else if self.queues.releases_later.len() < LATER_MAX {
                self.queues.releases_later.push_back((key, address, seq));
            }
        }
    }

    // ---- announcements and restores

    pub(super) fn on_announce(&mut self, now: MonoTime, owner: OwnerKey, sessions: Vec<(Address, Seq)>) {
        let _ = now;
        for (address, seq) in sessions {
            let is_known = matches!(
                self.routes.get(&address),
                Some(Route::At { owner: at, seq: known }) if *at == owner && *known == seq
            );
            if is_known {
                self.check(owner, address, seq);
                continue;
            }
            // It may have moved while its server was away: nothing goes to it before that has been checked.
            let (waiting, _) = self.unsettle(&address);
            if waiting.known.is_none_or(|(_, known)| known <= seq) {
                waiting.said(owner, seq);
            }
            waiting.restoring += 1;
            self.queues.restoring += 1;
            self.queues.restores.push_back(Restore {
                owner,
                address,
                seq,
                held_up: true,
            });
        }
    }

    pub(super) fn restore(&mut self, owner: OwnerKey, address: Address, seq: Seq) {
        self.queues.restores.push_back(Restore::new(owner, address, seq));
    }

    /// Whether messages to this address wait for a restore.
    pub(super) fn is_restoring(&self, address: &str) -> bool {
        self.queues.restoring > 0
            && matches!(self.routes.get(address), Some(Route::Waiting(waiting)) if waiting.restoring > 0 || waiting.keeps)
    }

    /// Whether the peer still holds what is to be restored.
    fn is_held(&self, restore: &Restore) -> bool {
        self.known(&restore.address) == Some((restore.owner, restore.seq))
    }

    /// The newest claim of the address that this node knows of.
    pub(super) fn known(&self, address: &Address) -> Option<(OwnerKey, Seq)> {
        match self.routes.get(address)? {
            Route::At { owner, seq } => Some((*owner, *seq)),
            Route::Waiting(waiting) => waiting.known,
        }
    }

    fn restore_ended(&mut self, now: MonoTime, restore: &Restore) {
        if restore.held_up
            && let Some(Route::Waiting(waiting)) = self.routes.get_mut(&restore.address)
            && waiting.restoring > 0
        {
            waiting.restoring -= 1;
            self.queues.restoring = self.queues.restoring.saturating_sub(1);
            self.settle(now, &restore.address);
        }
    }

    fn restored(&mut self, now: MonoTime, sessions: Vec<Restore>, restored: Vec<Restored>) {
        let mut checked: BTreeMap<OwnerKey, u32> = BTreeMap::new();
        let mut in_the_way: BTreeMap<Owner, Vec<Restore>> = BTreeMap::new();
        for (restore, restored) in sessions.into_iter().zip(restored) {
            let key = restore.owner;
            let owner = self.entry(key).owner.clone();
            match restored {
                Restored::Held if self.is_held(&restore) => {}
                Restored::Held => {
                    // Given up while the restore was under way, which may have brought it back; or the place of the client
                    // was in doubt for a moment, and then its server says so.
                    self.audit_later(now, restore.address.clone(), Said::Nothing);
                    self.ask_peer(key, &restore.address);
                }
                Restored::Lost(session) if session.owner == owner => {}
                Restored::Lost(session)
                    if session.owner.identity == owner.identity
                        && session.owner.incarnation < owner.incarnation
                        && session.seq == restore.seq =>
                {
                    // The same session, recorded under an older life of its server.
                    in_the_way.entry(session.owner).or_default().push(restore);
                    continue;
                }
                Restored::Lost(session) => self.lost(&restore, owner, session),
            }
            *checked.entry(key).or_default() += 1;
            self.restore_ended(now, &restore);
        }
        for (owner, sessions) in in_the_way {
            let entries = sessions.iter().map(|r| (r.address.clone(), r.seq)).collect();
            self.ask(StoreOp::Release(owner, entries), Asked::MakeWay { sessions });
        }
        for (key, count) in checked {
            if let Some(link) = self.entry(key).attached {
                self.push(link, Frame::Announced { count });
            }
        }
    }

    /// A client that a peer holds has been claimed by another server: the peer is told.
    fn lost(&mut self, restore: &Restore, owner: Owner, session: Session) {
        if self.is_held(restore) {
            match self.routes.get_mut(&restore.address) {
                Some(Route::Waiting(waiting)) => waiting.known = None,
                _ => self.forget_route(restore.address.as_str(), restore.owner),
            }
        }
        let Some(link) = self.entry(restore.owner).attached else {
            return;
        };
        let token = self.token();
        // Of two equal ones, given before and after the datastore lost its count, the one that stands is the newer.
        let seq = Seq(session.seq.0.max(restore.seq.0.saturating_add(1)));
        let displaced = Displaced {
            token,
            owner,
            address: restore.address.clone(),
            seq,
            by: session.owner.identity,
        };
        let goal = RelayGoal::Lost {
            address: restore.address.clone(),
            loser: restore.owner,
            seq,
        };
        self.relays.insert(token, Relay { link, goal });
        self.push(link, Frame::Displaced(displaced));
    }

    /// Puts everything that attached peers hold back into a datastore that may have lost it.
    pub(super) fn restore_all(&mut self) {
        let held: Vec<(OwnerKey, Address, Seq)> = self
            .routes
            .iter()
            .filter_map(|(address, route)| match route {
                Route::At { owner, seq } if seq.0 != 0 && self.entry(*owner).attached.is_some() => {
                    Some((*owner, address.clone(), *seq))
                }
                _ => None,
            })
            .collect();
        for (owner, address, seq) in held {
            self.restore(owner, address, seq);
        }
    }

    /// The datastore answers: what failed before is done now. Claims that may have been applied are looked at when they
    /// have had the time to be.
    pub(super) fn catch_up(&mut self, now: MonoTime) {
        let attached = |router: &Self, key: OwnerKey| router.entry(key).lease_until.is_some();
        for (key, address, seq) in core::mem::take(&mut self.queues.releases_later) {
            if attached(self, key) {
                self.unsettle(&address).0.releases += 1;
                self.queues.releases.push_back((key, address, seq));
            }
        }
        for (key, address, seq) in core::mem::take(&mut self.queues.restores_later) {
            if self.entry(key).attached.is_some() {
                self.restore(key, address, seq);
            }
        }
        let mut audits = Vec::new();
        while self.queues.audits.len() + audits.len() < LATER_MAX
            && let Some((since, address, said)) = self.queues.audits_later.pop_front()
        {
            if now.since(since) < self.settings.heartbeat {
                self.queues.audits_later.push_front((since, address, said));
                break;
            }
            audits.push((address, said));
        }
        // The greatest word on each address.
        audits.sort_by(|a, b| b.cmp(a));
        audits.dedup_by(|later, first| later.0 == first.0);
        self.queues.audits.extend(audits);
    }
}
