//! Every process of a loaded cluster restarted, one after the other.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Error, Result, ensure};

use crate::cluster::Cluster;
use crate::options::{Options, Store};
use crate::oracle::{Oracle, Outcomes};
use crate::report::report;
use crate::server::{Signal, Writer};

/// Clients of each server.
const CLIENTS: usize = 50;
/// How often the load is sent.
const TICK: Duration = Duration::from_millis(5);
/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends at a pace in a thread of its own, until it is dropped: acked messages, and behind each one without acknowledgement to the
/// same client.
#[derive(Debug)]
pub struct Load {
    writers: Arc<Mutex<Vec<Option<Writer>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// From every server in turn to every client in turn, so many of either kind.
    #[must_use]
    pub fn start(cluster: &Cluster, clients: &[String], per_second: u32) -> Self {
        let writers = cluster.servers().iter().map(|server| Some(server.writer()));
        let writers = Arc::new(Mutex::new(writers.collect::<Vec<_>>()));
        let stop = Arc::new(AtomicBool::new(false));
        let (own_writers, own_stop, clients) = (Arc::clone(&writers), Arc::clone(&stop), clients.to_vec());
        let thread = thread::spawn(move || {
            let (step, mut due) = (Duration::from_secs(1) / per_second.max(1), Instant::now());
            let mut number = 0;
            while !own_stop.load(Ordering::Acquire) {
                let now = Instant::now();
                while due <= now {
                    let writers = own_writers.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(writer) = &writers[number % writers.len()] {
                        // A step that is prime to the number of servers, so that all pairs come up.
                        let client = |number: usize| &clients[number % clients.len()];
                        let (from, to) = (client(number), client(number * 7 + 1));
                        writer.send(from, to);
                        writer.send_unacked(from, to);
                    }
                    number += 1;
                    due += step;
                }
                thread::sleep(TICK);
            }
        });
        Self {
            writers,
            stop,
            thread: Some(thread),
        }
    }

    /// From now on sends through `writer`, or not at all, where a server was.
    pub fn set(&self, server: usize, writer: Option<Writer>) {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)[server] = writer;
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}

/// How long sends took while something happened.
#[derive(Debug)]
pub struct Times {
    /// What happened.
    pub during: String,
    /// Whether these are the acked ones.
    pub acked: bool,
    /// How many sends had their outcomes, or arrived where nobody asked for that.
    pub sends: usize,
    /// What became of all of them.
    pub outcomes: Outcomes,
    /// Half of them took no longer.
    pub p50: Duration,
    /// All but one in a hundred took no longer.
    pub p99: Duration,
    /// None took longer.
    pub max: Duration,
}

impl Times {
    fn of(lap: &Lap, oracle: &Oracle, acked: bool) -> Self {
        let latencies = oracle.latencies(lap.from, lap.to, acked);
        let at = |per_mille: usize| {
            let index = (latencies.len() * per_mille / 1000).min(latencies.len().saturating_sub(1));
            latencies.get(index).copied().unwrap_or_default()
        };
        Self {
            during: lap.during.clone(),
            acked,
            sends: latencies.len(),
            outcomes: oracle.outcomes_between(lap.from, lap.to, acked),
            p50: at(500),
            p99: at(990),
            max: at(1000),
        }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<28} {} {:>7} sends   p50 {:>8.1} ms   p99 {:>8.1} ms   max {:>8.1} ms   {:?}",
            self.during,
            if self.acked { "acked      " } else { "best effort" },
            self.sends,
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3,
            self.max.as_secs_f64() * 1e3,
            self.outcomes,
        )
    }
}

/// What became of a cluster's sends while all of it was restarted.
#[derive(Debug)]
pub struct Rolled {
    /// Of the acked ones.
    pub acked: Outcomes,
    /// Of the others: see [`Oracle::outcomes_between`].
    pub best_effort: Outcomes,
    /// How many of those the servers have told as failed.
    pub told_failed: usize,
    /// How long they took, step by step.
    pub times: Vec<Times>,
}

impl fmt::Display for Rolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for times in &self.times {
            writeln!(f, "  {times}")?;
        }
        writeln!(f, "acked: {:?}", self.acked)?;
        write!(
            f,
            "best effort: {:?}, of which {} were told as failed",
            self.best_effort, self.told_failed
        )
    }
}

/// Sends between two numbers.
struct Lap {
    during: String,
    from: u64,
    to: u64,
}

/// Restarts each server (its clients connect to the next one first), each broker and the datastore, under `per_second` acked sends
/// and as many without acknowledgement. Checks that no acked one is lost, that none of either kind is delivered twice or to another
/// client than it was for, and that those without acknowledgement all arrive when it is over.
///
/// # Errors
/// With the evidence, when a promise was broken or something does not end or start.
pub fn restart_everything(options: Options, per_second: u32) -> Result<Rolled> {
    let mut cluster = Cluster::start(options.clone())?;
    let rolled = roll(&mut cluster, &options, per_second);
    rolled.map_err(|error| {
        let repeat = format!("cargo xtask chaos rolling --per-second {per_second} {options}");
        Error::msg(report(&error, &repeat, "", &cluster.logs()))
    })
}

fn roll(cluster: &mut Cluster, options: &Options, per_second: u32) -> Result<Rolled> {
    let count = options.servers;
    let clients = cluster.spread("l", CLIENTS * count)?;
    let names: Vec<String> = clients.iter().map(|(client, _)| client.clone()).collect();
    let load = Load::start(cluster, &names, per_second);
    let mut laps: Vec<Lap> = Vec::new();
    let mut lap = |cluster: &Cluster, during: String| -> Result<()> {
        let from = laps.last().map_or(0, |lap| lap.to);
        let to = cluster.world().oracle().last_id() + 1;
        cluster
            .world()
            .wait("what was sent so far has its outcomes", PATIENCE, |oracle| {
                oracle.all_ended(from, to).then_some(())
            })?;
        laps.push(Lap { during, from, to });
        Ok(())
    };
    thread::sleep(Duration::from_secs(1));
    lap(cluster, "nothing".to_owned())?;
    for index in 0..count {
        let own = || clients.iter().filter(|(_, at)| *at == index);
        let next = (index + 1) % count;
        let moved: Vec<_> = own().map(|(client, _)| (client.clone(), next)).collect();
        for (client, at) in &moved {
            cluster.servers()[*at].connect(client);
        }
        cluster.await_held(&moved)?;
        load.set(index, None);
        let id = cluster.servers()[index].id();
        cluster
            .world()
            .wait("it has the outcomes of what it sent", PATIENCE, |oracle| {
                (oracle.owed_by(id) == 0).then_some(())
            })?;
        let asked = Instant::now();
        cluster.servers()[index].signal(Signal::Term)?;
        let status = cluster.server_mut(index).wait(PATIENCE)?;
        ensure!(status.success(), "a server exits with {status}");
        let left = asked.elapsed().as_secs_f64();
        cluster.restart_killed(index)?;
        load.set(index, Some(cluster.servers()[index].writer()));
        let back: Vec<_> = own().cloned().collect();
        for (client, at) in &back {
            cluster.servers()[*at].connect(client);
        }
        cluster.await_held(&back)?;
        lap(cluster, format!("server {}, ended in {left:.1} s", index + 1))?;
    }
    for index in 0..cluster.broker_endpoints().len() {
        let asked = Instant::now();
        cluster.stop_broker(index)?;
        let left = asked.elapsed().as_secs_f64();
        cluster.restart_broker(index)?;
        // Its servers come back to it, or stay where they went.
        thread::sleep(Duration::from_secs(1));
        lap(cluster, format!("broker {}, ended in {left:.1} s", index + 1))?;
    }
    if options.store == Store::Redis {
        cluster.redis()?.end_and_save()?;
        cluster.restart_redis()?;
        // For the next heartbeats to find it there.
        thread::sleep(options.lease_term);
        lap(cluster, "the datastore".to_owned())?;
    }
    drop(load);
    cluster.settle(PATIENCE)?;
    lap(cluster, "nothing more".to_owned())?;
    best_effort_arrives(cluster, &clients)?;
    lap(cluster, "nothing any more".to_owned())?;
    laps.push(Lap {
        during: "all of it".to_owned(),
        from: 0,
        to: u64::MAX,
    });
    let acked = cluster.finish()?;
    let oracle = cluster.world().oracle();
    ensure!(
        oracle.redelivered() == 0,
        "{} messages were delivered twice",
        oracle.redelivered()
    );
    let times = |lap| [true, false].map(|acked| Times::of(lap, &oracle, acked));
    Ok(Rolled {
        acked,
        best_effort: oracle.outcomes_between(0, u64::MAX, false),
        told_failed: cluster.unacked_failed(),
        times: laps
            .iter()
            .flat_map(times)
            .filter(|times| times.sends > 0)
            .collect(),
    })
}

/// Every server sends to every client without acknowledgement. What the same server sent to the same client before has arrived too
/// then, or never does.
fn best_effort_arrives(cluster: &Cluster, clients: &[(String, usize)]) -> Result<()> {
    let mut ids = Vec::new();
    for (from, at) in clients.iter().take(cluster.servers().len()) {
        let server = &cluster.servers()[*at];
        ids.extend(clients.iter().map(|(to, _)| server.send_unacked(from, to)));
    }
    let what = "what is sent without acknowledgement afterwards arrives";
    cluster.world().wait(what, PATIENCE, |oracle| {
        ids.iter().all(|id| !oracle.seen_at(*id).is_empty()).then_some(())
    })
}
