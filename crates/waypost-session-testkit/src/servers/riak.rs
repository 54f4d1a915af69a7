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
mod network;
mod options;
mod props;
mod replica;
mod response;
mod routes;
mod shown;
mod tls;

use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use fault::RiakFault;
pub use options::RiakOptions;

use cluster::Cluster;

use super::ReservedPort;

/// How long a node that starts knows no route, and how long it is not ready then.
const NO_ROUTE: Duration = Duration::from_millis(50);
const NOT_READY: Duration = Duration::from_millis(300);

#[derive(Debug)]
struct Running {
    port: ReservedPort,
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
            .map(|running| running.port.address())
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
        self.nodes.get(node).map(|running| running.port.number())
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
    /// From the system.
    pub async fn start_again(&self, node: usize) -> io::Result<()> {
        let Some(running) = self.nodes.get(node) else {
            return Ok(());
        };
        let listener = TcpListener::bind(running.port.address()).await?;
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

    /// A node stands still: its port accepts, and neither its clients nor the other nodes hear from it. What they tell it
    /// meanwhile it takes when it goes on.
    pub fn suspend(&self, node: usize) {
        self.set_suspended(node, true);
    }

    /// A node that stood still goes on.
    pub fn resume(&self, node: usize) {
        self.set_suspended(node, false);
    }

    fn set_suspended(&self, node: usize, suspended: bool) {
        if let Some(running) = self.nodes.get(node) {
            self.cluster.network().suspend(node, suspended);
            running.node.suspend(suspended);
        }
    }

    /// Waits until all that nodes have told each other has arrived, which it does not at a node that is suspended.
    pub async fn settled(&self) {
        self.cluster.network().settled().await;
    }

    /// The clock of a node goes ahead by so much more.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn advance(&self, node: usize, by: Duration) {
        self.cluster.advance(node, by);
    }

    /// A node loses what it has stored, with its disk.
    pub fn forget(&self, node: usize) {
        self.cluster.forget(node);
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

    /// How many of them were to delete something.
    #[must_use]
    pub fn deletes(&self) -> u64 {
        self.nodes.iter().map(|running| running.node.deletes()).sum()
    }

    /// How many connections all nodes have accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.nodes.iter().map(|running| running.node.accepted()).sum()
    }

    /// How many requests a node has had under way at once, at most.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn most_at_once(&self, node: usize) -> u64 {
        self.nodes[node].node.most_at_once()
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

    /// The keys of all objects that are stored, tombstones left out.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.cluster.keys()
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
