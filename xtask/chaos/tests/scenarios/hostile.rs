//! Strangers on a listening node's port, and links that deliver bytes in odd pieces.

use std::time::Duration;

use anyhow::{Result, ensure};
use waypost_chaos::{Cluster, Hostile, Options, Store, Way, rss_kib};

use crate::{REST, broker, mesh, on, play};

/// More than this a node's memory does not grow by what strangers do, in KiB.
const GROWTH_KIB: u64 = 48 << 10;
const HANDSHAKE: Duration = Duration::from_secs(20);

fn exchange(cluster: &Cluster, clients: &[(String, usize)]) -> Result<()> {
    let count = clients.len();
    let ids: Vec<u64> = (0..count)
        .map(|i| cluster.servers()[clients[i].1].send(&clients[i].0, &clients[(i + 1) % count].0))
        .collect();
    cluster.all_end(&ids, "delivered")
}

fn strangers_harm_nobody(cluster: &mut Cluster) -> Result<()> {
    let clients = cluster.spread("h", 90)?;
    exchange(cluster, &clients)?;
    let (endpoint, pid) = match cluster.broker_endpoints().first() {
        Some(endpoint) => (endpoint.clone(), cluster.broker_pid(0).unwrap_or(0)),
        None => (cluster.servers()[0].endpoint()?, cluster.servers()[0].pid()),
    };
    let before = rss_kib(pid)?;
    for hostile in Hostile::ALL.into_iter().filter(|hostile| hostile.is_evident()) {
        for _ in 0..20 {
            hostile.open_and_be_refused(&endpoint, HANDSHAKE)?;
        }
        exchange(cluster, &clients)?;
    }
    let mut half_open = Vec::new();
    for i in 0..1000 {
        let hostile = if i % 2 == 0 {
            Hostile::Silence
        } else {
            Hostile::HalfPreface
        };
        match hostile.open(&endpoint) {
            Ok(stream) => half_open.push(stream),
            // A node that takes no more of them is right.
            Err(_) => break,
        }
        if i % 250 == 0 {
            exchange(cluster, &clients)?;
        }
    }
    exchange(cluster, &clients)?;
    let grown = rss_kib(pid)?.saturating_sub(before);
    ensure!(grown < GROWTH_KIB, "{grown} KiB for strangers");
    // New links find room beside those that stay half open.
    let mut late = cluster.launch("latecomer")?;
    cluster.await_registered(late.id())?;
    late.connect("late");
    cluster
        .world()
        .wait("the latecomer's client is connected", REST, |oracle| {
            oracle.holds(late.id(), "late").then_some(())
        })?;
    let ids: Vec<u64> = (0..50).map(|_| cluster.servers()[0].send("h0", "late")).collect();
    cluster.all_end(&ids, "delivered")?;
    let ids: Vec<u64> = (0..50).map(|_| late.send("late", "h0")).collect();
    cluster.all_end(&ids, "delivered")?;
    late.quit();
    ensure!(late.wait(REST)?.success(), "the latecomer ends well");
    drop(half_open);
    exchange(cluster, &clients)?;
    cluster.settle(REST)?;
    Ok(())
}

on! { strangers_harm_nobody:
    strangers_harm_nobody_at_a_node_of_the_mesh = mesh(Store::Embedded);
    strangers_harm_nobody_at_a_broker = broker(Store::Embedded);
}

#[test]
fn frames_arrive_in_any_pieces() {
    play(
        Options {
            proxies: true,
            ..broker(Store::Embedded)
        },
        |cluster| {
            let clients = cluster.spread("p", 90)?;
            for way in [Way::Dribble, Way::Coalesce, Way::Whole] {
                cluster.proxies()[0].set_way(way);
                exchange(cluster, &clients)?;
                let padding = "x".repeat(3000);
                let ids: Vec<u64> = clients
                    .iter()
                    .map(|(client, at)| cluster.servers()[*at].send_padded(client, "p0", &padding))
                    .collect();
                cluster.all_end(&ids, "delivered")?;
            }
            cluster.settle(REST)?;
            Ok(())
        },
    );
}

/// Links cut and held again and again: everything comes through or is said not to have.
#[test]
fn cut_links_are_mended() {
    play(
        Options {
            proxies: true,
            ..broker(Store::Embedded)
        },
        |cluster| {
            let clients = cluster.spread("q", 300)?;
            cluster.world().oracle().disturb();
            let mut ids = Vec::new();
            for round in 0..6 {
                for (i, (client, at)) in clients.iter().enumerate() {
                    ids.push(
                        cluster.servers()[*at].send(client, &clients[(i * 11 + round) % clients.len()].0),
                    );
                    if i == 150 {
                        if round % 2 == 0 {
                            cluster.proxies()[0].cut();
                        } else {
                            cluster.proxies()[0].set_way(Way::Hold);
                        }
                    }
                }
                cluster.proxies()[0].mend();
                cluster.outcomes(&ids)?;
            }
            cluster.settle(REST)?;
            exchange(cluster, &clients)?;
            cluster.settle(REST)?;
            Ok(())
        },
    );
}
