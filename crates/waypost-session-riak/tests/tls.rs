//! riak+https: nodes behind TLS and a password, and what is said to those who do not trust them or are not trusted.
#![cfg(feature = "tls")]

use core::time::Duration;

use waypost_session::{ErrorKind, SessionStore};
use waypost_session_riak::RiakStore;
use waypost_session_testkit::servers::riak::{RiakOptions, RiakStandIn};
use waypost_types::{Address, Identity, Location, Owner};

const PASSWORD: &str = "correct-horse-battery";

async fn nodes() -> RiakStandIn {
    let options = RiakOptions::new().credentials("waypost", PASSWORD).tls();
    options.start().await.unwrap()
}

/// The URL with the file by which `trusted` is trusted.
fn url(nodes: &RiakStandIn, trusted: &RiakStandIn) -> String {
    format!("{}?ca-file={}", nodes.url(), trusted.ca_file().unwrap().display())
}

async fn refused(url: &str) -> (ErrorKind, String) {
    let error = RiakStore::connect(url).await.unwrap_err();
    let mut said = error.to_string();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        said.push_str(&format!(": {inner}"));
        cause = inner;
    }
    assert!(
        !said.contains("correct-horse") && !format!("{error:?}").contains("correct-horse"),
        "{said}"
    );
    (error.kind(), said)
}

#[tokio::test]
async fn a_node_that_the_file_vouches_for_serves_with_user_and_password() {
    let nodes = nodes().await;
    let store = RiakStore::connect(&url(&nodes, &nodes)).await.unwrap();
    let identity = Identity::new("server").unwrap();
    let location = Location::new("tcp://192.0.2.1:4500").unwrap();
    let incarnation = store
        .register(&identity, &location, Duration::from_secs(10))
        .await
        .unwrap();
    let owner = Owner::new(identity, incarnation);
    let address = Address::new("client").unwrap();
    let claimed = store.claim(&owner, &address).await.unwrap();
    let found = store.lookup(&address).await.unwrap().unwrap();
    assert_eq!((found.owner, found.seq), (owner, claimed.seq));
}

#[tokio::test]
async fn a_node_under_another_authority_is_refused_and_the_message_says_what_to_set() {
    let (nodes, others) = (nodes().await, nodes().await);
    for url in [url(&nodes, &others), nodes.url()] {
        let (kind, said) = refused(&url).await;
        assert_eq!(kind, ErrorKind::ConfigInvalid, "{said}");
        assert!(said.contains("certificate") && said.contains("ca-file"), "{said}");
    }
    assert_eq!(nodes.requests(), 0, "no password was sent");
}

#[tokio::test]
async fn a_file_that_is_missing_or_no_certificate_is_a_matter_of_configuration() {
    let nodes = nodes().await;
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for (path, says) in [
        (
            directory.path().join("missing.pem"),
            "cannot read the file of `ca-file`",
        ),
        (empty, "no certificate"),
    ] {
        let (kind, said) = refused(&format!("{}?ca-file={}", nodes.url(), path.display())).await;
        assert!(kind == ErrorKind::ConfigInvalid && said.contains(says), "{said}");
    }
}

#[tokio::test]
async fn a_wrong_password_over_tls_is_a_matter_of_permission() {
    let nodes = nodes().await;
    let url = url(&nodes, &nodes).replace("battery@", "stapler@");
    assert_eq!(refused(&url).await.0, ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn speaking_plainly_to_a_tls_node_says_which_scheme_to_write() {
    let nodes = nodes().await;
    let (kind, said) = refused(&nodes.url().replace("riak+https", "riak+http")).await;
    assert_eq!(kind, ErrorKind::ConfigInvalid, "{said}");
    assert!(said.contains("riak+https"), "{said}");
}

#[tokio::test]
async fn a_password_without_tls_is_refused_as_riak_does_and_the_scheme_is_named() {
    let nodes = RiakOptions::new()
        .credentials("waypost", PASSWORD)
        .start()
        .await
        .unwrap();
    let (kind, said) = refused(&nodes.url()).await;
    assert!(
        kind == ErrorKind::ConfigInvalid && said.contains("riak+https://"),
        "{said}"
    );
}
