//! Processes that are killed or stopped: servers, brokers, the datastore.

use std::time::Instant;

use anyhow::{Result, ensure};
use waypost_chaos::{Cluster, Load, Options, Signal, Store, Topology, eventually};

use crate::{Dice, REST, TERM, broker, mesh, mixed, on, play};

/// Sends from every client to some other; the sends' numbers.
fn load(cluster: &Cluster, clients: &[(String, usize)], dice: &mut Dice) -> Vec<u64> {
    clients
        .iter()
        .map(|(client, at)| cluster.servers()[*at].send(client, &clients[dice.below(clients.len())].0))
        .collect()
}

/// A killed server's clients are said to be unreachable or not connected, never something worse, connect elsewhere at once
/// and get messages; the server comes back as a greater incarnation.
fn a_killed_server_is_replaced(cluster: &mut Cluster) -> Result<()> {
    let mut dice = Dice(3);
    let mut clients = cluster.spread("k", 600)?;
    load(cluster, &clients, &mut dice);
    let before = cluster.world().oracle().incarnations(cluster.servers()[2].id());
    cluster.server_mut(2).kill()?;
    let killed = Instant::now();
    let alive: Vec<_> = clients.iter().filter(|(_, at)| *at != 2).cloned().collect();
    let orphans: Vec<String> = clients
        .iter()
        .filter(|(_, at)| *at == 2)
        .map(|(client, _)| client.clone())
        .collect();
    load(cluster, &alive, &mut dice);

    let moved: Vec<_> = orphans
        .iter()
        .take(100)
        .map(|client| (client.clone(), 0))
        .collect();
    for (client, _) in &moved {
        cluster.servers()[0].connect(client);
    }
    cluster.await_held(&moved)?;
    let took = killed.elapsed();
    ensure!(took < TERM, "clients waited {took:?} for a killed server");
    let to_moved: Vec<u64> = moved
        .iter()
        .map(|(client, _)| cluster.servers()[1].send("k1", client))
        .collect();
    cluster.all_end(&to_moved, "delivered")?;

    let to_dead: Vec<u64> = orphans[100..]
        .iter()
        .map(|client| cluster.servers()[1].send("k1", client))
        .collect();
    let outcomes = cluster.outcomes(&to_dead)?;
    ensure!(
        outcomes
            .keys()
            .all(|outcome| outcome == "unreachable" || outcome == "not_connected"),
        "what is sent to a killed server's clients: {outcomes:?}"
    );
    cluster.await_nobody(1, &orphans[150], TERM * 5)?;
    // What remembers the dead server's place forgets it with the next reading of the leases.
    eventually("they are not connected", REST, || {
        let id = cluster.servers()[1].send("k1", &orphans[150]);
        Ok(cluster
            .outcomes(&[id])?
            .contains_key("not_connected")
            .then_some(()))
    })?;
    let to_dead: Vec<u64> = orphans[100..]
        .iter()
        .map(|client| cluster.servers()[1].send("k1", client))
        .collect();
    cluster.all_end(&to_dead, "not_connected")?;

    cluster.restart_killed(2)?;
    let after = cluster.world().oracle().incarnations(cluster.servers()[2].id());
    ensure!(after > before, "incarnations {before:?}, then {after:?}");
    for client in &orphans[100..] {
        cluster.servers()[2].connect(client);
    }
    for (client, at) in &mut clients {
        if moved.iter().any(|(moved, _)| moved == client) {
            *at = 0;
        }
    }
    cluster.await_held(&clients)?;
    let ids = load(cluster, &clients, &mut dice);
    cluster.all_end(&ids, "delivered")?;
    cluster.settle(REST)?;
    Ok(())
}

on! { a_killed_server_is_replaced:
    a_killed_server_is_replaced_in_a_mesh = mesh(Store::Embedded);
    a_killed_server_is_replaced_in_a_mesh_on_redis = mesh(Store::Redis);
    a_killed_server_is_replaced_behind_a_broker = broker(Store::Embedded);
    a_killed_server_is_replaced_behind_a_broker_on_redis = broker(Store::Redis);
}

/// The same identity started twice: the older process is fenced, stays so, and delivers nothing more.
fn a_second_process_of_an_identity_wins(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("f", 90)?;
    let old = cluster.servers()[2].id();
    let new = cluster.launch("s3")?;
    cluster.await_registered(new.id())?;
    cluster
        .world()
        .wait("the old process is fenced", REST, |oracle| {
            oracle.fenced(old).1.then_some(())
        })?;
    let oracle = cluster.world().oracle();
    ensure!(
        oracle.incarnations(new.id()) > oracle.incarnations(old),
        "the new incarnation is greater"
    );
    drop(oracle);
    for (client, _) in clients.iter().filter(|(_, at)| *at == 2) {
        new.connect(client);
    }
    let orphans: Vec<&String> = clients
        .iter()
        .filter(|(_, at)| *at == 2)
        .map(|(client, _)| client)
        .collect();
    cluster
        .world()
        .wait("the new process holds the clients", REST, |oracle| {
            orphans
                .iter()
                .all(|client| oracle.holds(new.id(), client))
                .then_some(())
        })?;
    // What the fenced process asks for changes nothing.
    for client in &orphans {
        cluster.servers()[2].disconnect(client);
    }
    cluster.servers()[2].connect("late");
    cluster
        .world()
        .wait("the fenced process refuses", REST, |oracle| {
            (!oracle.errors(old).is_empty()).then_some(())
        })?;
    let ids: Vec<u64> = orphans
        .iter()
        .map(|client| cluster.servers()[0].send("f0", client))
        .collect();
    cluster.all_end(&ids, "delivered")?;
    let oracle = cluster.world().oracle();
    for id in ids {
        ensure!(
            oracle.seen_at(id) == [new.id()],
            "message {id} was delivered at {:?}",
            oracle.seen_at(id)
        );
    }
    ensure!(oracle.fenced(old) == (1, true), "the old process stays fenced");
    drop(oracle);
    new.quit();
    let mut new = new;
    ensure!(new.wait(REST)?.success(), "the new process ends well");
    Ok(())
}

on! { a_second_process_of_an_identity_wins:
    a_second_process_of_an_identity_wins_in_a_mesh = mesh(Store::Embedded);
    a_second_process_of_an_identity_wins_in_a_mesh_on_redis = mesh(Store::Redis);
    a_second_process_of_an_identity_wins_behind_a_broker = broker(Store::Embedded);
    a_second_process_of_an_identity_wins_behind_a_broker_on_redis = broker(Store::Redis);
}

/// A broker killed and started again: all servers come back by themselves with all their clients.
fn servers_come_back_to_a_restarted_broker(cluster: &mut Cluster) -> Result<()> {
    let mut dice = Dice(5);
    let clients = cluster.spread("b", 6000)?;
    let mut ids = load(cluster, &clients, &mut dice);
    cluster.kill_broker(0)?;
    ids.extend(load(cluster, &clients[..600], &mut dice));
    cluster.restart_broker(0)?;
    ids.extend(load(cluster, &clients[..600], &mut dice));
    cluster.outcomes(&ids)?;
    cluster.settle(REST)?;
    let ids = load(cluster, &clients, &mut dice);
    cluster.all_end(&ids, "delivered")?;
    for server in cluster.servers() {
        let oracle = cluster.world().oracle();
        ensure!(
            oracle.incarnations(server.id()).len() == 1,
            "{} lost its incarnation",
            server.identity()
        );
        ensure!(
            oracle.clients_of(server.id()).len() == 2000,
            "{} lost clients",
            server.identity()
        );
    }
    cluster.settle(REST)?;
    Ok(())
}

on! { servers_come_back_to_a_restarted_broker:
    servers_come_back_to_a_restarted_broker_on_a_file = Options { lease_term: TERM * 5, ..broker(Store::Embedded) };
    servers_come_back_to_a_restarted_broker_on_redis = Options { lease_term: TERM * 5, ..broker(Store::Redis) };
}

/// One of two brokers killed: its servers go to the other and lose nothing.
#[test]
fn servers_go_to_the_other_broker() {
    play(Options::new(Topology::Brokers(2), Store::Embedded), |cluster| {
        let mut dice = Dice(6);
        let clients = cluster.spread("d", 3000)?;
        let ids = load(cluster, &clients, &mut dice);
        cluster.all_end(&ids, "delivered")?;
        for victim in [0, 1] {
            let mut ids = load(cluster, &clients, &mut dice);
            cluster.kill_broker(victim)?;
            ids.extend(load(cluster, &clients, &mut dice));
            cluster.outcomes(&ids)?;
            cluster.settle(REST)?;
            let ids = load(cluster, &clients, &mut dice);
            cluster.all_end(&ids, "delivered")?;
            cluster.restart_broker(victim)?;
        }
        cluster.settle(REST)?;
        Ok(())
    });
}

/// A broker killed at full load, and later another one: with one left, no acked message is lost.
fn a_broker_killed_at_full_load_loses_nothing(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("g", 300)?;
    let names: Vec<String> = clients.iter().map(|(client, _)| client.clone()).collect();
    let load = Load::start(cluster, &names, 1500);
    for victim in [0, 1] {
        let so_far = cluster.world().oracle().sent_len();
        cluster.world().wait("the load is under way", REST, |oracle| {
            (oracle.sent_len() > so_far + 2000).then_some(())
        })?;
        cluster.kill_broker(victim)?;
        let so_far = cluster.world().oracle().sent_len();
        cluster.world().wait("the load goes on", REST, |oracle| {
            (oracle.sent_len() > so_far + 6000).then_some(())
        })?;
        cluster.restart_broker(victim)?;
    }
    drop(load);
    let outcomes = cluster.settle(REST)?;
    ensure!(
        outcomes.keys().all(|outcome| outcome == "delivered"),
        "what was sent meanwhile: {outcomes:?}"
    );
    Ok(())
}

on! { a_broker_killed_at_full_load_loses_nothing:
    one_of_two_brokers_is_killed_at_full_load = Options { lease_term: TERM * 2, ..Options::new(Topology::Brokers(2), Store::Embedded) };
    one_of_two_brokers_is_killed_at_full_load_on_redis = Options { lease_term: TERM * 2, ..Options::new(Topology::Brokers(2), Store::Redis) };
    a_broker_of_a_mixed_cluster_is_killed_at_full_load = Options { lease_term: TERM * 2, ..mixed(Store::Redis) };
}

/// What happens to the datastore.
#[derive(Clone, Copy, PartialEq)]
enum Blow {
    Stopped,
    Killed,
    Flushed,
}

fn datastore(cluster: &mut Cluster, blow: Blow) -> Result<()> {
    let clients = cluster.spread("r", 900)?;
    let known = |cluster: &Cluster| -> Vec<u64> {
        let next = |i: usize| &clients[(i * 3 + 1) % clients.len()].0;
        clients
            .iter()
            .enumerate()
            .map(|(i, (client, at))| cluster.servers()[*at].send(client, next(i)))
            .collect()
    };
    let ids = known(cluster);
    cluster.all_end(&ids, "delivered")?;
    match blow {
        Blow::Stopped => cluster.redis()?.signal(Signal::Stop)?,
        Blow::Killed => cluster.redis()?.kill()?,
        Blow::Flushed => cluster.redis()?.flush_all()?,
    }
    if blow != Blow::Flushed {
        // For longer than the leases last.
        let until = Instant::now() + TERM * 3;
        let mut round = 0;
        while Instant::now() < until {
            let ids = known(cluster);
            cluster.all_end(&ids, "delivered")?;
            let ids: Vec<u64> = (0..20)
                .map(|i| cluster.servers()[i % 3].send("r0", &format!("unheard-of-{round}-{i}")))
                .collect();
            cluster.all_end(&ids, "store_unavailable")?;
            round += 1;
        }
        let id = cluster.servers()[0].id();
        cluster.servers()[0].connect("too-late");
        cluster.world().wait("a connect fails", REST, |oracle| {
            oracle
                .errors(id)
                .iter()
                .any(|(_, message)| message.contains("too-late"))
                .then_some(())
        })?;
    }
    match blow {
        Blow::Stopped => cluster.redis()?.signal(Signal::Continue)?,
        Blow::Killed => cluster.restart_redis()?,
        Blow::Flushed => {}
    }
    cluster.settle(REST)?;
    let ids = known(cluster);
    cluster.all_end(&ids, "delivered")?;
    cluster.await_held(&clients)?;
    cluster.settle(REST)?;
    Ok(())
}

fn a_stopped_datastore_is_outlived(cluster: &mut Cluster) -> Result<()> {
    datastore(cluster, Blow::Stopped)
}

fn a_killed_datastore_is_refilled(cluster: &mut Cluster) -> Result<()> {
    datastore(cluster, Blow::Killed)
}

fn a_flushed_datastore_is_refilled(cluster: &mut Cluster) -> Result<()> {
    datastore(cluster, Blow::Flushed)
}

on! { a_stopped_datastore_is_outlived:
    a_stopped_datastore_is_outlived_by_a_mesh = mesh(Store::Redis);
    a_stopped_datastore_is_outlived_by_a_broker = broker(Store::Redis);
}
on! { a_killed_datastore_is_refilled:
    a_killed_datastore_is_refilled_by_a_mesh = mesh(Store::Redis);
    a_killed_datastore_is_refilled_by_a_broker = broker(Store::Redis);
}
on! { a_flushed_datastore_is_refilled:
    a_flushed_datastore_is_refilled_by_a_mesh = mesh(Store::Redis);
    a_flushed_datastore_is_refilled_by_a_broker = broker(Store::Redis);
}

/// A broker whose store does not answer: a server that starts then waits for a moment and is in the cluster when the store is back.
#[test]
fn a_server_that_starts_while_the_store_stands_still_registers_afterwards() {
    play(broker(Store::Redis), |cluster| {
        cluster.redis()?.signal(Signal::Stop)?;
        let server = cluster.launch("early")?;
        eventually("the broker could not register it", REST, || {
            Ok(cluster.logs().contains("session store: register").then_some(()))
        })?;
        cluster.redis()?.signal(Signal::Continue)?;
        cluster.await_registered(server.id())?;
        cluster.settle(REST)?;
        Ok(())
    });
}

/// A server that sleeps through its lease while some of its clients connect elsewhere: it delivers nothing to those,
/// registers anew and keeps the others.
fn a_paused_server_gives_up_what_has_moved(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("z", 300)?;
    let all: Vec<String> = clients
        .iter()
        .filter(|(_, at)| *at == 2)
        .map(|(client, _)| client.clone())
        .collect();
    let (moved, stay) = all.split_at(50);
    let sends = |cluster: &Cluster, to: &[String]| -> Vec<u64> {
        to.iter()
            .map(|client| cluster.servers()[1].send("z1", client))
            .collect()
    };
    cluster.all_end(&sends(cluster, &all), "delivered")?;
    let paused = cluster.servers()[2].id();
    cluster.servers()[2].signal(Signal::Stop)?;
    for client in moved {
        cluster.servers()[0].connect(client);
    }
    let target: Vec<_> = moved.iter().map(|client| (client.clone(), 0)).collect();
    cluster.await_held(&target)?;
    let mut ids = sends(cluster, moved);
    cluster.await_nobody(1, &stay[0], TERM * 5)?;
    ids.extend(sends(cluster, moved));
    cluster.servers()[2].signal(Signal::Continue)?;
    ids.extend(sends(cluster, moved));
    cluster
        .world()
        .wait("the paused server registers anew", REST, |oracle| {
            (oracle.incarnations(paused).len() > 1).then_some(())
        })?;
    cluster.all_end(&ids, "delivered")?;
    let winner = cluster.servers()[0].id();
    for id in ids {
        let at = cluster.world().oracle().seen_at(id);
        ensure!(at == [winner], "message {id} was delivered at {at:?}");
    }
    cluster.settle(REST)?;
    let oracle = cluster.world().oracle();
    ensure!(
        oracle.fenced(paused) == (1, false),
        "it was fenced once: {:?}",
        oracle.fenced(paused)
    );
    ensure!(
        oracle.clients_of(paused).len() == stay.len(),
        "it keeps those that did not move"
    );
    ensure!(
        moved.iter().all(|client| oracle.displaced(paused, client) == 1),
        "it is told who has moved"
    );
    drop(oracle);
    cluster.all_end(&sends(cluster, &all), "delivered")?;
    Ok(())
}

on! { a_paused_server_gives_up_what_has_moved:
    a_paused_server_gives_up_what_has_moved_in_a_mesh = mesh(Store::Embedded);
    a_paused_server_gives_up_what_has_moved_in_a_mesh_on_redis = mesh(Store::Redis);
}

/// Behind a broker, which renews the lease of whoever is linked to it, a paused server stays registered; it delivers nothing
/// to clients that have moved all the same.
#[test]
fn a_paused_server_behind_a_broker_delivers_nothing_to_what_has_moved() {
    play(broker(Store::Embedded), |cluster| {
        let clients = cluster.spread("z", 300)?;
        let moved: Vec<String> = clients
            .iter()
            .filter(|(_, at)| *at == 2)
            .map(|(client, _)| client.clone())
            .take(50)
            .collect();
        cluster.servers()[2].signal(Signal::Stop)?;
        for client in &moved {
            cluster.servers()[0].connect(client);
        }
        let target: Vec<_> = moved.iter().map(|client| (client.clone(), 0)).collect();
        cluster.await_held(&target)?;
        let winner = cluster.servers()[0].id();
        let mut ids: Vec<u64> = moved
            .iter()
            .map(|client| cluster.servers()[1].send("z1", client))
            .collect();
        cluster.servers()[2].signal(Signal::Continue)?;
        ids.extend(moved.iter().map(|client| cluster.servers()[1].send("z1", client)));
        cluster.all_end(&ids, "delivered")?;
        for id in ids {
            let at = cluster.world().oracle().seen_at(id);
            ensure!(at == [winner], "message {id} was delivered at {at:?}");
        }
        cluster.settle(REST)?;
        Ok(())
    });
}
