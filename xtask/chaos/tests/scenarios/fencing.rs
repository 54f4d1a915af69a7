//! Leases that lapse: who sleeps or is cut off from the datastore, under either setting of `when-store-is-lost`.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use waypost_chaos::{Cluster, Options, Place, ServerId, Signal, Store};

use crate::partitions::{apart, proxied};
use crate::{REST, TERM, broker, mesh, on};

/// A lease that has lapsed may be noticed so much later on a busy machine.
const SLACK: Duration = Duration::from_millis(500);

fn with(setting: &str, options: Options) -> Options {
    Options {
        arguments: vec!["--when-store-is-lost".to_owned(), setting.to_owned()],
        ..options
    }
}

fn fence(options: Options) -> Options {
    with("fence", options)
}

fn of(clients: &[(String, usize)], server: usize) -> Vec<String> {
    let here = clients.iter().filter(|(_, at)| *at == server);
    here.map(|(client, _)| client.clone()).collect()
}

fn send_to(cluster: &Cluster, by: usize, from: &str, to: &[String]) -> Vec<u64> {
    to.iter()
        .map(|client| cluster.servers()[by].send(from, client))
        .collect()
}

/// What has to be so in the end: it was told that it is fenced and registered anew, it keeps who stayed, it was told who moved.
fn is_back(cluster: &Cluster, id: ServerId, moved: &[String], stayed: &[String]) -> Result<()> {
    cluster.world().wait("it registers anew", REST, |oracle| {
        (oracle.incarnations(id).len() > 1).then_some(())
    })?;
    cluster.settle(REST)?;
    let oracle = cluster.world().oracle();
    let (times, is_now) = oracle.fenced(id);
    ensure!(
        times >= 1 && !is_now,
        "fenced {times} times, and is so now: {is_now}"
    );
    let mut stayed = stayed.to_vec();
    stayed.sort_unstable();
    ensure!(
        oracle.clients_of(id) == stayed,
        "it keeps those that did not move: {:?}",
        oracle.clients_of(id)
    );
    ensure!(
        moved.iter().all(|client| oracle.displaced(id, client) == 1),
        "it is told who has moved"
    );
    Ok(())
}

/// A server sleeps for longer than its lease, and finds the store cut off when it wakes. Meanwhile some of its clients have
/// moved, and messages for them lie in its sockets. Under `fence` it delivers none of them, nor anything else, until the
/// store has answered.
fn sleeper_without_store(cluster: &mut Cluster, setting: &str) -> Result<()> {
    let clients = cluster.spread("z", 90)?;
    let all = of(&clients, 2);
    let (moved, stayed) = all.split_at(10);
    let sleeper = cluster.servers()[2].id();
    cluster.all_end(&send_to(cluster, 1, "z1", &all), "delivered")?;
    cluster.servers()[2].signal(Signal::Stop)?;
    // These reach its sockets: nobody knows yet.
    let early = send_to(cluster, 1, "z1", &all);
    for client in moved {
        cluster.servers()[0].connect(client);
    }
    let target: Vec<_> = moved.iter().map(|client| (client.clone(), 0)).collect();
    cluster.await_held(&target)?;
    cluster.await_nobody(1, &stayed[0], TERM * 5)?;
    cluster.part(&[Place::Server(2)], &[Place::Store])?;
    let before = cluster.world().oracle().deliveries(sleeper);
    cluster.servers()[2].signal(Signal::Continue)?;
    let until = Instant::now() + TERM * 2;
    let mut ids = early;
    while Instant::now() < until {
        let to_moved = send_to(cluster, 1, "z1", moved);
        cluster.all_end(&to_moved, "delivered")?;
        for id in &to_moved {
            let at = cluster.world().oracle().seen_at(*id);
            ensure!(
                at == [cluster.servers()[0].id()],
                "message {id} was delivered at {at:?}"
            );
        }
        // From its own clients to each other and to those that have moved.
        ids.extend(send_to(cluster, 2, &stayed[0], &all));
        ids.extend(send_to(cluster, 1, "z1", stayed));
        thread::sleep(Duration::from_millis(100));
    }
    let meanwhile = cluster.world().oracle().deliveries(sleeper) - before;
    if setting == "fence" {
        ensure!(meanwhile == 0, "a fenced server delivered {meanwhile} messages");
    } else {
        ensure!(meanwhile > 0, "a server that serves delivered nothing");
    }
    cluster.mend()?;
    is_back(cluster, sleeper, moved, stayed)?;
    cluster.outcomes(&ids)?;
    cluster.all_end(&send_to(cluster, 1, "z1", &all), "delivered")?;
    cluster.settle(REST)?;
    Ok(())
}

fn a_fencing_server_that_wakes_without_the_store_delivers_nothing(cluster: &mut Cluster) -> Result<()> {
    sleeper_without_store(cluster, "fence")
}

fn a_serving_server_that_wakes_without_the_store_gives_up_what_has_moved(
    cluster: &mut Cluster,
) -> Result<()> {
    sleeper_without_store(cluster, "serve")
}

on! { a_fencing_server_that_wakes_without_the_store_delivers_nothing:
    a_fencing_sleeper_between_proxies = fence(proxied(mesh(Store::Redis)));
    a_fencing_sleeper_in_namespaces = fence(apart(mesh(Store::Redis)));
}
on! { a_serving_server_that_wakes_without_the_store_gives_up_what_has_moved:
    a_serving_sleeper_between_proxies = with("serve", proxied(mesh(Store::Redis)));
    a_serving_sleeper_in_namespaces = with("serve", apart(mesh(Store::Redis)));
}

/// A server without anybody while its clients connect elsewhere. Under `fence` it delivers nothing from the end of its lease on, not
/// even from one of its clients to another.
fn a_fencing_server_without_anybody_falls_silent(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("c", 90)?;
    let all = of(&clients, 2);
    let (moved, stayed) = all.split_at(10);
    let lost = cluster.servers()[2].id();
    cluster.part(
        &[Place::Server(2)],
        &[Place::Server(0), Place::Server(1), Place::Store],
    )?;
    let cut_at = Instant::now();
    for client in moved {
        cluster.servers()[0].connect(client);
    }
    let target: Vec<_> = moved.iter().map(|client| (client.clone(), 0)).collect();
    cluster.await_held(&target)?;
    let mut ids = Vec::new();
    let mut lapsed = None;
    while cut_at.elapsed() < TERM * 4 {
        if lapsed.is_none() && cut_at.elapsed() > TERM + SLACK {
            lapsed = Some(cluster.world().oracle().deliveries(lost));
        }
        ids.extend(send_to(cluster, 2, &stayed[0], &all));
        let to_moved = send_to(cluster, 1, "c1", moved);
        cluster.all_end(&to_moved, "delivered")?;
        thread::sleep(Duration::from_millis(100));
    }
    let late = cluster.world().oracle().deliveries(lost) - lapsed.unwrap_or(0);
    ensure!(late == 0, "{late} messages were delivered after the lease");
    cluster.mend()?;
    is_back(cluster, lost, moved, stayed)?;
    cluster.outcomes(&ids)?;
    cluster.all_end(&send_to(cluster, 1, "c1", &all), "delivered")?;
    cluster.settle(REST)?;
    Ok(())
}

on! { a_fencing_server_without_anybody_falls_silent:
    a_fencing_server_falls_silent_between_proxies = fence(proxied(mesh(Store::Redis)));
    a_fencing_server_falls_silent_in_namespaces = fence(apart(mesh(Store::Redis)));
}

/// The datastore stands still for longer than the leases last: under `fence` all fall silent, and all go on when it is back.
fn a_fencing_cluster_is_silent_while_the_store_stands_still(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("r", 90)?;
    let next = |i: usize| &clients[(i + 1) % clients.len()].0;
    let round = |cluster: &Cluster| -> Vec<u64> {
        let all = clients.iter().enumerate();
        all.map(|(i, (client, at))| cluster.servers()[*at].send(client, next(i)))
            .collect()
    };
    cluster.all_end(&round(cluster), "delivered")?;
    cluster.redis()?.signal(Signal::Stop)?;
    cluster.world().oracle().disturb();
    let stopped = Instant::now();
    // Half of a term is left at the least of every lease.
    cluster.all_end(&round(cluster), "delivered")?;
    let total = |cluster: &Cluster| -> u64 {
        let oracle = cluster.world().oracle();
        cluster
            .servers()
            .iter()
            .map(|server| oracle.deliveries(server.id()))
            .sum()
    };
    let mut ids = Vec::new();
    let mut lapsed = None;
    while stopped.elapsed() < TERM * 4 {
        // A broker goes on with the leases of its servers until its own term is over.
        if lapsed.is_none() && stopped.elapsed() > TERM * 2 + SLACK {
            lapsed = Some(total(cluster));
        }
        ids.extend(round(cluster));
        thread::sleep(Duration::from_millis(100));
    }
    let late = total(cluster) - lapsed.unwrap_or(0);
    ensure!(late == 0, "{late} messages were delivered after the leases");
    cluster.redis()?.signal(Signal::Continue)?;
    let outcomes = cluster.outcomes(&ids)?;
    ensure!(
        outcomes.contains_key("expired") || outcomes.contains_key("unknown"),
        "what was sent meanwhile: {outcomes:?}"
    );
    cluster.settle(REST)?;
    cluster.await_held(&clients)?;
    cluster.all_end(&round(cluster), "delivered")?;
    cluster.settle(REST)?;
    Ok(())
}

on! { a_fencing_cluster_is_silent_while_the_store_stands_still:
    a_fencing_mesh_is_silent = fence(mesh(Store::Redis));
    a_fencing_cluster_of_a_broker_is_silent = fence(broker(Store::Redis));
}
