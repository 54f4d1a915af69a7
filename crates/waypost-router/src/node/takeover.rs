//! Takeovers: the server that held a client is told that another one does now, and stops delivering to it before the
//! winner begins.

use waypost_types::{Address, MonoTime, Seq, Session};
use waypost_wire::{Displaced, Frame};

use super::{LinkId, OwnerKey, Relay, RelayGoal, Route, Router};

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
        let entry = self.entry(key);
        let link = match (entry.attached, entry.location.clone()) {
            (Some(link), _) => Some(link),
            (None, Some(location)) if location != self.location => self.link_to(now, &location),
            _ => None,
        };
        let Some(link) = link else {
            return self.finish_claims(now, owner, vec![(address, seq)]);
        };
        let (id, token) = (self.token(), self.token());
        let by = self.entry(owner).owner.identity.clone();
        let displaced = Displaced {
            token,
            owner: loser.owner.clone(),
            address: address.clone(),
            seq,
            by,
        };
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
        self.relays.insert(
            token,
            Relay {
                link,
                goal: RelayGoal::Takeover { id },
            },
        );
        self.push(link, Frame::Displaced(displaced));
        self.want_tick(now);
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
    pub(super) fn on_displaced(&mut self, from: LinkId, displaced: Displaced) {
        let key = self.intern(&displaced.owner);
        let Some(peer) = self.entry(key).attached else {
            self.forget_route(displaced.address.as_str(), key);
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
        let goal = if at_loser {
            // What this node sends to the client from now on waits until the loser has dealt with what it has.
            self.unsettle(&address).0.clearing = true;
            RelayGoal::AnswerAndClear { link, token, address }
        } else {
            RelayGoal::Answer { link, token }
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
