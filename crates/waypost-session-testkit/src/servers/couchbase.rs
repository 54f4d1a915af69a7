//! A stand-in for Couchbase Server, in this process: **not** Couchbase, and no proof of how Couchbase behaves.
//!
//! It speaks the binary key-value protocol as far as clients need it to find a bucket and to read and write documents:
//! bootstrap, SCRAM-SHA512, TLS, the cluster's configuration, vbuckets of several nodes, collections, compare-and-swap,
//! expiry, counters, appending. It has no disk, accepts every durability level and means none of them; all of its nodes see
//! the same documents at once. What it is good for is to fail at the worst moment, which a real server does not do on
//! request: see [`Trouble`], and [`CouchbaseCluster::stop_node`].
//!
//! Three things keep it honest: a script for the official Python SDK runs against it (`tests/couchbase`); the same script and
//! the conformance suite run with Debian's `memcached` behind the same front
//! ([`CouchbaseOptions::documents_in_memcached`]); and random requests are answered alike by it and by `memcached`.

mod bucket;
mod config;
mod connection;
mod documents;
mod frame;
mod memcached;
mod opcode;
mod options;
mod scram;
mod tls;
mod topology;
mod trouble;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

pub use options::CouchbaseOptions;
pub use trouble::{Trouble, When};

use documents::Documents;
use scram::Verifier;
use tls::Tls;
use topology::Topology;
use trouble::Troubles;

/// What all connections of all nodes have in common.
#[derive(Debug)]
struct Shared {
    options: CouchbaseOptions,
    verifier: Verifier,
    documents: Documents,
    troubles: Troubles,
    /// How many requests of each name were served.
    counts: Mutex<BTreeMap<&'static str, usize>>,
    topology: Mutex<Topology>,
    tls: Option<Tls>,
    collections_dropped: Mutex<bool>,
    /// Which nodes stand still.
    paused: watch::Sender<Vec<bool>>,
}

impl Shared {
    fn topology(&self) -> MutexGuard<'_, Topology> {
        self.topology.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, name: &'static str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(name).or_default() += 1;
    }

    /// Returns once this node does not stand still.
    async fn goes_on(&self, node: usize) {
        let mut paused = self.paused.subscribe();
        // It fails when the sender is gone, which lives as long as this.
        let _ = paused.wait_for(|paused| !paused[node]).await;
    }

    fn has_collections(&self) -> bool {
        !*self
            .collections_dropped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running node: it is told to stop by `true` or by the sender's end, and every task of it listens to that.
type Running = Option<watch::Sender<bool>>;

/// A socket that has a port and refuses connections.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // So that the one that listens can have the port too.
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bound(address)?.listen(1024)
}

/// A running stand-in: one node, or several of one cluster. Its drop ends it.
#[derive(Debug)]
pub struct CouchbaseCluster {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    /// Keep the ports of nodes that are stopped from being taken.
    _places: Vec<TcpSocket>,
    running: Mutex<Vec<Running>>,
}

impl CouchbaseCluster {
    async fn start(options: CouchbaseOptions) -> io::Result<Self> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        let mut places = Vec::new();
        for _ in 0..options.nodes {
            let place = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            let address = place.local_addr()?;
            listeners.push(listen(address)?);
            addresses.push(address);
            places.push(place);
        }
        let shared = Arc::new(Shared {
            verifier: Verifier::new(&options.username, &options.password),
            documents: Documents::start(options.memcached, options.manners).await?,
            troubles: Troubles::default(),
            counts: Mutex::default(),
            topology: Mutex::new(Topology::new(addresses.iter().map(SocketAddr::port).collect())),
            tls: if options.tls { Some(Tls::new()?) } else { None },
            collections_dropped: Mutex::default(),
            paused: watch::channel(vec![false; addresses.len()]).0,
            options,
        });
        let cluster = Self {
            running: Mutex::new(addresses.iter().map(|_| None).collect()),
            shared,
            addresses,
            _places: places,
        };
        for (node, listener) in listeners.into_iter().enumerate() {
            cluster.serve(node, listener);
        }
        Ok(cluster)
    }

    /// The port that its first node listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addresses[0].port()
    }

    /// The store URL of its default collection, with user, password and all nodes.
    #[must_use]
    pub fn url(&self) -> String {
        let places: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        self.url_at(&places.join(","))
    }

    /// The same with one node alone.
    #[must_use]
    pub fn url_of_node(&self, node: usize) -> String {
        self.url_at(&self.addresses[node].to_string())
    }

    fn url_at(&self, places: &str) -> String {
        let options = &self.shared.options;
        let scheme = if options.tls { "couchbases" } else { "couchbase" };
        format!(
            "{scheme}://{}:{}@{places}/{}",
            options.username, options.password, options.bucket
        )
    }

    /// The PEM file of the authority that vouches for the nodes; `None` without TLS.
    #[must_use]
    pub fn ca_file(&self) -> Option<&Path> {
        self.shared.tls.as_ref().map(Tls::ca_file)
    }

    /// Makes requests go wrong that fit `when`, the next `times` of them. Several can be waiting; the first that fits is taken.
    pub fn trouble(&self, when: When, times: usize, trouble: Trouble) {
        self.shared.troubles.add(when, times, trouble);
    }

    /// Whether no trouble is waiting any more.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.shared.troubles.is_empty()
    }

    /// Ends all troubles.
    pub fn calm(&self) {
        self.shared.troubles.clear();
    }

    /// Removes all documents, as emptying the bucket does. Not those in `memcached`.
    pub fn flush(&self) {
        self.shared.documents.clear();
    }

    /// Drops the bucket and creates one of the same name: nothing is left, its identity is another, and revisions of the
    /// configuration and versions of documents may be those of before. So it is too when a mock, which keeps nothing, was
    /// started again. Not the documents in `memcached`.
    pub fn create_bucket_anew(&self) {
        self.shared.documents.create_anew();
        self.shared.topology().create_anew();
    }

    /// Removes the documents whose keys contain `part`, as a failover may lose some. Not those in `memcached`.
    pub fn lose(&self, part: &str) {
        self.shared.documents.lose(part);
    }

    /// Puts this into the documents whose keys contain `part`, as another program may. Not into those in `memcached`.
    pub fn write_over(&self, part: &str, value: &[u8]) {
        self.shared.documents.write_over(part, value);
    }

    /// The keys of all documents, as text, sorted. Not those in `memcached`.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.shared.documents.keys()
    }

    /// The node that has the document of this key.
    #[must_use]
    pub fn owner_of(&self, key: &str) -> usize {
        self.shared.topology().owner(topology::vbucket(key.as_bytes()))
    }

    /// Drops all named collections, as an administrator may.
    pub fn drop_collections(&self) {
        let mut dropped = self
            .shared
            .collections_dropped
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *dropped = true;
    }

    /// How many requests were served since the last call, by their names: those for documents (`get`, `set`, `add`,
    /// `replace`, `delete`, `append` and so on), and `plain_password`, a password that came in the clear.
    #[must_use]
    pub fn take_counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *counts)
    }

    /// Stops all nodes: they listen no more and cut all connections; the documents stay. When it returns, connecting is
    /// refused.
    pub async fn stop(&self) {
        for node in 0..self.addresses.len() {
            self.stop_node(node).await;
        }
    }

    /// Stops one node, whose documents cannot be reached until it starts again or is failed over.
    pub async fn stop_node(&self, node: usize) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner)[node].take();
        if let Some(running) = running {
            running.send_replace(true);
            // Until the task that listens and those of all connections have ended.
            running.closed().await;
        }
    }

    /// Starts all nodes again, on the same ports.
    ///
    /// # Errors
    /// When somebody else has taken a port meanwhile.
    pub async fn start_again(&self) -> io::Result<()> {
        for node in 0..self.addresses.len() {
            self.start_node(node).await?;
        }
        Ok(())
    }

    /// Starts one node again, on the same port.
    ///
    /// # Errors
    /// When somebody else has taken the port meanwhile.
    pub async fn start_node(&self, node: usize) -> io::Result<()> {
        self.stop_node(node).await;
        let listener = listen(self.addresses[node])?;
        self.serve(node, listener);
        Ok(())
    }

    /// Makes a node stand still, as a process that is sent `SIGSTOP`: connections stay, and what they bring waits.
    pub fn pause_node(&self, node: usize) {
        self.shared.paused.send_modify(|paused| paused[node] = true);
    }

    /// Lets it go on: all that was sent to it meanwhile is done then.
    pub fn resume_node(&self, node: usize) {
        self.shared.paused.send_modify(|paused| paused[node] = false);
    }

    /// Takes a node out of the cluster: the others serve its documents, none of which is lost. The last one stays.
    pub fn fail_over(&self, node: usize) {
        self.shared.topology().fail_over(node);
    }

    /// Takes a node that was failed over into the cluster again, and gives it its share of the documents.
    pub fn rebalance_in(&self, node: usize) {
        self.shared.topology().rebalance_in(node);
    }

    fn serve(&self, node: usize, listener: TcpListener) {
        let (running, stopped) = watch::channel(false);
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let mut ended = stopped.clone();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    _ = ended.changed() => return,
                };
                if let Ok((stream, _)) = accepted {
                    let (shared, mut ended) = (Arc::clone(&shared), stopped.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = connection::serve(shared, node, stream) => {}
                            _ = ended.changed() => {}
                        }
                    });
                }
            }
        });
        self.running.lock().unwrap_or_else(PoisonError::into_inner)[node] = Some(running);
    }
}
