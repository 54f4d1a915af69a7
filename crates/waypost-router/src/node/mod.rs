//! The node's machine: decides, from an address, where a message goes.
//!
//! A broker is a node whose peers are remote; a server of the mesh is a node with one peer in the same process. Both are
//! this router; see [`Core`](crate::Core) for how the second is put together.

mod absent;
mod attachments;
mod away;
mod broadcast;
mod checks;
mod claims;
mod copies;
mod gone;
mod leases;
mod links;
mod load;
mod messages;
mod owners;
mod pace;
mod quick;
mod routes;
mod store_op;
mod takeover;
mod ways;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use waypost_types::{Address, Identity, Incarnation, Location, MonoTime, Owner, Seq};
use waypost_wire::{CloseCode, Frame};

use crate::map::{AddressMap, Map, address_map, map};
use crate::outbox::Outgoing;
use crate::settings::Settings;

use away::AwayServers;
use broadcast::Broadcasts;
use checks::Checks;
use claims::StoreQueues;
use leases::Leases;
use links::Link;
pub use links::{LinkId, LinkKind};
use owners::OwnerEntry;
pub(crate) use owners::OwnerKey;
pub(crate) use quick::{Holder, Taken, Way};
use routes::Route;
pub use store_op::{StoreFailure, StoreOp, StoreReply};
use takeover::Takeover;

/// Something that the driver has to do for the router.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Ask the datastore, and answer with [`Router::store_done`].
    Store {
        /// Comes back with the answer.
        token: u64,
        /// What to ask.
        op: StoreOp,
    },
    /// Open a link to a node, and answer with [`Router::link_dialled`] or [`Router::dial_failed`].
    Dial {
        /// The new link's number.
        link: LinkId,
        /// Where to.
        location: Location,
    },
    /// Close a link once what is queued for it has been written, and answer with [`Router::link_closed`].
    Close {
        /// Which one.
        link: LinkId,
        /// What to tell the other side.
        code: CloseCode,
        /// For logs.
        text: &'static str,
    },
}

/// Figures since the router's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Messages handed on to a server.
    pub forwarded: u64,
    /// Messages that came back because the server did not hold the client.
    pub bounced: u64,
    /// Messages that ended here without delivery.
    pub failed: u64,
    /// Batches of look-ups sent to the datastore.
    pub lookups: u64,
    /// Addresses looked up.
    pub addresses_looked_up: u64,
}

/// The pure machine of one node. Feed it with frames, link events and the datastore's answers, each with the time, which
/// never goes back; after a batch of them call [`flush`](Self::flush), then take commands and frames out.
#[derive(Debug)]
pub struct Router {
    settings: Settings,
    location: Location,
    takes_peers: bool,
    /// This node ends.
    leaving: bool,
    /// Servers whose links broke a moment ago: all for which messages are parked are among them.
    detached: BTreeSet<OwnerKey>,
    /// When the leases are read again for messages that wait for servers to come back here.
    parked_look: Option<MonoTime>,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    woken: Vec<LinkId>,
    /// Where a link to each location is, open or being dialled.
    places: Map<Location, LinkId>,
    /// Locations that could not be dialled, and until when they are not tried again.
    down: Map<Location, links::Down>,
    owners: Vec<OwnerEntry>,
    owner_index: Map<Owner, OwnerKey>,
    /// The newest life and attachment of each server, where that is known.
    attachments: Map<Identity, (Incarnation, u32)>,
    routes: AddressMap<Route>,
    gone: gone::Gone,
    ways: ways::Ways,
    remote_routes: usize,
    /// Addresses with a look-up that is due later, after a bounce.
    again: BTreeSet<(MonoTime, Address)>,
    /// Addresses of messages whose server's location may be out of date, by the reading of the leases that they wait for.
    stranded: VecDeque<(u64, Address)>,
    queues: StoreQueues,
    copies: copies::Copies,
    /// Servers whose nodes cannot be reached and which may be on their way to others.
    away: AwayServers,
    checks: Checks,
    leases: Leases,
    takeovers: BTreeMap<u64, Takeover>,
    /// Displacements to be told, by the reading of the leases that says where.
    untold: VecDeque<(u64, takeover::Untold)>,
    /// Those whose losers live no more, and may come back.
    absent: absent::Absent,
    /// Echoes owed: the link and token of the question by the token of ours.
    relays: BTreeMap<u64, Relay>,
    broadcasts: Broadcasts,
    tick_at: Option<MonoTime>,
    next_token: u64,
    commands: VecDeque<Command>,
    counters: Counters,
    room_freed: bool,
}

/// What to do when an echo comes.
#[derive(Debug)]
struct Relay {
    /// The link that owes it.
    link: LinkId,
    goal: RelayGoal,
}

#[derive(Debug)]
enum RelayGoal {
    /// Answer another link's question.
    Answer {
        link: LinkId,
        token: u64,
        kept: Vec<(OwnerKey, messages::Parcel)>,
    },
    /// The path to a server is clear: the address can be looked up anew.
    Clear { address: Address },
    /// A server has given up a client that another node claimed: answer, and go on with the address if it waits for that.
    GivenUp {
        link: LinkId,
        token: u64,
        address: Address,
        loser: OwnerKey,
        seq: Seq,
        is_clearing: bool,
    },
    /// A server has given up a client that another one holds, as the store says.
    Lost {
        address: Address,
        loser: OwnerKey,
        seq: Seq,
    },
    /// A server has answered whether it holds a client that the store alone says it does.
    Held { address: Address, by: OwnerKey },
    /// A takeover can be finished.
    Takeover(Box<takeover::Untold>),
}

impl Router {
    /// A router that is reached at `location`. `takes_peers` for a broker.
    #[must_use]
    pub fn new(settings: Settings, location: Location, takes_peers: bool) -> Self {
        let seed = settings.seed;
        Self {
            location,
            takes_peers,
            leaving: false,
            detached: BTreeSet::new(),
            parked_look: None,
            links: BTreeMap::new(),
            next_link: 1,
            woken: Vec::new(),
            places: map(seed),
            down: map(seed),
            owners: Vec::new(),
            owner_index: map(seed),
            attachments: map(seed),
            routes: address_map(seed),
            gone: gone::Gone::new(seed),
            ways: ways::Ways::default(),
            remote_routes: 0,
            again: BTreeSet::new(),
            stranded: VecDeque::new(),
            queues: StoreQueues::new(),
            copies: copies::Copies::new(seed),
            away: AwayServers::default(),
            checks: Checks::new(),
            leases: Leases::new(&settings),
            takeovers: BTreeMap::new(),
            untold: VecDeque::new(),
            absent: absent::Absent::new(seed),
            relays: BTreeMap::new(),
            broadcasts: Broadcasts::default(),
            tick_at: None,
            next_token: 0,
            commands: VecDeque::new(),
            counters: Counters::default(),
            room_freed: false,
            settings,
        }
    }

    // ---- getters

    /// Figures since the start.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// How many addresses have a route or wait for one.
    #[must_use]
    pub fn routes_len(&self) -> usize {
        self.routes.len()
    }

    /// Identities of the servers attached here, in order.
    #[must_use]
    pub fn attached(&self) -> BTreeSet<Identity> {
        self.owners
            .iter()
            .filter(|e| e.attached.is_some())
            .map(|e| e.owner.identity.clone())
            .collect()
    }

    /// How many claims of attached servers wait for their turn.
    #[must_use]
    pub fn claims_waiting(&self) -> usize {
        self.queues.claims.len()
    }

    // ---- what comes out

    /// The next thing to do for the router.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Links whose writers were idle and have something to write now, or have enough for a write of its own.
    pub fn take_woken(&mut self, into: &mut Vec<LinkId>) {
        into.append(&mut self.woken);
    }

    /// Whether so much waits for a link that whoever has put it there may as well write it.
    #[must_use]
    pub fn is_worth_a_write(&self, link: LinkId) -> bool {
        self.links
            .get(&link)
            .is_some_and(|link| link.out.is_worth_a_write())
    }

    /// Whether room came free since the last call that somebody may wait for.
    pub const fn take_room_freed(&mut self) -> bool {
        core::mem::replace(&mut self.room_freed, false)
    }

    /// Moves what is to be written to a link out, about `bytes_max` bytes of it; what was taken before counts as written.
    /// Nothing for a link that is not open.
    pub fn take_outgoing(&mut self, link: LinkId, into: &mut Vec<Outgoing>, bytes_max: usize) {
        if let Some(link) = self.links.get_mut(&link).filter(|link| link.is_open()) {
            self.room_freed |= link.out.take(into, bytes_max);
        }
    }

    /// The same as frames, for a driver that carries frames and not bytes.
    pub fn take_frames(&mut self, link: LinkId, into: &mut Vec<Frame>, bytes_max: usize) {
        if let Some(link) = self.links.get_mut(&link).filter(|link| link.is_open()) {
            self.room_freed |= link.out.take_frames(into, bytes_max);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Option<MonoTime> {
        [
            self.tick_at,
            self.leases.next_timeout(),
            self.again.first().map(|(due, _)| *due),
            self.queues.next_timeout(),
            self.away.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what has come due.
    pub fn handle_timeout(&mut self, now: MonoTime) {
        self.leases.wake.see(now);
        self.ways.forget();
        self.heartbeat(now);
        self.look_after_away(now);
        while let Some((due, _)) = self.again.first()
            && *due <= now
        {
            if let Some((_, address)) = self.again.pop_first() {
                self.look_up_again(&address);
            }
        }
        if self.tick_at.is_some_and(|due| due <= now) {
            self.tick_at = None;
            self.expire_waiting(now);
            self.expire_parked(now);
            self.expire_takeovers(now);
            self.expire_broadcasts(now);
        }
    }

    /// Asks for a tick soon, because something with a deadline waits.
    fn want_tick(&mut self, now: MonoTime) {
        const TICK: core::time::Duration = core::time::Duration::from_millis(25);
        self.tick_at.get_or_insert(now + TICK);
    }

    /// Turns what has gathered since the last call into commands.
    pub fn flush(&mut self, now: MonoTime) {
        self.ways.forget();
        self.flush_store(now);
    }

    // ---- helpers

    const fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    /// Queues a frame for a link.
    fn push(&mut self, to: LinkId, frame: Frame) {
        let Some(link) = self.links.get_mut(&to) else {
            return;
        };
        if !link.out.takes(&frame) {
            return;
        }
        if link.out.push(frame) && link.is_open() {
            self.woken.push(to);
        }
        if link.out.is_given_up() && to != LinkId::LOCAL {
            self.close(to, CloseCode::Overloaded, "it does not read what it is told");
        }
    }
}
