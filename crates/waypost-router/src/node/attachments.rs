//! By which way a server's messages come now: what comes by an earlier one is late.
//!
//! A server that goes from one broker to another leaves messages behind on the link that it gave up, which the former broker may
//! read much later: when it wakes, or when the link carries something again. Each attachment of a server has a number that
//! grows, a node introduces its servers with theirs, and what comes under an earlier one is not delivered behind what has come
//! under a later one.

use waypost_types::{Incarnation, MonoTime, Outcome, Owner};
use waypost_wire::CloseCode;

use super::messages::Parcel;
use super::{LinkId, OwnerKey, Router};

/// Which life of a server, and which of its attachments; the greater is the newer.
type Attachment = (Incarnation, u32);

impl Router {
    /// A server is attached here by a link, under the number that it said.
    pub(super) fn attached_by(&mut self, now: MonoTime, id: LinkId, key: OwnerKey) {
        let attachment = self.links.get(&id).map_or(0, |link| link.attachment);
        let before = core::mem::replace(&mut self.entry_mut(key).attachment, attachment);
        if before == 0 || attachment > before.saturating_add(1) {
            self.doubt_routes(key);
        }
        if before != attachment {
            for link in self.links.values_mut() {
                link.names.forget(key);
            }
        }
        let owner = self.entry(key).owner.clone();
        self.note_attachment(now, &owner, attachment);
    }

    /// Notes that messages of a server come, or are about to come, under this attachment. False when they are late.
    pub(super) fn note_attachment(&mut self, now: MonoTime, owner: &Owner, attachment: u32) -> bool {
        if attachment == 0 {
            return true;
        }
        let this: Attachment = (owner.incarnation, attachment);
        match self.attachments.get(&owner.identity) {
            Some(newest) if *newest > this => return false,
            Some(newest) if *newest == this => return true,
            _ => {}
        }
        self.attachments.insert(owner.identity.clone(), this);
        let owners = &self.owners;
        let is_earlier = |OwnerKey(key): OwnerKey, by: u32| {
            owners.get(key as usize).is_some_and(|entry| {
                by != 0 && entry.owner.identity == owner.identity && (entry.owner.incarnation, by) < this
            })
        };
        let mut left = Vec::new();
        for (id, link) in &mut self.links {
            link.names.overtake(is_earlier);
            if !link.owner.is_some_and(|key| is_earlier(key, link.attachment)) {
                continue;
            }
            if *id == LinkId::LOCAL {
                // It is in this process and has no other link. A newer process has its identity: a renewal says so, and it
                // is told as always.
                self.leases.renew_soon(now);
            } else {
                left.push(*id);
            }
        }
        for id in left {
            self.give_up(
                now,
                id,
                CloseCode::Superseded,
                "the same server has attached elsewhere",
            );
        }
        true
    }

    /// A message that later ones may have overtaken. One whose outcome is waited for is sent again by the newer way.
    pub(super) fn came_late(&mut self, parcel: &Parcel) {
        if parcel.message.id == 0 {
            self.fail(parcel, Outcome::Unreachable);
        }
    }
}
