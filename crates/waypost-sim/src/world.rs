//! The world: processes, links, a store and the order in which things happen.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use waypost_router::{
    Completion, Core, LinkId, Settings, StoreFailure, StoreOp, StoreReply, WhenStoreIsLost,
};
use waypost_types::{Address, Identity, Location, MonoTime};

use crate::net::{Conn, ConnId, Net};
use crate::oracle::Oracle;
use crate::process::{Kind, Process, ProcessId, Ticket};
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
    /// The store carries an operation out.
    Apply {
        asked: Asked,
        fails: bool,
        answer_at: MonoTime,
    },
    /// The second half of an operation of a store that is not atomic.
    ApplyRest {
        op: StoreOp,
    },
    Answer {
        asked: Asked,
        reply: Result<StoreReply, StoreFailure>,
    },
}

/// What a program has asked for.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) at: MonoTime,
    /// The address that it is about, if it is about one.
    pub(crate) address: Option<Address>,
    /// Whether its server was attached, so that it can succeed.
    pub(crate) can_succeed: bool,
}

/// What a router has asked of the store.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) life: u64,
    pub(crate) token: u64,
    pub(crate) op: StoreOp,
    pub(crate) at: MonoTime,
}

/// A queue of this size never fills up with what stories send while all is well.
const ROOMY: usize = 1 << 18;

/// As many routes no story needs.
const ROUTES: usize = 100;

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
    /// Operations under way.
    pub(crate) asked: BTreeMap<Ticket, Operation>,
    /// What the largest message costs in a queue.
    pub(crate) largest: usize,
    pub(crate) steps: u64,
    pub(crate) last_ticket: u64,
    checked_at: MonoTime,
    last_entry: u64,
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
            asked: BTreeMap::new(),
            largest: 0,
            steps: 0,
            last_ticket: 0,
            checked_at: MonoTime::ZERO,
            last_entry: 0,
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
            runs_since: MonoTime::ZERO,
            events: Vec::new(),
            requests: Vec::new(),
            owner: None,
            last_owner: None,
            is_fenced: false,
            held: BTreeMap::new(),
            renews: None,
            draining: false,
            observed: 0,
            gives_inboxes: false,
            own_inboxes: BTreeMap::new(),
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
        process.renews = None;
        process.draining = false;
        process.observed = 0;
        process.last_owner = None;
        process.is_fenced = false;
        process.requests.clear();
        process.runs_since = self.now;
        self.oracle.trouble(self.now);
        self.oracle.note_term(process.settings.lease_term);
        self.oracle.is_tight |= process.settings.queue_bytes_max < ROOMY
            || process.settings.inbox_bytes_max < ROOMY
            || process.settings.client_inbox_bytes_max < ROOMY
            || process.settings.in_flight_max < 1000;
        self.oracle.goes_on = process.settings.when_store_is_lost == WhenStoreIsLost::Serve
            && process.settings.routes_max >= ROUTES;
        let now = process.local(self.now);
        process.settings.seed = process.settings.seed.wrapping_add(1);
        let (settings, location) = (process.settings.clone(), process.location.clone());
        process.core = Some(match &process.kind {
            Kind::Mesh => Core::mesh(now, settings, location),
            Kind::Broker => Core::broker(settings, location),
            Kind::Attached(_) => Core::attached(settings),
        });
        let endpoint = process.core.as_mut().and_then(|core| core.endpoint.as_mut());
        if let Some(endpoint) = endpoint {
            endpoint.tell_operations();
        }
        let life = self.processes[id.0].life;
        self.note(id, format_args!("starts, life {life}"));
        self.dial_broker(id);
        self.drive(id);
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
        self.steps += 1;
        if self.is_troubled() {
            self.oracle.trouble(self.now);
        }
        if self.now >= self.checked_at + Duration::from_secs(1) {
            self.checked_at = self.now;
            self.oracle
                .check_deadlines(self.now, |life| self.runs_since(life));
            let processes = &self.processes;
            let holders = |to: &str| processes.iter().filter(|process| process.has(to)).count();
            self.oracle.check_best_effort(self.now, holders);
        }
        assert!(
            self.at_once < 100_000,
            "at {} things happen for ever: {happening:?}",
            self.now
        );
        if matches!(happening, Happening::Apply { .. } | Happening::ApplyRest { .. }) {
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
