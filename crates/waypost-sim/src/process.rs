//! One process of the cluster.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use waypost_router::{Completion, Core, Event, RequestToken, Settings};
use waypost_types::{Address, Identity, Location, MonoTime, Owner};
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
    /// What came while it was paused, in order.
    pub(crate) backlog: VecDeque<crate::world::Happening>,
    /// Takes events out of its inbox as they come.
    pub(crate) reads: bool,
    /// Answers requests by itself.
    pub(crate) replies: bool,
    /// Has asked for its identity and has had no answer.
    pub(crate) registering: bool,
    pub(crate) events: Vec<Event>,
    pub(crate) requests: Vec<RequestToken>,
    /// Under which incarnation its events come.
    pub(crate) owner: Option<Owner>,
    /// Clients that it holds, as its program has been told.
    pub(crate) held: BTreeSet<Address>,
    /// Connects that have not ended.
    pub(crate) connects: BTreeMap<Ticket, Address>,
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

    pub(crate) fn is_up(&self) -> bool {
        self.core.is_some()
    }
}
