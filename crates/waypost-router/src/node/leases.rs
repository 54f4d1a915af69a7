//! Leases: renewed for the attached servers, read for all others.

use std::collections::{BTreeSet, VecDeque};

use waypost_session::{BATCH_MAX, Reclaimed, Renewal, Renewed};
use waypost_types::{Address, Identity, Incarnation, Lease, LeaseState, MonoTime, Outcome, Owner};
use waypost_wire::{Attached, Frame};

use super::claims::Asked;
use super::links::Link;
use super::{LinkId, OwnerKey, Router, StoreFailure, StoreOp, StoreReply};
use crate::map::{Map, map};
use crate::settings::Settings;
use crate::wake::Wake;

/// How many records of dead servers one step removes.
const RECLAIM_BUDGET: usize = 256;
/// The counter of a lease that has never been renewed.
const COUNTER_FIRST: u64 = 1;

#[derive(Debug)]
pub(crate) struct Leases {
    /// All live leases, as read last.
    pub(super) view: Map<Identity, Lease>,
    next_heartbeat: MonoTime,
    renewing: usize,
    /// The last renewal failed, so that nothing is known.
    store_lost: bool,
    pub(super) wake: Wake,
    /// When the store has answered a question about leases last.
    answered_at: Option<MonoTime>,
    /// Until when servers whose leases have lapsed while the store was away may be about to put back what they hold.
    coming_back_until: MonoTime,
    generation: Option<u64>,
    /// Readings of the leases, numbered: the one asked for last, whether it is under way, and whether another is wanted.
    round: u64,
    reading: bool,
    again: bool,
    /// Addresses whose owners were not in the view, by the reading that will tell.
    pub(super) unknown_owners: VecDeque<(u64, Address)>,
    /// Addresses that are looked up again after such a reading.
    pub(super) checked: BTreeSet<Address>,
    /// Newer incarnations of which it is not yet known whether they are real, by the reading that will tell.
    suspects: Vec<(u64, Owner, Whom)>,
}

/// Whom a newer incarnation would supersede.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// A server that is attached here.
    Attached(OwnerKey),
    /// A server that asks on this link to go on as it was.
    Asking(LinkId),
}

impl Leases {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            view: map(settings.seed),
            next_heartbeat: MonoTime::ZERO,
            renewing: 0,
            store_lost: false,
            wake: Wake::new(settings.lease_gap_max()),
            answered_at: None,
            coming_back_until: MonoTime::ZERO,
            generation: None,
            round: 0,
            reading: false,
            again: false,
            unknown_owners: VecDeque::new(),
            checked: BTreeSet::new(),
            suspects: Vec::new(),
        }
    }

    /// The number of the next reading that will be asked for.
    pub(super) const fn next_round(&self) -> u64 {
        self.round + 1
    }

    pub(super) const fn next_timeout(&self) -> Option<MonoTime> {
        Some(self.next_heartbeat)
    }

    /// The next heartbeat is now.
    pub(super) fn renew_soon(&mut self, now: MonoTime) {
        self.next_heartbeat = self.next_heartbeat.min(now);
    }
}

impl Router {
    /// Renews and reads the leases when their time has come.
    pub(super) fn heartbeat(&mut self, now: MonoTime) {
        if self.leases.next_heartbeat > now {
            return;
        }
        self.leases.next_heartbeat = now + self.settings.heartbeat;
        self.ping_nodes(now);
        self.forget_down(now);
        if self.leases.renewing == 0 && !self.renew(now) {
            self.refresh_peers();
        }
    }

    /// Renews the leases of all attached servers; false when there are none.
    fn renew(&mut self, now: MonoTime) -> bool {
        let keys: Vec<OwnerKey> = (0u32..)
            .zip(&self.owners)
            .filter(|(_, entry)| entry.lease_until.is_some() && self.is_heard(now, entry.attached))
            .map(|(key, _)| OwnerKey(key))
            .collect();
        self.renew_these(now, &keys);
        !keys.is_empty()
    }

    fn renew_these(&mut self, now: MonoTime, keys: &[OwnerKey]) {
        for keys in keys.chunks(BATCH_MAX) {
            let owners = keys.iter().map(|key| self.entry(*key).owner.clone()).collect();
            self.leases.renewing += 1;
            let location = self.location.clone();
            self.ask(
                StoreOp::Renew { owners, location },
                Asked::Renew {
                    owners: keys.to_vec(),
                    at: now,
                },
            );
        }
    }

    /// Whether an attached server has said anything within a lease term. One that hangs is not kept alive by its broker.
    fn is_heard(&self, now: MonoTime, attached: Option<LinkId>) -> bool {
        attached
            .and_then(|id| self.links.get(&id))
            .is_some_and(|link| now.since(link.heard_at) < self.settings.lease_term)
    }

    /// Has the leases read anew; the number of the reading whose answer will be new enough.
    pub(super) fn refresh_peers(&mut self) -> u64 {
        if self.leases.reading {
            self.leases.again = true;
            return self.leases.round + 1;
        }
        self.leases.round += 1;
        self.leases.reading = true;
        let round = self.leases.round;
        self.ask(StoreOp::Peers, Asked::Peers { round });
        round
    }

    pub(super) fn on_attach(
        &mut self,
        now: MonoTime,
        id: LinkId,
        identity: Identity,
        resume: Option<Incarnation>,
    ) {
        if !self.begin_attach(id) {
            return;
        }
        let location = self.location.clone();
        match resume {
            None => {
                let term = self.settings.lease_term;
                let op = StoreOp::Register {
                    identity: identity.clone(),
                    location,
                    term,
                };
                self.ask(
                    op,
                    Asked::Register {
                        link: id,
                        identity,
                        at: now,
                    },
                );
            }
            Some(incarnation) => {
                let owner = Owner::new(identity, incarnation);
                let op = StoreOp::Renew {
                    owners: vec![owner.clone()],
                    location,
                };
                self.ask(
                    op,
                    Asked::Resume {
                        link: id,
                        owner,
                        at: now,
                    },
                );
            }
        }
    }

    /// An operation on leases has ended.
    pub(super) fn lease_done(
        &mut self,
        now: MonoTime,
        asked: Asked,
        reply: Result<StoreReply, StoreFailure>,
    ) {
        if reply.is_ok() {
            self.note_answer(now);
        }
        match (asked, reply) {
            (Asked::Register { link, identity, at }, Ok(StoreReply::Registered(incarnation))) => {
                let is_asked_for = self.links.get(&link).is_some_and(Link::is_heard);
                for older in self.older_attached(identity.as_str(), incarnation) {
                    // If nobody is there any more to be it, the older one, whose lease is gone all the same, registers anew.
                    self.lease_over(older, is_asked_for);
                }
                let owner = Owner::new(identity, incarnation);
                if is_asked_for {
                    self.admit(now, link, owner, at, true);
                } else {
                    // Whoever holds the identity at another node would take it for a newer process.
                    self.ask(StoreOp::Deregister(owner), Asked::Lease);
                }
            }
            (Asked::Register { link, .. } | Asked::Resume { link, .. }, Err(StoreFailure)) => {
                self.refuse_attach(link, Attached::StoreUnavailable);
            }
            (Asked::Resume { link, owner, at }, Ok(StoreReply::Renewed(renewed))) => {
                match renewed.renewals.first() {
                    Some(Renewal::Renewed) => self.admit(now, link, owner, at, false),
                    Some(Renewal::Superseded(by)) => self.suspect(owner, *by, Whom::Asking(link)),
                    Some(Renewal::Gone) | None => self.refuse_attach(link, Attached::Gone),
                }
                self.note_generation(renewed.generation);
            }
            (Asked::Renew { owners, at }, Ok(StoreReply::Renewed(renewed))) => {
                self.renewed(now, &owners, at, &renewed)
            }
            (Asked::Renew { at, .. }, _) if self.leases.wake.is_from_before(at) => {
                // Nothing is known of how the store is now.
                self.leases.renewing -= 1;
                self.leases.store_lost = true;
                if self.leases.renewing == 0 {
                    self.renew(now);
                }
            }
            (Asked::Renew { .. }, _) => {
                self.leases.renewing -= 1;
                self.leases.store_lost = true;
                let soon = now
                    + self
                        .settings
                        .heartbeat
                        .min(core::time::Duration::from_millis(500));
                self.leases.next_heartbeat = self.leases.next_heartbeat.min(soon);
                self.answer_pings(now, true);
            }
            (Asked::Peers { round }, Ok(StoreReply::Peers(leases))) => self.peers_read(now, round, leases),
            (Asked::Peers { round }, _) => self.peers_unread(now, round),
            (Asked::Reclaim, Ok(StoreReply::Reclaimed(Reclaimed { more: true, .. }))) => {
                self.reclaim();
            }
            _ => {}
        }
    }

    /// The store has answered. If it was silent for so long that leases have lapsed for want of a renewal, their servers
    /// live all the same, and register anew and put back what they hold within a lease term, the store answering.
    fn note_answer(&mut self, now: MonoTime) {
        let term = self.settings.lease_term;
        let silence = self.leases.answered_at.replace(now).map(|at| now.since(at));
        if silence.is_some_and(|silence| silence >= term.saturating_sub(self.settings.heartbeat)) {
            self.leases.coming_back_until = now + term;
        }
    }

    /// Whether it may be for the loss of leases alone that the store names nobody.
    pub(super) fn are_leases_coming_back(&self, now: MonoTime) -> bool {
        now < self.leases.coming_back_until
    }

    fn admit(&mut self, now: MonoTime, link: LinkId, owner: Owner, at: MonoTime, is_new: bool) {
        if !self.links.contains_key(&link) {
            // The peer has gone meanwhile; its lease lapses by itself unless it comes back.
            return;
        }
        let lease = Lease {
            owner: owner.clone(),
            location: self.location.clone(),
            counter: 0,
            state: LeaseState::Live,
            term: self.settings.lease_term,
        };
        self.leases.view.insert(owner.identity.clone(), lease);
        let key = self.intern(&owner);
        self.entry_mut(key).lease_until = Some(at + self.settings.lease_term);
        self.welcome(now, link, key);
        if is_new {
            // What is lost is noticed by comparison with this, from now on. And a lease that has been renewed is one that a
            // server was admitted by.
            self.renew_these(now, &[key]);
            self.tell_absent(now);
        }
    }

    fn renewed(&mut self, now: MonoTime, owners: &[OwnerKey], at: MonoTime, renewed: &Renewed) {
        self.leases.renewing -= 1;
        if core::mem::take(&mut self.leases.store_lost) {
            self.doubt_records();
        }
        for (key, renewal) in owners.iter().zip(&renewed.renewals) {
            match renewal {
                Renewal::Renewed => {
                    let until = at + self.settings.lease_term;
                    if let Some(lease_until) = &mut self.entry_mut(*key).lease_until {
                        *lease_until = until.max(*lease_until);
                    }
                }
                Renewal::Superseded(by) => {
                    let owner = self.entry(*key).owner.clone();
                    self.suspect(owner, *by, Whom::Attached(*key));
                }
                Renewal::Gone if self.entry(*key).lease_until.is_some() => self.lease_over(*key, false),
                Renewal::Gone => {}
            }
        }
        self.note_generation(renewed.generation);
        self.answer_pings(now, false);
        self.catch_up(now);
        self.refresh_peers();
        self.check_records(now);
    }

    /// Has some records of dead servers removed.
    pub(super) fn reclaim(&mut self) {
        self.ask(StoreOp::Reclaim(RECLAIM_BUDGET), Asked::Reclaim);
    }

    /// Evidence that the datastore may have lost acknowledged writes: what is held here is put back.
    fn note_generation(&mut self, generation: u64) {
        if self
            .leases
            .generation
            .replace(generation)
            .is_some_and(|before| before != generation)
        {
            self.absent.forget();
            self.restore_all();
        }
    }

    /// A peer asks how its lease stands. One that has lapsed is answered when the datastore has been asked anew.
    pub(super) fn on_ping(&mut self, now: MonoTime, id: LinkId, token: u64) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Some(key) = link.owner else {
            return self.push(
                id,
                Frame::Pong {
                    token,
                    lease_ms: 0,
                    store_unavailable: false,
                },
            );
        };
        link.pings.truncate(3);
        link.pings.push((token, now));
        if self.lease_left(now, key) > 0 {
            self.answer_pings(now, false);
        } else if self.leases.renewing == 0 {
            self.renew(now);
        }
    }

    fn lease_left(&self, now: MonoTime, key: OwnerKey) -> u64 {
        let left = self
            .entry(key)
            .lease_until
            .map_or(0, |until| until.since(now).as_millis());
        u64::try_from(left).unwrap_or(u64::MAX)
    }

    fn answer_pings(&mut self, now: MonoTime, store_unavailable: bool) {
        let asking: Vec<(LinkId, Option<OwnerKey>)> = self
            .links
            .iter()
            .filter(|(_, link)| !link.pings.is_empty())
            .map(|(id, link)| (*id, link.owner))
            .collect();
        let mut lapsed = false;
        for (id, key) in asking {
            let lease_ms = key.map_or(0, |key| self.lease_left(now, key));
            if key.is_some() && lease_ms == 0 && !store_unavailable {
                // One that is over for certain is not asked about again before it is known why.
                let is_over = |key| self.entry(key).lease_until == Some(MonoTime::ZERO);
                lapsed |= !key.is_some_and(is_over);
                continue;
            }
            let pings = self
                .links
                .get_mut(&id)
                .map(|link| core::mem::take(&mut link.pings))
                .unwrap_or_default();
            for (token, _) in pings {
                self.push(
                    id,
                    Frame::Pong {
                        token,
                        lease_ms,
                        // Said before the lease has lapsed, so that known routes go on without a pause.
                        store_unavailable: store_unavailable || self.leases.store_lost,
                    },
                );
            }
        }
        // A renewal that was sent before the process slept says nothing about now.
        if lapsed && self.leases.renewing == 0 {
            self.renew(now);
        }
    }

    /// The store says that a newer incarnation holds the lease. That is a newer process, or the ghost of a registration of
    /// this very server whose answer was lost and which the store carried out late. Only the leases tell: a ghost is at
    /// this node, and nobody has been admitted as it.
    fn suspect(&mut self, owner: Owner, by: Incarnation, whom: Whom) {
        if let Whom::Attached(key) = whom {
            // Whichever it is, this incarnation is over.
            self.entry_mut(key).lease_until = Some(MonoTime::ZERO);
        }
        let newer = Owner::new(owner.identity, by);
        if self
            .leases
            .suspects
            .iter()
            .any(|(_, known, of)| *known == newer && *of == whom)
        {
            return;
        }
        let round = self.refresh_peers();
        self.leases.suspects.push((round, newer, whom));
    }

    fn judge_suspects(&mut self, round: u64) {
        let suspects = core::mem::take(&mut self.leases.suspects);
        let (ready, rest) = suspects.into_iter().partition(|(asked, _, _)| *asked <= round);
        self.leases.suspects = rest;
        let ready: Vec<_> = ready;
        for (_, newer, whom) in ready {
            let lease = self.leases.view.get(&newer.identity);
            let is_elsewhere = lease.is_some_and(|lease| lease.location != self.location);
            // Read from before it was registered, or never renewed: the ghost of a registration at another node, perhaps,
            // whose lease nobody renews, while a server's is as soon as it has been admitted.
            let is_unclear = lease.is_some_and(|lease| {
                lease.owner.incarnation < newer.incarnation
                    || (is_elsewhere && lease.counter <= COUNTER_FIRST)
            });
            if is_unclear {
                self.judge_later(whom);
                continue;
            }
            let superseded = lease.is_some_and(|lease| {
                let is_admitted = |key: &OwnerKey| self.entry(*key).lease_until.is_some();
                is_elsewhere || self.owner_index.get(&lease.owner).is_some_and(is_admitted)
            });
            match whom {
                Whom::Attached(key) if self.entry(key).lease_until.is_some() => {
                    self.lease_over(key, superseded)
                }
                Whom::Attached(_) => {}
                Whom::Asking(link) if superseded => self.refuse_attach(link, Attached::Superseded),
                Whom::Asking(link) => self.refuse_attach(link, Attached::Gone),
            }
        }
    }

    /// The leases do not tell yet: the store is asked anew.
    fn judge_later(&mut self, whom: Whom) {
        match whom {
            Whom::Asking(link) => self.refuse_attach(link, Attached::StoreUnavailable),
            // By its next renewal.
            Whom::Attached(_) => {}
        }
    }

    fn peers_read(&mut self, now: MonoTime, round: u64, leases: Vec<Lease>) {
        let before = core::mem::replace(&mut self.leases.view, map(self.settings.seed));
        for lease in leases {
            self.leases.view.insert(lease.owner.identity.clone(), lease);
        }
        self.compare_leases(&before);
        for entry in &mut self.owners {
            if entry.attached.is_some() {
                continue;
            }
            entry.location = self
                .leases
                .view
                .get(&entry.owner.identity)
                .filter(|lease| lease.owner.incarnation == entry.owner.incarnation)
                .map(|lease| lease.location.clone());
        }
        self.reading_ended();
        // What waits for a server that has gone elsewhere follows it before anything newer does.
        self.expire_parked(now);
        self.follow_away(now);
        while self
            .leases
            .unknown_owners
            .front()
            .is_some_and(|(asked, _)| *asked <= round)
        {
            let Some((_, address)) = self.leases.unknown_owners.pop_front() else {
                break;
            };
            self.leases.checked.insert(address.clone());
            self.look_up_again(&address);
        }
        self.judge_suspects(round);
        self.tell_untold(now, round, true);
        self.tell_absent(now);
        self.release_stranded(now, round, true);
        self.view_is_fresh(now, round);
    }

    fn peers_unread(&mut self, now: MonoTime, round: u64) {
        self.reading_ended();
        while self
            .leases
            .unknown_owners
            .front()
            .is_some_and(|(asked, _)| *asked <= round)
        {
            let Some((_, address)) = self.leases.unknown_owners.pop_front() else {
                break;
            };
            if let Some(super::Route::Waiting(waiting)) = self.routes.get_mut(&address) {
                waiting.again = false;
            }
            self.nobody(now, &address, Outcome::StoreUnavailable);
        }
        let suspects = core::mem::take(&mut self.leases.suspects);
        for (asked, newer, whom) in suspects {
            if asked > round {
                self.leases.suspects.push((asked, newer, whom));
            } else {
                self.judge_later(whom);
            }
        }
        self.tell_untold(now, round, false);
        self.release_stranded(now, round, false);
        self.view_is_fresh(now, round);
    }

    fn reading_ended(&mut self) {
        self.leases.reading = false;
        if core::mem::take(&mut self.leases.again) {
            self.refresh_peers();
        }
    }
}
