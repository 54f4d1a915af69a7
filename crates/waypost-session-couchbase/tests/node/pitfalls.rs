//! What the module `sdk` says of the client's pitfalls, seen from outside. Those that are about one failed request are in
//! `failures`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use waypost_session::{ErrorKind, SessionStore, StoreError};
use waypost_session_couchbase::CouchbaseStore;
use waypost_session_testkit::servers::couchbase::{CouchbaseCluster, CouchbaseOptions, Trouble, When};
use waypost_types::{Identity, Owner, Session};

use crate::{TERM, address, location, server};

/// What the URLs here say; nothing takes longer, but for a busy machine.
const TIMEOUT: Duration = Duration::from_millis(400);
const SLACK: Duration = Duration::from_secs(5);
const FOR_EVER: usize = usize::MAX;

async fn open(cluster: &CouchbaseCluster, parameters: &str) -> CouchbaseStore {
    let url = format!("{}?timeout=400ms&{parameters}", cluster.url());
    CouchbaseStore::connect(&url).await.unwrap()
}

/// For what no time-out is to be seen of, on however busy a machine.
async fn open_patiently(cluster: &CouchbaseCluster) -> CouchbaseStore {
    let url = format!("{}?timeout=8s", cluster.url());
    CouchbaseStore::connect(&url).await.unwrap()
}

/// Every verb fails as a time-out and in time, and those that write say that they may have been applied.
async fn every_verb_times_out(store: &CouchbaseStore, owner: &Owner, why: &str) {
    let one = [(address("a"), waypost_types::Seq(1))];
    let identity = Identity::new("another").unwrap();
    let location = location();
    let a = address("a");
    let mut results: Vec<(&str, Result<(), StoreError>, Duration)> = Vec::new();
    macro_rules! run {
        ($name:literal, $call:expr) => {{
            let start = Instant::now();
            let result = $call.await.map(drop);
            results.push(($name, result, start.elapsed()));
        }};
    }
    run!("register", store.register(&identity, &location, TERM));
    run!("renew", store.renew(core::slice::from_ref(owner), &location));
    run!("drain", store.drain(owner));
    run!("deregister", store.deregister(owner));
    run!("peers", store.peers());
    run!("claim", store.claim(owner, &a));
    run!("release", store.release_many(owner, &one));
    run!("restore", store.restore_many(owner, &one));
    run!("lookup", store.lookup(&a));
    run!("reclaim", store.reclaim(10));
    for (verb, result, took) in results {
        let error = result.expect_err(verb);
        assert_eq!(error.kind(), ErrorKind::Timeout, "{why}: {verb}: {error}");
        let writes = !matches!(verb, "peers" | "lookup");
        assert_eq!(error.may_have_applied(), writes, "{why}: {verb}");
        assert!(took < TIMEOUT + SLACK, "{why}: {verb} took {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_waits_longer_than_the_timeout_whatever_the_server_says_for_ever() {
    for trouble in [
        Trouble::Unanswered,
        Trouble::TemporaryFailure,
        Trouble::NotMyVbucket,
        Trouble::CutBefore,
    ] {
        let cluster = CouchbaseOptions::new().start().await.unwrap();
        let store = open(&cluster, "").await;
        let owner = server(&store, "server").await;
        cluster.trouble(When::any(), FOR_EVER, trouble);
        every_verb_times_out(&store, &owner, &format!("{trouble:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_waits_longer_than_the_timeout_for_a_collection_that_was_dropped() {
    let cluster = CouchbaseOptions::new()
        .collection("s", "c")
        .start()
        .await
        .unwrap();
    let store = open(&cluster, "scope=s&collection=c").await;
    let owner = server(&store, "server").await;
    cluster.drop_collections();
    every_verb_times_out(&store, &owner, "no collection").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_waits_longer_than_the_timeout_for_a_server_that_is_gone_and_all_work_when_it_is_back() {
    let cluster = CouchbaseOptions::new().start().await.unwrap();
    let store = open(&cluster, "").await;
    let owner = server(&store, "server").await;
    for round in 0..6 {
        cluster.stop().await;
        if round < 2 {
            every_verb_times_out(&store, &owner, "nobody listens").await;
        }
        cluster.start_again().await.unwrap();
        let back = Instant::now();
        let name = address(&format!("client-{round}"));
        while store.claim(&owner, &name).await.is_err() {
            assert!(
                back.elapsed() < Duration::from_secs(10),
                "round {round}: it does not recover"
            );
        }
        assert!(store.lookup(&name).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_requests_that_every_server_answers_alike_are_sent() {
    let cluster = CouchbaseOptions::new().start().await.unwrap();
    let store = open_patiently(&cluster).await;
    let owner = server(&store, "server").await;
    let claimed = store.claim(&owner, &address("a")).await.unwrap();
    store.claim(&owner, &address("a")).await.unwrap();
    store
        .restore_many(&owner, &[(address("b"), claimed.seq)])
        .await
        .unwrap();
    store.release(&owner, &address("b"), claimed.seq).await.unwrap();
    store.lookup(&address("a")).await.unwrap();
    store
        .renew(core::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    store.drain(&owner).await.unwrap();
    store.peers().await.unwrap();
    store.deregister(&owner).await.unwrap();
    store.reclaim(100).await.unwrap();
    let sent: BTreeSet<_> = cluster.take_counts().into_keys().collect();
    let plain: BTreeSet<_> = ["get", "add", "replace", "append", "delete"].into();
    assert!(sent.is_subset(&plain), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_never_goes_out_in_the_clear() {
    let cluster = CouchbaseOptions::new()
        .plain_passwords_only()
        .start()
        .await
        .unwrap();
    let start = Instant::now();
    let error = CouchbaseStore::connect(&cluster.url()).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("sesame"), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(12), "{error} came late");
    assert_eq!(cluster.take_counts().get("plain_password"), None, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_makes_the_client_panic_is_an_error() {
    let cluster = CouchbaseOptions::new()
        .without_management()
        .start()
        .await
        .unwrap();
    let start = Instant::now();
    let error = CouchbaseStore::connect(&cluster.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("management ports"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(12), "{error} came late");
}

/// Calls that are dropped in flight leave the connection as it was, and what they did is done or not.
#[tokio::test(flavor = "multi_thread")]
async fn dropped_calls_harm_no_other() {
    let cluster = CouchbaseOptions::new().start().await.unwrap();
    let store = open_patiently(&cluster).await;
    let owner = server(&store, "server").await;
    store.claim(&owner, &address("warm")).await.unwrap();
    for round in 0..50 {
        let a = address(&format!("client-{}", round % 7));
        cluster.trouble(
            When::named(&["add", "replace"]),
            1,
            Trouble::Late(Duration::from_millis(50)),
        );
        // The time first: on a busy machine the answer may be there as well when anybody looks.
        tokio::select! {
            biased;
            () = tokio::time::sleep(Duration::from_millis(round % 5)) => {}
            claimed = store.claim(&owner, &a) => {
                panic!("round {round}: it was answered before its answer was sent: {claimed:?}")
            }
        }
        let claimed = store.claim(&owner, &a).await.unwrap();
        let held = store.lookup(&a).await.unwrap();
        assert_eq!(
            held,
            Some(Session::new(owner.clone(), claimed.seq)),
            "round {round}"
        );
        cluster.calm();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_handle_says_so() {
    let cluster = CouchbaseOptions::new().start().await.unwrap();
    let store = open_patiently(&cluster).await;
    let owner = server(&store, "server").await;
    store.close().await;
    let error = store.claim(&owner, &address("a")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.may_have_applied()),
        (ErrorKind::Unavailable, false),
        "{error}"
    );
}
