//! A stand-in for one node of Couchbase Server, in this process: **not** Couchbase, and no proof of how Couchbase behaves.
//!
//! It speaks the binary key-value protocol as far as clients need it to find a bucket and to read and write documents:
//! bootstrap, SCRAM-SHA512, the cluster's configuration, collections, compare-and-swap, expiry, counters, appending. It has
//! no replicas and no disk, accepts every durability level and means none of them. What it is good for is to fail at the
//! worst moment, which a real server does not do on request: see [`Trouble`].
//!
//! Two things keep it honest: a script for the official Python SDK runs against it (`tests/couchbase`), and the status codes
//! and layouts are those that SDK and server agree on.

mod bucket;
mod config;
mod connection;
mod frame;
mod opcode;
mod scram;
mod trouble;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use trouble::{Trouble, When};

use bucket::Bucket;
use scram::Verifier;
use trouble::Troubles;

/// What a node is like.
#[derive(Debug, Clone)]
pub struct CouchbaseOptions {
    bucket: String,
    username: String,
    password: String,
    collections: Vec<(String, String)>,
}

impl CouchbaseOptions {
    /// A node with the bucket `waypost`, the user `server` with the password `open-sesame`, and no collection but the
    /// default one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bucket: "waypost".to_owned(),
            username: "server".to_owned(),
            password: "open-sesame".to_owned(),
            collections: Vec::new(),
        }
    }

    /// The same with this password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        password.clone_into(&mut self.password);
        self
    }

    /// The same with one more collection.
    #[must_use]
    pub fn collection(mut self, scope: &str, name: &str) -> Self {
        self.collections.push((scope.to_owned(), name.to_owned()));
        self
    }

    /// Starts a node on a free port of this machine, on the current tokio runtime.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(self) -> io::Result<CouchbaseNode> {
        let shared = Arc::new(Shared {
            verifier: Verifier::new(&self.username, &self.password),
            bucket: Bucket::default(),
            troubles: Troubles::default(),
            counts: Mutex::default(),
            options: self,
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let node = CouchbaseNode {
            shared,
            address,
            running: Mutex::new(None),
        };
        node.serve(listener);
        Ok(node)
    }
}

impl Default for CouchbaseOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What all connections of a node have in common.
#[derive(Debug)]
struct Shared {
    options: CouchbaseOptions,
    verifier: Verifier,
    bucket: Bucket,
    troubles: Troubles,
    /// How many requests of each name were served.
    counts: Mutex<BTreeMap<&'static str, usize>>,
}

/// A running stand-in node. Its drop ends it.
#[derive(Debug)]
pub struct CouchbaseNode {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// The sender is dropped to stop: every task of the node sees it. The task is the one that listens.
    running: Mutex<Option<(watch::Sender<()>, JoinHandle<()>)>>,
}

impl CouchbaseNode {
    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The store URL of its default collection, with user and password.
    #[must_use]
    pub fn url(&self) -> String {
        let options = &self.shared.options;
        format!(
            "couchbase://{}:{}@{}/{}",
            options.username, options.password, self.address, options.bucket
        )
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

    /// Removes all documents, as emptying the bucket does.
    pub fn flush(&self) {
        self.shared.bucket.clear();
    }

    /// Removes the documents whose keys contain `part`, as a failover may lose some.
    pub fn lose(&self, part: &str) {
        self.shared.bucket.lose(part);
    }

    /// The keys of all documents, as text, sorted.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.shared.bucket.keys()
    }

    /// How many requests for documents were served since the last call, by their names (`get`, `set`, `add`, `replace`,
    /// `delete`, `append` and so on).
    #[must_use]
    pub fn take_counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *counts)
    }

    /// Stops listening and cuts all connections; the documents stay. When it returns, connecting is refused.
    pub async fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((running, listening)) = running {
            drop(running);
            // It has nothing to say.
            let _ = listening.await;
        }
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    /// When somebody else has taken the port meanwhile.
    pub async fn start_again(&self) -> io::Result<()> {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await?;
        self.serve(listener);
        Ok(())
    }

    fn serve(&self, listener: TcpListener) {
        let (running, stopped) = watch::channel(());
        let shared = Arc::clone(&self.shared);
        let port = self.address.port();
        let listening = tokio::spawn(async move {
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
                            () = connection::serve(shared, stream, port) => {}
                            _ = ended.changed() => {}
                        }
                    });
                }
            }
        });
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some((running, listening));
    }
}
