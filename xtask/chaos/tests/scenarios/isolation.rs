//! Trouble of some that others do not notice: all that these send arrives while it lasts, and nobody's memory runs away.
//! What the trouble costs them in time is measured by `cargo xtask chaos isolation`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use waypost_chaos::{Cluster, Options, Signal, Store, rss_kib};

use crate::{REST, broker, mesh, on};

/// More than this no process grows by others' trouble, in KiB: the bounds of its queues and inbox, and what a debug build needs
/// beside them.
const GROWTH_KIB: u64 = 64 << 10;
/// As long as trouble lasts at the least.
const WHILE: Duration = Duration::from_secs(2);
/// Clients in a storm.
const STORM: usize = 50_000;
/// How long a debug build on a busy machine may take for them.
const STORM_REST: Duration = Duration::from_secs(120);

fn calm(options: Options) -> Options {
    Options {
        lease_term: Duration::from_secs(10),
        ..options
    }
}

/// Every client of the first two servers sends to one of the other.
fn bystanders(cluster: &Cluster, clients: &[(String, usize)]) -> Result<()> {
    let theirs = |server: usize| clients.iter().filter(move |(_, at)| *at == server);
    let ids: Vec<u64> = theirs(0)
        .zip(theirs(1))
        .flat_map(|((one, _), (other, _))| {
            [
                cluster.servers()[0].send(one, other),
                cluster.servers()[1].send(other, one),
            ]
        })
        .collect();
    cluster.all_end(&ids, "delivered")
}

fn pids(cluster: &Cluster) -> Vec<u32> {
    let servers = cluster.servers().iter().map(waypost_chaos::Server::pid);
    servers.chain(cluster.broker_pid(0)).collect()
}

fn memory(pids: &[u32]) -> Result<Vec<u64>> {
    pids.iter().map(|pid| rss_kib(*pid)).collect()
}

fn has_not_grown(pids: &[u32], before: &[u64], by_kib: u64) -> Result<()> {
    for (pid, before) in pids.iter().zip(before) {
        let grown = rss_kib(*pid)?.saturating_sub(*before);
        ensure!(grown < by_kib, "a process grew by {grown} KiB");
    }
    Ok(())
}

/// A server that is stopped, with megabytes sent to it by a server that has other clients to send to as well.
fn a_stopped_server_harms_nobody_else(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("i", 30)?;
    bystanders(cluster, &clients)?;
    let (pids, padding) = (pids(cluster), "x".repeat(16 << 10));
    let before = memory(&pids)?;
    cluster.servers()[2].signal(Signal::Stop)?;
    let (until, mut ids) = (Instant::now() + WHILE, Vec::new());
    while Instant::now() < until {
        ids.extend((0..200).map(|_| cluster.servers()[0].send_padded("i0", "i2", &padding)));
        bystanders(cluster, &clients)?;
        has_not_grown(&pids, &before, GROWTH_KIB)?;
    }
    let outcomes = cluster
        .world()
        .wait("every send to the stopped server ends", REST, |oracle| {
            oracle.outcomes_of(&ids)
        })?;
    ensure!(
        !outcomes.contains_key("delivered") && outcomes.contains_key("overloaded"),
        "sends to a stopped server: {outcomes:?}"
    );
    has_not_grown(&pids, &before, GROWTH_KIB)?;
    cluster.servers()[2].signal(Signal::Continue)?;
    cluster.settle(REST)?;
    Ok(())
}

on! { a_stopped_server_harms_nobody_else:
    a_stopped_server_harms_nobody_else_in_a_mesh = calm(mesh(Store::Embedded));
    a_stopped_server_harms_nobody_else_behind_a_broker = calm(broker(Store::Embedded));
}

/// A datastore that stands still while a server asks for thousands of clients that nobody has heard of, and connects some.
fn a_hung_datastore_harms_nobody_who_does_not_need_it(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("i", 30)?;
    bystanders(cluster, &clients)?;
    let pids = pids(cluster);
    let before = memory(&pids)?;
    cluster.redis()?.signal(Signal::Stop)?;
    let (until, mut ids) = (Instant::now() + WHILE, Vec::new());
    while Instant::now() < until {
        for i in 0..200 {
            let unheard_of = format!("unheard-of-{}", ids.len());
            if i % 4 == 0 {
                cluster.servers()[2].connect(&unheard_of);
            }
            ids.push(cluster.servers()[2].send("i2", &unheard_of));
        }
        bystanders(cluster, &clients)?;
        has_not_grown(&pids, &before, GROWTH_KIB)?;
    }
    cluster.redis()?.signal(Signal::Continue)?;
    cluster.outcomes(&ids)?;
    cluster.settle(REST)?;
    Ok(())
}

on! { a_hung_datastore_harms_nobody_who_does_not_need_it:
    a_hung_datastore_harms_nobody_in_a_mesh = calm(mesh(Store::Redis));
    a_hung_datastore_harms_nobody_behind_a_broker = calm(broker(Store::Redis));
}

/// 50,000 clients connect to a server all at once.
fn a_storm_of_reconnecting_clients_harms_nobody_else(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("i", 30)?;
    bystanders(cluster, &clients)?;
    let pids = pids(cluster);
    let before = memory(&pids)?;
    let storm = cluster.servers()[2].id();
    for i in 0..STORM {
        cluster.servers()[2].connect(&format!("storm{i}"));
    }
    let began = Instant::now();
    while !cluster.world().oracle().is_connected_up(storm) {
        bystanders(cluster, &clients)?;
        ensure!(began.elapsed() < STORM_REST, "the storm does not end");
    }
    let held = cluster.world().oracle().clients_of(storm).len();
    ensure!(held == STORM + 10, "{held} clients are connected");
    // A kilobyte for each of them, where they are held, beside what everybody may have.
    has_not_grown(&pids, &before, GROWTH_KIB + STORM as u64)?;
    Ok(())
}

on! { a_storm_of_reconnecting_clients_harms_nobody_else:
    a_storm_harms_nobody_else_in_a_mesh = calm(mesh(Store::Redis));
    a_storm_harms_nobody_else_behind_a_broker = calm(broker(Store::Embedded));
}
