//! What may be broken in a random run, and how it is mended.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Dice;
use crate::cluster::Cluster;
use crate::links::{Network, Place};
use crate::options::{Options, Store, Topology};
use crate::server::Signal;

/// How long a failure lasts at most.
const FAILURE_MS: usize = 5000;
/// How long a server may take to leave: twice its drain deadline, on a busy machine.
const LEAVING: Duration = Duration::from_secs(20);
/// How long it may take to be noticed that a process has ended.
const NOTICING: Duration = Duration::from_secs(5);

/// Something that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ServerKilled(usize),
    ServerLeaves(usize, Leaving),
    ServerStopped(usize),
    ServerUnread(usize),
    BrokerKilled(usize),
    BrokerStopped(usize),
    RedisKilled,
    RedisStopped,
    RiakNodeStopped(usize),
    /// Nothing that the first sends reaches the second.
    OneWayCut(Place, Place),
    /// The same both ways.
    Cut(Place, Place),
    /// That one reaches nobody, and nobody reaches it.
    Alone(Place),
    /// All links to it break, and none is taken.
    LinksBroken(Place),
    /// Nothing goes over any link to it, either way.
    LinksHeld(Place),
}

/// How a server is asked to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    Terminate,
    EndOfStdin,
    Drain,
}

/// What a failure happens to. One failure of a thing at a time.
#[derive(PartialEq, Eq)]
enum Target {
    Server(usize),
    Broker(usize),
    Datastore,
    Network,
}

impl Kind {
    const fn target(self) -> Target {
        match self {
            Self::ServerKilled(index)
            | Self::ServerLeaves(index, _)
            | Self::ServerStopped(index)
            | Self::ServerUnread(index) => Target::Server(index),
            Self::BrokerKilled(index) | Self::BrokerStopped(index) => Target::Broker(index),
            Self::RedisKilled | Self::RedisStopped | Self::RiakNodeStopped(_) => Target::Datastore,
            Self::OneWayCut(..)
            | Self::Cut(..)
            | Self::Alone(_)
            | Self::LinksBroken(_)
            | Self::LinksHeld(_) => Target::Network,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::ServerKilled(_) => "server killed",
            Self::ServerLeaves(..) => "server asked to leave",
            Self::ServerStopped(_) => "server stopped",
            Self::ServerUnread(_) => "server not read from",
            Self::BrokerKilled(_) => "broker killed",
            Self::BrokerStopped(_) => "broker stopped",
            Self::RedisKilled => "redis killed",
            Self::RedisStopped => "redis stopped",
            Self::RiakNodeStopped(_) => "riak node stopped",
            Self::OneWayCut(..) => "cut one way",
            Self::Cut(..) => "cut both ways",
            Self::Alone(_) => "cut off from everybody",
            Self::LinksBroken(_) => "links broken",
            Self::LinksHeld(_) => "links held",
        }
    }
}

/// Something that is broken now, and until when.
#[derive(Debug)]
struct Failure {
    kind: Kind,
    since: Instant,
    until: Instant,
}

/// What is broken now, and what has been.
#[derive(Debug)]
pub(super) struct Trouble {
    options: Options,
    now: Vec<Failure>,
    began: Instant,
    history: Vec<(Duration, String)>,
}

impl Trouble {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            now: Vec::new(),
            began: Instant::now(),
            history: Vec::new(),
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.now.len()
    }

    /// Whether that server is killed or leaving: nothing is to be asked of it.
    pub(super) fn is_gone(&self, server: usize) -> bool {
        self.now.iter().any(
            |failure| matches!(failure.kind, Kind::ServerKilled(gone) | Kind::ServerLeaves(gone, _) if gone == server),
        )
    }

    fn note(&mut self, what: String) {
        self.history.push((self.began.elapsed(), what));
    }

    /// Breaks something; its name, unless what was drawn is broken already.
    pub(super) fn begin(&mut self, cluster: &mut Cluster, dice: &mut Dice) -> Result<Option<&'static str>> {
        let since = Instant::now();
        let until = since + Duration::from_millis(u64::try_from(dice.below(FAILURE_MS)).unwrap_or(0));
        let can_flush = self.options.store == Store::Redis && self.options.network != Network::Namespaces;
        if can_flush && self.now.is_empty() && dice.below(60) == 0 {
            self.note("redis flushed".to_owned());
            cluster.world().oracle().disturb();
            cluster.redis()?.flush_all()?;
            return Ok(Some("redis flushed"));
        }
        let kinds = self.kinds(dice);
        let kind = kinds[dice.below(kinds.len())];
        if self
            .now
            .iter()
            .any(|failure| kind.target() == failure.kind.target())
        {
            return Ok(None);
        }
        cluster.world().oracle().disturb();
        self.note(format!("{kind:?}"));
        self.inflict(cluster, kind)?;
        self.now.push(Failure { kind, since, until });
        Ok(Some(kind.name()))
    }

    /// All that could be broken, with the indexes drawn.
    fn kinds(&self, dice: &mut Dice) -> Vec<Kind> {
        let server = dice.below(self.options.servers);
        let leaving = [Leaving::Terminate, Leaving::EndOfStdin, Leaving::Drain][dice.below(3)];
        let brokers = self.options.brokers();
        let mut kinds = vec![
            Kind::ServerKilled(server),
            Kind::ServerLeaves(server, leaving),
            Kind::ServerStopped(server),
            Kind::ServerUnread(server),
        ];
        if brokers > 0 {
            let broker = dice.below(brokers);
            kinds.extend([Kind::BrokerKilled(broker), Kind::BrokerStopped(broker)]);
        }
        match self.options.store {
            Store::Embedded => {}
            Store::Redis => kinds.extend([Kind::RedisKilled, Kind::RedisStopped]),
            Store::Riak | Store::OneRiak => {
                let node = dice.below(self.options.store.riak_nodes());
                kinds.extend([Kind::RiakNodeStopped(node); 3]);
            }
        }
        let pairs = self.pairs();
        if self.options.network != Network::Direct && !pairs.is_empty() {
            let (one, other) = pairs[dice.below(pairs.len())];
            let (alone, _) = pairs[dice.below(pairs.len())];
            kinds.extend([
                Kind::OneWayCut(one, other),
                Kind::OneWayCut(other, one),
                Kind::Cut(one, other),
                Kind::Alone(alone),
            ]);
            if self.options.network == Network::Proxies {
                kinds.extend([Kind::LinksBroken(other), Kind::LinksHeld(other)]);
            }
        }
        kinds
    }

    /// Every two that speak to each other.
    fn pairs(&self) -> Vec<(Place, Place)> {
        let brokers: Vec<Place> = (0..self.options.brokers()).map(Place::Broker).collect();
        let attached = match self.options.topology {
            Topology::Mesh => 0,
            Topology::Brokers(_) => self.options.servers - self.options.brokerless,
        };
        let nodes: Vec<Place> = (attached..self.options.servers)
            .map(Place::Server)
            .chain(brokers.iter().copied())
            .collect();
        let mut pairs = Vec::new();
        for (index, &node) in nodes.iter().enumerate() {
            pairs.extend(nodes[..index].iter().map(|&other| (node, other)));
            if self.options.store == Store::Redis {
                pairs.push((node, Place::Store));
            }
        }
        for server in (0..attached).map(Place::Server) {
            pairs.extend(brokers.iter().map(|&broker| (server, broker)));
        }
        pairs
    }

    fn inflict(&self, cluster: &mut Cluster, kind: Kind) -> Result<()> {
        match kind {
            Kind::ServerKilled(index) => cluster.server_mut(index).kill()?,
            Kind::ServerLeaves(index, leaving) => {
                let server = &cluster.servers()[index];
                match leaving {
                    Leaving::Terminate => server.signal(Signal::Term)?,
                    Leaving::EndOfStdin => server.close_stdin(),
                    Leaving::Drain => {
                        server.drain();
                        server.quit();
                    }
                }
            }
            Kind::ServerStopped(index) => cluster.servers()[index].signal(Signal::Stop)?,
            Kind::ServerUnread(index) => cluster.servers()[index].set_reading(false),
            Kind::BrokerKilled(index) => cluster.kill_broker(index)?,
            Kind::BrokerStopped(index) => cluster.signal_broker(index, Signal::Stop)?,
            Kind::RedisKilled => cluster.redis()?.kill()?,
            Kind::RedisStopped => cluster.redis()?.signal(Signal::Stop)?,
            Kind::RiakNodeStopped(node) => cluster.riak()?.stop(node),
            Kind::OneWayCut(from, to) => cluster.cut(&[from], &[to])?,
            Kind::Cut(one, other) => cluster.part(&[one], &[other])?,
            Kind::Alone(place) => {
                let others: Vec<Place> = self
                    .pairs()
                    .iter()
                    .flat_map(|&(one, other)| [one, other])
                    .filter(|other| *other != place)
                    .collect();
                cluster.part(&[place], &others)?;
            }
            Kind::LinksBroken(place) => cluster.break_links(place)?,
            Kind::LinksHeld(place) => cluster.hold_links(place)?,
        }
        Ok(())
    }

    /// Mends what has been broken long enough; first what others need to start.
    pub(super) fn mend(&mut self, cluster: &mut Cluster, now: Instant) -> Result<()> {
        let failures = std::mem::take(&mut self.now);
        let (mut over, rest): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|failure| failure.until <= now);
        self.now = rest;
        over.sort_by_key(|failure| rank(failure.kind));
        for Failure { kind, since, until } in over {
            let starts = matches!(
                kind,
                Kind::ServerKilled(_) | Kind::ServerLeaves(..) | Kind::BrokerKilled(_)
            );
            if starts && self.now.iter().any(|failure| rank(failure.kind) < rank(kind)) {
                // It could not start now.
                self.now.push(Failure { kind, since, until });
                continue;
            }
            self.note(format!("{kind:?} is over"));
            match kind {
                Kind::ServerKilled(index) => cluster.restart_until_registered(index)?,
                Kind::ServerLeaves(index, _) => {
                    let status = cluster
                        .server_mut(index)
                        .wait(LEAVING.saturating_sub(since.elapsed()).max(NOTICING))?;
                    ensure!(
                        status.success(),
                        "a server that was asked to leave exits with {status}"
                    );
                    cluster.restart_until_registered(index)?;
                }
                Kind::ServerStopped(index) => cluster.servers()[index].signal(Signal::Continue)?,
                Kind::ServerUnread(index) => cluster.servers()[index].set_reading(true),
                Kind::BrokerKilled(index) => cluster.restart_broker(index)?,
                Kind::BrokerStopped(index) => cluster.signal_broker(index, Signal::Continue)?,
                Kind::RedisKilled => cluster.restart_redis()?,
                Kind::RedisStopped => cluster.redis()?.signal(Signal::Continue)?,
                Kind::RiakNodeStopped(node) => cluster.riak()?.start_again(node)?,
                Kind::OneWayCut(..) | Kind::Cut(..) | Kind::Alone(_) => cluster.mend()?,
                Kind::LinksBroken(place) | Kind::LinksHeld(place) => cluster.mend_links(place),
            }
        }
        Ok(())
    }
}

/// The lower ones have to be there for the higher ones to start.
const fn rank(kind: Kind) -> u8 {
    match kind.target() {
        Target::Datastore | Target::Network => 0,
        Target::Broker(_) => 1,
        Target::Server(_) => 2,
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "what was done to it:")?;
        for (at, what) in self.history.iter().skip(self.history.len().saturating_sub(30)) {
            writeln!(f, "  {:9.3} {what}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
