//! Which server holds which partition.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redis::{Pipeline, Value};
use tokio::time::{Instant, timeout_at};
use waypost_session::{ErrorKind, StoreError};

use crate::dial::Dialler;
use crate::fault::Fault;
use crate::keys::{PLACES, slots};
use crate::node::{Node, RETRY_PAUSE, Role};
use crate::reply::{array, number, text};
use crate::settings::{Deployment, Settings};

/// Who holds what, at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) nodes: Vec<Arc<Node>>,
    /// The node of each place, as an index into `nodes`; `None` when the cluster says that nobody holds it.
    pub(crate) holders: Vec<Option<usize>>,
}

impl View {
    fn of_one(node: Arc<Node>) -> Self {
        Self {
            nodes: vec![node],
            holders: vec![Some(0); PLACES],
        }
    }
}

/// Knows who holds what, and asks again when there are signs that it changed.
pub(crate) struct Topology {
    settings: Settings,
    dialler: Dialler,
    sentinels: Vec<Arc<Node>>,
    view: RwLock<Option<Arc<View>>>,
    stale: AtomicBool,
    closed: AtomicBool,
    /// Where asking begins, so that one that hangs is not asked first every time.
    turn: AtomicUsize,
    nodes: Mutex<HashMap<String, Arc<Node>>>,
    /// Held by the one who asks; when asking last ended, and how it failed.
    asking: tokio::sync::Mutex<Option<(Instant, Option<Fault>)>>,
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topology")
            .field("settings", &self.settings)
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

impl Topology {
    pub(crate) fn new(settings: Settings) -> Result<Self, StoreError> {
        let open = |fault: Fault| fault.into_error(crate::fault::Verb::read("open"), false);
        let dialler = Dialler::new(&settings)?;
        let sentinels = match &settings.deployment {
            Deployment::Sentinel { authenticate, .. } => {
                let dialler = dialler.for_sentinels(*authenticate);
                let timeout = settings.timeout / 4;
                settings
                    .hosts
                    .iter()
                    .map(|(host, port)| Node::new(&dialler, host, *port, Role::Any, timeout))
                    .collect::<Result<_, _>>()
                    .map_err(open)?
            }
            Deployment::Single | Deployment::Cluster => Vec::new(),
        };
        Ok(Self {
            settings,
            dialler,
            sentinels,
            view: RwLock::new(None),
            stale: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
            nodes: Mutex::new(HashMap::new()),
            asking: tokio::sync::Mutex::new(None),
        })
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.settings.prefix
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.settings.deployment == Deployment::Cluster
    }

    /// Something says that the view is out of date: the next call asks again.
    pub(crate) fn doubt(&self) {
        if self.settings.deployment != Deployment::Single {
            self.stale.store(true, Ordering::Release);
        }
    }

    /// Ends all connections; nothing is answered any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let nodes = core::mem::take(&mut *self.nodes.lock().unwrap_or_else(PoisonError::into_inner));
        for node in nodes.values().chain(&self.sentinels) {
            node.disconnect();
        }
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Who holds what, as far as is known.
    pub(crate) async fn view(&self, deadline: Instant) -> Result<Arc<View>, Fault> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Fault::new(ErrorKind::Unavailable, "the handle is closed"));
        }
        if let Some(view) = self.fresh() {
            return Ok(view);
        }
        let Ok(mut last) = timeout_at(deadline, self.asking.lock()).await else {
            return Err(Fault::new(
                ErrorKind::Unavailable,
                "still finding out who holds what",
            ));
        };
        if let Some(view) = self.fresh() {
            return Ok(view);
        }
        if let Some((at, fault)) = &*last
            && at.elapsed() < RETRY_PAUSE
        {
            // The old view may still do; a first one there is not.
            return self.known().ok_or_else(|| {
                fault
                    .clone()
                    .unwrap_or_else(|| Fault::new(ErrorKind::Unavailable, "the handle is closed"))
            });
        }
        // Before asking: a doubt that arises meanwhile counts.
        self.stale.store(false, Ordering::Release);
        let until = deadline.min(Instant::now() + self.settings.timeout / 2);
        let result = match &self.settings.deployment {
            Deployment::Single => self.single(),
            Deployment::Sentinel { master, .. } => self.ask_sentinels(master, until).await,
            Deployment::Cluster => self.ask_cluster(until).await,
        };
        match result {
            Ok(view) => {
                *last = Some((Instant::now(), None));
                let view = Arc::new(view);
                *self.view.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&view));
                Ok(view)
            }
            Err(fault) => {
                tracing::debug!(error = %fault.message, "cannot find out who holds what");
                *last = Some((Instant::now(), Some(fault.clone())));
                self.stale.store(true, Ordering::Release);
                // Sentinels that are down must not stop a master that is up.
                self.known().ok_or(fault)
            }
        }
    }

    fn known(&self) -> Option<Arc<View>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fresh(&self) -> Option<Arc<View>> {
        if self.stale.load(Ordering::Acquire) {
            None
        } else {
            self.known()
        }
    }

    /// The server at an address, with the connection that it has.
    pub(crate) fn node(&self, host: &str, port: u16) -> Result<Arc<Node>, Fault> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let name = crate::node::address(host, port);
        if let Some(node) = nodes.get(&name) {
            return Ok(Arc::clone(node));
        }
        let role = if self.is_cluster() {
            Role::Any
        } else {
            Role::Master
        };
        let node = Node::new(&self.dialler, host, port, role, self.settings.timeout / 2)?;
        nodes.insert(name, Arc::clone(&node));
        Ok(node)
    }

    /// Forgets the servers that hold nothing.
    fn keep_only(&self, view: &View) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|_, node| view.nodes.iter().any(|kept| Arc::ptr_eq(kept, node)));
    }

    fn single(&self) -> Result<View, Fault> {
        let (host, port) = &self.settings.hosts[0];
        Ok(View::of_one(self.node(host, *port)?))
    }

    async fn ask_sentinels(&self, master: &str, deadline: Instant) -> Result<View, Fault> {
        let mut ask = Pipeline::with_capacity(1);
        ask.cmd("SENTINEL").arg("get-master-addr-by-name").arg(master);
        let mut last = Fault::new(ErrorKind::Unavailable, "no sentinel answers");
        for sentinel in self.in_turn(&self.sentinels) {
            let until = deadline.min(Instant::now() + self.settings.timeout / 4);
            match sentinel.send(&ask, until).await.map(|mut values| values.pop()) {
                Ok(Some(Value::Array(answer))) if answer.len() == 2 => {
                    let port = number(&answer[1])?
                        .try_into()
                        .map_err(|_| crate::reply::strange())?;
                    let host = text(&answer[0]).ok_or_else(crate::reply::strange)?;
                    let view = View::of_one(self.node(host, port)?);
                    self.keep_only(&view);
                    return Ok(view);
                }
                Ok(Some(Value::ServerError(error))) => {
                    last = sentinel.redactor().reply(sentinel.addr(), &error)
                }
                Ok(_) => {
                    let message = format!("{}: this sentinel knows no master `{master}`", sentinel.addr());
                    last = Fault::new(ErrorKind::Unavailable, message);
                }
                // A question has changed nothing.
                Err(fault) => last = Fault { sent: false, ..fault },
            }
        }
        Err(last)
    }

    async fn ask_cluster(&self, deadline: Instant) -> Result<View, Fault> {
        let mut ask = Pipeline::with_capacity(1);
        ask.cmd("CLUSTER").arg("SLOTS");
        let mut candidates: Vec<_> = self.known().map(|view| view.nodes.clone()).unwrap_or_default();
        for (host, port) in &self.settings.hosts {
            let node = self.node(host, *port)?;
            if !candidates.iter().any(|known| Arc::ptr_eq(known, &node)) {
                candidates.push(node);
            }
        }
        let mut last = Fault::new(ErrorKind::Unavailable, "no node of the cluster answers");
        for node in self.in_turn(&candidates) {
            let until = deadline.min(Instant::now() + self.settings.timeout / 4);
            match node.send(&ask, until).await.map(|mut values| values.pop()) {
                Ok(Some(Value::ServerError(error))) if error.code() == "ERR" => {
                    let message = format!(
                        "{}: not a cluster node: use redis:// for a single server",
                        node.addr()
                    );
                    last = Fault::new(ErrorKind::ConfigInvalid, message);
                }
                Ok(Some(Value::ServerError(error))) => last = node.redactor().reply(node.addr(), &error),
                Ok(Some(answer)) => {
                    let view = self.read_slots(answer, node.addr())?;
                    self.keep_only(&view);
                    return Ok(view);
                }
                Ok(None) => last = crate::reply::strange(),
                Err(fault) => last = Fault { sent: false, ..fault },
            }
        }
        Err(last)
    }

    /// Reads `CLUSTER SLOTS`: ranges, each with its master first.
    fn read_slots(&self, answer: Value, asked: &str) -> Result<View, Fault> {
        let slots = slots();
        let mut view = View {
            nodes: Vec::new(),
            holders: vec![None; PLACES],
        };
        for range in array(answer)? {
            let range = array(range)?;
            let [from, to, master, ..] = range.as_slice() else {
                return Err(crate::reply::strange());
            };
            let (from, to) = (number(from)?, number(to)?);
            let Value::Array(master) = master else {
                return Err(crate::reply::strange());
            };
            let [host, port, ..] = master.as_slice() else {
                return Err(crate::reply::strange());
            };
            // A node that does not know its own name means the one by which it was reached.
            let host = text(host)
                .filter(|host| !host.is_empty() && *host != "?")
                .unwrap_or_else(|| {
                    asked
                        .rsplit_once(':')
                        .map_or(asked, |(host, _)| host.trim_matches(['[', ']']))
                });
            let port = number(port)?.try_into().map_err(|_| crate::reply::strange())?;
            let node = self.node(host, port)?;
            let index = view
                .nodes
                .iter()
                .position(|known| Arc::ptr_eq(known, &node))
                .unwrap_or_else(|| {
                    view.nodes.push(node);
                    view.nodes.len() - 1
                });
            for (holder, slot) in view.holders.iter_mut().zip(slots) {
                if (from..=to).contains(&u64::from(slot)) {
                    *holder = Some(index);
                }
            }
        }
        if view.nodes.is_empty() {
            return Err(Fault::new(
                ErrorKind::Unavailable,
                format!("{asked}: no slots are assigned in this cluster"),
            ));
        }
        Ok(view)
    }

    /// All of them, beginning with another one each time.
    fn in_turn<'a>(&self, nodes: &'a [Arc<Node>]) -> impl Iterator<Item = &'a Arc<Node>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len().max(1);
        nodes.iter().cycle().skip(first).take(nodes.len())
    }
}
