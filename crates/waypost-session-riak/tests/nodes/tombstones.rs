//! Records that are deleted, and claimed again.

use core::time::Duration;
use std::time::Instant;

use waypost_session::{Released, SessionStore};
use waypost_session_testkit::servers::riak::RiakOptions;

use crate::{address, open, raw, server};

#[tokio::test]
async fn a_claim_over_a_tombstone_stands_also_after_riak_has_forgotten_the_tombstone() {
    let nodes = RiakOptions::new()
        .nodes(3)
        .delay(Duration::from_millis(2))
        .start()
        .await
        .unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    let name = address("a");
    let first = store.claim(&owner, &name).await.unwrap();
    store.release(&owner, &name, first.seq).await.unwrap();
    raw::delete(&nodes, "s%3Aa", &raw::vclock(&nodes, "s%3Aa").await).await;
    nodes.settled().await;
    assert_eq!(nodes.objects("s:a"), 0);
    let second = store.claim(&owner, &name).await.unwrap();
    assert!(second.seq > first.seq);
    // A release of what the tombstone was written over changes nothing.
    assert_eq!(
        store.release(&owner, &name, first.seq).await.unwrap(),
        Released::NotOwner
    );
    // Longer than Riak keeps tombstones, which is three seconds.
    let until = Instant::now() + Duration::from_millis(3500);
    while Instant::now() < until {
        assert_eq!(store.lookup(&name).await.unwrap().unwrap().seq, second.seq);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_claim_that_races_with_the_deletion_of_what_was_there_stands() {
    let nodes = RiakOptions::new()
        .nodes(3)
        .delay(Duration::from_millis(5))
        .start()
        .await
        .unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    for round in 0..40 {
        let name = address(&format!("a{round}"));
        let key = format!("s%3Aa{round}");
        let first = store.claim(&owner, &name).await.unwrap();
        store.release(&owner, &name, first.seq).await.unwrap();
        let vclock = raw::vclock(&nodes, &key).await;
        let (claimed, ()) = tokio::join!(store.claim(&owner, &name), raw::delete(&nodes, &key, &vclock));
        let claimed = claimed.unwrap();
        let found = store.lookup(&name).await.unwrap();
        assert_eq!(
            found.map(|session| session.seq),
            Some(claimed.seq),
            "round {round}"
        );
    }
}
