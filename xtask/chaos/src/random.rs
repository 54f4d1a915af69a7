//! Everything at once, from one seed.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::cluster::{Cluster, Options, Store, Topology};
use crate::hostile::Hostile;
use crate::oracle::Outcomes;
use crate::proxy::Way;
use crate::riak::RiakNodes;
use crate::server::Signal;

/// How many clients there are to be moved about.
const CLIENTS: usize = 300;
/// How long a cluster may take to come to rest after all failures have been mended.
const REST: Duration = Duration::from_secs(60);
/// How long a failure lasts at most.
const FAILURE_MS: usize = 5000;

/// What a random run has seen.
#[derive(Debug)]
pub struct Summary {
    /// How often each thing was done.
    pub deeds: BTreeMap<&'static str, u64>,
    /// What became of the acked sends.
    pub outcomes: Outcomes,
    /// How many messages were sent in any way.
    pub sent: usize,
    /// How many were delivered to two incarnations because of failures.
    pub redelivered: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "done:")?;
        for (deed, count) in &self.deeds {
            writeln!(f, "  {count:6} {deed}")?;
        }
        writeln!(f, "{} messages sent; outcomes of the acked ones:", self.sent)?;
        for (outcome, count) in &self.outcomes {
            writeln!(f, "  {count:6} {outcome}")?;
        }
        write!(f, "{} delivered to two incarnations", self.redelivered)
    }
}

/// Does anything that may happen to a cluster for some time, mends it all, and checks that it comes to rest with every
/// promise kept.
///
/// # Errors
/// With the evidence, when a promise was broken or the cluster does not come to rest.
pub fn run(options: Options, seed: u64, time: Duration) -> Result<Summary> {
    let mut cluster = Cluster::start(options.clone())?;
    let mut chaos = Chaos {
        dice: Dice::new(seed),
        options,
        failures: Vec::new(),
        deeds: BTreeMap::new(),
    };
    let result = chaos.play(&mut cluster, time);
    let outcomes = result.with_context(|| cluster.logs())?;
    let oracle = cluster.world().oracle();
    let (sent, redelivered) = (oracle.sent_len(), oracle.redelivered());
    drop(oracle);
    cluster.finish().context("at the end")?;
    Ok(Summary {
        deeds: chaos.deeds,
        outcomes,
        sent,
        redelivered,
    })
}

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn below(&mut self, bound: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 33).unwrap_or(0) % bound.max(1)
    }
}

/// Something that is broken now, and until when.
struct Failure {
    kind: Kind,
    until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ServerKilled(usize),
    ServerLeaves(usize),
    ServerStopped(usize),
    ServerUnread(usize),
    BrokerKilled(usize),
    BrokerStopped(usize),
    RedisKilled,
    RedisStopped,
    RiakNodeStopped(usize),
    LinksHeld(usize),
    LinksCut(usize),
}

struct Chaos {
    dice: Dice,
    options: Options,
    failures: Vec<Failure>,
    deeds: BTreeMap<&'static str, u64>,
}

impl Chaos {
    fn play(&mut self, cluster: &mut Cluster, time: Duration) -> Result<Outcomes> {
        cluster.spread("c", CLIENTS)?;
        let end = Instant::now() + time;
        while Instant::now() < end {
            for _ in 0..20 {
                self.act(cluster)?;
            }
            if self.dice.below(25) == 0 && self.failures.len() < 2 {
                self.break_something(cluster)?;
            }
            self.mend(cluster, Instant::now())?;
            cluster.world().oracle().verdict()?;
            // A pace that a debug build on a small machine can follow.
            thread::sleep(Duration::from_millis(10));
        }
        self.mend(cluster, end + REST)?;
        // Every client is wanted somewhere at the end.
        for i in 0..CLIENTS {
            let server = self.dice.below(cluster.servers().len());
            cluster.servers()[server].connect(&format!("c{i}"));
        }
        cluster.settle(REST)
    }

    fn did(&mut self, deed: &'static str) {
        *self.deeds.entry(deed).or_default() += 1;
    }

    fn client(&mut self) -> String {
        format!("c{}", self.dice.below(CLIENTS))
    }

    /// One operation of one server.
    fn act(&mut self, cluster: &Cluster) -> Result<()> {
        let index = self.dice.below(cluster.servers().len());
        let gone = |failure: &Failure| matches!(failure.kind, Kind::ServerKilled(gone) | Kind::ServerLeaves(gone) if gone == index);
        if self.failures.iter().any(gone) {
            return Ok(());
        }
        let server = &cluster.servers()[index];
        let (client, other) = (self.client(), self.client());
        match self.dice.below(100) {
            0..=7 => {
                self.did("connect");
                server.connect(&client);
            }
            8..=9 => {
                self.did("connect at two servers at once");
                server.connect(&client);
                let rival = (index + 1) % cluster.servers().len();
                if !self
                    .failures
                    .iter()
                    .any(|failure| failure.kind == Kind::ServerKilled(rival))
                {
                    cluster.servers()[rival].connect(&client);
                }
            }
            10..=14 => {
                self.did("disconnect, late or not");
                server.disconnect(&client);
            }
            15..=16 => {
                self.did("request");
                server.request(&client, &other);
            }
            17 => {
                self.did("broadcast");
                server.broadcast(&client);
            }
            18 => {
                self.did("bad line");
                server.write(b"{\"op\":\"fly\"}\n");
            }
            19 => {
                self.did("locate");
                server.locate(&client);
            }
            20..=29 => {
                self.did("send without acknowledgement");
                server.send_unacked(&client, &other);
            }
            30..=31 => {
                self.did("large send");
                let padding = "x".repeat(self.dice.below(20_000));
                server.send_padded(&client, &other, &padding);
            }
            32 => {
                self.did("burst of sends");
                for _ in 0..50 {
                    server.send(&client, &other);
                }
            }
            33 => {
                self.did("hostile link");
                let endpoint = match cluster.broker_endpoints() {
                    [] => server.endpoint()?,
                    brokers => brokers[self.dice.below(brokers.len())].clone(),
                };
                let hostile = Hostile::ALL[self.dice.below(Hostile::ALL.len())];
                // The node may just be down.
                drop(hostile.open(&endpoint));
            }
            _ => {
                self.did("send");
                server.send(&client, &other);
            }
        }
        Ok(())
    }

    fn break_something(&mut self, cluster: &mut Cluster) -> Result<()> {
        let server = self.dice.below(cluster.servers().len());
        let until =
            Instant::now() + Duration::from_millis(u64::try_from(self.dice.below(FAILURE_MS)).unwrap_or(0));
        let brokers = cluster.broker_endpoints().len();
        let broker = self.dice.below(brokers);
        let mut kinds = vec![
            Kind::ServerKilled(server),
            Kind::ServerLeaves(server),
            Kind::ServerStopped(server),
            Kind::ServerUnread(server),
        ];
        if brokers > 0 {
            kinds.extend([Kind::BrokerKilled(broker), Kind::BrokerStopped(broker)]);
        }
        if !cluster.proxies().is_empty() {
            kinds.extend([Kind::LinksHeld(broker), Kind::LinksCut(broker)]);
        }
        if self.options.store == Store::Redis {
            kinds.extend([Kind::RedisKilled, Kind::RedisStopped]);
            if self.dice.below(8) == 0 && self.failures.is_empty() {
                self.did("redis flushed");
                cluster.world().oracle().disturb();
                return cluster.redis()?.flush_all();
            }
        }
        if self.options.store == Store::Riak {
            let node = self.dice.below(RiakNodes::COUNT);
            kinds.extend([Kind::RiakNodeStopped(node); 3]);
        }
        let kind = kinds[self.dice.below(kinds.len())];
        // One failure of a thing at a time; and a datastore beside nothing else, so that leaving servers can.
        if self
            .failures
            .iter()
            .any(|failure| kind.target() == failure.kind.target())
        {
            return Ok(());
        }
        cluster.world().oracle().disturb();
        match kind {
            Kind::ServerKilled(index) => {
                self.did("server killed");
                cluster.server_mut(index).kill()?;
            }
            Kind::ServerLeaves(index) => {
                self.did("server asked to leave");
                match self.dice.below(3) {
                    0 => cluster.servers()[index].signal(Signal::Term)?,
                    1 => cluster.servers()[index].close_stdin(),
                    _ => {
                        cluster.servers()[index].drain();
                        cluster.servers()[index].quit();
                    }
                }
            }
            Kind::ServerStopped(index) => {
                self.did("server stopped");
                cluster.servers()[index].signal(Signal::Stop)?;
            }
            Kind::ServerUnread(index) => {
                self.did("stdout not read");
                cluster.servers()[index].set_reading(false);
            }
            Kind::BrokerKilled(index) => {
                self.did("broker killed");
                cluster.kill_broker(index)?;
            }
            Kind::BrokerStopped(index) => {
                self.did("broker stopped");
                cluster.signal_broker(index, Signal::Stop)?;
            }
            Kind::RedisKilled => {
                self.did("redis killed");
                cluster.redis()?.kill()?;
            }
            Kind::RedisStopped => {
                self.did("redis stopped");
                cluster.redis()?.signal(Signal::Stop)?;
            }
            Kind::RiakNodeStopped(node) => {
                self.did("riak node stopped");
                cluster.riak()?.stop(node);
            }
            Kind::LinksHeld(index) => {
                self.did("links held");
                cluster.proxies()[index].set_way(Way::Hold);
            }
            Kind::LinksCut(index) => {
                self.did("links cut");
                cluster.proxies()[index].cut();
            }
        }
        self.failures.push(Failure { kind, until });
        Ok(())
    }

    /// Mends what has been broken long enough; the datastore and the brokers first, since servers need them.
    fn mend(&mut self, cluster: &mut Cluster, now: Instant) -> Result<()> {
        let failures = std::mem::take(&mut self.failures);
        let (mut over, rest): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|failure| failure.until <= now);
        self.failures = rest;
        over.sort_by_key(|failure| matches!(failure.kind.target(), Target::Server(_)));
        for Failure { kind, until } in over {
            let is_needed = |failure: &Failure| !matches!(failure.kind.target(), Target::Server(_));
            if matches!(kind, Kind::ServerKilled(_) | Kind::ServerLeaves(_))
                && self.failures.iter().any(is_needed)
            {
                // It could not start now.
                self.failures.push(Failure { kind, until });
                continue;
            }
            match kind {
                Kind::ServerKilled(index) => cluster.restart_killed(index)?,
                Kind::ServerLeaves(index) => {
                    let status = cluster.server_mut(index).wait(REST)?;
                    anyhow::ensure!(
                        status.success(),
                        "a server that was asked to leave exits with {status}"
                    );
                    cluster.restart_killed(index)?;
                }
                Kind::ServerStopped(index) => cluster.servers()[index].signal(Signal::Continue)?,
                Kind::ServerUnread(index) => cluster.servers()[index].set_reading(true),
                Kind::BrokerKilled(index) => cluster.restart_broker(index)?,
                Kind::BrokerStopped(index) => cluster.signal_broker(index, Signal::Continue)?,
                Kind::RedisKilled => cluster.restart_redis()?,
                Kind::RedisStopped => cluster.redis()?.signal(Signal::Continue)?,
                Kind::RiakNodeStopped(node) => cluster.riak()?.start_again(node)?,
                Kind::LinksHeld(index) | Kind::LinksCut(index) => cluster.proxies()[index].mend(),
            }
        }
        Ok(())
    }
}

/// What a failure happens to.
#[derive(PartialEq, Eq)]
enum Target {
    Server(usize),
    Broker(usize),
    Datastore,
}

impl Kind {
    const fn target(self) -> Target {
        match self {
            Self::ServerKilled(index)
            | Self::ServerLeaves(index)
            | Self::ServerStopped(index)
            | Self::ServerUnread(index) => Target::Server(index),
            Self::BrokerKilled(index)
            | Self::BrokerStopped(index)
            | Self::LinksHeld(index)
            | Self::LinksCut(index) => Target::Broker(index),
            Self::RedisKilled | Self::RedisStopped | Self::RiakNodeStopped(_) => Target::Datastore,
        }
    }
}

impl std::str::FromStr for Topology {
    type Err = anyhow::Error;

    /// `brokerless`, `broker`, or `brokers=N`.
    fn from_str(text: &str) -> Result<Self> {
        match (text, text.strip_prefix("brokers=")) {
            ("brokerless" | "mesh", _) => Ok(Self::Mesh),
            ("broker", _) => Ok(Self::Brokers(1)),
            (_, Some(count)) => Ok(Self::Brokers(count.parse()?)),
            _ => anyhow::bail!("unknown topology '{text}': brokerless, broker or brokers=N"),
        }
    }
}

impl std::str::FromStr for Store {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "embedded" => Ok(Self::Embedded),
            "redis" => Ok(Self::Redis),
            "riak" => Ok(Self::Riak),
            _ => anyhow::bail!("unknown store '{text}': embedded, redis or riak"),
        }
    }
}
