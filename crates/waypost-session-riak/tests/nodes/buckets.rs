//! What buckets and bucket types are like, and when nodes learn of it.

use core::time::Duration;

use waypost_session::{ErrorKind, SessionStore};
use waypost_session_riak::RiakStore;
use waypost_session_testkit::servers::riak::RiakOptions;

use crate::{address, open, open_with, server};

#[tokio::test]
async fn buckets_that_lose_writes_and_unknown_types_are_refused() {
    let nodes = RiakOptions::new().start().await.unwrap();
    nodes.create_type(
        "lww",
        &serde_json::json!({"last_write_wins": true, "allow_mult": false}),
    );
    nodes.create_type("plain", &serde_json::json!({}));
    let refused = async |query: &str| {
        let error = RiakStore::connect(&[&nodes.url(), query].concat())
            .await
            .unwrap_err();
        (error.kind(), error.to_string())
    };
    let (kind, says) = refused("?type=lww").await;
    assert!(
        kind == ErrorKind::ConfigInvalid && says.contains("last_write_wins"),
        "{says}"
    );
    let (kind, says) = refused("?type=nope").await;
    assert!(
        kind == ErrorKind::ConfigInvalid && says.contains("nope"),
        "{says}"
    );
    let (kind, says) = refused("?r=4").await;
    assert!(kind == ErrorKind::ConfigInvalid, "{says}");
    let store = open_with(&nodes, "?type=plain&profile=primary&n_val=3").await;
    let owner = server(&store, "server").await;
    store.claim(&owner, &address("a")).await.unwrap();
}

#[tokio::test]
async fn a_store_that_opens_waits_until_every_node_allows_siblings() {
    let options = RiakOptions::new().nodes(3).gossip(Duration::from_millis(300));
    let nodes = options.start().await.unwrap();
    // The second finds them set at its first node, and others do not know yet.
    let (one, two) = tokio::join!(open(&nodes), async {
        while (0..3).all(|node| nodes.buckets_with_props(node) == 0) {
            tokio::task::yield_now().await;
        }
        open(&nodes).await
    });
    for (node, store) in (0..3).zip([&one, &two, &one]) {
        let alone = RiakStore::connect(&[&*nodes.url_of(&[node]), "?timeout=6s"].concat())
            .await
            .unwrap();
        let name = address(&format!("a{node}"));
        let owner = server(store, &format!("s{node}")).await;
        let (first, second) = tokio::join!(alone.claim(&owner, &name), store.claim(&owner, &name));
        let greatest = first.unwrap().seq.max(second.unwrap().seq);
        assert_eq!(store.lookup(&name).await.unwrap().unwrap().seq, greatest);
    }
}

#[tokio::test]
async fn a_store_does_not_open_where_a_node_never_learns_of_siblings() {
    let options = RiakOptions::new().nodes(2).gossip(Duration::from_secs(3600));
    let nodes = options.start().await.unwrap();
    let error = RiakStore::connect(&[&*nodes.url(), "?timeout=500ms"].concat())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("properties"), "{error}");
}
