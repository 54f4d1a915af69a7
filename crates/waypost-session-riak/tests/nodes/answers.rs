//! Answers in another form, and how many there are.

use core::time::Duration;

use waypost_session::{Released, SessionStore};
use waypost_session_testkit::servers::riak::RiakOptions;
use waypost_types::Address;

use crate::{address, location, open, open_with, server};

#[tokio::test]
async fn every_verb_takes_as_many_requests_as_documented() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    let owners = std::slice::from_ref(&owner);
    let name = address("a");
    let mut before = nodes.requests();
    let mut requests = || {
        let now = nodes.requests();
        now - core::mem::replace(&mut before, now)
    };
    store.claim(&owner, &address("first")).await.unwrap();
    assert_eq!(requests(), 6, "a first claim begins its owner's journal");
    let claimed = store.claim(&owner, &name).await.unwrap();
    assert_eq!(requests(), 3, "claim: read, write, and the journal's page");
    store.lookup(&name).await.unwrap();
    assert_eq!(requests(), 2, "lookup: the record, its owner's lease");
    let held = [(name.clone(), claimed.seq)];
    store.restore_many(&owner, &held).await.unwrap();
    assert_eq!(requests(), 1, "restore of what stands: read");
    store.release(&owner, &name, claimed.seq).await.unwrap();
    assert_eq!(requests(), 2, "release: read, write");
    store.renew(owners, &location()).await.unwrap();
    assert_eq!(requests(), 2, "renew: the lease's write, the marker's read");
    store.peers().await.unwrap();
    assert_eq!(requests(), 9, "peers: eight lists, one lease");
    let many: Vec<Address> = (0..100).map(|n| address(&format!("b{n}"))).collect();
    store.claim_many(&owner, &many).await.unwrap();
    assert_eq!(requests(), 201, "a batch: two for each, and one page for all");
    store.lookup_many(&many).await.unwrap();
    assert_eq!(requests(), 101, "a batch: one for each, and one lease for all");
    store.drain(&owner).await.unwrap();
    assert_eq!(requests(), 2, "drain: read, write");
    server(&store, "another").await;
    assert_eq!(
        requests(),
        4,
        "register: the lease and the list, each read and written"
    );
    store.deregister(&owner).await.unwrap();
    assert_eq!(nodes.deletes(), 0, "only reclaiming deletes");
}

#[tokio::test]
async fn requests_go_by_kept_connections_and_no_more_at_once_than_the_url_says() {
    let options = RiakOptions::new().latency(Duration::from_millis(1), Duration::from_millis(2));
    let nodes = options.start().await.unwrap();
    let store = open_with(&nodes, "?timeout=20s&connections=4").await;
    let owner = server(&store, "server").await;
    let many: Vec<Address> = (0..200).map(|n| address(&format!("a{n}"))).collect();
    let (claimed, found) = tokio::join!(store.claim_many(&owner, &many), store.lookup_many(&many));
    assert_eq!((claimed.unwrap().len(), found.unwrap().len()), (200, 200));
    for name in &many[..20] {
        assert!(store.lookup(name).await.unwrap().is_some());
    }
    assert!(nodes.requests() > 600);
    let most = nodes.most_at_once(0);
    assert!((2..=4).contains(&most), "{most}");
    // One may be begun while another becomes free.
    assert!(nodes.connections() <= 8, "{}", nodes.connections());
}

#[tokio::test]
async fn answers_that_come_in_chunks_are_read_siblings_too() {
    let options = RiakOptions::new().nodes(2).delay(Duration::from_millis(2));
    let nodes = options.chunked().start().await.unwrap();
    let (one, two) = (open(&nodes).await, open(&nodes).await);
    let (first, second) = (server(&one, "first").await, server(&two, "second").await);
    for round in 0..20 {
        let name = address(&format!("a{round}"));
        let (claim, other) = tokio::join!(one.claim(&first, &name), two.claim(&second, &name));
        let (claim, other) = (claim.unwrap().seq, other.unwrap().seq);
        for store in [&one, &two] {
            let held = store.lookup(&name).await.unwrap().unwrap();
            assert_eq!(held.seq, claim.max(other), "round {round}");
        }
        let winner = if claim > other {
            (&one, &first)
        } else {
            (&two, &second)
        };
        let released = winner.0.release(winner.1, &name, claim.max(other)).await.unwrap();
        assert_eq!(released, Released::Released, "round {round}");
    }
}
