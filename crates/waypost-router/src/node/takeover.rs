//! Takeovers: the server that held a client is told that another one does now, and stops delivering to it before the
//! winner begins.

use waypost_types::{Address, MonoTime, Owner, Seq, Session};
use waypost_wire::{Displaced, Frame};

use super::claims::Said;
use super::{LinkId, OwnerKey, Relay, RelayGoal, Route, Router};

/// Bound of the displacements that are to be told once their losers can be reached.
const UNTOLD_MAX: usize = 1 << 16;

/// A displacement of which its loser has not heard for certain.
#[derive(Debug)]
pub(crate) struct Untold {
    loser: OwnerKey,
    displaced: Displaced,
    takeover: u64,
}

impl Untold {
    /// The takeover that waits for it.
    pub(super) const fn id(&self) -> u64 {
        self.takeover
    }
}

/// A claim that stands in the store and waits for the loser.
#[derive(Debug)]
pub(crate) struct Takeover {
    owner: OwnerKey,
    address: Address,
    seq: Seq,
    deadline: MonoTime,
}

impl Router {
    /// Tells the loser; the claim is finished when it has answered, when it cannot be reached, or when it has had its
    /// time.
    pub(super) fn take_over(
        &mut self,
        now: MonoTime,
        owner: OwnerKey,
        address: Address,
        seq: Seq,
        loser: &Session,
    ) {
        let key = self.intern(&loser.owner);
        let is_dead = self
            .leases
            .view
            .get(&loser.owner.identity)
            .is_some_and(|lease| lease.owner.incarnation > loser.owner.incarnation);
        let by = self.entry(owner).owner.identity.clone();
        let displaced = Displaced {
            token: 0,
            owner: loser.owner.clone(),
            address: address.clone(),
            seq,
            by,
        };
        if is_dead {
            self.absent.note(displaced);
            return self.finish_claims(now, owner, vec![(address, seq)]);
        }
        self.queues.traffic.note_takeover(now);
        let id = self.token();
        let deadline = now + self.settings.takeover_wait;
        self.takeovers.insert(
            id,
            Takeover {
                owner,
                address,
                seq,
                deadline,
            },
        );
        let untold = Untold {
            loser: key,
            displaced,
            takeover: id,
        };
        self.want_tick(now);
        if self.entry(key).attached.is_none() && self.entry(key).location.is_none() {
            // Newer than the view of the leases, or dead: the next reading tells.
            let round = self.refresh_peers();
            self.untold.push_back((round, untold));
        } else {
            self.tell_loser(now, untold);
        }
    }

    fn tell_loser(&mut self, now: MonoTime, untold: Untold) {
        let entry = self.entry(untold.loser);
        let link = match (entry.attached, entry.location.clone()) {
            (Some(link), _) => Some(link),
            (None, Some(location)) if location != self.location => self.link_to(now, &location),
            (None, Some(_)) => None,
            // Not among the living: nobody is left to be told, unless it only sleeps.
            (None, None) => {
                self.absent.note(untold.displaced);
                return self.finish_takeover(now, untold.takeover);
            }
        };
        let Some(link) = link else {
            return self.tell_later(now, untold);
        };
        if self.entry(untold.loser).attached.is_some() {
            if let Some(Route::Waiting(waiting)) = self.routes.get_mut(&untold.displaced.address) {
                waiting.beat(untold.loser, untold.displaced.seq);
            }
            let (address, seq) = (&untold.displaced.address, untold.displaced.seq);
            if matches!(self.routes.get(address), Some(Route::At { owner, seq: at }) if *owner == untold.loser && *at < seq)
            {
                self.forget_route(address.as_str(), untold.loser);
            }
            // A check of what is held may have put the session back meanwhile.
            self.audit_later(now, untold.displaced.address.clone(), Said::Nothing);
        }
        let token = self.token();
        let displaced = Displaced {
            token,
            ..untold.displaced.clone()
        };
        let goal = RelayGoal::Takeover(Box::new(untold));
        self.relays.insert(token, Relay { link, goal });
        self.push(link, Frame::Displaced(displaced));
    }

    /// The loser has heard of it, and has nothing to do with the client any more.
    pub(super) fn loser_heard(&mut self, untold: &Untold) {
        self.given_up(&untold.displaced.address, untold.loser, untold.displaced.seq);
    }

    /// A server has given up what it held by claims older than this one. What it has announced meanwhile is out of date.
    pub(super) fn given_up(&mut self, address: &Address, loser: OwnerKey, seq: Seq) {
        match self.routes.get_mut(address) {
            Some(Route::Waiting(waiting))
                if waiting
                    .known
                    .is_some_and(|(known, older)| known == loser && older < seq) =>
            {
                waiting.known = None;
            }
            Some(Route::At { owner, seq: older }) if *owner == loser && older.0 != 0 && *older < seq => {
                self.forget_route(address.as_str(), loser);
            }
            _ => {}
        }
    }

    /// The leases have been read, or a server was admitted: who was thought dead and lives again, by a newer incarnation
    /// perhaps, hears of what it has lost. Nobody waits for that any more.
    pub(super) fn tell_absent(&mut self, now: MonoTime) {
        if self.absent.is_empty() {
            return;
        }
        let living: Vec<Owner> = self
            .leases
            .view
            .values()
            .map(|lease| lease.owner.clone())
            .collect();
        for owner in living {
            let told = self.absent.take(&owner.identity);
            if told.is_empty() {
                continue;
            }
            let loser = self.intern(&owner);
            for displaced in told {
                let displaced = Displaced {
                    owner: owner.clone(),
                    ..displaced
                };
                self.tell_loser(
                    now,
                    Untold {
                        loser,
                        displaced,
                        takeover: 0,
                    },
                );
            }
        }
    }

    /// The loser cannot be reached now. The winner does not wait for it; it is told when the leases have been read again
    /// and name it still.
    pub(super) fn tell_later(&mut self, now: MonoTime, untold: Untold) {
        self.finish_takeover(now, untold.takeover);
        if self.untold.len() < UNTOLD_MAX {
            let later = self.leases.next_round();
            self.untold.push_back((later, untold));
        }
    }

    /// The leases have been read, or could not be.
    pub(super) fn tell_untold(&mut self, now: MonoTime, round: u64, store_answered: bool) {
        for _ in 0..self.untold.len() {
            let Some((asked, untold)) = self.untold.pop_front() else {
                return;
            };
            if asked > round {
                self.untold.push_back((asked, untold));
            } else if store_answered {
                self.tell_loser(now, untold);
            } else {
                self.tell_later(now, untold);
            }
        }
    }

    pub(super) fn finish_takeover(&mut self, now: MonoTime, id: u64) {
        if let Some(Takeover {
            owner, address, seq, ..
        }) = self.takeovers.remove(&id)
        {
            self.finish_claims(now, owner, vec![(address, seq)]);
        }
    }

    pub(super) fn expire_takeovers(&mut self, now: MonoTime) {
        let over: Vec<u64> = self
            .takeovers
            .iter()
            .filter(|(_, takeover)| takeover.deadline <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.finish_takeover(now, id);
        }
        if !self.takeovers.is_empty() {
            self.want_tick(now);
        }
    }

    /// Another node has claimed a client for one of its servers.
    pub(super) fn on_displaced(&mut self, now: MonoTime, from: LinkId, displaced: Displaced) {
        if displaced.seq.0 == 0 {
            self.on_question(&displaced.address);
            let token = displaced.token;
            return self.push(from, Frame::Echo { token });
        }
        // One that this node has never heard of gets no number for being displaced.
        let key = self.owner_index.get(&displaced.owner).copied();
        let Some((key, peer)) = key.and_then(|key| Some((key, self.entry(key).attached?))) else {
            if let Some(key) = key {
                self.forget_route(displaced.address.as_str(), key);
            }
            return self.push(
                from,
                Frame::Echo {
                    token: displaced.token,
                },
            );
        };
        let ours = self.token();
        let (link, token, address) = (from, displaced.token, displaced.address.clone());
        let at_loser = matches!(
            self.routes.get(&address),
            Some(Route::At { owner, seq }) if *owner == key && *seq < displaced.seq
        );
        if let Some(Route::Waiting(waiting)) = self.routes.get_mut(&address) {
            waiting.beat(key, displaced.seq);
            if waiting
                .known
                .is_some_and(|(known, seq)| known == key && seq < displaced.seq)
            {
                waiting.known = None;
            }
        }
        if at_loser {
            // What this node sends to the client from now on waits until the loser has dealt with what it has.
            self.unsettle(&address).0.begin_clearing(Some(key));
            // A check of what is held may have put the session back meanwhile.
            self.audit_later(now, address.clone(), Said::Nothing);
        }
        let goal = RelayGoal::GivenUp {
            link,
            token,
            address,
            loser: key,
            seq: displaced.seq,
            is_clearing: at_loser,
        };
        self.relays.insert(ours, Relay { link: peer, goal });
        self.push(
            peer,
            Frame::Displaced(Displaced {
                token: ours,
                ..displaced
            }),
        );
    }
}
