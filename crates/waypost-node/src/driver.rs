//! The driver: owns the pure machines behind one lock, feeds them, and carries out what comes out.
//!
//! Nothing waits under the lock: frames are handled a batch at a time and queued inside the machines, and sockets, the
//! datastore and the program are served outside it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waypost_router::{Command, Completion, Core, Event, LinkId, Outgoing, Whose};
use waypost_session::SessionStore;
use waypost_types::{Address, Location, MonoTime};

use crate::link_writer::LinkHandle;
use crate::store;
use crate::transport::{ClusterKey, DialSettings};
use crate::turns::Turns;
use crate::waiter::{self, Waiter};

/// What all tasks of one process share.
#[derive(Debug)]
pub(crate) struct Driver {
    state: Mutex<State>,
    started: Instant,
    /// When the timer task will look next, in microseconds of this driver's clock.
    armed: AtomicU64,
    timer: Notify,
    /// Room came free in some queue.
    pub(crate) room: Notify,
    /// The program has something to read.
    pub(crate) readable: Notify,
    pub(crate) store: Option<Arc<dyn SessionStore>>,
    pub(crate) link_settings: LinkSettings,
    pub(crate) ended: CancellationToken,
    /// The same, for those who ask at every message.
    is_over: AtomicBool,
    pub(crate) tasks: TaskTracker,
    runtime: Handle,
    pub(crate) turns: Turns,
}

/// How links are opened.
#[derive(Debug, Clone)]
pub(crate) struct LinkSettings {
    pub(crate) location: Option<Location>,
    pub(crate) cluster_key: Option<ClusterKey>,
    pub(crate) frame_bytes_max: usize,
    pub(crate) write_stall: Duration,
    pub(crate) stall: Duration,
    pub(crate) dial: DialSettings,
}

#[derive(Debug)]
struct State {
    core: Core<Waiter>,
    links: HashMap<LinkId, Arc<LinkHandle>>,
    /// The link of an attached peer to its broker.
    uplink: Option<Arc<LinkHandle>>,
    /// The readers of clients' own inboxes.
    client_readers: HashMap<Address, Arc<Notify>>,
    woken_clients: Vec<Address>,
    woken: Vec<LinkId>,
    done: Vec<(Waiter, Completion)>,
}

impl State {
    /// Wakes the writers that were idle and have something to write now, but for one: when its link is quiet, or so much waits
    /// that to write it here is quicker than to hand it on, that is for the caller to write, once the lock is free.
    fn wake_writers(&mut self, now: impl Fn() -> MonoTime) -> Option<Arc<LinkHandle>> {
        let uplink = self.uplink.as_ref();
        let (woken, is_worth_it) = match (&mut self.core.router, &mut self.core.endpoint) {
            (Some(router), _) => {
                router.take_woken(&mut self.woken);
                let mut last = None;
                for id in self.woken.drain(..) {
                    if let Some(link) = self.links.get(&id)
                        && let Some((earlier, _)) = last.replace((link, id))
                    {
                        earlier.wake();
                    }
                }
                last.map(|(link, id)| (link, router.is_worth_a_write(id)))
            }
            (None, Some(endpoint)) => uplink
                .filter(|_| endpoint.take_woken())
                .map(|link| (link, endpoint.is_worth_a_write())),
            (None, None) => None,
        }?;
        if woken.is_quiet(now().as_micros()) || is_worth_it {
            return Some(Arc::clone(woken));
        }
        woken.wake();
        None
    }
}

impl Driver {
    pub(crate) fn new(
        core: impl FnOnce(MonoTime) -> Core<Waiter>,
        store: Option<Arc<dyn SessionStore>>,
        link_settings: LinkSettings,
    ) -> Arc<Self> {
        let driver = Arc::new(Self {
            state: Mutex::new(State {
                core: core(MonoTime::ZERO),
                links: HashMap::new(),
                uplink: None,
                client_readers: HashMap::new(),
                woken_clients: Vec::new(),
                woken: Vec::new(),
                done: Vec::new(),
            }),
            started: Instant::now(),
            armed: AtomicU64::new(0),
            timer: Notify::new(),
            room: Notify::new(),
            readable: Notify::new(),
            store,
            link_settings,
            ended: CancellationToken::new(),
            is_over: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            turns: Turns::default(),
        });
        driver.spawn(Arc::clone(&driver).keep_time());
        driver
    }

    pub(crate) fn now(&self) -> MonoTime {
        MonoTime::from_micros(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Spawns a task that ends with the driver at the latest.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        let task = async move {
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = task => {}
            }
        };
        // The program may call from a thread of its own.
        self.tasks.spawn_on(task, &self.runtime);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug in a machine, which has then stopped between two steps; the others go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feeds the machines and carries out what comes of it.
    pub(crate) fn with<R>(self: &Arc<Self>, feed: impl FnOnce(MonoTime, &mut Core<Waiter>) -> R) -> R {
        let mut state = self.lock();
        let now = self.now();
        let result = feed(now, &mut state.core);
        self.settle(state, now);
        result
    }

    /// Sends a best-effort message if its way is known and free and nobody waits to send before it. False: nothing was
    /// done.
    #[inline]
    pub(crate) fn send_now(&self, to: &str, from: &str, body: &[u8]) -> bool {
        if self.turns.is_any() || self.is_over.load(Ordering::Acquire) {
            return false;
        }
        let mut state = self.lock();
        if !state.core.send_now(to, from, body) {
            return false;
        }
        self.write_if_quiet(state);
        true
    }

    /// The same for many, each of a sender, a client and a body: how many were sent, which are the first ones.
    pub(crate) fn send_many_now(&self, messages: &[(&str, &str, &Bytes)]) -> usize {
        if self.turns.is_any() || self.is_over.load(Ordering::Acquire) {
            return 0;
        }
        let mut state = self.lock();
        let sent = state.core.send_many_now(messages);
        self.write_if_quiet(state);
        sent
    }

    #[inline]
    fn write_if_quiet(&self, mut state: MutexGuard<'_, State>) {
        let quiet = state.wake_writers(|| self.now());
        drop(state);
        if let Some(link) = quiet {
            link.write_now(self);
        }
    }

    /// The same for many whose outcomes are waited for, for so long at the most. The waiters are asked for by their places.
    pub(crate) fn send_many_acked_now(
        &self,
        messages: &[(&str, &str, &Bytes)],
        patience: Duration,
        waiter: impl Fn(usize) -> Waiter,
    ) -> usize {
        if self.turns.is_any() {
            return 0;
        }
        let mut state = self.lock();
        if self.is_over.load(Ordering::Acquire) {
            return 0;
        }
        let now = self.now();
        let (sent, due) = state
            .core
            .send_many_acked_now(now, messages, now + patience, waiter);
        self.sent_acked(state, now, due);
        sent
    }

    /// The same for a message whose outcome or reply is waited for, for so long at the most.
    pub(crate) fn send_acked_now(
        &self,
        names: [&str; 2],
        body: &Bytes,
        request: bool,
        patience: Duration,
        waiter: impl FnOnce() -> Waiter,
    ) -> bool {
        if self.turns.is_any() {
            return false;
        }
        let mut state = self.lock();
        if self.is_over.load(Ordering::Acquire) {
            return false;
        }
        let now = self.now();
        let due = state
            .core
            .send_acked_now(now, names, body, request, now + patience, waiter);
        self.sent_acked(state, now, due);
        due.is_some()
    }

    /// `due`: when something is to be done about what was sent; `None`: nothing was.
    #[inline]
    fn sent_acked(&self, mut state: MutexGuard<'_, State>, now: MonoTime, due: Option<MonoTime>) {
        let Some(due) = due else { return };
        let quiet = state.wake_writers(|| now);
        drop(state);
        if let Some(link) = quiet {
            link.write_now(self);
        }
        self.arm(due.as_micros());
    }

    /// Lets the machines settle and carries out what comes out of them.
    fn settle(self: &Arc<Self>, mut state: MutexGuard<'_, State>, now: MonoTime) {
        state.core.pump(now);
        let quiet = state.wake_writers(|| now);
        let mut commands = Vec::new();
        let mut freed = false;
        let State {
            core,
            links,
            uplink,
            client_readers,
            woken_clients,
            done,
            ..
        } = &mut *state;
        if let Some(router) = &mut core.router {
            while let Some(command) = router.poll_command() {
                commands.push(command);
            }
            freed |= router.take_room_freed();
        }
        let mut readable = false;
        if let Some(endpoint) = &mut core.endpoint {
            endpoint.take_done(done);
            freed |= endpoint.take_room_freed();
            readable = endpoint.wakes_program();
            endpoint.take_woken_clients(woken_clients);
            for client in woken_clients.drain(..) {
                if let Some(reader) = client_readers.get(&client) {
                    reader.notify_one();
                }
            }
            if let Some(uplink) = uplink
                && endpoint.wants_link_closed()
            {
                uplink.close();
            }
        }
        for command in &commands {
            if let Command::Close { link, .. } = command
                && let Some(link) = links.get(link)
            {
                link.close();
            }
        }
        let next = core.next_timeout().unwrap_or(MonoTime::MAX).as_micros();
        let done = std::mem::take(done);
        drop(state);
        self.arm(next);
        waiter::tell(done);
        if readable {
            self.readable.notify_one();
        }
        if freed {
            self.room.notify_waiters();
        }
        if let Some(link) = quiet {
            link.write_now(self);
        }
        for command in commands {
            self.carry_out(command);
        }
    }

    fn carry_out(self: &Arc<Self>, command: Command) {
        match command {
            Command::Store { token, op } => {
                let Some(store) = self.store.clone() else { return };
                let driver = Arc::clone(self);
                self.spawn(async move {
                    let reply = store::call(&*store, op).await;
                    driver.with(|now, core| {
                        if let Some(router) = &mut core.router {
                            router.store_done(now, token, reply);
                        }
                    });
                });
            }
            Command::Dial { link, location } => {
                self.spawn(crate::link::dial_node(Arc::clone(self), link, location));
            }
            Command::Close { link, code, text } => {
                tracing::debug!(link = link.0, ?code, text, "closing a link");
            }
            _ => {}
        }
    }

    /// Makes a link known, so that it is woken and closed when the machines want it.
    pub(crate) fn add_link(self: &Arc<Self>, id: LinkId, handle: Arc<LinkHandle>) {
        self.lock().links.insert(id, handle);
    }

    pub(crate) fn counters(&self) -> Option<waypost_router::Counters> {
        let state = self.lock();
        Some(state.core.router.as_ref()?.counters())
    }

    pub(crate) fn links_len(&self) -> usize {
        self.lock().links.len()
    }

    pub(crate) fn link_ended(self: &Arc<Self>, id: LinkId) {
        self.lock().links.remove(&id);
        self.with(|now, core| {
            if let Some(router) = &mut core.router {
                router.link_closed(now, id);
            }
        });
        self.room.notify_waiters();
    }

    pub(crate) fn set_uplink(self: &Arc<Self>, handle: Option<Arc<LinkHandle>>) {
        let up = handle.is_some();
        self.lock().uplink = handle;
        self.with(|now, core| {
            if let Some(endpoint) = &mut core.endpoint {
                if up {
                    endpoint.link_up(now)
                } else {
                    endpoint.link_down(now)
                }
            }
        });
        self.room.notify_waiters();
    }

    /// Moves events for the program out.
    pub(crate) fn take_events(self: &Arc<Self>, into: &mut VecDeque<Event>, max: usize) {
        let freed = match &mut self.lock().core.endpoint {
            Some(endpoint) => endpoint.take_events(into, max),
            None => false,
        };
        if freed {
            self.room.notify_waiters();
        }
    }

    /// Moves what is to be written to a link out; what was moved before counts as written.
    pub(crate) fn take_outgoing(&self, whose: Whose, into: &mut Vec<Outgoing>, bytes_max: usize) {
        let mut state = self.lock();
        let freed = match (whose, &mut state.core) {
            (
                Whose::Router(id),
                Core {
                    router: Some(router), ..
                },
            ) => {
                router.take_outgoing(id, into, bytes_max);
                router.take_room_freed()
            }
            (
                Whose::Endpoint,
                Core {
                    endpoint: Some(endpoint),
                    ..
                },
            ) => endpoint.take_outgoing(self.now(), into, bytes_max),
            _ => false,
        };
        drop(state);
        if freed {
            self.room.notify_waiters();
        }
    }

    /// Gives a client an inbox of its own; `None` when it is not connected here.
    pub(crate) fn open_client_inbox(self: &Arc<Self>, client: &Address) -> Option<Arc<Notify>> {
        let mut state = self.lock();
        if !state.core.endpoint.as_mut()?.open_client_inbox(client) {
            return None;
        }
        let reader = Arc::new(Notify::new());
        if let Some(earlier) = state.client_readers.insert(client.clone(), Arc::clone(&reader)) {
            earlier.notify_one();
        }
        Some(reader)
    }

    /// Moves events of a client's own inbox out; false when it has ended, or `reader` is not its reader any more.
    pub(crate) fn take_client_events(
        &self,
        client: &Address,
        reader: &Arc<Notify>,
        into: &mut VecDeque<Event>,
        max: usize,
    ) -> bool {
        let mut state = self.lock();
        if !state
            .client_readers
            .get(client)
            .is_some_and(|current| Arc::ptr_eq(current, reader))
        {
            return false;
        }
        let State {
            core, client_readers, ..
        } = &mut *state;
        let goes_on = core
            .endpoint
            .as_mut()
            .is_some_and(|e| e.take_client_events(client.as_str(), into, max));
        if !goes_on {
            client_readers.remove(client);
        }
        goes_on
    }

    /// The program reads a client's own inbox no longer.
    pub(crate) fn close_client_inbox(&self, client: &Address, reader: &Arc<Notify>) {
        let mut state = self.lock();
        if state
            .client_readers
            .get(client)
            .is_some_and(|current| Arc::ptr_eq(current, reader))
        {
            state.client_readers.remove(client);
            if let Some(endpoint) = &mut state.core.endpoint {
                endpoint.close_client_inbox(client.as_str());
            }
        }
    }

    /// Has the timer task look at `next` at the latest.
    fn arm(&self, next: u64) {
        if next < self.armed.fetch_min(next, Ordering::AcqRel) {
            self.timer.notify_one();
        }
    }

    async fn keep_time(self: Arc<Self>) {
        loop {
            let next = self.with(|now, core| {
                if core.next_timeout().is_some_and(|due| due <= now) {
                    core.handle_timeout(now);
                }
                core.next_timeout()
            });
            let next = next.unwrap_or(MonoTime::MAX);
            self.armed.store(next.as_micros(), Ordering::Release);
            // What changed between the look and the store has found an earlier time armed: look once more.
            let changed = self.lock().core.next_timeout().is_some_and(|due| due < next);
            if !changed {
                self.wait_for_armed().await;
            }
        }
    }

    /// Waits until the time that is armed, also if nothing is due then any more: to look whenever something comes up that is over
    /// soon, as the wait for a reply is, would cost another thread's wake-up each time.
    async fn wait_for_armed(&self) {
        loop {
            let armed = MonoTime::from_micros(self.armed.load(Ordering::Acquire));
            let wait = armed.since(self.now()).min(Duration::from_secs(3600));
            tokio::select! {
                () = tokio::time::sleep(wait) => return,
                () = self.timer.notified() => {}
            }
        }
    }

    /// Ends all tasks and waits for them.
    pub(crate) async fn end(&self) {
        {
            let mut state = self.lock();
            // Under the lock: nobody begins to wait for an outcome after this.
            self.is_over.store(true, Ordering::Release);
            if let Some(endpoint) = &mut state.core.endpoint {
                endpoint.abandon_sends();
            }
        }
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.readable.notify_one();
        self.room.notify_waiters();
    }
}
