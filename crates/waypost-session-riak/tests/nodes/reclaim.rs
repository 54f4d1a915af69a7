//! What the dead leave behind goes, and in the end altogether.

use core::time::Duration;

use waypost_session::SessionStore;
use waypost_session_riak::RiakStore;
use waypost_session_testkit::servers::riak::{RiakOptions, RiakStandIn};
use waypost_types::{Address, Seq};

use crate::{address, open, raw, server};

/// Longer than anything is kept.
const LONG: Duration = Duration::from_secs(121);

#[tokio::test]
async fn the_dead_leave_nothing_behind_in_the_end() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    let addresses: Vec<Address> = (0..700).map(|n| address(&format!("a{n}"))).collect();
    store.claim_many(&owner, &addresses).await.unwrap();
    assert_eq!(nodes.objects("s:"), 700);
    store.deregister(&owner).await.unwrap();
    let mut removed = 0;
    let mut more = true;
    while more {
        let step = store.reclaim(100).await.unwrap();
        assert!(step.removed <= 100);
        removed += step.removed;
        more = step.more;
    }
    assert_eq!(removed, 700);
    // They are vacant now, and deleted when they are old enough; until then nobody looks at them again.
    let before = nodes.requests();
    store.reclaim(100).await.unwrap();
    assert!(
        nodes.requests() - before < 40,
        "{} requests to find nothing to do",
        nodes.requests() - before
    );
}

/// Reclaims until there is nothing more to do now; returns how many records were removed.
async fn reclaim(store: &RiakStore) -> usize {
    let mut removed = 0;
    loop {
        let step = store.reclaim(1000).await.unwrap();
        removed += step.removed;
        if !step.more {
            return removed;
        }
    }
}

/// A server that has claimed ten addresses and released half of them is gone.
async fn bury(nodes: &RiakStandIn) -> RiakStore {
    let store = open(nodes).await;
    let owner = server(&store, "server").await;
    let addresses: Vec<Address> = (0..10).map(|n| address(&format!("a{n}"))).collect();
    let claimed = store.claim_many(&owner, &addresses).await.unwrap();
    let released: Vec<(Address, Seq)> = addresses
        .into_iter()
        .zip(claimed.iter().map(|claim| claim.seq))
        .take(5)
        .collect();
    store.release_many(&owner, &released).await.unwrap();
    store.deregister(&owner).await.unwrap();
    store
}

/// What is left when nothing is: empty lists and the marker.
fn assert_bare(nodes: &RiakStandIn) {
    for kind in ["s:", "l:", "h:", "p:"] {
        assert_eq!(nodes.objects(kind), 0, "objects `{kind}`");
    }
}

#[tokio::test]
async fn what_is_old_already_when_it_is_found_is_deleted_at_once() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = bury(&nodes).await;
    nodes.advance(0, LONG);
    assert_eq!(reclaim(&store).await, 5, "the others were released");
    // Its lease goes when its journal is gone.
    assert_eq!(reclaim(&store).await, 0);
    assert_bare(&nodes);
}

#[tokio::test]
async fn what_was_young_when_it_was_found_is_deleted_when_it_is_due() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = bury(&nodes).await;
    assert_eq!(reclaim(&store).await, 5);
    assert_eq!(
        nodes.objects("s:"),
        10,
        "all are vacant, and remembered for a while"
    );
    nodes.advance(0, LONG);
    assert_eq!(reclaim(&store).await, 0);
    assert_eq!(nodes.objects("s:"), 10, "the journal is not due yet");
    make_journals_due(&nodes).await;
    assert_eq!(reclaim(&store).await, 0);
    assert_eq!(reclaim(&store).await, 0);
    assert_bare(&nodes);
}

/// As if the time had passed until which the journals wait: the lists say so by the wall clock.
async fn make_journals_due(nodes: &RiakStandIn) {
    for shard in 0..8 {
        let key = format!("j%3A{shard}");
        let answer = raw::ask(nodes, "GET", &key, "", "").await;
        let Some((_, list)) = answer
            .split_once("\r\n\r\n")
            .filter(|(_, list)| list.starts_with('{'))
        else {
            continue;
        };
        let mut list: serde_json::Map<String, serde_json::Value> = serde_json::from_str(list).unwrap();
        for due in list.values_mut() {
            *due = 1.into();
        }
        let vclock = raw::vclock(nodes, &key).await;
        let list = serde_json::to_string(&list).unwrap();
        let answer = raw::ask(nodes, "PUT", &key, &vclock, &list).await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }
}

#[tokio::test]
async fn what_somebody_else_has_claimed_since_stays_however_old() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = bury(&nodes).await;
    let owner = server(&store, "another").await;
    let claimed = store.claim(&owner, &address("a7")).await.unwrap();
    nodes.advance(0, LONG);
    assert_eq!(reclaim(&store).await, 4);
    let held = store.lookup(&address("a7")).await.unwrap();
    assert_eq!(held.map(|session| session.seq), Some(claimed.seq));
    assert_eq!(nodes.objects("s:"), 1);
}

#[tokio::test]
async fn hundreds_of_servers_that_are_gone_are_forgotten_in_time_also_by_a_slow_node() {
    let slow = Duration::from_millis(5);
    let nodes = RiakOptions::new().latency(slow, slow).start().await.unwrap();
    let url = [&*nodes.url(), "?timeout=2s"].concat();
    let register = (0..10).map(async |part| {
        let store = RiakStore::connect(&url).await.unwrap();
        for index in 0..40 {
            let owner = server(&store, &format!("server-{part}-{index}")).await;
            store.deregister(&owner).await.unwrap();
        }
        store
    });
    let stores = futures_util::future::join_all(register).await;
    assert_eq!(nodes.objects("l:"), 400);
    nodes.advance(0, LONG);
    let mut calls = 0;
    while nodes.objects("l:") > 0 {
        reclaim(&stores[0]).await;
        calls += 1;
        assert!(calls < 5, "{} leases are left", nodes.objects("l:"));
    }
    assert_eq!(stores[1].peers().await.unwrap(), []);
    let before = nodes.requests();
    stores[1].peers().await.unwrap();
    assert_eq!(nodes.requests() - before, 8, "the lists are empty");
}
