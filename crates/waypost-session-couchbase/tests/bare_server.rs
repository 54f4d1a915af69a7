//! The suite on what older servers and some mocks are: no collections, no durable writes.

mod common;

use common::Fresh;
use waypost_session::ErrorKind;
use waypost_session_couchbase::CouchbaseStore;
use waypost_session_testkit::conformance;
use waypost_session_testkit::servers::couchbase::CouchbaseOptions;

fn bare() -> CouchbaseOptions {
    CouchbaseOptions::new()
        .without_collections()
        .without_durability()
        .nodes(2)
}

conformance!(Fresh {
    options: bare,
    parameters: "",
});

#[tokio::test(flavor = "multi_thread")]
async fn what_it_cannot_do_is_refused_in_words() {
    let cluster = bare().start().await.unwrap();
    for (parameters, says) in [
        ("durability=majority", "leave `durability` out"),
        ("scope=s&collection=c", "leave `scope` and `collection` out"),
    ] {
        let url = format!("{}?{parameters}", cluster.url());
        let error = CouchbaseStore::connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}
