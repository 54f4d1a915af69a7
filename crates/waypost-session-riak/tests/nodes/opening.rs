//! What a store meets when it opens: nodes that are starting, nodes that are away, buckets that others have set up.

use core::time::Duration;
use std::time::Instant;

use waypost_session::{ErrorKind, Released, SessionStore};
use waypost_session_riak::RiakStore;
use waypost_session_testkit::servers::riak::{RiakFault, RiakOptions};

use crate::{PATIENCE, address, location, open_with, raw, server};

#[tokio::test]
async fn a_node_that_is_starting_is_waited_for() {
    for fault in [RiakFault::NoRoute, RiakFault::NotReady] {
        let nodes = RiakOptions::new().start().await.unwrap();
        // As a real node is for ten seconds: longer than a call may take.
        nodes.disturb_next(0, fault, 9);
        let store = open_with(&nodes, "?timeout=1s").await;
        server(&store, "server").await;
    }
}

#[tokio::test]
async fn a_bucket_type_on_a_node_that_is_starting_is_not_taken_for_unknown() {
    let nodes = RiakOptions::new().start().await.unwrap();
    nodes.create_type("plain", &serde_json::json!({}));
    nodes.disturb_next(0, RiakFault::NoRoute, 9);
    let store = open_with(&nodes, "?type=plain&timeout=1s").await;
    server(&store, "server").await;
}

#[tokio::test]
async fn a_node_that_never_becomes_ready_and_one_that_hangs_end_the_opening() {
    let nodes = RiakOptions::new().start().await.unwrap();
    for fault in [RiakFault::NotReady, RiakFault::Hang] {
        nodes.disturb(0, fault, 1.0);
        let begin = Instant::now();
        let error = RiakStore::connect(&[&nodes.url(), "?timeout=200ms"].concat())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault:?}: {error}");
        assert!(begin.elapsed() < PATIENCE, "{fault:?} took {:?}", begin.elapsed());
        nodes.calm();
    }
}

#[tokio::test]
async fn nodes_that_are_away_from_the_start_keep_nobody_from_opening_and_their_return_is_noticed() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    nodes.stop(0).await;
    nodes.suspend(1);
    // Each begins with a node of its own.
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(open_with(&nodes, "?timeout=2s").await);
    }
    let owner = server(&stores[0], "server").await;
    let mut held = Vec::new();
    for (index, store) in stores.iter().enumerate() {
        let name = address(&format!("a{index}"));
        let claimed = store.claim(&owner, &name).await.unwrap();
        held.push((name, claimed.seq));
    }
    let generation = async || {
        let renewed = stores[0].renew(std::slice::from_ref(&owner), &location()).await;
        renewed.unwrap().generation
    };
    let before = generation().await;
    assert_eq!(generation().await, before, "nothing has come back yet");
    nodes.start_again(0).await.unwrap();
    nodes.resume(1);
    let deadline = Instant::now() + PATIENCE;
    while generation().await == before {
        assert!(Instant::now() < deadline, "their return goes unnoticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (name, seq) in held {
        for store in &stores {
            let found = store.lookup(&name).await.unwrap();
            assert_eq!(found.map(|session| session.seq), Some(seq), "{name}");
        }
    }
}

#[tokio::test]
async fn buckets_with_odd_properties_serve_as_well() {
    for props in [
        r#"{"n_val":1}"#,
        r#"{"n_val":2,"r":"one","w":"all","dw":0}"#,
        r#"{"n_val":5}"#,
        r#"{"r":3,"w":3,"dw":3,"pr":3,"pw":3,"rw":3}"#,
        r#"{"r":1,"w":1,"dw":0,"notfound_ok":false,"basic_quorum":true}"#,
        r#"{"allow_mult":true,"dvv_enabled":false}"#,
        r#"{"allow_mult":false,"small_vclock":1,"big_vclock":1,"old_vclock":1}"#,
    ] {
        let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
        let set = format!("{{\"props\":{props}}}");
        let answer = raw::ask_at(&nodes, "PUT", "/buckets/test/props", "", &set).await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{props}: {answer}");
        let (one, two) = (open_with(&nodes, "").await, open_with(&nodes, "").await);
        let (first, second) = (server(&one, "first").await, server(&two, "second").await);
        for round in 0..10 {
            let name = address(&format!("a{round}"));
            let (mine, other) = tokio::join!(one.claim(&first, &name), two.claim(&second, &name));
            let (mine, other) = (mine.unwrap().seq, other.unwrap().seq);
            nodes.settled().await;
            for store in [&one, &two] {
                let held = store.lookup(&name).await.unwrap().unwrap();
                assert_eq!(held.seq, mine.max(other), "{props}, round {round}");
            }
            let (store, owner) = if mine > other {
                (&one, &first)
            } else {
                (&two, &second)
            };
            let released = store.release(owner, &name, mine.max(other)).await;
            assert_eq!(released.unwrap(), Released::Released, "{props}, round {round}");
        }
    }
}

#[tokio::test]
async fn a_batch_in_the_middle_of_which_the_only_node_restarts_loses_nothing_that_was_acknowledged() {
    let options = RiakOptions::new().latency(Duration::from_millis(2), Duration::from_millis(5));
    let nodes = options.start().await.unwrap();
    let store = open_with(&nodes, "?timeout=4s").await;
    let owner = server(&store, "server").await;
    let addresses: Vec<_> = (0..1000).map(|n| address(&format!("a{n}"))).collect();
    let begin = nodes.requests();
    let restart = async {
        while nodes.requests() < begin + 700 {
            tokio::task::yield_now().await;
        }
        nodes.stop(0).await;
        nodes.start_again(0).await.unwrap();
    };
    let (batch, ()) = tokio::join!(store.claim_many(&owner, &addresses), restart);
    if let Err(error) = &batch {
        assert!(
            matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
            "{error}"
        );
        assert!(error.may_have_applied(), "a part of it is in");
    }
    // The node may still be starting.
    let deadline = Instant::now() + PATIENCE;
    let claims = loop {
        match store.claim_many(&owner, &addresses).await {
            Ok(claims) => break claims,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    let found = store.lookup_many(&addresses).await.unwrap();
    for ((claim, found), name) in claims.iter().zip(found).zip(&addresses) {
        assert_eq!(found.map(|session| session.seq), Some(claim.seq), "{name}");
    }
    // What was written down before the claims is still known: nothing is left when the server is gone.
    store.deregister(&owner).await.unwrap();
    let mut removed = 0;
    loop {
        let step = store.reclaim(1000).await.unwrap();
        removed += step.removed;
        if !step.more {
            break;
        }
    }
    assert_eq!(removed, addresses.len());
}
