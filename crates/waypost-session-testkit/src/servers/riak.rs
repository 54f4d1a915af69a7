//! A stand-in for Riak KV nodes, over HTTP. **Not Riak**: it is written from recorded exchanges with a real node, and a test
//! holds it to them.
//!
//! Three replicas of every object with vclocks, siblings and tombstones, spread over the nodes; messages between them take
//! time, so that concurrent writes through different nodes make siblings; nodes that stop, with fallbacks and handoff;
//! and answers that real nodes give when something is wrong.

mod clock;
mod cluster;
mod dates;
mod fault;
mod http;
mod props;
mod replica;
mod routes;
mod tls;

use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use fault::RiakFault;

use cluster::Cluster;

/// How long a node that starts knows no route, and how long it is not ready then.
const NO_ROUTE: Duration = Duration::from_millis(50);
const NOT_READY: Duration = Duration::from_millis(300);

/// What a stand-in is to be like.
#[derive(Debug, Clone)]
pub struct RiakOptions {
    nodes: usize,
    delay: Duration,
    seed: u64,
    credentials: Option<(String, String)>,
    tls: bool,
    gossip: Duration,
}

impl Default for RiakOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RiakOptions {
    /// One node, whose replicas answer at once, without users.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            nodes: 1,
            delay: Duration::ZERO,
            seed: 1,
            credentials: None,
            tls: false,
            gossip: Duration::ZERO,
        }
    }

    /// So many nodes, at least one.
    #[must_use]
    pub const fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = if nodes == 0 { 1 } else { nodes };
        self
    }

    /// Each message to a replica takes up to that long, at random.
    #[must_use]
    pub const fn delay(mut self, longest: Duration) -> Self {
        self.delay = longest;
        self
    }

    /// So long after one node the others learn of a bucket's properties.
    #[must_use]
    pub const fn gossip(mut self, after: Duration) -> Self {
        self.gossip = after;
        self
    }

    /// What decides the delays and which requests fail.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Demands basic authentication, which goes by [`tls`](Self::tls) alone.
    #[must_use]
    pub fn credentials(mut self, username: &str, password: &str) -> Self {
        self.credentials = Some((username.to_owned(), password.to_owned()));
        self
    }

    /// Answers by TLS alone, under a certificate of its own.
    #[must_use]
    pub const fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Starts the nodes on free ports.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub async fn start(self) -> io::Result<RiakStandIn> {
        let cluster = Arc::new(Cluster::new(self.nodes, self.delay, self.gossip, self.seed));
        let tls = self.tls.then(tls::Tls::new).transpose()?;
        let mut nodes = Vec::new();
        for index in 0..self.nodes {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let port = listener.local_addr()?.port();
            let authorization = self
                .credentials
                .as_ref()
                .map(|(user, password)| http::basic(user, password));
            let acceptor = tls.as_ref().map(tls::Tls::acceptor);
            let node = http::Node::new(index, Arc::clone(&cluster), authorization, acceptor);
            let node = Arc::new(node);
            let task = tokio::spawn(http::serve(listener, Arc::clone(&node)));
            nodes.push(Running {
                port,
                node,
                task: Mutex::new(Some(task)),
            });
        }
        Ok(RiakStandIn {
            nodes,
            cluster,
            credentials: self.credentials,
            tls,
        })
    }
}

#[derive(Debug)]
struct Running {
    port: u16,
    node: Arc<http::Node>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Stand-in nodes that run. They end with this value.
#[derive(Debug)]
pub struct RiakStandIn {
    nodes: Vec<Running>,
    cluster: Arc<Cluster>,
    credentials: Option<(String, String)>,
    tls: Option<tls::Tls>,
}

impl RiakStandIn {
    /// The store URL of all nodes.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(&(0..self.nodes.len()).collect::<Vec<_>>())
    }

    /// The store URL of some nodes, by their indexes.
    #[must_use]
    pub fn url_of(&self, nodes: &[usize]) -> String {
        let hosts: Vec<String> = nodes
            .iter()
            .filter_map(|index| self.nodes.get(*index))
            .map(|running| format!("127.0.0.1:{}", running.port))
            .collect();
        let user = self
            .credentials
            .as_ref()
            .map(|(user, password)| format!("{user}:{password}@"))
            .unwrap_or_default();
        let scheme = if self.tls.is_some() {
            "riak+https"
        } else {
            "riak+http"
        };
        format!("{scheme}://{user}{}/test", hosts.join(","))
    }

    /// The PEM file by which clients trust nodes that answer by TLS.
    #[must_use]
    pub fn ca_file(&self) -> Option<std::path::PathBuf> {
        self.tls.as_ref().map(tls::Tls::ca_file)
    }

    /// The port of a node.
    #[must_use]
    pub fn port(&self, node: usize) -> Option<u16> {
        self.nodes.get(node).map(|running| running.port)
    }

    /// A node goes on with requests like this: `fault` befalls each with this probability, until it is told otherwise.
    pub fn disturb(&self, node: usize, fault: RiakFault, probability: f64) {
        if let Some(running) = self.nodes.get(node) {
            running.node.faults().disturb(fault, probability);
        }
    }

    /// `fault` befalls the next `count` requests of a node.
    pub fn disturb_next(&self, node: usize, fault: RiakFault, count: usize) {
        if let Some(running) = self.nodes.get(node) {
            running.node.faults().disturb_next(fault, count);
        }
    }

    /// No node is disturbed any more.
    pub fn calm(&self) {
        for running in &self.nodes {
            running.node.faults().calm();
        }
    }

    /// Stops a node: its port refuses, its connections break, and fallbacks stand in for its replicas.
    pub async fn stop(&self, node: usize) {
        if let Some(running) = self.nodes.get(node) {
            self.cluster.set_up(node, false);
            let task = running.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            running.node.hang_up();
            if let Some(task) = task {
                task.abort();
                let _ = task.await;
            }
        }
    }

    /// Starts a node again, on the same port. As real ones it knows no route at first, and then is not ready for a while although
    /// `/ping` answers (fractions of a second here, ten seconds there). Then the fallbacks hand their objects over.
    ///
    /// # Errors
    /// When the port is taken meanwhile.
    pub async fn start_again(&self, node: usize) -> io::Result<()> {
        let Some(running) = self.nodes.get(node) else {
            return Ok(());
        };
        let listener = TcpListener::bind(("127.0.0.1", running.port)).await?;
        running.node.starts(NO_ROUTE, NOT_READY);
        let (cluster, serving) = (Arc::clone(&self.cluster), Arc::clone(&running.node));
        let task = tokio::spawn(async move {
            let ready = async {
                tokio::time::sleep(NO_ROUTE + NOT_READY).await;
                cluster.set_up(node, true);
            };
            tokio::join!(http::serve(listener, serving), ready);
        });
        *running.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(())
    }

    /// Forgets all objects, as after a disaster.
    pub fn lose_everything(&self) {
        self.cluster.lose_everything();
    }

    /// How many requests all nodes have had.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.nodes.iter().map(|running| running.node.requests()).sum()
    }

    /// How many buckets have properties of their own, as far as a node knows.
    #[must_use]
    pub fn buckets_with_props(&self, node: usize) -> usize {
        self.cluster.buckets_with_props(node)
    }

    /// How many objects whose keys begin like this are stored, tombstones left out.
    #[must_use]
    pub fn objects(&self, prefix: &str) -> usize {
        self.cluster.objects(prefix)
    }

    /// Makes a bucket type with these properties, as JSON.
    pub fn create_type(&self, name: &str, props: &serde_json::Value) {
        self.cluster.create_type(name, props);
    }
}

impl Drop for RiakStandIn {
    fn drop(&mut self) {
        for running in &self.nodes {
            if let Some(task) = running.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
                task.abort();
            }
            running.node.hang_up();
        }
    }
}
