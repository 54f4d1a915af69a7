//! Messages on their way to a server, and what goes back to their origins.

use waypost_types::{Address, HOPS_MAX, MonoTime, Outcome};
use waypost_wire::{CloseCode, Failed, Frame, Message, Outcomes};

use super::{LinkId, LinkKind, OwnerKey, Router};
use crate::gate::Room;
use crate::outbox::unpinned;
use crate::settings::Settings;

/// A message inside the router: its origin by this router's number, and until when its sender waits.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) message: Message,
    pub(crate) origin: OwnerKey,
    pub(crate) expires: MonoTime,
    /// The server from which it came back last.
    pub(crate) back_from: Option<OwnerKey>,
    /// The server for which another node has sent it here, where it waits for its client's place.
    pub(crate) meant: Option<OwnerKey>,
}

impl Parcel {
    pub(crate) fn new(now: MonoTime, message: Message, origin: OwnerKey, settings: &Settings) -> Self {
        let ttl = match message.ttl_ms {
            0 => settings.send_deadline,
            ttl_ms => core::time::Duration::from_millis(ttl_ms.into()),
        };
        Self {
            message,
            origin,
            expires: now + ttl,
            back_from: None,
            meant: None,
        }
    }
}

impl Parcel {
    /// The same for a queue in which it may stay for long.
    pub(super) fn unpinned(mut self) -> Self {
        self.message = unpinned(self.message);
        self
    }
}

impl Router {
    pub(super) fn on_message(&mut self, now: MonoTime, id: LinkId, mut message: Message) {
        let Some(link) = self.links.get(&id) else { return };
        let origin = match (message.origin, &link.kind) {
            (0, LinkKind::Peer) => link.owner,
            (alias, _) => link.names.heard(alias),
        };
        let (Some(origin), from_node) = (origin, link.kind == LinkKind::Node) else {
            if link.kind == LinkKind::Node {
                self.close(
                    id,
                    CloseCode::Protocol,
                    "a message of a server that was not introduced",
                );
            }
            return;
        };
        if !from_node {
            return self.resolve(now, Parcel::new(now, message, origin, &self.settings));
        }
        let Some(owner) = link.names.heard(message.owner) else {
            return self.close(
                id,
                CloseCode::Protocol,
                "a message for a server that was not introduced",
            );
        };
        let is_late = link.names.heard_in_time(message.origin).is_none();
        message.hops = message.hops.saturating_add(1);
        if is_late {
            return self.came_late(&Parcel::new(now, message, origin, &self.settings));
        }
        self.note_way_back(id, origin);
        let parcel = Parcel::new(now, message, origin, &self.settings);
        let wait = self.settings.reattach_wait;
        let entry = self.entry(owner);
        let is_back_soon = entry.location.as_ref() == Some(&self.location)
            && entry.detached_at.is_none_or(|since| now.since(since) < wait);
        if self.is_restoring(parcel.message.to()) {
            let meant = Some(owner);
            self.keep(now, Parcel { meant, ..parcel });
        } else if entry.attached.is_some() || is_back_soon {
            self.forward(now, owner, parcel);
        } else {
            self.send_back(parcel, owner);
        }
    }

    /// Hands a message on towards the server that is thought to hold its client.
    pub(super) fn forward(&mut self, now: MonoTime, key: OwnerKey, mut parcel: Parcel) {
        if parcel.message.hops > HOPS_MAX {
            return self.fail(&parcel, Outcome::Unreachable);
        }
        let entry = &self.owners[key.0 as usize];
        if let Some(link) = entry.attached {
            return self.hand_over(now, link, None, parcel);
        }
        let Some(location) = entry.location.clone() else {
            // Not among the living: whoever holds the client now is found by looking it up.
            self.forget_route(parcel.message.to(), key);
            parcel.message.hops += 1;
            return self.resolve(now, parcel);
        };
        if location == self.location {
            return self.park(now, key, parcel);
        }
        match self.link_to(now, &location) {
            Some(link) => self.hand_over(now, link, Some(key), parcel),
            None => {
                // Found down a moment ago; its client may have gone to another server since, which the store knows.
                self.forget_route(parcel.message.to(), key);
                parcel.message.hops += 1;
                self.resolve(now, parcel);
            }
        }
    }

    fn hand_over(&mut self, now: MonoTime, id: LinkId, owner: Option<OwnerKey>, parcel: Parcel) {
        let Some(link) = self.links.get_mut(&id) else {
            return self.fail(&parcel, Outcome::Unreachable);
        };
        if link.out.room(now) != Room::Yes {
            return self.fail(&parcel, Outcome::Overloaded);
        }
        let Parcel {
            mut message,
            origin,
            expires,
            ..
        } = parcel;
        let (Some(origin), Some(owner)) = (
            self.alias(id, origin),
            owner.map_or(Some(0), |owner| self.alias(id, owner)),
        ) else {
            return;
        };
        message.origin = origin;
        message.owner = owner;
        message.ttl_ms = u32::try_from(expires.since(now).as_millis())
            .unwrap_or(u32::MAX)
            .max(1);
        self.counters.forwarded += 1;
        self.push(id, Frame::Message(message));
    }

    /// The number of a server on a link, introduced now if it is new there.
    pub(super) fn alias(&mut self, id: LinkId, key: OwnerKey) -> Option<u32> {
        let link = self.links.get_mut(&id)?;
        let entry = &self.owners[key.0 as usize];
        match link.names.give(key, &entry.owner, entry.attachment) {
            Some((alias, None)) => Some(alias),
            Some((alias, Some(introduction))) => {
                self.push(id, introduction);
                Some(alias)
            }
            None => {
                self.close(
                    id,
                    CloseCode::Overloaded,
                    "this link has used up its names: open it anew",
                );
                None
            }
        }
    }

    /// Keeps a message for a server whose link broke a moment ago or which has not come back to this broker yet.
    fn park(&mut self, now: MonoTime, key: OwnerKey, parcel: Parcel) {
        if self.leaving {
            return self.give_back(parcel, key);
        }
        let (wait, bytes_max) = (self.settings.reattach_wait, self.settings.queue_bytes_max);
        let entry = self.entry_mut(key);
        let since = *entry.detached_at.get_or_insert(now);
        if now.since(since) >= wait {
            return self.fail(&parcel, Outcome::Unreachable);
        }
        if entry.parked_bytes >= bytes_max {
            return self.fail(&parcel, Outcome::Overloaded);
        }
        entry.parked_bytes += parcel.message.cost();
        let is_first = entry.parked.is_empty();
        entry.parked.push_back(parcel.unpinned());
        self.detached.insert(key);
        self.want_tick(now);
        if is_first {
            // It may have gone to another node.
            self.refresh_peers();
        }
    }

    /// Keeps a message until the leases have been read anew, and with it all that come after it to the same address.
    pub(super) fn strand(&mut self, now: MonoTime, parcel: Parcel) {
        let Ok(address) = Address::new(parcel.message.to()) else {
            return;
        };
        if self.queues.held_bytes >= self.settings.queue_bytes_max * 16 {
            return self.fail(&parcel, Outcome::Unreachable);
        }
        self.unsettle(&address);
        if self.put_back(now, &address, parcel, true) {
            let round = self.refresh_peers();
            self.stranded.push_back((round, address));
        }
    }

    /// The leases have been read, or could not be: what waited for it goes on.
    pub(super) fn release_stranded(&mut self, now: MonoTime, round: u64, store_answered: bool) {
        for _ in 0..self.stranded.len() {
            let Some((asked, address)) = self.stranded.pop_front() else {
                return;
            };
            if asked > round {
                self.stranded.push_back((asked, address));
            } else {
                self.float(now, &address, store_answered);
            }
        }
    }

    /// Tells the origin that its message was not delivered.
    pub(super) fn fail(&mut self, parcel: &Parcel, outcome: Outcome) {
        self.counters.failed += 1;
        let Ok(to) = Address::new(parcel.message.to()) else {
            return;
        };
        let id = parcel.message.id;
        let failed = Failed {
            id,
            outcome,
            to,
            count: u32::from(id == 0),
            out_of_order: false,
        };
        let Some((link, origin)) = self.towards(parcel.origin) else {
            return;
        };
        self.push(
            link,
            Frame::Outcomes(Outcomes {
                origin,
                delivered: Vec::new(),
                failed: vec![failed],
            }),
        );
    }

    /// The link on which a server is reached that sent something a moment ago, and its number there.
    fn towards(&mut self, origin: OwnerKey) -> Option<(LinkId, u32)> {
        let entry = self.entry(origin);
        if let Some(link) = entry.attached {
            // The attached peer knows itself.
            return Some((link, 0));
        }
        let via = entry
            .via
            .or_else(|| self.places.get(entry.location.as_ref()?).copied())?;
        let alias = self.alias(via, origin)?;
        Some((via, alias))
    }

    /// The same for what has come from `link`: what another node sends is for a server attached here, or else two nodes
    /// that each think it attached to the other would send it back and forth for ever.
    fn towards_from(&mut self, link: LinkId, origin: OwnerKey) -> Option<(LinkId, u32)> {
        let is_from_node = self.links.get(&link)?.kind == LinkKind::Node;
        if is_from_node && self.entry(origin).attached.is_none() {
            return None;
        }
        self.towards(origin)
    }

    pub(super) fn on_outcomes(&mut self, now: MonoTime, id: LinkId, mut outcomes: Outcomes) {
        let Some(origin) = self
            .links
            .get(&id)
            .and_then(|link| link.names.heard(outcomes.origin))
        else {
            return;
        };
        self.drop_copies(now, origin, &outcomes.delivered);
        if let Some((link, alias)) = self.towards_from(id, origin) {
            outcomes.origin = alias;
            self.push(link, Frame::Outcomes(outcomes));
        }
    }

    pub(super) fn on_reply(
        &mut self,
        now: MonoTime,
        id: LinkId,
        origin: u32,
        reply: u64,
        body: bytes::Bytes,
    ) {
        let Some(origin) = self.links.get(&id).and_then(|link| link.names.heard(origin)) else {
            return;
        };
        self.drop_copies(now, origin, &[reply]);
        if let Some((link, origin)) = self.towards_from(id, origin) {
            self.push(
                link,
                Frame::Reply {
                    origin,
                    id: reply,
                    body,
                },
            );
        }
    }

    /// Sends a message back from a node that ends, where nobody comes back to.
    pub(super) fn give_back(&mut self, parcel: Parcel, owner: OwnerKey) {
        if self.entry(parcel.origin).attached.is_some() {
            // That one goes to another broker too, where it sends again whatever has no outcome.
            if parcel.message.id == 0 {
                self.fail(&parcel, Outcome::Unreachable);
            }
        } else {
            self.send_back(parcel, owner);
        }
    }

    /// Sends a message back to the node that chose its server.
    pub(super) fn send_back(&mut self, parcel: Parcel, owner: OwnerKey) {
        let Some((link, origin)) = self.towards(parcel.origin) else {
            return;
        };
        let Some(owner) = self.alias(link, owner) else {
            return;
        };
        let mut message = parcel.message;
        message.origin = origin;
        message.owner = owner;
        self.push(link, Frame::Bounce(message));
    }

    pub(super) fn on_bounce(&mut self, now: MonoTime, id: LinkId, mut message: Message) {
        let Some(link) = self.links.get(&id) else { return };
        let Some(origin) = link.names.heard(message.origin) else {
            return;
        };
        let owner = match message.owner {
            0 => link.owner.or(link.former),
            alias => link.names.heard(alias),
        };
        // A return is a hop, also that of a server which is attached here and to which the message would go again.
        if link.kind == LinkKind::Node || self.entry(origin).attached.is_some() {
            message.hops = message.hops.saturating_add(1);
        }
        self.counters.bounced += 1;
        let parcel = Parcel::new(now, message, origin, &self.settings);
        match (self.entry(origin).attached.is_some(), owner) {
            (true, owner) => self.came_back(now, owner, parcel),
            (false, _) if parcel.message.hops > HOPS_MAX => self.fail(&parcel, Outcome::Unreachable),
            (false, Some(owner)) => self.send_back(parcel, owner),
            (false, None) => {}
        }
    }
}
