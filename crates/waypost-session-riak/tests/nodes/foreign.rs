//! Other programs that write into the bucket.

use waypost_session::{Claimed, ErrorKind, Released, Renewal, SessionStore};
use waypost_session_riak::RiakStore;
use waypost_session_testkit::servers::riak::{RiakOptions, RiakStandIn};
use waypost_types::{Address, Owner, Session};

use crate::{address, location, open, raw, server};

/// What other programs write: not JSON, JSON of another kind, nothing, what looks like ours.
const GARBAGE: [&str; 5] = ["garbage", "[]", "", "{\"c\":[1,2]}", "7e1"];

/// Writes garbage beside what is there, as a client that has not read it.
async fn litter(nodes: &RiakStandIn, key: &str) {
    for value in GARBAGE {
        let answer = raw::ask(nodes, "PUT", key, "X-Riak-Meta-Who: another\r\n", value).await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{key}: {answer}");
    }
}

/// How many siblings an object has.
async fn siblings(nodes: &RiakStandIn, key: &str) -> usize {
    let answer = raw::ask(nodes, "GET", key, "Accept: */*\r\n", "").await;
    match answer.split_once("\r\n\r\nSiblings:\n") {
        Some((_, names)) => names.lines().count(),
        None => usize::from(answer.starts_with("HTTP/1.1 200")),
    }
}

async fn renew(store: &RiakStore, owner: &Owner) -> Renewal {
    let renewed = store.renew(std::slice::from_ref(owner), &location()).await;
    renewed.unwrap().renewals[0]
}

#[tokio::test]
async fn garbage_beside_a_record_is_left_out_and_gone_with_the_next_write() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let (one, two) = (open(&nodes).await, open(&nodes).await);
    let (first, second) = (server(&one, "first").await, server(&two, "second").await);
    let name = address("a");
    let held = one.claim(&first, &name).await.unwrap();
    litter(&nodes, "s%3Aa").await;
    assert_eq!(siblings(&nodes, "s%3Aa").await, 6);
    let session = Session::new(first.clone(), held.seq);
    assert_eq!(two.lookup(&name).await.unwrap(), Some(session.clone()));
    let claimed = two.claim(&second, &name).await.unwrap();
    assert_eq!(claimed.displaced, Some(session));
    assert_eq!(siblings(&nodes, "s%3Aa").await, 1);
    litter(&nodes, "s%3Aa").await;
    assert_eq!(
        one.release(&first, &name, held.seq).await.unwrap(),
        Released::NotOwner
    );
    assert_eq!(
        two.release(&second, &name, claimed.seq).await.unwrap(),
        Released::Released
    );
    assert_eq!(siblings(&nodes, "s%3Aa").await, 1);
    assert_eq!(one.lookup(&name).await.unwrap(), None);
}

#[tokio::test]
async fn garbage_beside_leases_lists_journals_and_the_marker_disturbs_nobody() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let (one, two) = (open(&nodes).await, open(&nodes).await);
    let owner = server(&one, "server").await;
    let addresses: Vec<Address> = (0..5).map(|n| address(&format!("a{n}"))).collect();
    one.claim_many(&owner, &addresses).await.unwrap();
    for key in nodes.keys() {
        litter(&nodes, &raw::encoded(&key)).await;
    }
    assert_eq!(renew(&one, &owner).await, Renewal::Renewed);
    assert_eq!(two.peers().await.unwrap().len(), 1);
    assert!(
        two.lookup_many(&addresses)
            .await
            .unwrap()
            .iter()
            .all(Option::is_some)
    );
    one.claim_many(&owner, &addresses).await.unwrap();
    let another = server(&two, "another").await;
    assert_eq!(renew(&two, &another).await, Renewal::Renewed);
    one.deregister(&owner).await.unwrap();
    let mut removed = 0;
    loop {
        let step = two.reclaim(100).await.unwrap();
        removed += step.removed;
        if !step.more {
            break;
        }
    }
    assert_eq!(removed, 5);
    let peers = two.peers().await.unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].owner, another);
}

/// Writes garbage in the place of what is there, as a client that has read it.
async fn write_over(nodes: &RiakStandIn, key: &str, value: &str) {
    let vclock = raw::vclock(nodes, key).await;
    let answer = raw::ask(nodes, "PUT", key, &vclock, value).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{key}: {answer}");
    assert_eq!(siblings(nodes, key).await, 1);
}

#[tokio::test]
async fn a_session_that_another_program_has_written_over_is_free_and_claimed_anew() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    let (lost, kept) = (address("lost"), address("kept"));
    let mut held = store.claim(&owner, &lost).await.unwrap().seq;
    let kept_by = store.claim(&owner, &kept).await.unwrap().seq;
    let kept_by = Some(Session::new(owner.clone(), kept_by));
    let there = async || store.lookup_many(&[lost.clone(), kept.clone()]).await.unwrap();
    for garbage in GARBAGE {
        write_over(&nodes, "s%3Alost", garbage).await;
        assert_eq!(there().await, [None, kept_by.clone()], "{garbage}");
        let released = store.release(&owner, &lost, held).await.unwrap();
        assert_eq!(released, Released::NotOwner, "{garbage}");
        let restored = store.restore_many(&owner, &[(lost.clone(), held)]).await;
        assert_eq!(restored.unwrap(), [waypost_session::Restored::Held], "{garbage}");
        let back = Some(Session::new(owner.clone(), held));
        assert_eq!(there().await, [back, kept_by.clone()], "{garbage}");

        write_over(&nodes, "s%3Alost", garbage).await;
        let claimed = store.claim(&owner, &lost).await.unwrap();
        assert_eq!(claimed.displaced, None, "{garbage}");
        assert!(claimed.seq > held, "{garbage}");
        held = claimed.seq;
        let back = Some(Session::new(owner.clone(), held));
        assert_eq!(there().await, [back, kept_by.clone()], "{garbage}");
        assert_eq!(siblings(&nodes, "s%3Alost").await, 1, "{garbage}");
    }
    // Nor do they keep the dead from being buried.
    write_over(&nodes, "s%3Alost", "garbage").await;
    store.deregister(&owner).await.unwrap();
    let step = store.reclaim(100).await.unwrap();
    assert_eq!((step.removed, step.more), (1, false));
}

/// Two clients that know nothing of Waypost and nothing of each other.
#[tokio::test]
async fn an_address_of_which_there_is_nothing_but_others_siblings_can_be_claimed() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    litter(&nodes, "s%3Aa").await;
    assert_eq!(store.lookup(&address("a")).await.unwrap(), None);
    let claimed = store.claim(&owner, &address("a")).await.unwrap();
    assert_eq!(claimed.displaced, None);
    assert_eq!(siblings(&nodes, "s%3Aa").await, 1);
    let held = store.lookup(&address("a")).await.unwrap();
    assert_eq!(held, Some(Session::new(owner, claimed.seq)));
}

#[tokio::test]
async fn leases_lists_and_journals_that_another_program_has_written_over_come_back() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = open(&nodes).await;
    let (owner, other) = (server(&store, "server").await, server(&store, "other").await);
    store.claim(&owner, &address("a")).await.unwrap();
    store.claim(&other, &address("b")).await.unwrap();
    for garbage in GARBAGE
        .into_iter()
        .chain([r#"{"i":1,"n":1,"c":1,"t":60000,"l":""}"#])
    {
        write_over(&nodes, "l%3Aother", garbage).await;
        let peers = open(&nodes).await.peers().await.unwrap();
        let owners: Vec<_> = peers.into_iter().map(|lease| lease.owner).collect();
        assert_eq!(owners, std::slice::from_ref(&owner), "{garbage}");
        // The next heartbeat puts it back; so does a new process of that name.
        assert_eq!(renew(&store, &other).await, Renewal::Renewed, "{garbage}");
        assert_eq!(store.peers().await.unwrap().len(), 2, "{garbage}");
    }
    write_over(&nodes, "l%3Aother", "garbage").await;
    let next = server(&open(&nodes).await, "other").await;
    assert!(next.incarnation > other.incarnation);
    assert_eq!(renew(&store, &other).await, Renewal::Superseded(next.incarnation));
    let lists = nodes.keys().into_iter().filter(|key| !key.starts_with("l:"));
    for key in lists {
        write_over(&nodes, &raw::encoded(&key), "garbage").await;
    }
    // Listed again by who renews it.
    assert_eq!(renew(&store, &owner).await, Renewal::Renewed);
    store.peers().await.unwrap();
    let peers = open(&nodes).await.peers().await.unwrap();
    assert!(peers.iter().any(|lease| lease.owner == owner), "{peers:?}");
    let claimed = store.claim(&owner, &address("b")).await.unwrap();
    let held = store.lookup(&address("b")).await.unwrap();
    assert_eq!(held, Some(Session::new(owner.clone(), claimed.seq)));
    store.deregister(&owner).await.unwrap();
    while store.reclaim(100).await.unwrap().more {}
}

#[tokio::test]
async fn what_another_client_has_deleted_is_free_and_claimed_anew_with_a_greater_seq() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    let name = address("a");
    let before = store.claim(&owner, &name).await.unwrap();
    raw::delete(&nodes, "s%3Aa", "").await;
    assert_eq!(store.lookup(&name).await.unwrap(), None);
    let restored = store.restore_many(&owner, &[(name.clone(), before.seq)]).await;
    assert_eq!(restored.unwrap(), [waypost_session::Restored::Held]);
    raw::delete(&nodes, "s%3Aa", "").await;
    let after = store.claim(&owner, &name).await.unwrap();
    assert!(after.seq > before.seq);
    assert_eq!(
        siblings(&nodes, "s%3Aa").await,
        1,
        "the tombstone was read and written over"
    );
    // A lease as well: its owner learns that it is gone, or puts it back.
    raw::delete(&nodes, "l%3Aserver", "").await;
    assert_eq!(renew(&store, &owner).await, Renewal::Renewed);
    assert_eq!(
        store.lookup(&name).await.unwrap().map(|held| held.seq),
        Some(after.seq)
    );
}

#[tokio::test]
async fn copies_of_a_record_without_its_vclock_are_one_record() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    let name = address("a");
    let first = store.claim(&owner, &name).await.unwrap();
    let answer = raw::ask(&nodes, "GET", "s%3Aa", "", "").await;
    let record = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    let second = store.claim(&owner, &name).await.unwrap();
    // More than Riak takes in the end, as a client does that never reads.
    for _ in 0..120 {
        raw::ask(&nodes, "PUT", "s%3Aa", "", &record).await;
    }
    assert!(siblings(&nodes, "s%3Aa").await > 90);
    assert_eq!(
        store.lookup(&name).await.unwrap().map(|held| held.seq),
        Some(second.seq)
    );
    assert_eq!(
        store.release(&owner, &name, first.seq).await.unwrap(),
        Released::NotOwner
    );
    let third = store.claim(&owner, &name).await.unwrap();
    assert!(third.seq > second.seq);
    assert_eq!(siblings(&nodes, "s%3Aa").await, 1);
}

/// Claims an address where there is only what counts for nothing, which is gone then.
async fn claimed_over(nodes: &RiakStandIn, store: &RiakStore, owner: &Owner, name: &Address) -> Claimed {
    assert_eq!(store.lookup(name).await.unwrap(), None);
    let held = store.claim(owner, name).await.unwrap();
    assert_eq!(held.displaced, None);
    assert_eq!(siblings(nodes, "s%3Aa").await, 1);
    held
}

/// More headers than an HTTP client takes, and fewer than Riak refuses.
fn many_headers() -> String {
    (0..200).map(|n| format!("X-Riak-Meta-N{n}: {n}\r\n")).collect()
}

#[tokio::test]
async fn a_value_with_very_many_headers_counts_for_nothing_and_is_gone_with_the_next_write() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    let (one, two) = (open(&nodes).await, open(&nodes).await);
    let (first, second) = (server(&one, "first").await, server(&two, "second").await);
    let name = address("a");
    let put = async |headers: &str| {
        let headers = [&many_headers(), headers].concat();
        let answer = raw::ask(&nodes, "PUT", "s%3Aa", &headers, "{}").await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    };
    put("").await;
    let held = claimed_over(&nodes, &one, &first, &name).await;
    // Beside a record, and in its place.
    put("").await;
    let session = Session::new(first.clone(), held.seq);
    assert_eq!(two.lookup(&name).await.unwrap(), Some(session.clone()));
    let claimed = two.claim(&second, &name).await.unwrap();
    assert_eq!(claimed.displaced, Some(session));
    put(&raw::vclock(&nodes, "s%3Aa").await).await;
    assert_eq!(siblings(&nodes, "s%3Aa").await, 1);
    assert_eq!(one.lookup(&name).await.unwrap(), None);
    assert_eq!(
        two.release(&second, &name, claimed.seq).await.unwrap(),
        Released::NotOwner
    );
    let again = two.claim(&second, &name).await.unwrap();
    assert_eq!(siblings(&nodes, "s%3Aa").await, 1);
    let held = one.lookup(&name).await.unwrap();
    assert_eq!(held.map(|held| held.seq), Some(again.seq));
    // And in the place of a lease.
    let headers = [many_headers(), raw::vclock(&nodes, "l%3Afirst").await].concat();
    raw::ask(&nodes, "PUT", "l%3Afirst", &headers, "{}").await;
    assert_eq!(renew(&one, &first).await, Renewal::Renewed);
    assert_eq!(two.peers().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_value_that_is_too_large_to_be_read_counts_for_nothing_and_is_gone_with_the_next_write() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    let (one, two) = (open(&nodes).await, open(&nodes).await);
    let (first, second) = (server(&one, "first").await, server(&two, "second").await);
    let name = address("a");
    let large = "x".repeat(17 << 20);
    let put = async |headers: &str| {
        let answer = raw::ask(&nodes, "PUT", "s%3Aa", headers, &large).await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    };
    put("").await;
    let held = claimed_over(&nodes, &one, &first, &name).await;
    // Beside a record: read one by one.
    put("").await;
    raw::ask(&nodes, "PUT", "s%3Aa", &many_headers(), "{}").await;
    let session = Session::new(first.clone(), held.seq);
    assert_eq!(two.lookup(&name).await.unwrap(), Some(session.clone()));
    let claimed = two.claim(&second, &name).await.unwrap();
    assert_eq!(claimed.displaced, Some(session));
    assert_eq!(siblings(&nodes, "s%3Aa").await, 1);
    let held = one.lookup(&name).await.unwrap();
    assert_eq!(held.map(|held| held.seq), Some(claimed.seq));
}

#[tokio::test]
async fn siblings_that_are_too_large_together_are_refused_and_not_gathered() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = open(&nodes).await;
    let value = "x".repeat(15 << 20);
    for _ in 0..5 {
        raw::ask(&nodes, "PUT", "s%3Aa", "", &value).await;
    }
    let error = store.lookup(&address("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    assert!(error.to_string().contains("remove it"), "{error}");
}
