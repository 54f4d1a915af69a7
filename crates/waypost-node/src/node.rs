//! Starting and ending a process's node: what a broker, a server of the mesh and an attached server have in common.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use waypost_router::{Completion, Core, Event, Refusal, Whose};
use waypost_session::SessionStore;
use waypost_types::{Address, Location, MonoTime, Outcome};
use waypost_wire::{Message, Role};

use crate::deadline::after;
use crate::driver::{Driver, LinkSettings};
use crate::link::{handshake_settings, serve};
use crate::link_writer::LinkHandle;
use crate::transport::{
    Accepted, Acceptor, Admission, ClusterKey, DEFAULT_HALF_OPEN_MAX, DEFAULT_LINKS_MAX, DEFAULT_WRITE_STALL,
    DialSettings, EndpointUrl, ListenSettings, Listener,
};
use crate::waiter::{Tickets, Waiter};
use crate::{ClientInbox, Settings, StartError, TlsFiles, secure, uplink};

/// How long one attempt to reach another node may take.
const DIAL_DEADLINE: Duration = Duration::from_secs(2);

/// What a node is made of.
#[derive(Debug)]
pub enum Topology {
    /// A broker.
    Broker(Arc<dyn SessionStore>),
    /// A server that is a node of the mesh itself.
    Mesh(Arc<dyn SessionStore>),
    /// A server that is attached to one of these brokers.
    Attached(Vec<String>),
}

/// How a node starts.
#[derive(Debug)]
pub struct NodeConfig {
    /// What it is made of.
    pub topology: Topology,
    /// Where it listens: `tcp://HOST:PORT` (port 0 takes a free one), `unix:PATH`. Nothing for an attached server.
    pub listen: Vec<String>,
    /// Where the others reach it, when that is not the first endpoint it listens on.
    pub advertise: Option<String>,
    /// Bounds and paces.
    pub settings: Settings,
    /// The key that all nodes of the cluster know.
    pub cluster_key: Option<ClusterKey>,
    /// What secures `tls://` links; needs the feature `tls`.
    pub tls: Option<TlsFiles>,
}

/// A running node. A clone is another handle on it; it runs until [`end`](Self::end) is called or the runtime stops.
#[derive(Debug, Clone)]
pub struct Node {
    driver: Arc<Driver>,
    settings: Arc<Settings>,
    listen_urls: Arc<[String]>,
}

impl Node {
    /// Starts a node: it listens when this returns.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left behind.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        let NodeConfig {
            topology,
            mut listen,
            advertise,
            settings,
            cluster_key,
            tls,
        } = config;
        settings.check()?;
        let attached = matches!(topology, Topology::Attached(_));
        if listen.is_empty() && !attached {
            listen.push("tcp://127.0.0.1:0".to_owned());
        }
        if attached && !listen.is_empty() {
            return Err(StartError::Setting {
                name: "listen",
                reason: "a server that is attached to a broker listens nowhere".to_owned(),
            });
        }
        let (listen_settings, dial) = secure::apply(
            tls.as_ref(),
            ListenSettings::default(),
            DialSettings::default().deadline(DIAL_DEADLINE),
        )?;
        let mut listeners = Vec::new();
        for url in &listen {
            listeners.push(bind(url, &listen_settings).await?);
        }
        let machine = settings.for_machines(rand::random());
        let (core, store, location, brokers): (Box<dyn FnOnce(MonoTime) -> Core<Waiter> + Send>, _, _, _) =
            match topology {
                Topology::Broker(store) => {
                    let here = location(advertise, &listeners)?;
                    let reached_at = here.clone();
                    let core = Box::new(move |_| Core::broker(machine, here));
                    (core, Some(store), Some(reached_at), Vec::new())
                }
                Topology::Mesh(store) => {
                    let here = location(advertise, &listeners)?;
                    let reached_at = here.clone();
                    let core = Box::new(move |now| Core::mesh(now, machine, here));
                    (core, Some(store), Some(reached_at), Vec::new())
                }
                Topology::Attached(brokers) => {
                    (Box::new(move |_| Core::attached(machine)), None, None, brokers)
                }
            };
        let link_settings = LinkSettings {
            location,
            cluster_key,
            frame_bytes_max: settings.frame_bytes_max,
            write_stall: DEFAULT_WRITE_STALL,
            stall: settings.stall,
            dial,
        };
        if attached && brokers.is_empty() {
            return Err(StartError::Setting {
                name: "broker",
                reason: "name at least one".to_owned(),
            });
        }
        for broker in &brokers {
            broker
                .parse::<EndpointUrl>()
                .map_err(|source| StartError::endpoint(broker, source))?;
        }
        let listen_urls = listeners
            .iter()
            .map(|listener| listener.local_url().to_string())
            .collect();
        let driver = Driver::new(core, store, link_settings);
        let node = Self {
            driver,
            settings: Arc::new(settings),
            listen_urls,
        };
        node.accept(listeners);
        if attached {
            node.driver.spawn(uplink::keep(Arc::clone(&node.driver), brokers));
        }
        Ok(node)
    }

    fn accept(&self, listeners: Vec<Listener>) {
        let admission = Admission::new(DEFAULT_HALF_OPEN_MAX, DEFAULT_LINKS_MAX);
        let acceptor = Acceptor::new(admission, handshake_settings(&self.driver, Role::Node));
        let (links, mut accepted) = mpsc::channel::<Accepted>(64);
        for listener in listeners {
            let (acceptor, links) = (acceptor.clone(), links.clone());
            self.driver
                .spawn(async move { acceptor.run(listener, links).await });
        }
        let driver = Arc::clone(&self.driver);
        self.driver.spawn(async move {
            while let Some(accepted) = accepted.recv().await {
                let hello = accepted.link.info.remote.clone();
                let id = driver.with(|_, core| core.router.as_mut().map(waypost_router::Router::new_link_id));
                let Some(id) = id else { return };
                let handle = Arc::new(LinkHandle::new(Whose::Router(id)));
                driver.add_link(id, Arc::clone(&handle));
                driver.with(|now, core| {
                    if let Some(router) = &mut core.router {
                        router.link_accepted(now, id, &hello);
                    }
                });
                let link_driver = Arc::clone(&driver);
                driver.spawn(async move {
                    serve(&link_driver, Whose::Router(id), accepted.link, &handle).await;
                    link_driver.link_ended(id);
                    drop(accepted.permit);
                });
            }
        });
    }

    /// Where it listens, with the ports that it really got.
    #[must_use]
    pub fn listen_urls(&self) -> &[String] {
        &self.listen_urls
    }

    /// What its router has counted; `None` for an attached server, which has none.
    #[must_use]
    pub fn counters(&self) -> Option<waypost_router::Counters> {
        self.driver.counters()
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Feeds the machines with an operation of the program's and gives what it came to. `None`: the node has ended.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo the operation.
    pub async fn call(&self, ask: impl FnOnce(MonoTime, &mut Core<Waiter>, Waiter)) -> Option<Completion> {
        if self.driver.ended.is_cancelled() {
            return None;
        }
        let (waiter, answer) = Waiter::one();
        self.driver.with(|now, core| ask(now, core, waiter));
        tokio::select! {
            answer = answer => answer.ok(),
            () = self.driver.ended.cancelled() => None,
        }
    }

    /// The same for a batch of operations, each with its own answer.
    pub async fn call_many<I>(
        &self,
        items: I,
        mut ask: impl FnMut(MonoTime, &mut Core<Waiter>, I::Item, Waiter),
    ) -> Vec<Option<Completion>>
    where
        I: IntoIterator,
    {
        let mut answers = Vec::new();
        self.driver.with(|now, core| {
            for item in items {
                let (waiter, answer) = Waiter::one();
                answers.push(answer);
                ask(now, core, item, waiter);
            }
        });
        let mut results = Vec::with_capacity(answers.len());
        for answer in answers {
            results.push(tokio::select! {
                answer = answer => answer.ok(),
                () = self.driver.ended.cancelled() => None,
            });
        }
        results
    }

    /// Feeds the machines without waiting for anything.
    pub fn tell(&self, feed: impl FnOnce(MonoTime, &mut Core<Waiter>)) {
        if !self.driver.ended.is_cancelled() {
            self.driver.with(feed);
        }
    }

    /// Sends a best-effort message at once if its way is known and free. False: nothing was done, and
    /// [`send`](Self::send) does it or says why not. `to` and `from` must be addresses.
    #[inline]
    #[must_use]
    pub fn send_now(&self, to: &str, from: &str, body: &[u8]) -> bool {
        self.driver.send_now(to, from, body)
    }

    /// [`send_now`](Self::send_now) for many, each of a sender, a client and a body: how many were sent, which are the first
    /// ones. For the one behind them nothing was done.
    #[must_use]
    pub fn send_many_now(&self, messages: &[(&str, &str, &Bytes)]) -> usize {
        self.driver.send_many_now(messages)
    }

    /// Sends a best-effort message, waiting for room up to `deadline`.
    ///
    /// # Errors
    /// [`Refusal`]; `Full` when no room came free in time.
    ///
    /// # Cancel safety
    /// Dropping the future while it waits sends nothing.
    pub async fn send(&self, message: Message, deadline: Duration) -> Result<(), Refusal> {
        let mut message = Some(message);
        self.when_room(&mut message, deadline, |now, core, message| {
            core.send(now, message)
        })
        .await
    }

    /// Sends a message at once whose outcome or reply is waited for, by `patience` from now at the latest, if its way is known
    /// and free. `None`: nothing was done, and [`send_acked`](Self::send_acked) does it or says why not. `to` and `from` must be
    /// addresses.
    #[must_use]
    pub fn send_acked_now(
        &self,
        to: &str,
        from: &str,
        body: &Bytes,
        request: bool,
        patience: Duration,
    ) -> Option<impl Future<Output = Option<Completion>> + use<>> {
        let mut answer = None;
        let is_sent = self
            .driver
            .send_acked_now([to, from], body, request, patience, || {
                let (waiter, outcome) = Waiter::one();
                answer = Some(outcome);
                waiter
            });
        let answer = answer.filter(|_| is_sent)?;
        // Who waits already when the node ends is let go.
        Some(async { answer.await.ok() })
    }

    /// Sends a message whose outcome comes back, waiting for room up to `deadline`.
    ///
    /// # Errors
    /// [`Refusal`]; `Full` when no room came free in time.
    pub async fn send_acked(
        &self,
        message: Message,
        request: bool,
        deadline: Duration,
    ) -> Result<Option<Completion>, Refusal> {
        let mut answer = None;
        self.send_acked_when_room(message, request, deadline, || {
            let (waiter, outcome) = Waiter::one();
            answer = Some(outcome);
            waiter
        })
        .await?;
        let Some(answer) = answer else { return Ok(None) };
        Ok(tokio::select! {
            answer = answer => answer.ok(),
            () = self.driver.ended.cancelled() => None,
        })
    }

    /// [`send_acked_now`](Self::send_acked_now) for a sender of many, which gets the outcome among others:
    /// see [`next_outcomes`](Self::next_outcomes). False: nothing was done, and
    /// [`send_with_ticket`](Self::send_with_ticket) does it or says why not.
    #[must_use]
    pub fn send_with_ticket_now(
        &self,
        to: &str,
        from: &str,
        body: &Bytes,
        patience: Duration,
        (tickets, ticket): (&Arc<Tickets>, u64),
    ) -> bool {
        let waiter = || Waiter::Ticket(Arc::clone(tickets), ticket);
        self.driver
            .send_acked_now([to, from], body, false, patience, waiter)
    }

    /// The same for many, each of a sender, a client and a body, with this ticket and those behind it: how many were sent, which are
    /// the first ones.
    #[must_use]
    pub fn send_many_with_tickets_now(
        &self,
        messages: &[(&str, &str, &Bytes)],
        patience: Duration,
        (tickets, first): (&Arc<Tickets>, u64),
    ) -> usize {
        let waiter = |at| Waiter::Ticket(Arc::clone(tickets), first + at as u64);
        self.driver.send_many_acked_now(messages, patience, waiter)
    }

    /// [`send_with_ticket_now`](Self::send_with_ticket_now), waiting for room up to `deadline`.
    ///
    /// # Errors
    /// [`Refusal`]; `Full` when no room came free in time. Nothing was sent then.
    ///
    /// # Cancel safety
    /// Dropping the future while it waits for room sends nothing.
    pub async fn send_with_ticket(
        &self,
        message: Message,
        deadline: Duration,
        (tickets, ticket): (&Arc<Tickets>, u64),
    ) -> Result<(), Refusal> {
        let waiter = || Waiter::Ticket(Arc::clone(tickets), ticket);
        self.send_acked_when_room(message, false, deadline, waiter).await
    }

    async fn send_acked_when_room(
        &self,
        message: Message,
        request: bool,
        deadline: Duration,
        mut waiter: impl FnMut() -> Waiter,
    ) -> Result<(), Refusal> {
        let mut message = Some(message);
        let until = self.driver.now() + deadline;
        self.when_room(&mut message, deadline, |now, core, message| {
            core.send_acked(now, message, request, until, &mut waiter)
        })
        .await
    }

    /// Moves outcomes that have come for a sender of many into `into`, waiting while there are none. False: the node has
    /// ended, and no more will come.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next_outcomes(&self, tickets: &Tickets, into: &mut VecDeque<(u64, Outcome)>) -> bool {
        loop {
            let has_ended = self.driver.ended.is_cancelled();
            tickets.take(into);
            if !into.is_empty() {
                return true;
            }
            if has_ended {
                return false;
            }
            tokio::select! {
                () = tickets.ready() => {}
                () = self.driver.ended.cancelled() => {}
            }
        }
    }

    /// Tries until there is room, in turn with others that send to the same address.
    async fn when_room(
        &self,
        message: &mut Option<Message>,
        patience: Duration,
        mut attempt: impl FnMut(MonoTime, &mut Core<Waiter>, &mut Option<Message>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let turns = &self.driver.turns;
        if message
            .as_ref()
            .is_some_and(|message| !turns.is_queued(message.to()))
        {
            match self.driver.with(|now, core| attempt(now, core, message)) {
                Err(Refusal::Full) => {}
                result => return result,
            }
        }
        // Nothing is awaited between the attempt and this: whoever comes later finds the queue.
        let to = message
            .as_ref()
            .map(|message| message.to().to_owned())
            .unwrap_or_default();
        let place = turns.join(&to);
        let deadline = after(patience);
        let turn = place.turn.lock();
        let _turn = tokio::time::timeout_at(deadline, turn)
            .await
            .map_err(|_| Refusal::Full)?;
        loop {
            if self.driver.ended.is_cancelled() {
                return Err(Refusal::NotRegistered);
            }
            // Interest is registered before trying, so that room which comes free in between is not missed.
            let room = self.driver.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match self.driver.with(|now, core| attempt(now, core, message)) {
                Err(Refusal::Full) => {}
                result => return result,
            }
            if tokio::time::timeout_at(deadline, room).await.is_err() {
                return Err(Refusal::Full);
            }
        }
    }

    /// Moves up to `max` events out, waiting while there is none. False: the node has ended.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn read_events(&self, into: &mut VecDeque<Event>, max: usize) -> bool {
        loop {
            self.driver.take_events(into, max);
            if !into.is_empty() {
                return true;
            }
            if self.driver.ended.is_cancelled() {
                return false;
            }
            tokio::select! {
                () = self.driver.readable.notified() => {}
                () = self.driver.ended.cancelled() => {}
            }
        }
    }

    /// Moves up to `max` events out that are there already.
    pub fn try_read_events(&self, into: &mut VecDeque<Event>, max: usize) {
        self.driver.take_events(into, max);
    }

    /// Gives a connected client an inbox of its own; `None` when it is not connected here.
    #[must_use]
    pub fn open_client_inbox(&self, client: &Address) -> Option<ClientInbox> {
        let reader = self.driver.open_client_inbox(client)?;
        let (driver, client) = (Arc::clone(&self.driver), client.clone());
        Some(ClientInbox {
            driver,
            client,
            reader,
            ahead: VecDeque::new(),
        })
    }

    /// Whether the node has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.driver.ended.is_cancelled()
    }

    /// Tells every link that this node ends, and waits until all are closed or `deadline` has passed.
    pub async fn go_away(&self, deadline: Duration) {
        self.tell(|_, core| {
            if let Some(router) = &mut core.router {
                router.go_away();
            }
        });
        let until = after(deadline);
        loop {
            let room = self.driver.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.driver.links_len() == 0 || tokio::time::timeout_at(until, room).await.is_err() {
                return;
            }
        }
    }

    /// Ends links, tasks and sockets. A second call does nothing.
    pub async fn end(&self) {
        self.driver.end().await;
    }
}

async fn bind(url: &str, settings: &ListenSettings) -> Result<Listener, StartError> {
    let endpoint: EndpointUrl = url.parse().map_err(|source| StartError::endpoint(url, source))?;
    Listener::bind(&endpoint, settings)
        .await
        .map_err(|source| StartError::Listen {
            url: url.to_owned(),
            source,
        })
}

/// Where the others reach this node.
fn location(advertise: Option<String>, listeners: &[Listener]) -> Result<Location, StartError> {
    let invalid = |reason: &str| StartError::Setting {
        name: "advertise",
        reason: reason.to_owned(),
    };
    let url = match (advertise, listeners.first()) {
        (Some(url), _) => {
            url.parse::<EndpointUrl>()
                .map_err(|source| StartError::endpoint(&url, source))?;
            url
        }
        (None, Some(listener)) if listener.local_url().is_wildcard() => {
            return Err(invalid(
                "it listens on every interface, so say by which URL the other nodes reach it",
            ));
        }
        (None, Some(listener)) => match listener.local_url() {
            EndpointUrl::Unix { path } => {
                let path =
                    std::path::absolute(path).map_err(|_| invalid("the socket's path is not valid"))?;
                format!("unix:{}", path.display())
            }
            url => url.to_string(),
        },
        (None, None) => return Err(invalid("nothing to listen on")),
    };
    Location::new(&url).map_err(|error| invalid(&error.to_string()))
}
