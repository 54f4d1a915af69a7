//! Everything at once, from one seed.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};

use crate::cluster::Cluster;
use crate::hostile::Hostile;
use crate::links::Network;
use crate::options::Options;
use crate::oracle::Outcomes;
use crate::report::report;

mod trouble;

use trouble::Trouble;

/// How many clients there are to be moved about.
const CLIENTS: usize = 300;
/// How long a cluster may take to come to rest after all failures have been mended.
const REST: Duration = Duration::from_secs(60);

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
    /// How long the cluster took to come to rest once everything was mended.
    pub rest: Duration,
    /// The longest that an acked send took.
    pub longest: Duration,
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
        writeln!(f, "{} delivered to two incarnations", self.redelivered)?;
        write!(
            f,
            "at rest {:.1} s after everything was mended; the longest send took {:.1} s",
            self.rest.as_secs_f64(),
            self.longest.as_secs_f64()
        )
    }
}

/// Does anything that may happen to a cluster for some time, mends it all, and checks that it comes to rest with every
/// promise kept.
///
/// # Errors
/// With the evidence, when a promise was broken or the cluster does not come to rest.
pub fn run(options: Options, seed: u64, time: Duration) -> Result<Summary> {
    let repeat = format!(
        "cargo xtask chaos --seconds {} --seed {seed} {options}",
        time.as_secs()
    );
    let mut cluster = Cluster::start(options.clone())?;
    let mut chaos = Chaos {
        dice: Dice::new(seed),
        is_reachable: options.network != Network::Namespaces,
        trouble: Trouble::new(options),
        deeds: BTreeMap::new(),
        rest: Duration::ZERO,
    };
    let failed = |error: &Error, chaos: &Chaos, logs: &str| {
        Error::msg(report(error, &repeat, &chaos.trouble.to_string(), logs))
    };
    let outcomes = match chaos.play(&mut cluster, time) {
        Ok(outcomes) => outcomes,
        Err(error) => return Err(failed(&error, &chaos, &cluster.logs())),
    };
    let oracle = cluster.world().oracle();
    let (sent, redelivered) = (oracle.sent_len(), oracle.redelivered());
    let longest = oracle
        .latencies(0, u64::MAX, true)
        .last()
        .copied()
        .unwrap_or_default();
    drop(oracle);
    if let Err(error) = cluster.finish() {
        return Err(failed(&error.context("at the end"), &chaos, &cluster.logs()));
    }
    Ok(Summary {
        deeds: chaos.deeds,
        outcomes,
        sent,
        redelivered,
        rest: chaos.rest,
        longest,
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

struct Chaos {
    dice: Dice,
    trouble: Trouble,
    /// Whether the processes can be dialled from here.
    is_reachable: bool,
    deeds: BTreeMap<&'static str, u64>,
    rest: Duration,
}

impl Chaos {
    fn play(&mut self, cluster: &mut Cluster, time: Duration) -> Result<Outcomes> {
        cluster.spread("c", CLIENTS)?;
        let end = Instant::now() + time;
        while Instant::now() < end {
            for _ in 0..20 {
                self.act(cluster)?;
            }
            if self.dice.below(25) == 0
                && self.trouble.count() < 2
                && let Some(deed) = self.trouble.begin(cluster, &mut self.dice)?
            {
                self.did(deed);
            }
            self.trouble.mend(cluster, Instant::now())?;
            cluster.world().oracle().verdict()?;
            // A pace that a debug build on a small machine can follow.
            thread::sleep(Duration::from_millis(10));
        }
        self.trouble.mend(cluster, end + REST)?;
        // Every client is wanted somewhere at the end.
        for i in 0..CLIENTS {
            let server = self.dice.below(cluster.servers().len());
            cluster.servers()[server].connect(&format!("c{i}"));
        }
        let mended = Instant::now();
        let outcomes = cluster.settle(REST)?;
        self.rest = mended.elapsed();
        Ok(outcomes)
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
        if self.trouble.is_gone(index) {
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
                if !self.trouble.is_gone(rival) {
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
            33 if self.is_reachable => {
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
}
