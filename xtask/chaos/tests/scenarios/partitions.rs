//! Cables pulled between processes, one way or both, for shorter and for longer than the leases last.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use waypost_chaos::{Cluster, Network, Options, Outcomes, Place, Store, Topology, eventually};

use crate::{REST, broker, mesh, play};

/// Half of a lease term.
const SHORT: Duration = Duration::from_secs(1);
/// More than two lease terms.
const LONG: Duration = Duration::from_secs(5);
/// How long a cluster may take, once all cables are back, until every client reaches every other.
const HEALED_WITHIN: Duration = Duration::from_secs(10);

/// What is cut from what, and what that leaves whole.
struct Cut {
    these: Vec<Place>,
    those: Vec<Place>,
    one_way: bool,
    /// Servers between which nothing may be amiss.
    whole: Vec<usize>,
}

/// Every client of `from` sends to one of each of `to`.
fn sends(cluster: &Cluster, clients: &[(String, usize)], from: &[usize], to: &[usize]) -> Vec<u64> {
    let mut ids = Vec::new();
    for (i, (client, at)) in clients
        .iter()
        .enumerate()
        .filter(|(_, (_, at))| from.contains(at))
    {
        for to in to.iter().filter(|to| **to != *at) {
            let (other, _) = clients
                .iter()
                .cycle()
                .skip(i)
                .find(|(_, at)| at == to)
                .unwrap_or(&clients[0]);
            ids.push(cluster.servers()[*at].send(client, other));
        }
    }
    ids
}

/// Cuts for some time under load, mends, and holds every promise against what all said; what came of the sends while it was
/// cut.
fn outlive(cluster: &mut Cluster, cut: &Cut, lasts: Duration) -> Result<Outcomes> {
    let clients = cluster.spread("p", 30)?;
    let all: Vec<usize> = (0..cluster.servers().len()).collect();
    let ids = sends(cluster, &clients, &all, &all);
    cluster.all_end(&ids, "delivered")?;
    cluster.cut(&cut.these, &cut.those)?;
    if !cut.one_way {
        cluster.cut(&cut.those, &cut.these)?;
    }
    let until = Instant::now() + lasts;
    let mut across = Vec::new();
    while Instant::now() < until {
        across.extend(sends(cluster, &clients, &all, &all));
        let ids = sends(cluster, &clients, &cut.whole, &cut.whole);
        cluster.all_end(&ids, "delivered")?;
        std::thread::sleep(Duration::from_millis(100));
    }
    cluster.mend()?;
    let mended = Instant::now();
    eventually("every client reaches every other again", REST, || {
        let ids = sends(cluster, &clients, &all, &all);
        let outcomes = cluster.outcomes(&ids)?;
        Ok((outcomes.keys().all(|outcome| outcome == "delivered")).then_some(()))
    })?;
    let took = mended.elapsed();
    let outcomes = cluster.outcomes(&across)?;
    ensure!(took < HEALED_WITHIN, "the cluster took {took:?} to heal");
    cluster.settle(REST)?;
    cluster.await_held(&clients)?;
    Ok(outcomes)
}

fn server(index: usize) -> Place {
    Place::Server(index)
}

/// A server of the mesh that the others cannot reach, while it has the store.
fn a_server_that_the_others_cannot_reach(
    cluster: &mut Cluster,
    one_way: bool,
    lasts: Duration,
) -> Result<()> {
    let cut = Cut {
        these: vec![server(2)],
        those: vec![server(0), server(1)],
        one_way,
        whole: vec![0, 1],
    };
    outlive(cluster, &cut, lasts)?;
    let oracle = cluster.world().oracle();
    for server in cluster.servers() {
        ensure!(
            oracle.incarnations(server.id()).len() == 1,
            "{} lost its incarnation, and could reach the store",
            server.identity()
        );
    }
    Ok(())
}

/// A server that has lost the store alone: what it knows goes on, and so does what the others know of it while its lease lasts.
fn a_server_without_the_store(cluster: &mut Cluster, one_way: bool, lasts: Duration) -> Result<()> {
    let cut = Cut {
        these: vec![server(2)],
        those: vec![Place::Store],
        one_way,
        whole: vec![0, 1],
    };
    outlive(cluster, &cut, lasts)?;
    Ok(())
}

/// A server that has lost everything.
fn a_server_without_anybody(cluster: &mut Cluster, one_way: bool, lasts: Duration) -> Result<()> {
    let cut = Cut {
        these: vec![server(2)],
        those: vec![server(0), server(1), Place::Store],
        one_way,
        whole: vec![0, 1],
    };
    outlive(cluster, &cut, lasts)?;
    Ok(())
}

/// A server and the broker that it is most likely attached to; there is another one.
fn a_server_without_its_broker(cluster: &mut Cluster, one_way: bool, lasts: Duration) -> Result<()> {
    let cut = Cut {
        these: vec![server(0)],
        those: vec![Place::Broker(0)],
        one_way,
        whole: vec![1, 2],
    };
    outlive(cluster, &cut, lasts)?;
    Ok(())
}

/// Two brokers that cannot reach each other.
fn two_brokers_without_each_other(cluster: &mut Cluster, one_way: bool, lasts: Duration) -> Result<()> {
    let cut = Cut {
        these: vec![Place::Broker(0)],
        those: vec![Place::Broker(1)],
        one_way,
        whole: Vec::new(),
    };
    outlive(cluster, &cut, lasts)?;
    Ok(())
}

/// A broker that has lost the store.
fn a_broker_without_the_store(cluster: &mut Cluster, one_way: bool, lasts: Duration) -> Result<()> {
    let cut = Cut {
        these: vec![Place::Broker(0)],
        those: vec![Place::Store],
        one_way,
        whole: Vec::new(),
    };
    outlive(cluster, &cut, lasts)?;
    Ok(())
}

/// The options with network namespaces between the processes, or the reason why not.
#[track_caller]
pub(crate) fn apart(options: Options) -> Options {
    if let Some(reason) = Network::namespaces_refused() {
        panic!(
            "network namespaces cannot be made here ({reason}): run this as root, or leave these tests out by their name, \
             `in_namespaces`"
        );
    }
    Options {
        network: Network::Namespaces,
        ..options
    }
}

pub(crate) fn proxied(options: Options) -> Options {
    Options {
        network: Network::Proxies,
        ..options
    }
}

fn two_brokers() -> Options {
    Options::new(Topology::Brokers(2), Store::Redis)
}

/// Each cut both ways and one way, through proxies and in namespaces; there also for short.
macro_rules! partitions {
    ($($name:ident: $scenario:ident on $options:expr;)+) => {
        $(mod $name {
            use super::*;

            #[test]
            fn through_proxies_for_long() {
                play(proxied($options), |cluster| $scenario(cluster, false, LONG));
            }

            #[test]
            fn through_proxies_one_way() {
                play(proxied($options), |cluster| $scenario(cluster, true, LONG));
            }

            #[test]
            fn in_namespaces_for_short() {
                play(apart($options), |cluster| $scenario(cluster, false, SHORT));
            }

            #[test]
            fn in_namespaces_for_long() {
                play(apart($options), |cluster| $scenario(cluster, false, LONG));
            }

            #[test]
            fn in_namespaces_one_way() {
                play(apart($options), |cluster| $scenario(cluster, true, LONG));
            }
        })+
    };
}

partitions! {
    a_server_that_the_others_cannot_reach: a_server_that_the_others_cannot_reach on mesh(Store::Embedded);
    a_server_that_the_others_cannot_reach_on_redis: a_server_that_the_others_cannot_reach on mesh(Store::Redis);
    a_server_without_the_store: a_server_without_the_store on mesh(Store::Redis);
    a_server_without_anybody: a_server_without_anybody on mesh(Store::Redis);
    a_server_without_its_broker: a_server_without_its_broker on two_brokers();
    two_brokers_without_each_other: two_brokers_without_each_other on two_brokers();
    a_broker_without_the_store: a_broker_without_the_store on two_brokers();
    the_only_broker_without_the_store: a_broker_without_the_store on broker(Store::Redis);
}

/// A server claims a client, and what it sends to the store is lost on the way: its program is told so, and the client connects
/// elsewhere. It stays there: the claim is not carried out once the cable is back.
#[test]
fn a_connect_that_failed_takes_no_client_away_later_in_namespaces() {
    play(apart(mesh(Store::Redis)), |cluster| {
        cluster.servers()[0].connect("x");
        cluster.servers()[0].connect("y");
        cluster.await_held(&[("x".to_owned(), 0), ("y".to_owned(), 0)])?;
        cluster.cut(&[server(2)], &[Place::Store])?;
        let (since, id) = (Instant::now(), cluster.servers()[2].id());
        cluster.servers()[2].connect("x");
        cluster.world().wait("the connect fails", REST, |oracle| {
            (!oracle.errors(id).is_empty()).then_some(())
        })?;
        cluster.servers()[1].connect("x");
        cluster.await_held(&[("x".to_owned(), 1)])?;
        cluster.mend()?;
        // Until then what was lost first would have been sent again by the system.
        while since.elapsed() < LONG * 2 {
            let identity = cluster.servers()[1].identity().to_owned();
            for by in [0, 1] {
                let located = cluster.locate(by, &["x".to_owned()])?;
                ensure!(
                    located == [Ok(Some(identity.clone()))],
                    "x is at {identity}, and not at {located:?}"
                );
            }
            cluster.all_end(&[cluster.servers()[0].send("y", "x")], "delivered")?;
            std::thread::sleep(Duration::from_millis(100));
        }
        cluster.settle(REST)?;
        let oracle = cluster.world().oracle();
        let displaced = oracle.displaced(cluster.servers()[1].id(), "x");
        ensure!(
            displaced == 0,
            "x was taken away from where it had connected last"
        );
        Ok(())
    });
}
