//! Windows, undisturbed and disturbed by turns.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use crate::Options;
use crate::cluster::{CLIENTS, Cluster, STORM, memory_kib};
use crate::control::{Answer, Command};

/// What happens to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trouble {
    /// A server is stopped, and another sends to it.
    StoppedPeer,
    /// The inbox of a client of the receiving server is full, and somebody goes on sending to it.
    FullInbox,
    /// The datastore stands still, and a server goes on asking for clients that it does not know.
    HungStore,
    /// 50,000 clients connect to another server, again and again.
    Storm,
}

impl Trouble {
    const ALL: [Self; 4] = [Self::StoppedPeer, Self::FullInbox, Self::HungStore, Self::Storm];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::StoppedPeer => "stopped-peer",
            Self::FullInbox => "full-inbox",
            Self::HungStore => "hung-store",
            Self::Storm => "storm",
        }
    }
}

/// One window.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Window {
    pub(crate) per_second: u64,
    pub(crate) refused: u64,
    pub(crate) p50_micros: u64,
    pub(crate) p99_micros: u64,
    pub(crate) max_micros: u64,
}

/// What one trouble came to in one topology.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) topology: String,
    pub(crate) trouble: Trouble,
    /// What the bystanders reach at full speed.
    pub(crate) capacity_per_second: u64,
    /// The pace they were given.
    pub(crate) load_per_second: u64,
    pub(crate) undisturbed: Vec<Window>,
    pub(crate) disturbed: Vec<Window>,
    /// The most that each process grew by while disturbed: sender, receiver, victim, rival, broker.
    pub(crate) grown_kib: Vec<u64>,
    /// What their queues and tables may hold.
    pub(crate) bounds_kib: Vec<u64>,
    /// What the trouble was, in numbers: messages sent into it, or storms.
    pub(crate) troubles: u64,
}

pub(crate) async fn all(options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for topology in ["mesh", "broker"] {
        if options.topology.as_deref().is_some_and(|only| only != topology) {
            continue;
        }
        for trouble in Trouble::ALL {
            if options.only.as_deref().is_some_and(|only| only != trouble.name()) {
                continue;
            }
            writeln!(std::io::stderr(), "{topology}, {} ...", trouble.name())?;
            rows.push(row(options, topology, trouble).await?);
        }
    }
    ensure!(!rows.is_empty(), "nothing is called so; see --help");
    Ok(rows)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn row(options: &Options, topology: &str, trouble: Trouble) -> Result<Row> {
    let mut cluster = Cluster::start(topology, &options.settings()).await?;
    let window = millis(options.window);
    let capacity = Command::Capacity {
        to: "receiver".to_owned(),
        count: CLIENTS,
        millis: window,
    };
    // The first one warms up.
    cluster.sender.ask(&capacity).await?;
    let answer = cluster.sender.ask(&capacity).await?;
    let capacity_per_second = answer.delivered * 1_000_000 / answer.took_micros.max(1);
    let mut row = Row {
        topology: topology.to_owned(),
        trouble,
        capacity_per_second,
        load_per_second: (capacity_per_second * options.load_percent / 100).max(1),
        undisturbed: Vec::new(),
        disturbed: Vec::new(),
        grown_kib: Vec::new(),
        bounds_kib: cluster.bounds_kib(),
        troubles: 0,
    };
    let load = Command::Load {
        to: "receiver".to_owned(),
        count: CLIENTS,
        per_second: row.load_per_second,
        millis: window,
    };
    let mut storm_here = false;
    for _ in 0..options.rounds {
        let quiet = cluster.sender.ask(&load).await?;
        row.undisturbed.push(seen(&quiet, options.window));
        let before = cluster.memory_kib();
        let (loud, troubles, most) =
            disturbed(&mut cluster, trouble, &load, options.window, &mut storm_here).await?;
        row.disturbed.push(seen(&loud, options.window));
        row.troubles += troubles;
        row.grown_kib.resize(before.len(), 0);
        for ((grown, before), most) in row.grown_kib.iter_mut().zip(before).zip(most) {
            *grown = (*grown).max(most.saturating_sub(before));
        }
        for child in [&mut cluster.victim, &mut cluster.rival, &mut cluster.receiver] {
            child.ask(&Command::Ping).await?;
        }
        // What is left of the trouble does not belong to the next window.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(row)
}

fn seen(answer: &Answer, window: Duration) -> Window {
    // All that was due in the window: what came late makes the latency, and what took longer than the window, the rate.
    let took = u128::from(answer.took_micros).max(window.as_micros());
    let rate = u128::from(answer.delivered) * 1_000_000 / took.max(1);
    Window {
        per_second: u64::try_from(rate).unwrap_or(u64::MAX),
        refused: answer.sent - answer.delivered,
        p50_micros: answer.p50_micros,
        p99_micros: answer.p99_micros,
        max_micros: answer.max_micros,
    }
}

/// A window beside the trouble: the bystanders' answer, how much trouble there was, and each process's most memory.
async fn disturbed(
    cluster: &mut Cluster,
    trouble: Trouble,
    load: &Command,
    window: Duration,
    storm_here: &mut bool,
) -> Result<(Answer, u64, Vec<u64>)> {
    let victim = cluster.victim.pid;
    let flood = |to: &str, count, per_second, size| Command::Flood {
        to: to.to_owned(),
        count,
        per_second,
        size,
        millis: millis(window),
    };
    match trouble {
        Trouble::StoppedPeer => pause(victim, true)?,
        Trouble::HungStore => cluster.redis.pause()?,
        Trouble::FullInbox | Trouble::Storm => {}
    }
    let mut most = cluster.memory_kib();
    let pids = cluster.pids();
    let watch = async {
        loop {
            for (most, pid) in most.iter_mut().zip(&pids) {
                *most = (*most).max(memory_kib(*pid));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let make_trouble = async {
        Ok::<u64, anyhow::Error>(match trouble {
            Trouble::StoppedPeer => {
                cluster
                    .rival
                    .ask(&flood("victim", CLIENTS, 5000, 1024))
                    .await?
                    .sent
            }
            Trouble::FullInbox => cluster.rival.ask(&flood("full", 1, 5000, 1024)).await?.sent,
            Trouble::HungStore => {
                cluster
                    .rival
                    .ask(&flood("unheard-of", 100_000, 1000, 64))
                    .await?
                    .sent
            }
            Trouble::Storm => {
                let (began, mut storms) = (Instant::now(), 0);
                while began.elapsed() < window {
                    let to = if *storm_here {
                        &mut cluster.rival
                    } else {
                        &mut cluster.victim
                    };
                    to.ask(&Command::Connect {
                        prefix: "storm".to_owned(),
                        count: STORM,
                    })
                    .await?;
                    *storm_here = !*storm_here;
                    storms += 1;
                }
                storms
            }
        })
    };
    let both = async { tokio::join!(cluster.sender.ask(load), make_trouble) };
    let (answer, troubles) = tokio::select! {
        both = both => both,
        () = watch => unreachable!("it has no end"),
    };
    match trouble {
        Trouble::StoppedPeer => pause(victim, false)?,
        Trouble::HungStore => cluster.redis.resume()?,
        Trouble::FullInbox | Trouble::Storm => {}
    }
    Ok((answer?, troubles?, most))
}

/// Stops a process where it is, or lets it go on.
fn pause(pid: u32, paused: bool) -> Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("not a process")?;
    Ok(kill_process(
        pid,
        if paused { Signal::STOP } else { Signal::CONT },
    )?)
}
