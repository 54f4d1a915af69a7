//! Every process of a loaded cluster restarted, one after the other.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

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

/// Sends acked messages at a pace in a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Load {
    writers: Arc<Mutex<Vec<Option<Writer>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// From every server in turn to every client in turn.
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
                        writer.send(client(number), client(number * 7 + 1));
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
    /// How many sends ended meanwhile.
    pub sends: usize,
    /// And how.
    pub outcomes: Outcomes,
    /// Half of them took no longer.
    pub p50: Duration,
    /// All but one in a hundred took no longer.
    pub p99: Duration,
    /// None took longer.
    pub max: Duration,
}

impl Times {
    fn of(during: String, oracle: &Oracle, from: u64, to: u64) -> Self {
        let latencies = oracle.latencies(from, to);
        let at = |per_mille: usize| {
            let index = (latencies.len() * per_mille / 1000).min(latencies.len().saturating_sub(1));
            latencies.get(index).copied().unwrap_or_default()
        };
        Self {
            during,
            sends: latencies.len(),
            outcomes: oracle.outcomes_between(from, to),
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
            "{:<28} {:>7} sends   p50 {:>8.1} ms   p99 {:>8.1} ms   max {:>8.1} ms   {:?}",
            self.during,
            self.sends,
            self.p50.as_secs_f64() * 1e3,
            self.p99.as_secs_f64() * 1e3,
            self.max.as_secs_f64() * 1e3,
            self.outcomes,
        )
    }
}

/// Restarts each server (its clients connect to the next one first), each broker and the datastore, under `per_second` acked
/// sends, and checks that none of them is lost and none delivered twice.
///
/// # Errors
/// With the evidence, when a promise was broken or something does not end or start.
pub fn restart_everything(options: Options, per_second: u32) -> Result<(Outcomes, Vec<Times>)> {
    let mut cluster = Cluster::start(options.clone())?;
    let mut times = Vec::new();
    if let Err(error) = roll(&mut cluster, &options, per_second, &mut times) {
        let repeat = format!("cargo xtask chaos rolling --per-second {per_second} {options}");
        bail!(report(&error, &repeat, "", &cluster.logs()));
    }
    Ok((cluster.finish()?, times))
}

fn roll(cluster: &mut Cluster, options: &Options, per_second: u32, times: &mut Vec<Times>) -> Result<()> {
    let count = options.servers;
    let clients = cluster.spread("l", CLIENTS * count)?;
    let names: Vec<String> = clients.iter().map(|(client, _)| client.clone()).collect();
    let load = Load::start(cluster, &names, per_second);
    let mut since = 0;
    let mut lap = |cluster: &Cluster, during: String| -> Result<()> {
        let next = cluster.world().oracle().last_id() + 1;
        cluster
            .world()
            .wait("what was sent so far has its outcomes", PATIENCE, |oracle| {
                oracle.all_ended(since, next).then_some(())
            })?;
        times.push(Times::of(during, &cluster.world().oracle(), since, next));
        since = next;
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
    let oracle = cluster.world().oracle();
    ensure!(
        oracle.redelivered() == 0,
        "{} messages were delivered twice",
        oracle.redelivered()
    );
    times.push(Times::of("all of it".to_owned(), &oracle, 0, u64::MAX));
    Ok(())
}
