//! What a stand-in is to be like.

use core::ops::Range;
use core::time::Duration;
use std::io;

use super::CouchbaseCluster;

/// Whose answers it gives where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
    Server,
    Caves,
}

/// How fast it answers.
#[derive(Debug, Clone)]
pub(super) enum Pace {
    AtOnce,
    /// Each answer comes so much later, however many are asked for at a time.
    Latency(Range<Duration>),
    /// Each connection is served one request after the other, each of which takes so long.
    OneByOne(Range<Duration>),
}

/// What a stand-in is to be like.
#[derive(Debug, Clone)]
pub struct CouchbaseOptions {
    pub(super) bucket: String,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) collections: Vec<(String, String)>,
    pub(super) nodes: usize,
    pub(super) tls: bool,
    pub(super) memcached: bool,
    pub(super) durability: bool,
    pub(super) knows_collections: bool,
    pub(super) plain_only: bool,
    pub(super) names_management: bool,
    pub(super) has_vbuckets: bool,
    pub(super) manners: Manners,
    pub(super) pace: Pace,
}

impl CouchbaseOptions {
    /// One node with the bucket `waypost`, the user `server` with the password `open-sesame`, and no collection but the
    /// default one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bucket: "waypost".to_owned(),
            username: "server".to_owned(),
            password: "open-sesame".to_owned(),
            collections: Vec::new(),
            nodes: 1,
            tls: false,
            memcached: false,
            durability: true,
            knows_collections: true,
            plain_only: false,
            names_management: true,
            has_vbuckets: true,
            manners: Manners::Server,
            pace: Pace::AtOnce,
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

    /// The same with so many nodes, at least one, among which the documents are spread.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes.max(1);
        self
    }

    /// The same by TLS alone, with a certificate that an authority of its own vouches for.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The same, but a `memcached` process keeps the documents and does what requests ask.
    #[must_use]
    pub fn documents_in_memcached(mut self) -> Self {
        self.memcached = true;
        self
    }

    /// The same without durable writes, as servers older than 6.5 and some mocks are.
    #[must_use]
    pub fn without_durability(mut self) -> Self {
        self.durability = false;
        self
    }

    /// The same without collections, as servers older than 7 and some mocks are.
    #[must_use]
    pub fn without_collections(mut self) -> Self {
        self.knows_collections = false;
        self
    }

    /// The same, but passwords are taken in the clear alone.
    #[must_use]
    pub fn plain_passwords_only(mut self) -> Self {
        self.plain_only = true;
        self
    }

    /// The same, but the cluster's configuration names no management ports.
    #[must_use]
    pub fn without_management(mut self) -> Self {
        self.names_management = false;
        self
    }

    /// The same, but the bucket says of itself that it is of the kind `memcached`, which has no vbuckets.
    #[must_use]
    pub fn memcached_bucket(mut self) -> Self {
        self.has_vbuckets = false;
        self
    }

    /// The same as CAVES, Couchbase's own mock of its protocol, by reading that: two nodes, the bucket `default`, the user
    /// `Administrator` with the password `password`, no durable writes, and other answers than a server's in places: a
    /// document that is missing is not found by appending either, a misplaced request is refused without the configuration,
    /// writes always come with their place in the history, versions are small numbers, a collection that is missing is refused
    /// and then answered for.
    #[must_use]
    pub fn like_caves(mut self) -> Self {
        "default".clone_into(&mut self.bucket);
        "Administrator".clone_into(&mut self.username);
        "password".clone_into(&mut self.password);
        self.nodes = 2;
        self.durability = false;
        self.manners = Manners::Caves;
        self
    }

    /// The same, but each answer for a document comes so much later, in any order.
    #[must_use]
    pub fn with_latency(mut self, latency: Range<Duration>) -> Self {
        self.pace = Pace::Latency(latency);
        self
    }

    /// The same, but each connection is served one request after the other, which take so long on average.
    #[must_use]
    pub fn one_by_one(mut self, takes: Range<Duration>) -> Self {
        self.pace = Pace::OneByOne(takes);
        self
    }

    /// Starts it on free ports of this machine, on the current tokio runtime.
    ///
    /// # Errors
    /// When it cannot listen, or when `memcached` is asked for and missing: the message says how to get it.
    pub async fn start(self) -> io::Result<CouchbaseCluster> {
        CouchbaseCluster::start(self).await
    }
}

impl Default for CouchbaseOptions {
    fn default() -> Self {
        Self::new()
    }
}
