//! What a stand-in is to be like.

use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;

use super::cluster::Cluster;
use super::{RiakStandIn, Running, http, tls};
use crate::servers::ReservedPort;

/// What a stand-in is to be like.
#[derive(Debug, Clone)]
pub struct RiakOptions {
    nodes: usize,
    delay: Duration,
    seed: u64,
    credentials: Option<(String, String)>,
    tls: bool,
    gossip: Duration,
    chunked: bool,
    latency: (Duration, Duration),
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
            chunked: false,
            latency: (Duration::ZERO, Duration::ZERO),
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

    /// Each request takes so long before anything is done about it, at random, as on real nodes with much to do.
    #[must_use]
    pub const fn latency(mut self, least: Duration, most: Duration) -> Self {
        self.latency = (least, most);
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

    /// Answers come in small chunks, as through some proxies.
    #[must_use]
    pub const fn chunked(mut self) -> Self {
        self.chunked = true;
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
            let port = ReservedPort::new()?;
            let listener = TcpListener::bind(port.address()).await?;
            let authorization = self
                .credentials
                .as_ref()
                .map(|(user, password)| http::basic(user, password));
            let manner = http::Manner {
                authorization,
                acceptor: tls.as_ref().map(tls::Tls::acceptor),
                chunked: self.chunked,
                latency: self.latency,
                seed: self.seed,
            };
            let node = Arc::new(http::Node::new(index, Arc::clone(&cluster), manner));
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
