//! Servers that leave as they are asked to.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use waypost_chaos::{Cluster, Options, Outcomes, Signal, Store, Topology, restart_everything};

use crate::{Dice, REST, broker, mesh, mixed, on};

/// How a server is asked to leave.
#[derive(Clone, Copy)]
enum Way {
    Drain,
    Quit,
    EndOfStdin,
    Terminate,
}

/// Every server is restarted under load, each in another way: no acked message is lost or doubled, all exit with 0.
fn rolling_restart(cluster: &mut Cluster) -> Result<()> {
    let mut dice = Dice(9);
    let mut clients = cluster.spread("d", 900)?;
    for (index, way) in [
        (0, Way::Drain),
        (1, Way::EndOfStdin),
        (2, Way::Terminate),
        (0, Way::Quit),
    ] {
        let mut ids = Vec::new();
        let mut load = |cluster: &Cluster, clients: &[(String, usize)]| {
            for (client, at) in clients.iter().filter(|(_, at)| *at != index) {
                ids.push(cluster.servers()[*at].send(client, &clients[dice.below(clients.len())].0));
            }
        };
        load(cluster, &clients);
        let id = cluster.servers()[index].id();
        let asked = Instant::now();
        match way {
            Way::Drain => {
                cluster.servers()[index].drain();
                load(cluster, &clients);
                cluster.world().wait("it has moved out", REST, |oracle| {
                    oracle.is_drained(id).then_some(())
                })?;
                cluster.servers()[index].quit();
            }
            Way::Quit => cluster.servers()[index].quit(),
            Way::EndOfStdin => cluster.servers()[index].close_stdin(),
            Way::Terminate => cluster.servers()[index].signal(Signal::Term)?,
        }
        load(cluster, &clients);
        let status = cluster.server_mut(index).wait(REST)?;
        ensure!(status.success(), "it exits with {status}");
        ensure!(
            asked.elapsed() < Duration::from_secs(12),
            "leaving took {:?}",
            asked.elapsed()
        );
        // Its clients come back to the next one.
        for (client, at) in clients.iter_mut().filter(|(_, at)| *at == index) {
            *at = (index + 1) % 3;
            cluster.servers()[*at].connect(client);
        }
        cluster.await_held(&clients)?;
        let outcomes = cluster.outcomes(&ids)?;
        ensure!(
            outcomes
                .keys()
                .all(|outcome| matches!(&**outcome, "delivered" | "not_connected" | "unreachable")),
            "what was sent meanwhile: {outcomes:?}"
        );
        cluster.restart_killed(index)?;
        for (client, at) in clients.iter_mut().step_by(3) {
            *at = index;
            cluster.servers()[index].connect(client);
        }
        cluster.await_held(&clients)?;
        cluster.settle(REST)?;
        ensure!(
            cluster.world().oracle().redelivered() == 0,
            "a message was delivered twice"
        );
    }
    Ok(())
}

on! { rolling_restart:
    every_server_of_a_mesh_is_restarted = mesh(Store::Embedded);
    every_server_of_a_mesh_is_restarted_on_redis = mesh(Store::Redis);
    every_server_behind_a_broker_is_restarted = broker(Store::Embedded);
}

/// Brokers are ended and started one after the other under load.
fn brokers_are_restarted(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("e", 900)?;
    for victim in [0, 1] {
        let load = |cluster: &Cluster| -> Vec<u64> {
            let count = clients.len();
            (0..count)
                .map(|i| cluster.servers()[clients[i].1].send(&clients[i].0, &clients[(i + 1) % count].0))
                .collect()
        };
        let mut ids = load(cluster);
        cluster.stop_broker(victim)?;
        ids.extend(load(cluster));
        cluster.restart_broker(victim)?;
        ids.extend(load(cluster));
        cluster.all_end(&ids, "delivered")?;
        cluster.settle(REST)?;
        let ids = load(cluster);
        cluster.all_end(&ids, "delivered")?;
    }
    Ok(())
}

on! { brokers_are_restarted:
    brokers_are_restarted_one_by_one = Options::new(Topology::Brokers(2), Store::Embedded);
}

/// Every process of a loaded cluster is restarted, the datastore too: nothing acked is lost, nothing comes twice, and nothing that is sent
/// without acknowledgement waits in vain for a server that is attached again.
fn everything_is_restarted(options: Options) {
    let options = Options {
        lease_term: Duration::from_secs(4),
        ..options
    };
    let rolled = restart_everything(options, 200).unwrap_or_else(|error| panic!("{error}"));
    let are_only = |outcomes: &Outcomes, these: [&str; 2]| outcomes.keys().all(|key| these.contains(&&**key));
    // A look-up may come while the datastore is away.
    assert!(
        are_only(&rolled.acked, ["delivered", "store_unavailable"])
            && are_only(&rolled.best_effort, ["arrived", "told as failed or lost"]),
        "{rolled}"
    );
}

#[test]
fn everything_of_a_mesh_is_restarted() {
    everything_is_restarted(mesh(Store::Redis));
}

#[test]
fn everything_of_a_cluster_of_two_brokers_is_restarted() {
    everything_is_restarted(Options::new(Topology::Brokers(2), Store::Redis));
}

#[test]
fn everything_of_a_mixed_cluster_is_restarted() {
    everything_is_restarted(mixed(Store::Embedded));
}
