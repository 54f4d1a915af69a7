//! The suite by TLS on three nodes, and what is refused there.

mod common;

use std::time::{Duration, Instant};

use common::Fresh;
use waypost_session::ErrorKind;
use waypost_session_couchbase::CouchbaseStore;
use waypost_session_testkit::conformance;
use waypost_session_testkit::servers::couchbase::{CouchbaseCluster, CouchbaseOptions};

conformance!(Fresh {
    options: || CouchbaseOptions::new().tls().nodes(3),
    parameters: "",
});

async fn by_tls() -> CouchbaseCluster {
    CouchbaseOptions::new().tls().start().await.unwrap()
}

fn with_ca_of(cluster: &CouchbaseCluster, vouching: &CouchbaseCluster) -> String {
    format!(
        "{}?ca-file={}",
        cluster.url(),
        vouching.ca_file().unwrap().display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_does_not_vouch_for_the_nodes() {
    let (cluster, stranger) = (by_tls().await, by_tls().await);
    let start = Instant::now();
    let error = CouchbaseStore::connect(&with_ca_of(&cluster, &stranger))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{error}");
    assert!(error.to_string().contains("`ca-file` vouches for"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3), "{error} came late");
    assert_eq!(cluster.take_counts().get("plain_password"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ca_file_an_authority_of_ones_own_is_not_trusted() {
    let cluster = by_tls().await;
    let error = CouchbaseStore::connect(&cluster.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("`ca-file`"), "{error}");
    assert_eq!(cluster.take_counts().get("plain_password"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_told_at_once_by_tls_too() {
    let cluster = by_tls().await;
    let url = with_ca_of(&cluster, &cluster);
    for (url, kind) in [
        (
            url.replace("open-sesame", "close-sesame"),
            ErrorKind::PermissionDenied,
        ),
        (url.replace("/waypost?", "/other?"), ErrorKind::ConfigInvalid),
        (format!("{url}&collection=none"), ErrorKind::ConfigInvalid),
    ] {
        let start = Instant::now();
        let error = CouchbaseStore::connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!format!("{error} {error:?}").contains("sesame"), "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(3), "{error} came late");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_speaks_no_tls_is_unavailable_in_bounded_time() {
    let (plain, cluster) = (CouchbaseOptions::new().start().await.unwrap(), by_tls().await);
    let ca_file = cluster.ca_file().unwrap().display();
    let url = format!(
        "{}?ca-file={ca_file}",
        plain.url().replace("couchbase:", "couchbases:")
    );
    let start = Instant::now();
    let error = CouchbaseStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(start.elapsed() < Duration::from_secs(8), "{error} came late");
}
