//! Replicas that miss what others have been told, and owners that learn of it.

use core::time::Duration;
use std::time::Instant;

use waypost_session::{Claimed, ErrorKind, Renewal, Restored, SessionStore};
use waypost_session_riak::RiakStore;
use waypost_session_testkit::servers::riak::{RiakOptions, RiakStandIn};
use waypost_types::Owner;

use crate::{PATIENCE, address, location, open, open_with, raw, server};

/// What a heartbeat's answer names.
async fn generation(store: &RiakStore, owner: &Owner) -> u64 {
    let owners = std::slice::from_ref(owner);
    store.renew(owners, &location()).await.unwrap().generation
}

/// Two servers, of which the second has displaced the first from `a` by a claim that failed and stands all the same: the first learns
/// it by its lease alone.
struct Displaced {
    one: RiakStore,
    first: Owner,
    held: Claimed,
    /// The first one's generation until then.
    before: u64,
    two: RiakStore,
    second: Owner,
}

impl Displaced {
    async fn new(nodes: &RiakStandIn) -> Self {
        let url = nodes.url_of(&[0]);
        let open = async |parameters| RiakStore::connect(&[&*url, parameters].concat()).await.unwrap();
        let one = open("?timeout=6s").await;
        let two = open("?r=1&w=all&timeout=2s").await;
        let (first, second) = (server(&one, "first").await, server(&two, "second").await);
        // Its journal needs all replicas too, and lists the address from now on.
        two.claim(&second, &address("a")).await.unwrap();
        let held = one.claim(&first, &address("a")).await.unwrap();
        let before = generation(&one, &first).await;
        nodes.suspend(2);
        let error = two.claim(&second, &address("a")).await.unwrap_err();
        assert!(error.may_have_applied(), "{error}");
        nodes.resume(2);
        nodes.settled().await;
        Self {
            one,
            first,
            held,
            before,
            two,
            second,
        }
    }
}

#[tokio::test]
async fn a_server_that_lost_a_client_while_replicas_were_apart_learns_it_once_anybody_looks() {
    let options = RiakOptions::new().nodes(3).delay(Duration::from_millis(60));
    let nodes = options.start().await.unwrap();
    let mut stores = Vec::new();
    for node in 0..3 {
        // One replica alone answers, so that claims made at the same time do not see each other.
        let url = [&*nodes.url_of(&[node]), "?r=1&w=1&timeout=6s"].concat();
        stores.push(RiakStore::connect(&url).await.unwrap());
    }
    let one = server(&stores[0], "one").await;
    let two = server(&stores[1], "two").await;
    // Until all replicas have both leases.
    let deadline = Instant::now() + PATIENCE;
    while stores[2].peers().await.unwrap().len() < 2 {
        assert!(Instant::now() < deadline, "the leases do not spread");
    }
    let (mut name, mut claims) = (address("a0"), Vec::new());
    for round in 0.. {
        assert!(round < 100, "no two claims miss each other");
        name = address(&format!("a{round}"));
        let (first, second) = tokio::join!(stores[0].claim(&one, &name), stores[1].claim(&two, &name));
        claims = vec![first.unwrap(), second.unwrap()];
        if claims.iter().all(|claim| claim.displaced.is_none()) {
            break;
        }
    }
    let loser = usize::from(claims[1].seq < claims[0].seq);
    let owner = [&one, &two][loser];
    let before = generation(&stores[loser], owner).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let held = stores[2].lookup(&name).await.unwrap();
        let changed = generation(&stores[loser], owner).await != before;
        if changed && held.is_some_and(|session| session.owner != *owner) {
            break;
        }
        assert!(Instant::now() < deadline, "the loser never learns");
    }
    let restored = stores[loser]
        .restore_many(owner, &[(name, claims[loser].seq)])
        .await
        .unwrap();
    assert!(matches!(restored[..], [Restored::Lost(_)]), "{restored:?}");
}

#[tokio::test]
async fn with_the_primary_profile_the_lesser_side_refuses_what_fallbacks_would_take() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    let available = open(&nodes).await;
    let primary = open_with(&nodes, "?timeout=2s&profile=primary").await;
    let owner = server(&primary, "server").await;
    let before = primary.claim(&owner, &address("a")).await.unwrap();
    nodes.stop(1).await;
    nodes.stop(2).await;
    let refused = [
        primary.claim(&owner, &address("a")).await.unwrap_err(),
        primary.lookup(&address("a")).await.unwrap_err(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    let meanwhile = available.claim(&owner, &address("a")).await.unwrap();
    assert!(meanwhile.seq > before.seq);
    nodes.start_again(1).await.unwrap();
    let until = Instant::now() + PATIENCE;
    let after = loop {
        match primary.claim(&owner, &address("a")).await {
            Ok(claimed) => break claimed,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    assert!(after.seq > meanwhile.seq);
}

#[tokio::test]
async fn a_node_that_was_away_and_is_back_makes_servers_check_what_they_hold() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    let renew = async || generation(&store, &owner).await;
    let before = renew().await;
    nodes.stop(1).await;
    let deadline = Instant::now() + PATIENCE;
    for _ in 0..9 {
        renew().await;
    }
    assert_eq!(renew().await, before, "nothing has come back yet");
    nodes.start_again(1).await.unwrap();
    while renew().await == before {
        assert!(Instant::now() < deadline, "its return goes unnoticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_replica_that_has_lost_everything_hides_nothing_whatever_the_bucket_type_says_of_absence() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    nodes.create_type("strict", &serde_json::json!({"notfound_ok": false}));
    let store = open_with(&nodes, "?type=strict&r=all&timeout=4s").await;
    let owner = server(&store, "server").await;
    let claimed = store.claim(&owner, &address("a")).await.unwrap();
    nodes.forget(0);
    nodes.forget(2);
    let held = store.lookup(&address("a")).await.unwrap();
    assert_eq!(held.map(|session| session.seq), Some(claimed.seq));
}

#[tokio::test]
async fn clocks_of_nodes_that_differ_end_no_lease_of_a_live_server() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    let claimed = store.claim(&owner, &address("a")).await.unwrap();
    // What it has written is hours old by the clocks of all.
    for node in 0..3 {
        nodes.advance(node, Duration::from_secs(7200));
    }
    let fresh = open(&nodes).await;
    assert_eq!(
        fresh.lookup(&address("a")).await.unwrap(),
        None,
        "taken for long dead"
    );
    fresh.reclaim(100).await.unwrap();
    let another = open(&nodes).await;
    for (who, handle) in [
        ("its own handle", &store),
        ("another, as when it has moved", &another),
    ] {
        let owners = std::slice::from_ref(&owner);
        let renewed = handle.renew(owners, &location()).await.unwrap();
        assert_eq!(renewed.renewals, [Renewal::Renewed], "{who}");
    }
    let held = fresh.lookup(&address("a")).await.unwrap();
    assert_eq!(held.map(|session| session.seq), Some(claimed.seq));
}

#[tokio::test]
async fn whom_a_claim_displaces_that_fails_and_stands_all_the_same_learns_it() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    let all = Displaced::new(&nodes).await;
    generation(&all.two, &all.second).await;
    let after = generation(&all.one, &all.first).await;
    assert_ne!(after, all.before, "it has something to check");
    let restored = all
        .one
        .restore_many(&all.first, &[(address("a"), all.held.seq)])
        .await
        .unwrap();
    match &restored[..] {
        [Restored::Lost(winner)] => assert_eq!(winner.owner, all.second),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whose_lease_is_not_found_when_it_is_to_be_told_learns_it_later() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    let all = Displaced::new(&nodes).await;
    // As if those that answer had not heard of it yet.
    let lease = raw::encoded("l:first");
    let vclock = raw::vclock(&nodes, &lease).await;
    raw::delete(&nodes, &lease, &vclock).await;
    nodes.settled().await;
    generation(&all.two, &all.second).await;
    let after = generation(&all.one, &all.first).await;
    assert_eq!(after, all.before, "nobody has told it");
    generation(&all.two, &all.second).await;
    let after = generation(&all.one, &all.first).await;
    assert_ne!(after, all.before, "it has something to check");
}
