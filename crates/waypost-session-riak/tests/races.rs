//! Servers that claim and release one address at the same time through different nodes, whose replicas take their time:
//! all converge on one owner, and whoever lost it learns it.

use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

use waypost_session::{Released, Restored, SessionStore};
use waypost_session_riak::RiakStore;
use waypost_session_testkit::Rng;
use waypost_session_testkit::servers::riak::{RiakFault, RiakOptions};
use waypost_types::{Address, Identity, Location, Owner, Seq, Session};

const TERM: Duration = Duration::from_secs(120);

/// A server as its own list has it: what it was told, and what it heard from others.
struct Server {
    store: Arc<RiakStore>,
    owner: Owner,
    /// The claim that it believes to hold.
    holds: Option<Seq>,
}

async fn servers(stores: &[Arc<RiakStore>]) -> Vec<Server> {
    let mut servers = Vec::new();
    for (index, store) in stores.iter().enumerate() {
        let identity = Identity::new(&format!("server-{index}")).unwrap();
        let location = Location::new("tcp://192.0.2.1:4500").unwrap();
        let incarnation = store.register(&identity, &location, TERM).await.unwrap();
        servers.push(Server {
            store: Arc::clone(store),
            owner: Owner::new(identity, incarnation),
            holds: None,
        });
    }
    servers
}

/// What one claim did, and what it told.
struct Done {
    server: usize,
    seq: Seq,
    displaced: Option<Session>,
    released: bool,
}

/// Heartbeats: what each handle's generation is.
async fn generations(servers: &[Server]) -> Vec<u64> {
    let location = Location::new("tcp://192.0.2.1:4500").unwrap();
    let mut generations = Vec::new();
    for Server { store, owner, .. } in servers {
        let renewed = store.renew(std::slice::from_ref(owner), &location).await.unwrap();
        generations.push(renewed.generation);
    }
    generations
}

/// Runs rounds of racing claims and releases by `count` servers; returns how many races a claim lost at once.
async fn race(seed: u64, nodes: usize, count: usize, rounds: usize) -> usize {
    let cluster = RiakOptions::new()
        .nodes(nodes)
        .delay(Duration::from_millis(4))
        .latency(Duration::from_millis(1), Duration::from_millis(2))
        .seed(seed)
        .start()
        .await
        .unwrap();
    let mut stores = Vec::new();
    for index in 0..count {
        stores.push(Arc::new(
            RiakStore::connect(&[&*cluster.url_of(&[index % nodes]), "?timeout=6s"].concat())
                .await
                .unwrap(),
        ));
    }
    for node in 0..nodes {
        cluster.disturb(node, RiakFault::NotReady, 0.01);
        cluster.disturb(node, RiakFault::CutAnswer, 0.01);
    }
    let mut servers = servers(&stores).await;
    let mut rng = Rng::new(seed);
    let mut lost_at_once = 0;
    for round in 0..rounds {
        let address = Address::new(&format!("client-{}", round % 3)).unwrap();
        let before = generations(&servers).await;
        let mut tasks = Vec::new();
        for (index, server) in servers.iter().enumerate() {
            let (store, owner, address) = (Arc::clone(&server.store), server.owner.clone(), address.clone());
            let pause = Duration::from_micros(rng.below(3000) as u64);
            let releases = rng.below(3) == 0;
            tasks.push(tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let claimed = store.claim(&owner, &address).await.unwrap();
                if releases {
                    // A client that leaves at once; its late release may be anybody's race.
                    store.release(&owner, &address, claimed.seq).await.unwrap();
                }
                Done {
                    server: index,
                    seq: claimed.seq,
                    displaced: claimed.displaced,
                    released: releases,
                }
            }));
        }
        let mut told: Vec<(Session, Session)> = Vec::new();
        for task in tasks {
            let done = task.await.unwrap();
            servers[done.server].holds = (!done.released).then_some(done.seq);
            let mine = Session::new(servers[done.server].owner.clone(), done.seq);
            told.extend(done.displaced.map(|other| (mine, other)));
        }
        // The winner tells the loser; a loser that saw the winner tells itself.
        for (mine, other) in told {
            let (winner, loser) = if other.seq > mine.seq {
                lost_at_once += 1;
                (other, mine)
            } else {
                (mine, other)
            };
            for server in &mut servers {
                if server.owner == loser.owner && server.holds.is_some_and(|seq| seq < winner.seq) {
                    server.holds = None;
                }
            }
        }
        // All messages have arrived and all replicas agree.
        cluster.settled().await;
        let mut seen = BTreeSet::new();
        for store in &stores {
            let held = store.lookup(&address).await.unwrap();
            seen.insert(held.map(|session| (session.seq, session.owner)));
        }
        assert_eq!(
            seen.len(),
            1,
            "seed {seed}, round {round}: they disagree: {seen:?}"
        );
        let standing = seen.pop_first().flatten();
        let after = generations(&servers).await;
        for (index, server) in servers.iter_mut().enumerate() {
            let Some(seq) = server.holds else { continue };
            if standing.as_ref() == Some(&(seq, server.owner.clone())) {
                continue;
            }
            // Nobody told it, so its heartbeat must have: then it checks what it holds.
            assert_ne!(
                before[index], after[index],
                "seed {seed}, round {round}: {} never learns",
                server.owner
            );
            let restored = server
                .store
                .restore_many(&server.owner, &[(address.clone(), seq)])
                .await
                .unwrap();
            match &restored[..] {
                [Restored::Lost(winner)] => assert!(winner.seq > seq, "seed {seed}, round {round}"),
                // The winner has left since, so this one holds the client again.
                [Restored::Held] => assert!(standing.is_none(), "seed {seed}, round {round}: {standing:?}"),
                other => panic!("{other:?}"),
            }
            let late = server.store.release(&server.owner, &address, seq).await.unwrap();
            if let [Restored::Lost(_)] = &restored[..] {
                assert_eq!(
                    late,
                    Released::NotOwner,
                    "seed {seed}, round {round}: a late release"
                );
            }
        }
        // Whoever stands still stands after all late releases, unless it was one of those that left.
        if let Some((seq, owner)) = standing {
            let expected = Some(Session::new(owner, seq));
            assert_eq!(
                stores[0].lookup(&address).await.unwrap(),
                expected,
                "seed {seed}, round {round}"
            );
        }
    }
    lost_at_once
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_through_two_nodes_converge_and_the_loser_learns_it() {
    let given = std::env::var("WAYPOST_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    for seed in given.map_or_else(|| (1..=6).collect(), |seed| vec![seed]) {
        race(seed, 2, 2, 25).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_servers_through_three_nodes_converge_and_losers_learn_it() {
    let given = std::env::var("WAYPOST_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    for seed in given.map_or_else(|| (1..=4).collect(), |seed| vec![seed]) {
        race(seed, 3, 6, 15).await;
    }
}
