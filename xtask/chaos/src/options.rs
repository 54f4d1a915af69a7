//! What a cluster is made of, and how that is written on a command line.

use std::fmt;
use std::time::Duration;

use anyhow::{Error, Result, bail};

use crate::links::Network;

/// How servers reach one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// Each is a node.
    Mesh,
    /// Through that many brokers.
    Brokers(usize),
}

/// Where sessions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A file.
    Embedded,
    /// A `redis-server` of the cluster's own.
    Redis,
    /// Three stand-in nodes of Riak.
    Riak,
    /// One alone: while it is away, so is the store.
    OneRiak,
}

impl Store {
    /// How many stand-in nodes of Riak there are.
    #[must_use]
    pub const fn riak_nodes(self) -> usize {
        match self {
            Self::Embedded | Self::Redis => 0,
            Self::Riak => 3,
            Self::OneRiak => 1,
        }
    }
}

/// What a cluster is made of. It is displayed as the arguments of `cargo xtask chaos`.
#[derive(Debug, Clone)]
pub struct Options {
    /// How servers reach one another.
    pub topology: Topology,
    /// Where sessions are kept.
    pub store: Store,
    /// How many servers there are.
    pub servers: usize,
    /// How many of them, the last ones, are nodes of the mesh although there are brokers.
    pub brokerless: usize,
    /// What lies between the processes.
    pub network: Network,
    /// The lease term of all.
    pub lease_term: Duration,
    /// Whether servers reach their brokers through a [`Proxy`](crate::Proxy) each.
    pub proxies: bool,
    /// More arguments for every process.
    pub arguments: Vec<String>,
}

impl Options {
    /// Three servers with a lease term of two seconds.
    #[must_use]
    pub const fn new(topology: Topology, store: Store) -> Self {
        Self {
            topology,
            store,
            servers: 3,
            brokerless: 0,
            network: Network::Direct,
            lease_term: Duration::from_secs(2),
            proxies: false,
            arguments: Vec::new(),
        }
    }

    /// How many brokers there are.
    #[must_use]
    pub const fn brokers(&self) -> usize {
        match self.topology {
            Topology::Mesh => 0,
            Topology::Brokers(count) => count,
        }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.topology {
            Topology::Mesh => write!(f, "--topology brokerless")?,
            Topology::Brokers(count) => write!(f, "--topology brokers={count}")?,
        }
        let store = match self.store {
            Store::Embedded => "embedded",
            Store::Redis => "redis",
            Store::Riak => "riak",
            Store::OneRiak => "riak-one",
        };
        let network = match self.network {
            Network::Direct => "direct",
            Network::Proxies => "proxies",
            Network::Namespaces => "namespaces",
        };
        write!(
            f,
            " --store {store} --servers {} --brokerless {} --network {network}",
            self.servers, self.brokerless
        )
    }
}

impl std::str::FromStr for Topology {
    type Err = Error;

    /// `brokerless`, `broker`, or `brokers=N`.
    fn from_str(text: &str) -> Result<Self> {
        match (text, text.strip_prefix("brokers=")) {
            ("brokerless" | "mesh", _) => Ok(Self::Mesh),
            ("broker", _) => Ok(Self::Brokers(1)),
            (_, Some(count)) => Ok(Self::Brokers(count.parse()?)),
            _ => bail!("unknown topology '{text}': brokerless, broker or brokers=N"),
        }
    }
}

impl std::str::FromStr for Store {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "embedded" => Ok(Self::Embedded),
            "redis" => Ok(Self::Redis),
            "riak" => Ok(Self::Riak),
            "riak-one" => Ok(Self::OneRiak),
            _ => bail!("unknown store '{text}': embedded, redis, riak or riak-one"),
        }
    }
}

impl std::str::FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "direct" => Ok(Self::Direct),
            "proxies" => Ok(Self::Proxies),
            "namespaces" => Ok(Self::Namespaces),
            _ => bail!("unknown network '{text}': direct, proxies or namespaces"),
        }
    }
}
