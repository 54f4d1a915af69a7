//! Links: attached peers, other nodes, and those that are being dialled.

mod dials;

use core::time::Duration;
use std::collections::VecDeque;

use waypost_types::{Incarnation, Location, MonoTime, Outcome};
use waypost_wire::{Attached, CloseCode, Frame, Hello, Message, Role};

pub(crate) use dials::Down;

use super::messages::Parcel;
use super::{Command, OwnerKey, RelayGoal, Router, StoreOp};
use crate::gate::Room;
use crate::names::Names;
use crate::outbox::Outbox;
use crate::settings::Settings;

/// How soon the leases are read anew while messages wait for servers to come back to this node.
const PARKED_LOOK: Duration = Duration::from_millis(100);

/// Numbers a link of one router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    /// The link of a mesh server's own endpoint.
    pub const LOCAL: Self = Self(0);
}

/// What is at the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// A server that is attached here or asks to be.
    Peer,
    /// Another node.
    Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Dialling,
    Open,
    /// This side has said its last word and waits for the other's; what still comes is answered.
    Leaving,
    /// A close has been ordered; what still comes is ignored.
    Closing,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) kind: LinkKind,
    state: State,
    pub(crate) owner: Option<OwnerKey>,
    /// The server that was attached by this link last: what it sends back may still come.
    pub(crate) former: Option<OwnerKey>,
    location: Option<Location>,
    /// The number of the attachment that the peer has asked for by it.
    pub(super) attachment: u32,
    pub(crate) names: Names<OwnerKey>,
    pub(crate) out: Outbox,
    pub(crate) heard_at: MonoTime,
    pub(crate) pings: Vec<(u64, MonoTime)>,
    pub(crate) attaching: bool,
}

impl Link {
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open | State::Leaving | State::Closing)
    }

    /// Whether what comes by it is taken in.
    pub(crate) const fn is_heard(&self) -> bool {
        matches!(self.state, State::Open | State::Leaving)
    }

    /// Whether messages for servers at this location may go by it.
    pub(crate) fn leads_to(&self, location: &Location) -> bool {
        self.state == State::Open && self.location.as_ref() == Some(location)
    }

    /// The messages that its writer was never given, and for whom they are: they can go another way.
    fn take_back(&mut self, now: MonoTime, settings: &Settings) -> Vec<(OwnerKey, Parcel)> {
        let messages = self.out.take_back();
        let (names, at_its_end) = (&self.names, self.owner.or(self.former));
        let parcel = |message: Message| {
            let origin = names.given(message.origin)?;
            let owner = match message.owner {
                0 => at_its_end,
                alias => names.given(alias),
            };
            Some((owner?, Parcel::new(now, message, origin, settings)))
        };
        messages.into_iter().filter_map(parcel).collect()
    }
}

impl Router {
    /// A number for a link that the driver has accepted.
    pub const fn new_link_id(&mut self) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        id
    }

    fn add_link(
        &mut self,
        now: MonoTime,
        id: LinkId,
        kind: LinkKind,
        state: State,
        location: Option<Location>,
    ) {
        let link = Link {
            kind,
            state,
            owner: None,
            former: None,
            location,
            attachment: 0,
            names: Names::new(self.settings.seed),
            out: Outbox::new(self.settings.queue_bytes_max, self.settings.stall),
            heard_at: now,
            pings: Vec::new(),
            attaching: false,
        };
        self.links.insert(id, link);
    }

    /// A link that the other side opened is ready for frames.
    pub fn link_accepted(&mut self, now: MonoTime, id: LinkId, hello: &Hello) {
        self.ways.forget();
        let kind = match hello.role {
            Role::Peer => LinkKind::Peer,
            Role::Node => LinkKind::Node,
        };
        let location = hello.location.clone().filter(|_| kind == LinkKind::Node);
        self.add_link(now, id, kind, State::Open, location.clone());
        if kind == LinkKind::Peer && !self.takes_peers && id != LinkId::LOCAL {
            return self.close(
                id,
                CloseCode::NotABroker,
                "this node takes no peers: attach to a broker",
            );
        }
        if self.leaving && self.leave(id) {
            return;
        }
        if let Some(location) = location
            && location != self.location
        {
            // The same link serves both ways, unless this side has one of its own already.
            self.down.remove(&location);
            self.places.entry(location.clone()).or_insert(id);
            self.is_back(now, &location);
        }
    }

    /// The link of a mesh server's own endpoint.
    pub(crate) fn open_local(&mut self, now: MonoTime) {
        self.ways.forget();
        self.add_link(now, LinkId::LOCAL, LinkKind::Peer, State::Open, None);
    }

    /// A link is gone.
    pub fn link_closed(&mut self, now: MonoTime, id: LinkId) {
        self.ways.forget();
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        if let Some(location) = &link.location
            && self.places.get(location) == Some(&id)
        {
            self.places.remove(location);
        }
        self.ended(now, id, link, false);
    }

    /// Settles what a link that is gone leaves behind. What its writer was never given can go another way.
    fn ended(&mut self, now: MonoTime, id: LinkId, mut link: Link, refused: bool) {
        // Whoever was heard of by it was introduced there.
        for key in link.names.heard_all() {
            let via = &mut self.entry_mut(key).via;
            via.take_if(|via| *via == id);
        }
        if let Some(key) = link.owner
            && self.entry(key).attached == Some(id)
        {
            self.count_as(key, None);
            self.entry_mut(key).detached_at = Some(now);
            self.detached.insert(key);
            self.want_tick(now);
        }
        let owed: Vec<u64> = self
            .relays
            .iter()
            .filter(|(_, relay)| relay.link == id)
            .map(|(token, _)| *token)
            .collect();
        self.broadcast_link_gone(id);
        for (owner, mut parcel) in link.take_back(now, &self.settings) {
            parcel.message.hops = parcel.message.hops.saturating_add(u8::from(refused));
            if parcel.message.id == 0 && self.went_elsewhere(&parcel, Some(owner)) {
                self.fail(&parcel, Outcome::Unreachable);
            } else if refused {
                self.strand(now, parcel);
            } else {
                self.forward(now, owner, parcel);
            }
        }
        for token in owed {
            self.on_echo(now, id, token, false);
        }
        self.room_freed = true;
    }

    /// Orders a link closed; what still comes from it is ignored.
    pub(super) fn close(&mut self, id: LinkId, code: CloseCode, text: &'static str) {
        if let Some(link) = self.links.get_mut(&id)
            && link.state != State::Closing
        {
            link.state = State::Closing;
            // What comes for those behind it from now on goes another way or waits for them.
            if let Some(location) = &link.location
                && self.places.get(location) == Some(&id)
            {
                self.places.remove(location);
            }
            if let Some(key) = link.owner
                && self.entry(key).attached == Some(id)
            {
                self.count_as(key, None);
            }
            self.push(
                id,
                Frame::Close(waypost_wire::Close {
                    code,
                    text: text.to_owned(),
                }),
            );
            self.commands.push_back(Command::Close { link: id, code, text });
        }
    }

    /// The same for a link that has failed or is replaced. What its writer was never given goes another way now, before
    /// anything newer does.
    pub(super) fn give_up(&mut self, now: MonoTime, id: LinkId, code: CloseCode, text: &'static str) {
        self.close(id, code, text);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        for (owner, parcel) in link.take_back(now, &self.settings) {
            if parcel.message.id == 0 && self.went_elsewhere(&parcel, Some(owner)) {
                self.fail(&parcel, Outcome::Unreachable);
            } else {
                self.forward(now, owner, parcel);
            }
        }
    }

    /// This node ends: takes no more peers and tells every link so. Attached servers go to another broker, or come back.
    pub fn go_away(&mut self) {
        self.ways.forget();
        self.takes_peers = false;
        let links: Vec<LinkId> = self
            .links
            .keys()
            .copied()
            .filter(|id| *id != LinkId::LOCAL)
            .collect();
        self.leaving = true;
        for id in links {
            if !self.leave(id) {
                self.close(id, CloseCode::GoingAway, "this node ends");
            }
        }
        // Nobody comes back here: what waits for that follows the servers to where they go.
        for key in core::mem::take(&mut self.detached) {
            let entry = self.entry_mut(key);
            entry.parked_bytes = 0;
            for parcel in core::mem::take(&mut entry.parked) {
                self.give_back(parcel, key);
            }
        }
    }

    /// Begins the orderly end of a link to a node: nothing new goes out on it, and what still comes is answered until the
    /// other side has said its last word too. False when the link is not such a one.
    fn leave(&mut self, id: LinkId) -> bool {
        let Some(link) = self.links.get_mut(&id) else {
            return false;
        };
        if link.kind != LinkKind::Node || link.state != State::Open {
            return false;
        }
        link.state = State::Leaving;
        if let Some(location) = &link.location
            && self.places.get(location) == Some(&id)
        {
            self.places.remove(location);
        }
        let last = waypost_wire::Close {
            code: CloseCode::GoingAway,
            text: "this node ends the link".to_owned(),
        };
        self.push(id, Frame::Close(last));
        true
    }

    /// The other side has said its last word. A node that goes away closes the link when it has heard ours.
    fn on_close(&mut self, now: MonoTime, id: LinkId, code: CloseCode) {
        let location = self.links.get(&id).and_then(|link| link.location.clone());
        if code != CloseCode::GoingAway || !self.leave(id) {
            return self.give_up(now, id, CloseCode::GoingAway, "the other side closes");
        }
        if let Some(location) = location {
            // Its servers go elsewhere, and it is not dialled at once to be told the same again.
            let pause = Duration::from_millis(500);
            let until = now + pause;
            self.down.insert(location, Down { until, pause });
        }
    }

    /// Whether a message to this address may be taken in now. `Wait` when the queue on its way is full and it is worth
    /// waiting for room; what does not wait is refused as `Overloaded`.
    pub fn room(&mut self, now: MonoTime, to: &str) -> Room {
        let owner = match self.routes.get_mut(to) {
            Some(super::Route::At { owner, .. }) => *owner,
            Some(super::Route::Waiting(waiting)) => {
                return waiting.room(now, self.settings.queue_bytes_max, self.settings.stall);
            }
            None => return Room::Yes,
        };
        let entry = &self.owners[owner.0 as usize];
        let link = entry
            .attached
            .or_else(|| self.places.get(entry.location.as_ref()?).copied());
        link.and_then(|link| self.links.get_mut(&link))
            .map_or(Room::Yes, |link| link.out.room(now))
    }

    /// One frame from a link.
    pub fn handle_frame(&mut self, now: MonoTime, id: LinkId, frame: Frame) {
        self.ways.forget();
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if !link.is_heard() {
            return;
        }
        link.heard_at = now;
        let (kind, owner) = (link.kind, link.owner);
        match (frame, &kind, owner) {
            (Frame::Message(message), _, _) => self.on_message(now, id, message),
            (Frame::Outcomes(outcomes), _, _) => self.on_outcomes(now, id, outcomes),
            (Frame::Bounce(message), _, _) => self.on_bounce(now, id, message),
            (
                Frame::Reply {
                    origin,
                    id: reply,
                    body,
                },
                _,
                _,
            ) => self.on_reply(now, id, origin, reply, body),
            (
                Frame::Name {
                    alias,
                    owner,
                    attachment,
                },
                _,
                _,
            ) => self.on_name(now, id, alias, &owner, attachment),
            (Frame::Echo { token }, _, _) => self.on_echo(now, id, token, true),
            (Frame::Broadcast(broadcast), _, _) => self.on_broadcast(now, id, broadcast),
            (
                Frame::BroadcastDone {
                    token,
                    reached,
                    unreached,
                },
                _,
                _,
            ) => {
                self.on_broadcast_done(id, token, reached, unreached);
            }
            (Frame::Close(close), _, _) => self.on_close(now, id, close.code),
            (Frame::Pong { .. } | Frame::Unknown, _, _) => {}
            (Frame::Ping { token }, LinkKind::Node, _) => {
                self.push(
                    id,
                    Frame::Pong {
                        token,
                        lease_ms: 0,
                        store_unavailable: false,
                    },
                );
            }
            (
                Frame::Barrier {
                    token,
                    owner,
                    address,
                },
                LinkKind::Node,
                _,
            ) => self.on_barrier(id, token, owner, address),
            (Frame::Displaced(displaced), LinkKind::Node, _) => self.on_displaced(now, id, displaced),
            (
                Frame::Attach {
                    identity,
                    resume,
                    attachment,
                },
                LinkKind::Peer,
                owner,
            ) => {
                link.attachment = attachment;
                if let Some(owner) = owner {
                    self.let_go(id, owner);
                }
                self.on_attach(now, id, identity, resume)
            }
            (Frame::Ping { token }, LinkKind::Peer, _) => self.on_ping(now, id, token),
            (Frame::Claim(addresses), LinkKind::Peer, Some(owner)) => self.on_claim(owner, addresses),
            (Frame::Release(sessions), LinkKind::Peer, Some(owner)) => self.on_release(now, owner, sessions),
            (Frame::Announce(sessions), LinkKind::Peer, Some(owner)) => {
                self.on_announce(now, owner, sessions)
            }
            (Frame::Locate { token, address }, LinkKind::Peer, Some(_)) => self.on_locate(id, token, address),
            (Frame::Drain, LinkKind::Peer, Some(owner)) => {
                self.entry_mut(owner).draining = true;
                let owner = self.entry(owner).owner.clone();
                self.ask(StoreOp::Drain(owner), super::claims::Asked::Lease);
            }
            (Frame::Detach { token }, LinkKind::Peer, Some(owner)) => self.on_detach(id, owner, token),
            (
                Frame::Claim(_)
                | Frame::Release(_)
                | Frame::Announce(_)
                | Frame::Locate { .. }
                | Frame::Drain
                | Frame::Detach { .. },
                LinkKind::Peer,
                None,
            ) => {
                // The lease has just ended, and the peer had not heard of it yet.
            }
            _ => self.close(id, CloseCode::Protocol, "a frame that has no place on this link"),
        }
    }

    /// A message of `origin` has come by a link from another node: its outcome goes back there, unless it is known that
    /// the origin is reached elsewhere and that node has only passed the message on.
    pub(super) fn note_way_back(&mut self, id: LinkId, origin: OwnerKey) {
        let entry = &mut self.owners[origin.0 as usize];
        if entry.via == Some(id) {
            return;
        }
        let Some(link) = self.links.get(&id) else { return };
        let is_elsewhere = match (&entry.location, &link.location) {
            (Some(home), Some(location)) => home != location,
            _ => false,
        };
        if !is_elsewhere {
            entry.via = Some(id);
        }
    }

    fn on_name(
        &mut self,
        now: MonoTime,
        id: LinkId,
        alias: u32,
        owner: &waypost_types::Owner,
        attachment: u32,
    ) {
        if self.owners.len() >= self.settings.servers_max && !self.owner_index.contains_key(owner) {
            return self.close(
                id,
                CloseCode::Overloaded,
                "it introduces more servers than this node keeps numbers for",
            );
        }
        let key = self.intern(owner);
        let is_late = !self.note_attachment(now, owner, attachment);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if !link.names.hear(alias, key, attachment) {
            return self.close(id, CloseCode::Protocol, "a name out of order");
        }
        if is_late {
            link.names.overtake(|other, by| other == key && by == attachment);
        } else if attachment != 0 && link.kind == LinkKind::Node {
            // It is attached there, whatever the leases said when they were read last.
            self.entry_mut(key).via = Some(id);
        }
    }

    /// Makes a server the one that is attached by this link.
    pub(super) fn set_attached(&mut self, now: MonoTime, id: LinkId, key: OwnerKey) {
        let earlier = self.count_as(key, Some(id));
        if let Some(earlier) = earlier.filter(|earlier| *earlier != id) {
            if let Some(link) = self.links.get_mut(&earlier) {
                link.former = link.owner.take();
            }
            self.give_up(
                now,
                earlier,
                CloseCode::Superseded,
                "the same server has attached by another link",
            );
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.owner = Some(key);
            link.attaching = false;
        }
        self.attached_by(now, id, key);
        self.doubt_denials();
        // It says by this link what it still wants.
        self.queues.claims.forget(key);
        let location = self.location.clone();
        let entry = self.entry_mut(key);
        entry.detached_at = None;
        entry.location = Some(location);
        entry.parked_bytes = 0;
        let parked = core::mem::take(&mut entry.parked);
        for parcel in parked {
            self.forward(now, key, parcel);
        }
        self.release_away(now, key);
    }

    /// Answers an attachment.
    pub(super) fn welcome(&mut self, now: MonoTime, id: LinkId, key: OwnerKey) {
        let lease = self
            .entry(key)
            .lease_until
            .map_or(0, |until| until.since(now).as_millis());
        let answer = Attached::Attached {
            incarnation: self.entry(key).owner.incarnation,
            lease_ms: u64::try_from(lease).unwrap_or(u64::MAX),
            term_ms: u64::try_from(self.settings.lease_term.as_millis()).unwrap_or(u64::MAX),
        };
        self.push(id, Frame::Attached(answer));
        self.set_attached(now, id, key);
    }

    /// Ends a server's lease as far as this node is concerned.
    pub(super) fn lease_over(&mut self, key: OwnerKey, superseded: bool) {
        let incarnation = self.entry(key).owner.incarnation;
        let entry = self.entry_mut(key);
        entry.lease_until = None;
        entry.location = None;
        entry.detached_at = None;
        if let Some(id) = self.count_as(key, None) {
            self.push(
                id,
                Frame::LeaseOver {
                    incarnation,
                    superseded,
                },
            );
            if let Some(link) = self.links.get_mut(&id) {
                link.former = link.owner.take();
            }
        }
    }

    /// The peer on this link begins anew, perhaps under another name. Its lease lapses by itself.
    fn let_go(&mut self, id: LinkId, key: OwnerKey) {
        self.count_as(key, None);
        self.entry_mut(key).location = None;
        if let Some(link) = self.links.get_mut(&id) {
            link.former = link.owner.take();
        }
    }

    fn on_detach(&mut self, id: LinkId, key: OwnerKey, token: u64) {
        let owner = self.entry(key).owner.clone();
        self.ask(
            StoreOp::Deregister(owner),
            super::claims::Asked::Deregister { link: id, token },
        );
        self.count_as(key, None);
        let entry = self.entry_mut(key);
        entry.lease_until = None;
        entry.location = None;
        if let Some(link) = self.links.get_mut(&id) {
            link.former = link.owner.take();
        }
    }

    /// An echo has come, or (not `echoed`) can come no more because its link is gone.
    pub(super) fn on_echo(&mut self, now: MonoTime, id: LinkId, token: u64, echoed: bool) {
        if self.relays.get(&token).is_none_or(|relay| relay.link != id) {
            return;
        }
        let Some(relay) = self.relays.remove(&token) else {
            return;
        };
        match relay.goal {
            RelayGoal::Answer { link, token, kept } => self.answer_barrier(link, token, kept),
            RelayGoal::Clear { address } => self.path_clear(now, &address),
            RelayGoal::GivenUp {
                link,
                token,
                address,
                loser,
                seq,
                is_clearing,
            } => {
                self.push(link, Frame::Echo { token });
                if echoed {
                    self.given_up(&address, loser, seq);
                }
                if is_clearing {
                    self.path_clear(now, &address);
                }
            }
            RelayGoal::Lost { address, loser, seq } => {
                if echoed {
                    self.given_up(&address, loser, seq);
                }
                // What it announced meanwhile may have been put back.
                self.audit_later(now, address, super::claims::Said::Nothing);
            }
            RelayGoal::Held { address, by } if echoed => self.peer_asked(now, address, by),
            RelayGoal::Held { .. } => {}
            RelayGoal::Takeover(untold) if echoed => {
                self.loser_heard(&untold);
                self.finish_takeover(now, untold.id());
            }
            RelayGoal::Takeover(untold) => self.tell_later(now, *untold),
        }
    }

    /// Gives up messages for servers that did not come back in time; those for one that has gone elsewhere follow it.
    pub(super) fn expire_parked(&mut self, now: MonoTime) {
        let wait = self.settings.reattach_wait;
        let mut over = Vec::new();
        let mut more = false;
        self.detached.retain(|&key| {
            let entry = &mut self.owners[key.0 as usize];
            let is_here = entry.location.as_ref() == Some(&self.location);
            // Without this time its lease is over, and nobody comes back.
            let is_waited_for = entry.detached_at.is_some_and(|since| now.since(since) < wait);
            if is_here && is_waited_for {
                more = true;
            } else if !entry.parked.is_empty() {
                entry.parked_bytes = 0;
                let parked = core::mem::take(&mut entry.parked);
                over.extend(parked.into_iter().map(|parcel| (key, is_here, parcel)));
            }
            is_waited_for
        });
        for (key, is_here, parcel) in over {
            if is_here {
                self.fail(&parcel, Outcome::Unreachable);
            } else {
                self.forward(now, key, parcel);
            }
        }
        if more {
            self.want_tick(now);
            if self.parked_look.is_none_or(|due| due <= now) {
                // Each may be attached elsewhere by now.
                self.parked_look = Some(now + PARKED_LOOK);
                self.refresh_peers();
            }
        }
    }

    /// Keeps links that are silent from looking alive: asks on every link to a node (attached servers ask by themselves),
    /// and closes one on which nothing has come within a lease term. A server whose question waits for the store longer than
    /// that must not take this node for silent either.
    pub(super) fn ping_nodes(&mut self, now: MonoTime) {
        let mut dead = Vec::new();
        let mut asked = VecDeque::new();
        for (id, link) in &self.links {
            if *id == LinkId::LOCAL || !matches!(link.state, State::Open | State::Leaving) {
                continue;
            }
            if now.since(link.heard_at) > self.settings.lease_term {
                dead.push(*id);
            } else if link.state == State::Open && (link.kind == LinkKind::Node || !link.pings.is_empty()) {
                asked.push_back(*id);
            }
        }
        for id in asked {
            let token = self.token();
            self.push(id, Frame::Ping { token });
        }
        for id in dead {
            self.give_up(now, id, CloseCode::Overloaded, "no answer within a lease term");
        }
    }

    pub(super) fn refuse_attach(&mut self, id: LinkId, answer: Attached) {
        if let Some(link) = self.links.get_mut(&id) {
            link.attaching = false;
        }
        self.push(id, Frame::Attached(answer));
    }

    pub(super) fn begin_attach(&mut self, id: LinkId) -> bool {
        self.links
            .get_mut(&id)
            .is_some_and(|link| !core::mem::replace(&mut link.attaching, true))
    }

    /// The server with this identity and an older incarnation that is attached here.
    pub(super) fn older_attached(&self, identity: &str, than: Incarnation) -> Vec<OwnerKey> {
        (0u32..)
            .zip(&self.owners)
            .filter(|(_, entry)| {
                entry.attached.is_some()
                    && entry.owner.identity.as_str() == identity
                    && entry.owner.incarnation < than
            })
            .map(|(key, _)| OwnerKey(key))
            .collect()
    }
}
