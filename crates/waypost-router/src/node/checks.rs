//! Whether the store still says what attached servers hold.
//!
//! At rest it is asked for a handful of addresses every few heartbeats, which each server announces. A server is asked to
//! announce all that it holds, at a bounded pace, once something has happened by which records may differ unnoticed: the
//! store was away, a server died or moved to another node and may have had something to tell, or one of those few was
//! found to differ. What is announced is looked up, and put back where it is missing; or its server is told that it has
//! moved.

use std::collections::{BTreeSet, VecDeque};

use waypost_session::BATCH_MAX;
use waypost_types::{Address, Identity, Lease, LeaseState, MonoTime, Seq, Session};
use waypost_wire::{Displaced, Frame};

use super::claims::{Asked, Restore, Said};
use super::{OwnerKey, Relay, RelayGoal, Route, Router, StoreOp};
use crate::map::Map;

/// Bound of what waits to be looked up.
const CHECKS_MAX: usize = 1 << 16;
/// Bound of the claims that nobody uses and after whose release others are asked what they hold.
const GHOSTS_MAX: usize = 1024;
/// At every how many heartbeats records of dead servers are looked for: after a lease has ended, and without a reason.
const RECLAIM_EVERY: u32 = 8;
const RECLAIM_EVERY_AT_REST: u32 = 128;
/// How many times after a lease has ended.
const RECLAIM_TIMES: u32 = 2;

/// What is under way.
#[derive(Debug)]
pub(crate) struct Checks {
    wanted: bool,
    /// When servers were asked last to announce all.
    asked_at: Option<MonoTime>,
    queue: VecDeque<Restore>,
    under_way: bool,
    /// Addresses of claims that nobody uses and that are being released.
    ghosts: BTreeSet<(Address, Seq)>,
    reclaim_in: u32,
    reclaim_times: u32,
}

impl Checks {
    pub(super) const fn new() -> Self {
        Self {
            wanted: false,
            asked_at: None,
            queue: VecDeque::new(),
            under_way: false,
            ghosts: BTreeSet::new(),
            reclaim_in: 1,
            reclaim_times: 0,
        }
    }
}

impl Router {
    /// Something has happened by which records may differ from what servers hold: all are checked soon.
    pub(super) const fn doubt_records(&mut self) {
        self.checks.wanted = true;
    }

    /// The leases have been read: who of the living was a moment ago and is not any more, or elsewhere, may have had
    /// something to tell that nobody will now.
    pub(super) fn compare_leases(&mut self, before: &Map<Identity, Lease>) {
        let mut is_over = false;
        for (identity, lease) in before {
            let now = self.leases.view.get(identity);
            let lives = now.is_some_and(|now| now.owner == lease.owner);
            is_over |= !lives;
            let stays = now.is_some_and(|now| now.location == lease.location);
            let was_here = lease.location == self.location;
            self.checks.wanted |= lease.state == LeaseState::Live && !was_here && !(lives && stays);
        }
        if is_over {
            self.checks.reclaim_times = RECLAIM_TIMES;
            self.checks.reclaim_in = self.checks.reclaim_in.min(RECLAIM_EVERY);
        }
    }

    /// A heartbeat has been answered.
    pub(super) fn check_records(&mut self, now: MonoTime) {
        let is_due = self
            .checks
            .asked_at
            .is_none_or(|asked_at| now.since(asked_at) >= self.settings.lease_term);
        if self.checks.wanted && is_due {
            self.checks.wanted = false;
            self.checks.asked_at = Some(now);
            let peers: Vec<_> = self.owners.iter().filter_map(|entry| entry.attached).collect();
            for link in peers {
                self.push(link, Frame::Announced { count: 0 });
            }
        }
        self.checks.reclaim_in -= 1;
        if self.checks.reclaim_in == 0 {
            let soon = self.checks.reclaim_times > 0;
            self.checks.reclaim_times = self.checks.reclaim_times.saturating_sub(1);
            self.checks.reclaim_in = if soon {
                RECLAIM_EVERY
            } else {
                RECLAIM_EVERY_AT_REST
            };
            self.reclaim();
        }
    }

    /// A server has announced, without having been away, that it holds a client by this claim.
    pub(super) fn check(&mut self, key: OwnerKey, address: Address, seq: Seq) {
        if self.checks.queue.len() < CHECKS_MAX {
            self.checks.queue.push_back(Restore::new(key, address, seq));
        }
    }

    /// Looks up what has been announced.
    pub(super) fn flush_checks(&mut self) {
        if self.checks.under_way || self.checks.queue.is_empty() {
            return;
        }
        let mut seen = BTreeSet::new();
        let count = self
            .checks
            .queue
            .iter()
            .take(BATCH_MAX)
            .take_while(|held| seen.insert(held.address()))
            .count();
        let sessions: Vec<Restore> = self.checks.queue.drain(..count).collect();
        let addresses = sessions.iter().map(|held| held.address().clone()).collect();
        self.checks.under_way = true;
        self.ask(StoreOp::Lookup(addresses), Asked::Check(sessions));
    }

    /// The store has said who holds what attached servers hold.
    pub(super) fn records_found(&mut self, sessions: Vec<Restore>, found: Option<Vec<Option<Session>>>) {
        self.checks.under_way = false;
        let Some(found) = found else {
            return self.doubt_records();
        };
        for (held, session) in sessions.into_iter().zip(found) {
            let (key, address, seq) = held.into_parts();
            let is_at = matches!(self.routes.get(&address), Some(Route::At { owner, seq: at }) if *owner == key && *at == seq);
            let owner = &self.entry(key).owner;
            match session {
                _ if !is_at || self.entry(key).attached.is_none() => {}
                Some(session) if session.owner == *owner && session.seq == seq => {}
                Some(session) if session.owner == *owner && session.seq > seq => {
                    // A claim that nobody uses, over the one that is in use.
                    self.give_back_ghost(key, address, session.seq);
                }
                _ => {
                    self.checks.wanted = true;
                    self.restore(key, address, seq);
                }
            }
        }
    }

    // ---- claims that nobody uses

    /// Releases a claim that nobody uses. Whoever it displaced is asked to put back what it holds.
    pub(super) fn give_back_ghost(&mut self, key: OwnerKey, address: Address, seq: Seq) {
        self.unsettle(&address).0.releases += 1;
        if self.checks.ghosts.len() < GHOSTS_MAX {
            self.checks.ghosts.insert((address.clone(), seq));
        }
        self.queues.releases.push_back((key, address, seq));
    }

    /// Whether what has been released now was a claim that nobody used.
    pub(super) fn is_ghost(&self, session: &(Address, Seq)) -> bool {
        self.checks.ghosts.contains(session)
    }

    /// A claim that nobody used has been released. Its answer was lost, and with it who had the client before.
    pub(super) fn ghost_released(&mut self, now: MonoTime, key: OwnerKey, session: &(Address, Seq)) {
        let address = &session.0;
        if !self.checks.ghosts.remove(session) {
            return;
        }
        if let Some(Route::At { owner, seq }) = self.routes.get(address)
            && seq.0 != 0
            && self.entry(*owner).attached.is_some()
        {
            let owner = *owner;
            return self.ask_peer(owner, address);
        }
        let by = self.entry(key).owner.identity.clone();
        let mut seen = BTreeSet::new();
        let others: Vec<Lease> = self
            .leases
            .view
            .values()
            .filter(|lease| lease.location != self.location && seen.insert(&lease.location))
            .cloned()
            .collect();
        for Lease { owner, location, .. } in others {
            if let Some(link) = self.link_to(now, &location) {
                let token = self.token();
                let question = Displaced {
                    token,
                    owner,
                    address: address.clone(),
                    seq: Seq(0),
                    by: by.clone(),
                };
                self.push(link, Frame::Displaced(question));
            }
        }
    }

    /// Another node asks that a session be put back if a server here holds it.
    pub(super) fn on_question(&mut self, address: &Address) {
        if let Some(Route::At { owner, seq }) = self.routes.get(address)
            && seq.0 != 0
            && self.entry(*owner).attached.is_some()
        {
            let owner = *owner;
            self.ask_peer(owner, address);
        }
    }

    /// Asks an attached server whether it holds a client, which it alone knows for certain. If so it announces it, and so it
    /// is restored, or the server is told that it has moved.
    pub(super) fn ask_peer(&mut self, key: OwnerKey, address: &Address) {
        let owner = self.entry(key).owner.clone();
        if let Some(link) = self.entry(key).attached {
            let token = self.token();
            let goal = RelayGoal::Held {
                address: address.clone(),
                by: key,
            };
            self.relays.insert(token, Relay { link, goal });
            let question = Displaced {
                token,
                by: owner.identity.clone(),
                owner,
                address: address.clone(),
                seq: Seq(0),
            };
            self.push(link, Frame::Displaced(question));
        }
    }

    /// The server has answered whether it holds a client. Did it do so, it would have said so before this.
    pub(super) fn peer_asked(&mut self, now: MonoTime, address: Address, key: OwnerKey) {
        let is_held = |(owner, seq): (OwnerKey, Seq)| owner == key && seq.0 != 0;
        if !self.known(&address).is_some_and(is_held) {
            self.audit_later(now, address, Said::No);
        }
    }
}
