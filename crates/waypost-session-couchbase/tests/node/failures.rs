//! What the store makes of failures: at connecting, in flight, and of data that is lost.

use std::time::{Duration, Instant};

use waypost_session::{BATCH_MAX, ErrorKind, Released, Renewal, Restored, SessionStore, StoreError};
use waypost_session_couchbase::CouchbaseStore;
use waypost_session_testkit::servers::couchbase::{CouchbaseCluster, CouchbaseOptions, Trouble, When};
use waypost_types::{Owner, Session};

use crate::{address, location, server};

/// What other programs write: JSON, nothing, what begins like ours.
const GARBAGE: [&[u8]; 5] = [
    b"{\"json\":true}",
    b"",
    b"\x01\x07",
    b"\x01\x02\x03",
    &[0xff; 300],
];

async fn node() -> CouchbaseCluster {
    CouchbaseOptions::new().start().await.unwrap()
}

async fn open(node: &CouchbaseCluster) -> CouchbaseStore {
    // A busy machine takes its time.
    CouchbaseStore::connect(&format!("{}?timeout=5s", node.url()))
        .await
        .unwrap()
}

async fn refusal(url: &str) -> StoreError {
    let start = Instant::now();
    let error = CouchbaseStore::connect(url).await.expect_err(url);
    assert!(start.elapsed() < Duration::from_secs(8), "{error} came late");
    assert!(!format!("{error} {error:?}").contains("sesame"), "{error:?}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_at_the_door_is_told_at_once() {
    let node = node().await;
    let url = node.url();
    let wrong = refusal(&url.replace("open-sesame", "close-sesame")).await;
    assert_eq!(wrong.kind(), ErrorKind::PermissionDenied, "{wrong}");
    let wrong = refusal(&url.replace("server:", "nobody:")).await;
    assert_eq!(wrong.kind(), ErrorKind::PermissionDenied, "{wrong}");
    let wrong = refusal(&url.replace("/waypost", "/other")).await;
    assert_eq!(wrong.kind(), ErrorKind::ConfigInvalid);
    assert!(wrong.to_string().contains("no bucket `other`"), "{wrong}");
    let wrong = refusal(&format!("{url}?scope=s&collection=c")).await;
    assert_eq!(wrong.kind(), ErrorKind::ConfigInvalid);
    assert!(wrong.to_string().contains("no scope `s`"), "{wrong}");
    let wrong = refusal(&format!("{url}?collection=c")).await;
    assert_eq!(wrong.kind(), ErrorKind::ConfigInvalid);
    assert!(
        wrong.to_string().contains("no collection `_default.c`"),
        "{wrong}"
    );
    let memcached = CouchbaseOptions::new().memcached_bucket().start().await.unwrap();
    let wrong = refusal(&memcached.url()).await;
    assert_eq!(wrong.kind(), ErrorKind::ConfigInvalid, "{wrong}");
    assert!(wrong.to_string().contains("kind `memcached`"), "{wrong}");
    node.stop().await;
    let wrong = refusal(&url).await;
    assert_eq!(wrong.kind(), ErrorKind::Unavailable);
    assert!(wrong.to_string().contains("cannot be reached"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_speaks_nothing_is_unavailable_in_bounded_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("couchbase://server:open-sesame@127.0.0.1:{port}/waypost");
    let start = Instant::now();
    let error = CouchbaseStore::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_host_is_asked_when_the_first_is_gone() {
    let (gone, node) = (node().await, node().await);
    gone.stop().await;
    let places = format!("127.0.0.1:{},127.0.0.1:{}", gone.port(), node.port());
    let url = node.url().replace(&format!("127.0.0.1:{}", node.port()), &places);
    let store = CouchbaseStore::connect(&url).await.unwrap();
    server(&store, "server").await;
}

/// However a claim's or a release's own write fails, the answer is what stands there, and no claim displaces itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_unknown_outcome_is_looked_for() {
    let node = node().await;
    let store = open(&node).await;
    let owner = server(&store, "server").await;
    store.claim(&owner, &address("warm")).await.unwrap();
    let troubles = [
        Trouble::CutBefore,
        Trouble::CutAfter,
        Trouble::Unanswered,
        Trouble::TemporaryFailure,
        Trouble::NotMyVbucket,
        // Out of memory, busy, internal error.
        Trouble::Status(0x82),
        Trouble::Status(0x85),
        Trouble::Status(0x84),
        // A durable write of unknown outcome, and one that is under way.
        Trouble::Status(0xa3),
        Trouble::Status(0xa2),
    ];
    for (index, trouble) in troubles.into_iter().enumerate() {
        let address = address(&format!("client-{index}"));
        let key = format!("s:client-{index}");
        let once = |name| node.trouble(When::named(&[name]).on(&key), 1, trouble);

        once("add");
        let first = store
            .claim(&owner, &address)
            .await
            .expect("claim of a free address");
        assert_eq!(first.displaced, None, "{trouble:?}");
        assert!(node.is_calm());

        once("replace");
        let second = store
            .claim(&owner, &address)
            .await
            .expect("claim of a held address");
        let displaced = Some(Session::new(owner.clone(), first.seq));
        assert_eq!(second.displaced, displaced, "{trouble:?}");

        once("get");
        let held = store.lookup(&address).await.expect("look-up");
        assert_eq!(held, Some(Session::new(owner.clone(), second.seq)), "{trouble:?}");

        once("replace");
        let released = store
            .release(&owner, &address, second.seq)
            .await
            .expect("release");
        assert_eq!(released, Released::Released, "{trouble:?}");
        assert_eq!(store.lookup(&address).await.unwrap(), None);
        assert!(node.is_calm());
    }
}

/// The same for the index and for leases.
#[tokio::test(flavor = "multi_thread")]
async fn bookkeeping_survives_writes_of_unknown_outcome() {
    let node = node().await;
    let store = open(&node).await;
    for (index, trouble) in [Trouble::CutBefore, Trouble::CutAfter, Trouble::Unanswered]
        .into_iter()
        .enumerate()
    {
        for part in [":l:", ":m", ":o:", ":i:"] {
            node.trouble(When::writing().on(part), 1, trouble);
        }
        let owner = server(&store, &format!("server-{index}")).await;
        let address = address(&format!("client-{index}"));
        store.claim(&owner, &address).await.expect("claim");
        node.trouble(When::writing().on(":l:"), 1, trouble);
        let renewed = store
            .renew(core::slice::from_ref(&owner), &location())
            .await
            .unwrap();
        assert_eq!(renewed.renewals, [Renewal::Renewed], "{trouble:?}");
        node.trouble(When::writing().on(":l:"), 1, trouble);
        store.deregister(&owner).await.expect("deregistration");
        assert!(node.is_calm(), "{trouble:?}");
        assert_eq!(store.reclaim(10).await.unwrap().removed, 1, "{trouble:?}");
        assert_eq!(store.lookup(&address).await.unwrap(), None);
    }
}

/// A batch goes through although every tenth of its writes is lost or answered late.
#[tokio::test(flavor = "multi_thread")]
async fn batches_go_through_a_bad_connection() {
    let node = node().await;
    let store = open(&node).await;
    let owner = server(&store, "server").await;
    let addresses: Vec<_> = (0..300).map(|n| address(&format!("c{n}"))).collect();
    store.claim(&owner, &address("warm")).await.unwrap();
    for name in ["c1", "c2", "c3"] {
        node.trouble(When::writing().on(name), 2, Trouble::TemporaryFailure);
        node.trouble(
            When::writing().on(name),
            2,
            Trouble::Late(Duration::from_millis(200)),
        );
    }
    node.trouble(When::writing().on("c29"), 1, Trouble::CutAfter);
    let claimed = store.claim_many(&owner, &addresses).await.unwrap();
    let expected: Vec<_> = claimed
        .iter()
        .map(|claimed| Some(Session::new(owner.clone(), claimed.seq)))
        .collect();
    assert_eq!(store.lookup_many(&addresses).await.unwrap(), expected);
    assert!(claimed.iter().all(|claimed| claimed.displaced.is_none()));
}

/// A node that hangs gives a time-out, and says of a write that it may have been applied.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_node_gives_a_timeout() {
    let node = node().await;
    let store = CouchbaseStore::connect(&format!("{}?timeout=300ms", node.url()))
        .await
        .unwrap();
    let owner = server(&store, "server").await;
    node.trouble(When::any(), 1000, Trouble::Unanswered);
    let start = Instant::now();
    let error = store.lookup(&address("a")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.may_have_applied()),
        (ErrorKind::Timeout, false)
    );
    let error = store.claim(&owner, &address("a")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.may_have_applied()),
        (ErrorKind::Timeout, true)
    );
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    node.calm();
    store.claim(&owner, &address("b")).await.unwrap();
}

/// A batch has as long as its size needs, also where each request takes some milliseconds of the node's time.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_batch_goes_through_a_slow_node() {
    let takes = Duration::from_millis(2)..Duration::from_millis(4);
    let node = CouchbaseOptions::new().one_by_one(takes).start().await.unwrap();
    let store = CouchbaseStore::connect(&node.url()).await.unwrap();
    let owner = server(&store, "server").await;
    let addresses: Vec<_> = (0..BATCH_MAX).map(|n| address(&format!("c{n}"))).collect();
    let claimed = store.claim_many(&owner, &addresses).await.unwrap();
    let seqs = claimed.iter().map(|claimed| claimed.seq);
    let sessions: Vec<_> = addresses.iter().cloned().zip(seqs).collect();
    let held = store.lookup_many(&addresses).await.unwrap();
    for (session, (address, seq)) in held.into_iter().zip(&sessions) {
        assert_eq!(session, Some(Session::new(owner.clone(), *seq)), "{address}");
    }
    let restored = store.restore_many(&owner, &sessions).await.unwrap();
    assert!(restored.iter().all(|restored| *restored == Restored::Held));
    let released = store.release_many(&owner, &sessions).await.unwrap();
    assert!(released.iter().all(|released| *released == Released::Released));
}

/// The time that a batch has for its size is not time to wait for a node that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_does_not_wait_longer_for_a_hanging_node() {
    let node = node().await;
    let store = CouchbaseStore::connect(&format!("{}?timeout=500ms", node.url()))
        .await
        .unwrap();
    let owner = server(&store, "server").await;
    let addresses: Vec<_> = (0..BATCH_MAX).map(|n| address(&format!("c{n}"))).collect();
    node.trouble(When::any(), usize::MAX, Trouble::Unanswered);
    let start = Instant::now();
    let error = store.lookup_many(&addresses).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    let error = store.claim_many(&owner, &addresses).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    // Their sizes would give them seven seconds each.
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

/// An emptied bucket is noticed by the next renewal, and servers put back what they hold.
#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_bucket_changes_the_generation_and_can_be_restored() {
    let node = node().await;
    let store = open(&node).await;
    let owner = server(&store, "server").await;
    let claimed = store.claim(&owner, &address("a")).await.unwrap();
    let renew = async |owner: &Owner| {
        store
            .renew(core::slice::from_ref(owner), &location())
            .await
            .unwrap()
    };
    let before = renew(&owner).await;
    node.flush();
    let after = renew(&owner).await;
    assert_ne!(before.generation, after.generation);
    assert_eq!(after.renewals, [Renewal::Gone]);
    let owner = server(&store, "server").await;
    let restored = store
        .restore_many(&owner, &[(address("a"), claimed.seq)])
        .await
        .unwrap();
    assert_eq!(restored, [Restored::Held]);
    let other = open(&node).await;
    let again = other.claim(&owner, &address("a")).await.unwrap();
    assert!(again.seq > claimed.seq);
    assert_eq!(renew(&owner).await.generation, after.generation);
}

/// So is one that was dropped and created anew, as it is when a mock that keeps nothing was started again: with another
/// identity, and with revisions and versions that were there before.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_was_created_anew_is_an_emptied_one() {
    let node = CouchbaseOptions::new().like_caves().start().await.unwrap();
    let store = open(&node).await;
    for round in 0..3 {
        let owner = server(&store, "server").await;
        let claimed = store.claim(&owner, &address("a")).await.unwrap();
        let before = store
            .renew(core::slice::from_ref(&owner), &location())
            .await
            .unwrap();
        node.stop().await;
        node.create_bucket_anew();
        node.start_again().await.unwrap();
        let back = Instant::now();
        let after = loop {
            match store.renew(core::slice::from_ref(&owner), &location()).await {
                Ok(renewed) => break renewed,
                Err(error) => assert!(back.elapsed() < Duration::from_secs(20), "{round}: {error}"),
            }
        };
        assert_ne!(before.generation, after.generation, "{round}");
        assert_eq!(after.renewals, [Renewal::Gone], "{round}");
        let owner = server(&store, "server").await;
        let restored = store
            .restore_many(&owner, &[(address("a"), claimed.seq)])
            .await
            .unwrap();
        assert_eq!(restored, [Restored::Held], "{round}");
    }
}

/// What others have written over a session's document counts as missing: nobody holds the address, and the next claim or restore
/// takes it over. Other addresses do not feel it.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_others_have_written_over_is_free_and_claimed_anew() {
    let node = node().await;
    let store = open(&node).await;
    let owner = server(&store, "server").await;
    let (a, b) = (address("a"), address("b"));
    let mut held = store.claim(&owner, &a).await.unwrap();
    let other = store.claim(&owner, &b).await.unwrap();
    let other = Some(Session::new(owner.clone(), other.seq));
    for garbage in GARBAGE {
        let there = async || store.lookup_many(&[a.clone(), b.clone()]).await.unwrap();
        node.write_over("s:a", garbage);
        assert_eq!(there().await, [None, other.clone()], "{garbage:?}");
        let released = store.release(&owner, &a, held.seq).await.unwrap();
        assert_eq!(released, Released::NotOwner, "{garbage:?}");

        let restored = store
            .restore_many(&owner, &[(a.clone(), held.seq)])
            .await
            .unwrap();
        assert_eq!(restored, [Restored::Held], "{garbage:?}");
        let back = Some(Session::new(owner.clone(), held.seq));
        assert_eq!(there().await, [back, other.clone()], "{garbage:?}");

        node.write_over("s:a", garbage);
        let claimed = store.claim(&owner, &a).await.unwrap();
        assert_eq!(claimed.displaced, None, "{garbage:?}");
        assert!(claimed.seq > held.seq, "{garbage:?}");
        held = claimed;
        let back = Some(Session::new(owner.clone(), held.seq));
        assert_eq!(there().await, [back, other.clone()], "{garbage:?}");
    }
    // A dead server's is not looked for any further.
    node.write_over("s:a", b"garbage");
    store.deregister(&owner).await.unwrap();
    assert_eq!(store.reclaim(10).await.unwrap().removed, 1);
}

/// A lease that others have written over is lost: its server learns it by the next renewal and registers anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_others_have_written_over_is_gone_and_registered_anew() {
    let node = node().await;
    let store = open(&node).await;
    let witness = server(&store, "witness").await;
    let mut owner = server(&store, "server").await;
    for garbage in GARBAGE {
        node.write_over("l:server", garbage);
        let peers = store.peers().await.unwrap();
        let owners: Vec<_> = peers.into_iter().map(|lease| lease.owner).collect();
        assert_eq!(owners, core::slice::from_ref(&witness), "{garbage:?}");
        let renewed = store
            .renew(&[owner.clone(), witness.clone()], &location())
            .await
            .unwrap();
        assert_eq!(renewed.renewals, [Renewal::Gone, Renewal::Renewed], "{garbage:?}");
        store.deregister(&owner).await.unwrap();
        let anew = server(&store, "server").await;
        assert!(anew.incarnation > owner.incarnation, "{garbage:?}");
        owner = anew;
        assert_eq!(store.peers().await.unwrap().len(), 2, "{garbage:?}");
    }
}

/// A list of servers that others have written over is made anew, as one that was lost: servers are in it by their renewals, and
/// check what they hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_servers_that_others_have_written_over_is_made_anew() {
    let node = node().await;
    let store = open(&node).await;
    let owner = server(&store, "server").await;
    store.claim(&owner, &address("a")).await.unwrap();
    let renew = async || {
        store
            .renew(core::slice::from_ref(&owner), &location())
            .await
            .unwrap()
    };
    for garbage in GARBAGE {
        let before = renew().await;
        node.write_over("waypost:m", garbage);
        // Whoever comes first makes it: one that registers, opens or renews.
        server(&store, "another").await;
        open(&node).await;
        let after = renew().await;
        assert_eq!(after.renewals, [Renewal::Renewed], "{garbage:?}");
        assert_ne!(before.generation, after.generation, "{garbage:?}");
        assert!(store.lookup(&address("a")).await.unwrap().is_some());
        let peers = store.peers().await.unwrap();
        assert!(peers.iter().any(|lease| lease.owner == owner), "{garbage:?}");
    }
}

/// Lists of what a dead server held that others have written over go like others, and keep nobody else's from being looked at.
#[tokio::test(flavor = "multi_thread")]
async fn lists_of_addresses_that_others_have_written_over_keep_nobody_from_reclaiming() {
    let node = node().await;
    let store = open(&node).await;
    let dead = server(&store, "dead").await;
    store.claim(&dead, &address("left")).await.unwrap();
    let other = server(&store, "other").await;
    store.claim(&other, &address("left too")).await.unwrap();
    store.deregister(&dead).await.unwrap();
    store.deregister(&other).await.unwrap();
    node.write_over(":dead", b"garbage");
    assert_eq!(store.reclaim(10).await.unwrap().removed, 1);
    let next = server(&store, "dead").await;
    assert_eq!(store.lookup(&address("left")).await.unwrap(), None);
    store.claim(&next, &address("left")).await.unwrap();
    assert!(store.lookup(&address("left")).await.unwrap().is_some());
}

/// A server that a failover struck from the list of servers is in it again after its next renewal.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_list_of_servers_comes_back_by_renewals() {
    let node = node().await;
    let store = open(&node).await;
    let owner = server(&store, "server").await;
    store.claim(&owner, &address("a")).await.unwrap();
    node.lose("waypost:m");
    assert!(store.peers().await.unwrap().is_empty());
    let renewed = store
        .renew(core::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    assert_eq!(renewed.renewals, [Renewal::Renewed]);
    assert_eq!(store.peers().await.unwrap().len(), 1);
    assert!(store.lookup(&address("a")).await.unwrap().is_some());
    store.deregister(&owner).await.unwrap();
    assert_eq!(store.reclaim(10).await.unwrap().removed, 1);
}

/// What the README says of costs, in requests.
#[tokio::test(flavor = "multi_thread")]
async fn verbs_cost_what_the_readme_says() {
    let node = node().await;
    let store = open(&node).await;
    let owner = server(&store, "server").await;
    store.claim(&owner, &address("warm")).await.unwrap();
    let cost = |expected: &[(&str, usize)]| {
        let counts: Vec<_> = node.take_counts().into_iter().collect();
        assert_eq!(counts, expected);
    };
    let _ = node.take_counts();

    let claimed = store.claim(&owner, &address("a")).await.unwrap();
    cost(&[("add", 1), ("append", 1), ("get", 1)]);
    store.lookup(&address("a")).await.unwrap();
    cost(&[("get", 2)]);
    store.release(&owner, &address("a"), claimed.seq).await.unwrap();
    cost(&[("get", 1), ("replace", 1)]);
    store
        .renew(core::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    cost(&[("get", 2), ("replace", 1)]);

    let addresses: Vec<_> = (0..1000).map(|n| address(&format!("many-{n}"))).collect();
    store.claim_many(&owner, &addresses).await.unwrap();
    cost(&[("add", 1000), ("append", 1), ("get", 1000)]);
    store.lookup_many(&addresses).await.unwrap();
    cost(&[("get", 1001)]);
}
