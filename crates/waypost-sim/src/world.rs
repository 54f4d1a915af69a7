//! The world: processes, links, a store and the order in which things happen.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use waypost_router::{Completion, Core, Endpoint, Event, LinkId, RequestToken, Router, Settings, StoreOp};
use waypost_router::{StoreFailure, StoreReply};
use waypost_types::{Address, Identity, Location, MonoTime, Seq};
use waypost_wire::Message;

use crate::net::{Conn, ConnId, Item, Net, pair};
use crate::oracle::Oracle;
use crate::process::{Kind, Pending, Process, ProcessId, Ticket};
use crate::rng::Rng;
use crate::store::Store;
use crate::trace::Trace;

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Happening {
    Wake {
        life: u64,
        at: MonoTime,
    },
    Arrive {
        conn: ConnId,
        to: usize,
    },
    /// A dial reaches the other side.
    Reach {
        life: u64,
        link: Option<LinkId>,
        location: Location,
    },
    Dialled {
        life: u64,
        link: Option<LinkId>,
        conn: Option<ConnId>,
    },
    Redial {
        life: u64,
    },
    /// An end that has closed by itself is told that it is closed.
    Closed {
        conn: ConnId,
        at: usize,
    },
    Apply {
        life: u64,
        token: u64,
        op: StoreOp,
        fails: bool,
        answer_at: MonoTime,
    },
    Answer {
        life: u64,
        token: u64,
        reply: Result<StoreReply, StoreFailure>,
    },
}

/// A whole cluster in virtual time.
#[derive(Debug)]
pub struct World {
    pub(crate) now: MonoTime,
    pub(crate) rng: Rng,
    pub(crate) processes: Vec<Process>,
    pub(crate) net: Net,
    /// The session store.
    pub store: Store,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    /// What will happen, to which process.
    pub(crate) agenda: BTreeMap<(MonoTime, u64), (ProcessId, Happening)>,
    last_entry: u64,
    last_ticket: u64,
    at_once: u32,
    settings: Settings,
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut settings = Settings::default();
        settings.seed = seed;
        Self {
            now: MonoTime::from_micros(1_000_000),
            rng: Rng::new(seed),
            processes: Vec::new(),
            net: Net {
                latency: (Duration::from_micros(100), Duration::from_millis(2)),
                ..Net::default()
            },
            store: Store::new(),
            oracle: Oracle::default(),
            trace: Trace::default(),
            agenda: BTreeMap::new(),
            last_entry: 0,
            last_ticket: 0,
            at_once: 0,
            settings,
        }
    }

    // ---- set-up

    /// The settings of processes that are added from now on.
    pub const fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// Keeps every line of the run, for [`trace`](Self::trace).
    pub fn keep_trace(&mut self) {
        self.trace.keep();
    }

    /// Shortest and longest time that a frame is on its way.
    pub const fn set_latency(&mut self, from: Duration, to: Duration) {
        self.net.latency = (from, to);
    }

    /// Starts a server that is itself a node.
    pub fn mesh(&mut self, identity: &str) -> ProcessId {
        self.add(Kind::Mesh, identity)
    }

    /// Starts a broker.
    pub fn broker(&mut self, name: &str) -> ProcessId {
        self.add(Kind::Broker, name)
    }

    /// Starts a server that is attached to one of these brokers, the first one first.
    pub fn attached(&mut self, identity: &str, brokers: &[ProcessId]) -> ProcessId {
        self.add(Kind::Attached(brokers.to_vec()), identity)
    }

    fn add(&mut self, kind: Kind, name: &str) -> ProcessId {
        let id = ProcessId(self.processes.len());
        let (Ok(identity), Ok(location)) = (
            Identity::new(name),
            Location::new(&format!("tcp://process-{}:1", id.0)),
        ) else {
            panic!("not an identity: {name}");
        };
        self.processes.push(Process {
            kind,
            identity,
            location,
            settings: self.settings.clone(),
            core: None,
            life: 0,
            clock_ahead: Duration::ZERO,
            paused: false,
            backlog: VecDeque::new(),
            reads: true,
            replies: true,
            registering: false,
            events: Vec::new(),
            requests: Vec::new(),
            owner: None,
            held: BTreeSet::new(),
            connects: BTreeMap::new(),
            done: BTreeMap::new(),
            pending: VecDeque::new(),
            wake_at: None,
            dialling: false,
            next_broker: 0,
            failed_dials: 0,
        });
        self.start(id);
        id
    }

    /// Starts a process that is not running. A server still has to register.
    ///
    /// # Panics
    /// When it runs.
    pub fn start(&mut self, id: ProcessId) {
        assert!(!self.is_up(id), "{id:?} runs already");
        let ahead = self
            .rng
            .between(Duration::from_secs(1), Duration::from_secs(100_000));
        let process = &mut self.processes[id.0];
        process.life += 1;
        process.clock_ahead = ahead;
        process.paused = false;
        process.reads = true;
        process.registering = false;
        process.dialling = false;
        let now = process.local(self.now);
        process.settings.seed = process.settings.seed.wrapping_add(1);
        let (settings, location) = (process.settings.clone(), process.location.clone());
        process.core = Some(match &process.kind {
            Kind::Mesh => Core::mesh(now, settings, location),
            Kind::Broker => Core::broker(settings, location),
            Kind::Attached(_) => Core::attached(settings),
        });
        let life = self.processes[id.0].life;
        self.note(id, format_args!("starts, life {life}"));
        self.dial_broker(id);
        self.drive(id);
    }

    // ---- faults

    /// Ends a process as `kill -9` does: its sockets are closed by the system, and nothing is said.
    pub fn crash(&mut self, id: ProcessId) {
        self.note(id, format_args!("crashes"));
        let process = &mut self.processes[id.0];
        if process.core.take().is_none() {
            return;
        }
        process.paused = false;
        process.wake_at = None;
        process.backlog.clear();
        process.pending.clear();
        process.held.clear();
        self.oracle.died((id, process.life));
        let ends: Vec<_> = self.ends_of(id);
        for (conn, at) in ends {
            self.hang_up(conn, at);
        }
    }

    /// A node begins to end in order: it sends its servers away, and what still comes is answered.
    pub fn go_away(&mut self, id: ProcessId) {
        self.note(id, format_args!("goes away"));
        self.with_router(id, |router, _| router.go_away());
        self.drive(id);
    }

    /// The process handles nothing until [`resume`](Self::resume).
    pub fn pause(&mut self, id: ProcessId) {
        self.note(id, format_args!("pauses"));
        self.processes[id.0].paused = true;
        self.oracle.silent_links = true;
    }

    /// The process goes on with what came meanwhile.
    pub fn resume(&mut self, id: ProcessId) {
        self.note(id, format_args!("goes on"));
        let process = &mut self.processes[id.0];
        if !core::mem::take(&mut process.paused) || !process.is_up() {
            return;
        }
        let timers_first = self.rng.chance(50);
        let backlog = core::mem::take(&mut self.processes[id.0].backlog);
        if timers_first {
            self.time_out(id);
        }
        for happening in backlog {
            self.happen(id, happening);
        }
        self.time_out(id);
    }

    /// Nothing passes between two processes from now on; links stay, and what is sent waits.
    pub fn cut(&mut self, a: ProcessId, b: ProcessId) {
        self.note(a, format_args!("is cut off from {}", b.0));
        self.net.cut.insert(pair(a, b));
        self.oracle.silent_links = true;
    }

    /// Ends a [`cut`](Self::cut).
    pub fn heal(&mut self, a: ProcessId, b: ProcessId) {
        self.note(a, format_args!("is not cut off from {} any more", b.0));
        self.net.cut.remove(&pair(a, b));
        self.release_held_back();
    }

    /// Breaks every link between two processes: a part of what is on its way still arrives.
    pub fn break_links(&mut self, a: ProcessId, b: ProcessId) {
        self.note(a, format_args!("loses its links to {}", b.0));
        let between: Vec<ConnId> = self
            .net
            .conns
            .iter()
            .filter(|(_, conn)| conn.ends[0].known && conn.ends[1].known)
            .filter(|(_, conn)| pair(conn.ends[0].process, conn.ends[1].process) == pair(a, b))
            .map(|(id, _)| *id)
            .collect();
        for id in between {
            for to in 0..2 {
                if let Some(conn) = self.net.conns.get_mut(&id) {
                    let arrives = self.rng.below(conn.queues[to].len() + 1);
                    // What is not in the queue any more arrives as nothing.
                    conn.queues[to].truncate(arrives);
                    conn.closing = true;
                }
                self.send_item(id, to, Item::End);
            }
        }
    }

    /// The process's sockets take nothing in while `stuck`.
    pub fn set_stuck(&mut self, id: ProcessId, stuck: bool) {
        if stuck {
            self.net.stuck.insert(id);
            self.oracle.silent_links = true;
        } else {
            self.net.stuck.remove(&id);
            for other in 0..self.processes.len() {
                self.drive(ProcessId(other));
            }
        }
    }

    /// Whether the process's program takes events out of its inbox.
    pub fn set_reads(&mut self, id: ProcessId, reads: bool) {
        self.processes[id.0].reads = reads;
        self.oracle.unread_inboxes |= !reads;
        self.drive(id);
        self.release_held_back();
    }

    /// Whether the process's program answers requests.
    pub fn set_replies(&mut self, id: ProcessId, replies: bool) {
        self.processes[id.0].replies = replies;
    }

    // ---- what programs ask for

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// Runs a call of the endpoint and then the driver.
    pub(crate) fn call<R>(
        &mut self,
        id: ProcessId,
        call: impl FnOnce(&mut Endpoint<Ticket>, MonoTime) -> R,
    ) -> Option<R> {
        let process = &mut self.processes[id.0];
        let now = process.local(self.now);
        let endpoint = process.core.as_mut().and_then(|core| core.endpoint.as_mut())?;
        let result = call(endpoint, now);
        if !self.processes[id.0].paused {
            self.drive(id);
        }
        Some(result)
    }

    /// Registers the process's identity.
    pub fn register(&mut self, id: ProcessId) -> Ticket {
        let (ticket, identity) = (self.ticket(), self.processes[id.0].identity.clone());
        self.note(id, format_args!("{ticket:?}: register"));
        self.processes[id.0].registering = self.is_up(id);
        self.call(id, |endpoint, now| endpoint.register(now, identity, ticket));
        ticket
    }

    /// Whether the process runs without an identity and has not asked for one.
    #[must_use]
    pub fn wants_to_register(&self, id: ProcessId) -> bool {
        let process = &self.processes[id.0];
        let idle = self
            .endpoint(id)
            .is_some_and(|endpoint| endpoint.owner().is_none());
        idle && !process.paused && !process.registering
    }

    /// Connects a client; gives up after 5 s.
    pub fn connect(&mut self, id: ProcessId, address: &str) -> Ticket {
        let (ticket, address) = (self.ticket(), name(address));
        self.note(id, format_args!("{ticket:?}: connect {address}"));
        self.processes[id.0].connects.insert(ticket, address.clone());
        self.call(id, |endpoint, now| {
            endpoint.connect(now, &address, now + Duration::from_secs(5), ticket);
        });
        ticket
    }

    /// Disconnects a client.
    pub fn disconnect(&mut self, id: ProcessId, address: &str) -> Ticket {
        let (ticket, address) = (self.ticket(), name(address));
        self.note(id, format_args!("{ticket:?}: disconnect {address}"));
        if self.processes[id.0].reads {
            self.processes[id.0].held.remove(&address);
        }
        self.call(id, |endpoint, now| endpoint.disconnect(now, &address, ticket));
        ticket
    }

    /// Sends a best-effort message. Its body begins with its ticket.
    pub fn send(&mut self, id: ProcessId, from: &str, to: &str) -> Ticket {
        self.submit(id, from, to, 0, None)
    }

    /// Sends a message whose outcome comes back; within 5 s.
    pub fn send_acked(&mut self, id: ProcessId, from: &str, to: &str) -> Ticket {
        self.submit(id, from, to, 0, Some(false))
    }

    /// Sends a request; within 5 s.
    pub fn request(&mut self, id: ProcessId, from: &str, to: &str) -> Ticket {
        self.submit(id, from, to, 0, Some(true))
    }

    /// Sends a message with this many bytes more than its ticket; `acked`: `None` for best effort, `Some(true)` for a
    /// request.
    ///
    /// # Panics
    /// When one of the addresses is none.
    pub fn submit(
        &mut self,
        id: ProcessId,
        from: &str,
        to: &str,
        padding: usize,
        acked: Option<bool>,
    ) -> Ticket {
        let ticket = self.ticket();
        self.note(id, format_args!("{ticket:?}: send {from} -> {to}, {acked:?}"));
        let mut body = format!("{}:", ticket.0).into_bytes();
        body.resize(body.len() + padding, b'.');
        let message = match Message::new(from, to, Bytes::from(body)) {
            Ok(message) => message,
            Err(error) => panic!("not addresses: {error}"),
        };
        if !self.is_up(id) {
            return ticket;
        }
        self.oracle
            .sent(ticket, (id, self.processes[id.0].life), to, acked.is_some());
        let process = &mut self.processes[id.0];
        let deadline = process.local(self.now) + process.settings.send_deadline;
        process.pending.push_back(Pending {
            ticket,
            message,
            acked,
            deadline,
        });
        self.drive(id);
        ticket
    }

    /// Answers the oldest request that the process's program has not answered.
    pub fn reply(&mut self, id: ProcessId, body: &'static str) {
        let requests = &mut self.processes[id.0].requests;
        if !requests.is_empty() {
            let token: RequestToken = requests.remove(0);
            self.call(id, |endpoint, _| {
                endpoint.reply(&token, Bytes::from_static(body.as_bytes()))
            });
        }
    }

    /// Sends to all clients but `from`; within 5 s.
    pub fn broadcast(&mut self, id: ProcessId, from: &str, body: &'static str) -> Ticket {
        let (ticket, from) = (self.ticket(), name(from));
        self.note(id, format_args!("{ticket:?}: broadcast"));
        self.call(id, |endpoint, now| {
            endpoint.broadcast(now, from, Bytes::from(body), now + Duration::from_secs(5), ticket);
        });
        ticket
    }

    /// Asks who holds a client; within 5 s.
    pub fn locate(&mut self, id: ProcessId, address: &str) -> Ticket {
        let (ticket, address) = (self.ticket(), name(address));
        self.call(id, |endpoint, now| {
            endpoint.locate(address, now + Duration::from_secs(5), ticket)
        });
        ticket
    }

    /// Moves everything out.
    pub fn drain(&mut self, id: ProcessId) -> Ticket {
        let ticket = self.ticket();
        self.note(id, format_args!("{ticket:?}: drain"));
        self.call(id, |endpoint, now| endpoint.drain(now, ticket));
        ticket
    }

    // ---- time

    /// Now.
    #[must_use]
    pub const fn now(&self) -> MonoTime {
        self.now
    }

    /// Lets the next thing happen; false when nothing is to come.
    ///
    /// # Panics
    /// When things happen for ever at one point in time, or a promise is broken.
    pub fn step(&mut self) -> bool {
        let Some(((at, _), (id, happening))) = self.agenda.pop_first() else {
            return false;
        };
        if at > self.now {
            self.now = at;
            self.at_once = 0;
        }
        self.at_once += 1;
        assert!(
            self.at_once < 100_000,
            "at {} things happen for ever: {happening:?}",
            self.now
        );
        if matches!(happening, Happening::Apply { .. }) {
            self.happen(id, happening);
        } else if self.processes[id.0].paused {
            self.processes[id.0].backlog.push_back(happening);
        } else {
            self.happen(id, happening);
        }
        true
    }

    /// Lets everything happen that comes within `span`.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self
            .agenda
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= end)
        {
            self.step();
        }
        self.now = self.now.max(end);
    }

    /// Lets things happen until the condition holds; false when it does not within `span`.
    pub fn run_until(&mut self, span: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + span;
        loop {
            if holds(self) {
                return true;
            }
            if self.agenda.first_key_value().is_none_or(|((at, _), _)| *at > end) {
                self.now = self.now.max(end);
                return holds(self);
            }
            self.step();
        }
    }

    /// Waits for an operation to end.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn wait(&mut self, id: ProcessId, ticket: Ticket) -> Completion {
        let ended = self.run_until(Duration::from_secs(60), |world| world.done(id, ticket).is_some());
        match self.done(id, ticket) {
            Some(completion) if ended => completion.clone(),
            _ => panic!("{ticket:?} of process {} did not end within a minute", id.0),
        }
    }

    pub(crate) fn schedule(&mut self, at: MonoTime, id: ProcessId, happening: Happening) {
        self.last_entry += 1;
        self.agenda
            .insert((at.max(self.now), self.last_entry), (id, happening));
    }

    // ---- what is to be seen

    /// How an operation ended, if it has.
    #[must_use]
    pub fn done(&self, id: ProcessId, ticket: Ticket) -> Option<&Completion> {
        self.processes[id.0].done.get(&ticket)
    }

    /// Everything that the process's program has been told, but for messages.
    #[must_use]
    pub fn events(&self, id: ProcessId) -> &[Event] {
        &self.processes[id.0].events
    }

    /// The messages that the process's program has got: to whom, and which.
    #[must_use]
    pub fn messages(&self, id: ProcessId) -> Vec<(String, Ticket)> {
        let message = |event: &Event| match event {
            Event::Message(message) | Event::Request { message, .. } => {
                Some((message.to().to_owned(), ticket_of(&message.body)?))
            }
            _ => None,
        };
        self.processes[id.0].events.iter().filter_map(message).collect()
    }

    /// Whether the process runs.
    #[must_use]
    pub fn is_up(&self, id: ProcessId) -> bool {
        self.processes[id.0].is_up()
    }

    /// The claim by which the process's server holds the client.
    #[must_use]
    pub fn holds(&self, id: ProcessId, address: &str) -> Option<Seq> {
        self.endpoint(id)?.holds(address)
    }

    /// The process's endpoint.
    #[must_use]
    pub fn endpoint(&self, id: ProcessId) -> Option<&Endpoint<Ticket>> {
        self.processes[id.0].core.as_ref()?.endpoint.as_ref()
    }

    /// The process's router.
    #[must_use]
    pub fn router(&self, id: ProcessId) -> Option<&Router> {
        self.processes[id.0].core.as_ref()?.router.as_ref()
    }

    /// What was sent and what became of it.
    #[must_use]
    pub const fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// A number that stands for the whole run.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.trace.hash()
    }

    /// The lines of the run, when they were kept.
    #[must_use]
    pub fn trace(&self) -> &[String] {
        self.trace.lines()
    }

    /// Panics unless every client that a running server holds is that server's in the store, by the same claim, and the
    /// other way round.
    ///
    /// # Panics
    /// When they differ.
    pub fn assert_store_is_true<'a>(&self, addresses: impl IntoIterator<Item = &'a str>) {
        for address in addresses {
            let stands = self.store.lookup(self.now, &name(address));
            let stands = stands.map(|session| (session.owner, session.seq));
            let mut holders = Vec::new();
            for endpoint in self
                .processes
                .iter()
                .filter_map(|p| p.core.as_ref()?.endpoint.as_ref())
            {
                if let (Some(seq), Some(owner)) = (endpoint.holds(address), endpoint.owner()) {
                    holders.push((owner, seq));
                }
            }
            assert_eq!(
                holders,
                Vec::from_iter(stands),
                "{address}: who holds it, and what the store says"
            );
        }
    }

    pub(crate) fn note(&mut self, id: ProcessId, what: core::fmt::Arguments<'_>) {
        self.trace.note(format_args!("{} {} {what}", self.now, id.0));
    }

    pub(crate) fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.net.conns.get_mut(&id)
    }
}

/// An address.
pub(crate) fn name(address: &str) -> Address {
    match Address::new(address) {
        Ok(address) => address,
        Err(error) => panic!("{error}"),
    }
}

/// The ticket with which a body begins.
pub(crate) fn ticket_of(body: &[u8]) -> Option<Ticket> {
    let digits = body.split(|byte| *byte == b':').next()?;
    Some(Ticket(core::str::from_utf8(digits).ok()?.parse().ok()?))
}
