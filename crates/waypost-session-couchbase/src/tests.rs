//! What cannot be seen from outside: colliding digests, and the upkeep of the index. On the stand-in node.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::Instant;
use waypost_session::{Released, SessionStore, StoreUrl};
use waypost_session_testkit::servers::couchbase::{CouchbaseCluster, CouchbaseOptions};
use waypost_types::{Address, Identity, Location, Owner, Seq, Session};

use crate::CouchbaseStore;
use crate::keys::Keys;
use crate::sdk::Docs;
use crate::sessions::{Step, change};
use crate::settings::Settings;

async fn open(node: &CouchbaseCluster, keys: Keys) -> CouchbaseStore {
    let url = StoreUrl::parse(&node.url()).unwrap();
    let settings = Settings::from_url(&url).unwrap();
    let mut store = CouchbaseStore::with_keys(settings, keys, url.to_string())
        .await
        .unwrap();
    store.rest = Duration::ZERO;
    store
}

async fn server(store: &CouchbaseStore, name: &str) -> Owner {
    let identity = Identity::new(name).unwrap();
    let location = Location::new("tcp://192.0.2.1:4500").unwrap();
    // Longer than any of this takes, on however busy a machine.
    let term = Duration::from_secs(600);
    let incarnation = store.register(&identity, &location, term).await.unwrap();
    Owner::new(identity, incarnation)
}

fn docs(store: &CouchbaseStore) -> Arc<Docs> {
    store.client.docs().unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_whose_digests_are_the_same_are_different_addresses() {
    let node = CouchbaseOptions::new().start().await.unwrap();
    let store = open(&node, Keys::with_digest("waypost:", |_| "same".to_owned())).await;
    let owners = [server(&store, "one").await, server(&store, "two").await];
    let addresses: Vec<_> = (0..20)
        .map(|n| Address::new(&format!("{}{n:05}", "x".repeat(250))).unwrap())
        .collect();
    let mut held = Vec::new();
    for (index, claimed) in store
        .claim_many(&owners[0], &addresses)
        .await
        .unwrap()
        .into_iter()
        .enumerate()
    {
        assert_eq!(claimed.displaced, None, "{index}");
        held.push(Some(Session::new(owners[0].clone(), claimed.seq)));
    }
    assert_eq!(store.lookup_many(&addresses).await.unwrap(), held);
    assert_eq!(node.keys().iter().filter(|key| key.contains("h:same")).count(), 1);

    let claimed = store.claim(&owners[1], &addresses[3]).await.unwrap();
    assert_eq!(claimed.displaced, held[3]);
    held[3] = Some(Session::new(owners[1].clone(), claimed.seq));
    let seq = held[5].take().unwrap().seq;
    let released = store.release(&owners[0], &addresses[5], seq).await.unwrap();
    assert_eq!(released, Released::Released);
    assert_eq!(store.lookup_many(&addresses).await.unwrap(), held);

    store.deregister(&owners[0]).await.unwrap();
    assert_eq!(store.reclaim(100).await.unwrap().removed, 18);
    for (index, session) in store
        .lookup_many(&addresses)
        .await
        .unwrap()
        .into_iter()
        .enumerate()
    {
        assert_eq!(session, held[index].clone().filter(|_| index == 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_of_a_server_with_coming_and_going_clients_stays_small_and_complete() {
    let node = CouchbaseOptions::new().start().await.unwrap();
    let store = open(&node, Keys::new("waypost:")).await;
    let owner = server(&store, "server").await;
    let stay: Vec<_> = (0..50)
        .map(|n| Address::new(&format!("stays-{n}")).unwrap())
        .collect();
    store.claim_many(&owner, &stay).await.unwrap();
    let segments = || node.keys().iter().filter(|key| key.contains(":i:")).count();
    let mut most = 0;
    for round in 0..60 {
        let some: Vec<_> = (0..500)
            .map(|n| Address::new(&format!("comes-and-goes-{round}-{n:020}")).unwrap())
            .collect();
        let claimed = store.claim_many(&owner, &some).await.unwrap();
        let sessions: Vec<_> = some
            .into_iter()
            .zip(claimed.into_iter().map(|claimed| claimed.seq))
            .collect();
        store.release_many(&owner, &sessions).await.unwrap();
        store.reclaim(100).await.unwrap();
        most = most.max(segments());
    }
    assert!((3..=16).contains(&most), "{most} segments at most");
    store.deregister(&owner).await.unwrap();
    let mut removed = 0;
    while removed < stay.len() {
        let step = store.reclaim(20).await.unwrap();
        assert!(step.removed > 0 || step.more, "only {removed} were found");
        removed += step.removed;
    }
    assert_eq!(removed, stay.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_dead_server_is_left_and_its_late_claims_are_found() {
    let node = CouchbaseOptions::new().start().await.unwrap();
    let store = open(&node, Keys::new("waypost:")).await;
    let owner = server(&store, "server").await;
    let [first, late, straddling] = ["a", "b", "c"].map(|name| Address::new(name).unwrap());
    store.claim(&owner, &first).await.unwrap();
    let lists = || {
        let is_list = |key: &&String| key.contains(":i:") || key.contains(":o:");
        node.keys().iter().filter(is_list).count()
    };
    assert_eq!(lists(), 2);

    // A claim that has noted its address when the server is found dead, and writes its session after that.
    let docs = docs(&store);
    store
        .index
        .add(&docs, &store.keys, &owner, [&straddling], soon())
        .await
        .unwrap();
    store.deregister(&owner).await.unwrap();
    assert_eq!(store.reclaim(10).await.unwrap().removed, 1);
    let session = Session::new(owner.clone(), Seq(u64::MAX / 2));
    change(&docs, &store.keys, &straddling, None, soon(), |_| {
        Ok(Step::Write {
            session: Some(session.clone()),
            high: session.seq.0,
            answer: (),
        })
    })
    .await
    .unwrap();
    assert_eq!(store.reclaim(10).await.unwrap().removed, 1);
    assert_eq!(lists(), 0);

    // A claim by a server that has not noticed yet, when even its lists are gone.
    store.claim(&owner, &late).await.unwrap();
    assert_eq!(store.lookup(&late).await.unwrap(), None);
    assert_eq!(store.reclaim(10).await.unwrap().removed, 1);
    store.reclaim(10).await.unwrap();
    assert_eq!(lists(), 0);
    let next = server(&store, "next").await;
    for address in [first, late, straddling] {
        assert_eq!(store.claim(&next, &address).await.unwrap().displaced, None);
    }
}

/// More than one call looks at: their sessions go by and by, and then the lists that they were found by.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_dead_server_with_many_clients() {
    const CLIENTS: usize = 6000;
    let node = CouchbaseOptions::new().start().await.unwrap();
    let store = open(&node, Keys::new("waypost:")).await;
    let owner = server(&store, "server").await;
    let addresses: Vec<_> = (0..CLIENTS)
        .map(|n| Address::new(&format!("client-{n}")).unwrap())
        .collect();
    for some in addresses.chunks(1000) {
        store.claim_many(&owner, some).await.unwrap();
    }
    store.deregister(&owner).await.unwrap();
    let is_list = |key: &String| key.contains(":i:") || key.contains(":o:");
    let (mut removed, mut calls) = (0, 0);
    while removed < CLIENTS || node.keys().iter().any(is_list) {
        assert!(calls < 60, "{removed} sessions are removed, and the lists stay");
        removed += store.reclaim(1000).await.unwrap().removed;
        calls += 1;
    }
    assert_eq!(removed, CLIENTS);
}

/// Upkeep that takes longer than it should goes on with the next call, and keeps nobody from reclaiming.
#[tokio::test(flavor = "multi_thread")]
async fn upkeep_and_reclaiming_both_go_on_at_a_slow_node() {
    let takes = Duration::from_millis(2)..Duration::from_millis(4);
    let node = CouchbaseOptions::new().one_by_one(takes).start().await.unwrap();
    let store = open(&node, Keys::new("waypost:")).await;
    let owner = server(&store, "server").await;
    let dead = server(&store, "dead").await;
    let left = Address::new("left").unwrap();
    store.claim(&dead, &left).await.unwrap();
    store.deregister(&dead).await.unwrap();
    // What has been claimed and released long ago: to look it all up takes some ten times as long as a call has.
    let docs = docs(&store);
    for round in 0..30 {
        let addresses: Vec<_> = (0..500)
            .map(|n| Address::new(&format!("client-{round}-{n}")).unwrap())
            .collect();
        store
            .index
            .add(&docs, &store.keys, &owner, &addresses, soon())
            .await
            .unwrap();
    }
    let segments = || {
        let is_segment = |key: &&String| key.contains(":i:") && key.ends_with(":server");
        node.keys().iter().filter(is_segment).count()
    };
    let before = segments();
    assert_eq!(store.reclaim(10).await.unwrap().removed, 1);
    assert_eq!(store.lookup(&left).await.unwrap(), None);
    store.reclaim(10).await.unwrap();
    assert!(segments() < before, "{} of {before} segments", segments());
}
