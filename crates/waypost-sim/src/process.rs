//! One process of the cluster.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use waypost_router::{Completion, Core, Event, RequestToken, Settings};
use waypost_types::{Address, Identity, Location, MonoTime, Owner, Seq};
use waypost_wire::Message;

/// A process of the world; it stays the same when the process is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub usize);

/// An operation that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What kind of process it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A server that is itself a node.
    Mesh,
    /// A broker.
    Broker,
    /// A server attached to one of these brokers.
    Attached(Vec<ProcessId>),
}

/// A send that waits to be taken in.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) ticket: Ticket,
    pub(crate) message: Message,
    pub(crate) acked: Option<bool>,
    pub(crate) deadline: MonoTime,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) kind: Kind,
    pub(crate) identity: Identity,
    pub(crate) location: Location,
    pub(crate) settings: Settings,
    /// `None` while the process is not running.
    pub(crate) core: Option<Core<Ticket>>,
    /// Grows with every start.
    pub(crate) life: u64,
    /// This life's clock is ahead of the world's by this: no two clocks can be compared.
    pub(crate) clock_ahead: Duration,
    /// Handles nothing.
    pub(crate) paused: bool,
    /// Since when it has run without a pause.
    pub(crate) runs_since: MonoTime,
    /// What came while it was paused, in order.
    pub(crate) backlog: VecDeque<crate::world::Happening>,
    /// Takes events out of its inbox as they come.
    pub(crate) reads: bool,
    /// Answers requests by itself.
    pub(crate) replies: bool,
    /// Has asked for its identity and has had no answer.
    pub(crate) registering: bool,
    pub(crate) events: Vec<Event>,
    /// Requests that its program has not answered.
    pub(crate) requests: Vec<(RequestToken, Ticket)>,
    /// Under which incarnation its events come.
    pub(crate) owner: Option<Owner>,
    /// The incarnation that its program was told of last, unless it has drained since; and whether it was told that the
    /// lease of that is over.
    pub(crate) last_owner: Option<Owner>,
    pub(crate) is_fenced: bool,
    /// Clients that it holds, as its events say, and by which claim.
    pub(crate) held: BTreeMap<Address, Seq>,
    /// The renewal that has not been answered.
    pub(crate) renews: Option<u64>,
    /// Has been asked to move out.
    pub(crate) draining: bool,
    /// How many of the events in its inbox the oracle has seen.
    pub(crate) observed: usize,
    /// Gives clients that connect inboxes of their own.
    pub(crate) gives_inboxes: bool,
    /// Clients with an inbox of their own, and how many of the events in it the oracle has seen.
    pub(crate) own_inboxes: BTreeMap<Address, usize>,
    pub(crate) done: BTreeMap<Ticket, Completion>,
    /// Sends that have not been taken in, or wait for room.
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) wake_at: Option<MonoTime>,
    /// An attached server's link: being dialled or open.
    pub(crate) dialling: bool,
    pub(crate) next_broker: usize,
    pub(crate) failed_dials: u32,
}

impl Process {
    pub(crate) fn local(&self, now: MonoTime) -> MonoTime {
        now + self.clock_ahead
    }

    /// Whether it runs and holds the client, as its events say.
    pub(crate) fn has(&self, address: &str) -> bool {
        self.is_up() && self.held.contains_key(address)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.core.is_some()
    }
}
