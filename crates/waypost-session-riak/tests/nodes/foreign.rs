//! Other programs that write into the bucket.

use waypost_session::{ErrorKind, Released, Renewal, SessionStore};
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

#[tokio::test]
async fn what_another_program_has_written_over_is_not_written_over_and_hides_nothing_else() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = open(&nodes).await;
    let (owner, other) = (server(&store, "server").await, server(&store, "other").await);
    let (lost, kept) = (address("lost"), address("kept"));
    let claimed = store.claim(&owner, &lost).await.unwrap();
    store.claim(&owner, &kept).await.unwrap();
    for key in ["s%3Alost", "l%3Aother"] {
        let vclock = raw::vclock(&nodes, key).await;
        let answer = raw::ask(&nodes, "PUT", key, &vclock, "another program's").await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }
    let error = store.lookup(&lost).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Corrupt && error.to_string().contains("another program"),
        "{error}"
    );
    assert_eq!(
        store.claim(&owner, &lost).await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    let released = store.release(&owner, &lost, claimed.seq).await;
    assert_eq!(released.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(store.lookup(&kept).await.unwrap().is_some());
    // One server's lease is gone, and the others are seen.
    let peers = open(&nodes).await.peers().await.unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].owner, owner);
    // Its next heartbeat puts it back.
    assert_eq!(renew(&store, &other).await, Renewal::Renewed);
    assert_eq!(store.peers().await.unwrap().len(), 2);
    // Nor do they keep the dead from being buried.
    store.deregister(&owner).await.unwrap();
    let step = store.reclaim(100).await.unwrap();
    assert_eq!((step.removed, step.more), (1, false));
    let there = raw::ask(&nodes, "GET", "s%3Alost", "", "").await;
    assert!(there.ends_with("another program's"), "{there}");
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
