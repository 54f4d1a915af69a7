//! Clients that connect, move and leave.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use waypost_chaos::{Cluster, Options, Signal, Store};

use crate::{Dice, REST, broker, mesh, on, play};

/// Thousands connect; thousands move while messages go to and from them, and the servers that lost them say `disconnect`
/// late.
fn thousands_move(cluster: &mut Cluster) -> Result<()> {
    let mut dice = Dice(1);
    let mut clients = cluster.spread("c", 5000)?;
    let count = clients.len();
    let ids: Vec<u64> = (0..count)
        .map(|i| cluster.servers()[clients[i].1].send(&clients[i].0, &clients[(i * 7 + 1) % count].0))
        .collect();
    cluster.all_end(&ids, "delivered")?;

    let mut ids = Vec::new();
    for i in 0..2000 {
        // Each at most once: of two moves at the same time either may be the last.
        let (at, to) = ((i * 7 + 3) % count, dice.below(count));
        let old = clients[at].1;
        let new = (old + 1 + dice.below(2)) % 3;
        cluster.servers()[new].connect(&clients[at].0);
        ids.push(cluster.servers()[new].send(&clients[at].0, &clients[to].0));
        cluster.servers()[old].disconnect(&clients[at].0);
        ids.push(cluster.servers()[clients[to].1].send(&clients[to].0, &clients[at].0));
        clients[at].1 = new;
    }
    let outcomes = cluster.outcomes(&ids)?;
    ensure!(
        outcomes
            .keys()
            .all(|outcome| outcome == "delivered" || outcome == "not_connected"),
        "while clients move they are connected or not: {outcomes:?}"
    );
    cluster.await_held(&clients)?;

    // Late disconnects by everybody who does not hold the client.
    for (client, at) in clients.iter().step_by(5) {
        for server in (0..3).filter(|server| server != at) {
            cluster.servers()[server].disconnect(client);
        }
    }
    let ids: Vec<u64> = (0..count)
        .map(|i| cluster.servers()[clients[i].1].send(&clients[i].0, &clients[dice.below(count)].0))
        .collect();
    cluster.all_end(&ids, "delivered")?;
    cluster.settle(REST)?;
    Ok(())
}

on! { thousands_move:
    thousands_move_in_a_mesh = mesh(Store::Embedded);
    thousands_move_in_a_mesh_on_redis = mesh(Store::Redis);
    thousands_move_behind_a_broker = broker(Store::Embedded);
    thousands_move_behind_a_broker_on_redis = broker(Store::Redis);
}

/// A server is stopped when its messages have been delivered and it has not read so, for longer than it takes until they are sent
/// again, and all their clients move.
#[test]
fn a_stopped_server_sends_nothing_again_to_what_has_moved() {
    let options = Options {
        // No link ends with the stop.
        lease_term: Duration::from_secs(20),
        ..broker(Store::Embedded)
    };
    play(options, |cluster| {
        let clients: Vec<String> = (0..200).map(|i| format!("w{i}")).collect();
        let held_by = |server: usize| {
            clients
                .iter()
                .map(|client| (client.clone(), server))
                .collect::<Vec<_>>()
        };
        for (client, at) in held_by(1) {
            cluster.servers()[at].connect(&client);
        }
        cluster.await_held(&held_by(1))?;
        let [sender, holder, winner] = cluster.servers() else {
            bail!("three servers");
        };
        holder.signal(Signal::Stop)?;
        let sent_at = Instant::now();
        let ids: Vec<u64> = clients.iter().map(|client| sender.send("w", client)).collect();
        // The broker has answered this, so it has passed on all that was sent before.
        cluster.locate(0, &clients)?;
        sender.signal(Signal::Stop)?;
        holder.signal(Signal::Continue)?;
        cluster.world().wait("all are delivered", REST, |oracle| {
            let is_seen = |id: &u64| !oracle.seen_at(*id).is_empty();
            ids.iter().all(is_seen).then_some(())
        })?;
        for client in &clients {
            winner.connect(client);
        }
        cluster.await_held(&held_by(2))?;
        // That a process is stopped for longer than a message waits to be sent again is what this is about, and time alone tells.
        thread::sleep(Duration::from_millis(1500).saturating_sub(sent_at.elapsed()));
        sender.signal(Signal::Continue)?;
        cluster.all_end(&ids, "delivered")?;
        cluster.settle(REST)?;
        for id in ids {
            let at = cluster.world().oracle().seen_at(id);
            ensure!(at == [holder.id()], "message {id} was delivered at {at:?}");
        }
        Ok(())
    });
}

/// Two servers connect the same client at the same instant: one holds it in the end, and the other was told.
fn races_have_one_winner(cluster: &mut Cluster) -> Result<()> {
    let clients: Vec<String> = (0..500).map(|i| format!("x{i}")).collect();
    for client in &clients {
        cluster.servers()[0].connect(client);
        cluster.servers()[1].connect(client);
    }
    let (one, other) = (cluster.servers()[0].id(), cluster.servers()[1].id());
    cluster.world().wait(
        "each client has one holder, and the loser was told",
        REST,
        |oracle| {
            let is_decided = |client: &String| {
                oracle.holders(client).len() == 1
                    && oracle.displaced(one, client) + oracle.displaced(other, client) == 1
            };
            clients.iter().all(is_decided).then_some(())
        },
    )?;
    let ids: Vec<u64> = clients
        .iter()
        .map(|client| cluster.servers()[2].send("nobody", client))
        .collect();
    cluster.all_end(&ids, "delivered")?;
    cluster.settle(REST)?;
    Ok(())
}

on! { races_have_one_winner:
    races_have_one_winner_in_a_mesh = mesh(Store::Embedded);
    races_have_one_winner_in_a_mesh_on_redis = mesh(Store::Redis);
    races_have_one_winner_behind_a_broker = broker(Store::Embedded);
    races_have_one_winner_behind_a_broker_on_redis = broker(Store::Redis);
}

/// The same few clients are wanted by all servers again and again, without a pause.
fn a_tug_of_war_ends_with_one_holder(cluster: &mut Cluster) -> Result<()> {
    let mut dice = Dice(7);
    let clients: Vec<String> = (0..20).map(|i| format!("t{i}")).collect();
    let mut ids = Vec::new();
    for _ in 0..3000 {
        let (client, server) = (&clients[dice.below(20)], dice.below(3));
        match dice.below(5) {
            0 => cluster.servers()[server].disconnect(client),
            1 | 2 => ids.push(cluster.servers()[server].send(client, &clients[dice.below(20)])),
            _ => cluster.servers()[server].connect(client),
        }
    }
    for client in &clients {
        cluster.servers()[dice.below(3)].connect(client);
    }
    cluster.outcomes(&ids)?;
    cluster.settle(REST)?;
    Ok(())
}

on! { a_tug_of_war_ends_with_one_holder:
    a_tug_of_war_ends_with_one_holder_in_a_mesh = mesh(Store::Embedded);
    a_tug_of_war_ends_with_one_holder_in_a_mesh_on_redis = mesh(Store::Redis);
    a_tug_of_war_ends_with_one_holder_behind_a_broker = broker(Store::Embedded);
    a_tug_of_war_ends_with_one_holder_behind_a_broker_on_redis = broker(Store::Redis);
}
