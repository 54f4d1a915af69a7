//! Nodes that fail in every way that real ones do.

use core::time::Duration;
use std::time::Instant;

use waypost_session::{ErrorKind, Released, Renewal, SessionStore};
use waypost_session_riak::RiakStore;
use waypost_session_testkit::servers::riak::{RiakFault, RiakOptions, RiakStandIn};
use waypost_types::{Address, Identity, Location, Owner, Session};

const TERM: Duration = Duration::from_secs(60);

async fn server(store: &RiakStore, name: &str) -> Owner {
    let identity = Identity::new(name).unwrap();
    let incarnation = store.register(&identity, &location(), TERM).await.unwrap();
    Owner::new(identity, incarnation)
}

fn location() -> Location {
    Location::new("tcp://192.0.2.1:4500").unwrap()
}

fn address(name: &str) -> Address {
    Address::new(name).unwrap()
}

async fn open(nodes: &RiakStandIn) -> RiakStore {
    RiakStore::connect(&nodes.url()).await.unwrap()
}

#[tokio::test]
async fn passing_failures_of_one_node_are_ridden_out() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    for fault in [
        RiakFault::NoRoute,
        RiakFault::NotReady,
        RiakFault::Overload,
        RiakFault::NoPrimaries,
        RiakFault::CutAnswer,
        RiakFault::HangUp,
    ] {
        let name = address(&format!("{fault:?}"));
        nodes.disturb_next(0, fault, 2);
        let claimed = store
            .claim(&owner, &name)
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        nodes.disturb_next(0, fault, 2);
        let held = store.lookup(&name).await.unwrap();
        assert_eq!(held, Some(Session::new(owner.clone(), claimed.seq)), "{fault:?}");
        nodes.disturb_next(0, fault, 1);
        let renewed = store
            .renew(std::slice::from_ref(&owner), &location())
            .await
            .unwrap();
        assert_eq!(renewed.renewals, [Renewal::Renewed], "{fault:?}");
        nodes.calm();
        assert_eq!(
            store.release(&owner, &name, claimed.seq).await.unwrap(),
            Released::Released,
            "{fault:?}"
        );
        assert_eq!(store.lookup(&name).await.unwrap(), None, "{fault:?}");
    }
}

#[tokio::test]
async fn every_call_ends_in_time_and_says_whether_it_may_have_been_applied() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = RiakStore::connect(&format!("{}?timeout=300ms", nodes.url()))
        .await
        .unwrap();
    let owner = server(&store, "server").await;
    for (fault, kind) in [
        (RiakFault::Hang, ErrorKind::Timeout),
        (RiakFault::NotReady, ErrorKind::Unavailable),
        (RiakFault::NoRoute, ErrorKind::Unavailable),
        (RiakFault::TimedOut, ErrorKind::Timeout),
        (RiakFault::Crash, ErrorKind::Unexpected),
    ] {
        nodes.disturb(0, fault, 1.0);
        let begin = Instant::now();
        let error = store.lookup(&address("a")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        assert!(!error.may_have_applied(), "a read changes nothing");
        assert!(
            begin.elapsed() < Duration::from_secs(3),
            "{fault:?} took {:?}",
            begin.elapsed()
        );
        nodes.calm();
    }
    // A write that was applied and never answered is found by the next read.
    let name = address("lost-answer");
    let claimed = store.claim(&owner, &name).await.unwrap();
    nodes.disturb(0, RiakFault::TimedOut, 1.0);
    let error = store
        .renew(std::slice::from_ref(&owner), &location())
        .await
        .unwrap_err();
    assert!(error.may_have_applied(), "{error}");
    nodes.calm();
    let renewed = store
        .renew(std::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    assert_eq!(renewed.renewals, [Renewal::Renewed]);
    assert_eq!(
        store.lookup(&name).await.unwrap(),
        Some(Session::new(owner, claimed.seq))
    );
}

#[tokio::test]
async fn one_node_of_three_may_fail_without_anybody_noticing() {
    let nodes = RiakOptions::new()
        .nodes(3)
        .delay(Duration::from_millis(1))
        .start()
        .await
        .unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    let mut held = Vec::new();
    for round in 0..60 {
        match round {
            10 => nodes.stop(1).await,
            25 => nodes.start_again(1).await.unwrap(),
            35 => nodes.disturb(2, RiakFault::NotReady, 1.0),
            50 => nodes.calm(),
            _ => {}
        }
        let name = address(&format!("a{round}"));
        let claimed = store.claim(&owner, &name).await.unwrap();
        held.push((name, Some(Session::new(owner.clone(), claimed.seq))));
    }
    for (name, session) in held {
        assert_eq!(store.lookup(&name).await.unwrap(), session, "{name}");
    }
}

#[tokio::test]
async fn an_ejected_node_is_asked_again_once_it_answers() {
    let nodes = RiakOptions::new().nodes(2).start().await.unwrap();
    let store = open(&nodes).await;
    nodes.stop(0).await;
    for _ in 0..4 {
        store.lookup(&address("a")).await.unwrap();
    }
    nodes.start_again(0).await.unwrap();
    nodes.stop(1).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.lookup(&address("a")).await.is_err() {
        assert!(Instant::now() < deadline, "the node is not asked again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_datastore_that_lost_everything_shows_by_renewals_and_generation() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    let claimed = store.claim(&owner, &address("a")).await.unwrap();
    let before = store
        .renew(std::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    nodes.lose_everything();
    let after = store
        .renew(std::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    assert_ne!(before.generation, after.generation);
    assert_eq!(store.lookup(&address("a")).await.unwrap(), None);
    let restored = store
        .restore_many(&owner, &[(address("a"), claimed.seq)])
        .await
        .unwrap();
    assert_eq!(restored, [waypost_session::Restored::Held]);
    let next = store.claim(&owner, &address("a")).await.unwrap();
    assert!(next.seq > claimed.seq, "seqs grow although their record was lost");
}

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
    let store = RiakStore::connect(&[&nodes.url(), "?type=plain&profile=primary&n_val=3"].concat())
        .await
        .unwrap();
    let owner = server(&store, "server").await;
    store.claim(&owner, &address("a")).await.unwrap();
}

#[tokio::test]
async fn the_dead_leave_nothing_behind_in_the_end() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    let addresses: Vec<Address> = (0..700).map(|n| address(&format!("a{n}"))).collect();
    store.claim_many(&owner, &addresses).await.unwrap();
    assert_eq!(nodes.objects("s:"), 700);
    store.deregister(&owner).await.unwrap();
    let mut removed = 0;
    let mut more = true;
    while more {
        let step = store.reclaim(100).await.unwrap();
        assert!(step.removed <= 100);
        removed += step.removed;
        more = step.more;
    }
    assert_eq!(removed, 700);
    // They are vacant now, and deleted when they are old enough; until then nobody looks at them again.
    let before = nodes.requests();
    store.reclaim(100).await.unwrap();
    assert!(
        nodes.requests() - before < 40,
        "{} requests to find nothing to do",
        nodes.requests() - before
    );
}

#[tokio::test]
async fn a_server_that_lost_a_client_while_replicas_were_apart_learns_it_once_anybody_looks() {
    let options = RiakOptions::new().nodes(3).delay(Duration::from_millis(60));
    let nodes = options.start().await.unwrap();
    let mut stores = Vec::new();
    for node in 0..3 {
        // One replica alone answers, so that claims made at the same time do not see each other.
        let url = [&*nodes.url_of(&[node]), "?r=1&w=1"].concat();
        stores.push(RiakStore::connect(&url).await.unwrap());
    }
    let one = server(&stores[0], "one").await;
    let two = server(&stores[1], "two").await;
    // Until all replicas have both leases.
    let deadline = Instant::now() + Duration::from_secs(20);
    while stores[2].peers().await.unwrap().len() < 2 {
        assert!(Instant::now() < deadline, "the leases do not spread");
    }
    let generation = async |store: &RiakStore, owner: &Owner| {
        let renewed = store
            .renew(std::slice::from_ref(owner), &location())
            .await
            .unwrap();
        renewed.generation
    };
    let (mut name, mut claims) = (address("a0"), Vec::new());
    for round in 0.. {
        assert!(round < 100, "no two claims miss each other");
        name = address(&format!("a{round}"));
        let (first, second) = tokio::join!(stores[0].claim(&one, &name), stores[1].claim(&two, &name));
        claims = vec![first.unwrap(), second.unwrap()];
        if claims.iter().all(|claim| claim.displaced.is_none()) {
            break;
        }
    }
    let loser = usize::from(claims[1].seq < claims[0].seq);
    let owner = [&one, &two][loser];
    let before = generation(&stores[loser], owner).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let held = stores[2].lookup(&name).await.unwrap();
        let changed = generation(&stores[loser], owner).await != before;
        if changed && held.is_some_and(|session| session.owner != *owner) {
            break;
        }
        assert!(Instant::now() < deadline, "the loser never learns");
    }
    let restored = stores[loser]
        .restore_many(owner, &[(name, claims[loser].seq)])
        .await
        .unwrap();
    assert!(
        matches!(restored[..], [waypost_session::Restored::Lost(_)]),
        "{restored:?}"
    );
}

#[tokio::test]
async fn a_node_that_was_away_and_is_back_makes_servers_check_what_they_hold() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    let store = open(&nodes).await;
    let owner = server(&store, "server").await;
    let renew = async || {
        let renewed = store
            .renew(std::slice::from_ref(&owner), &location())
            .await
            .unwrap();
        renewed.generation
    };
    let before = renew().await;
    nodes.stop(1).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    for _ in 0..9 {
        renew().await;
    }
    assert_eq!(renew().await, before, "nothing has come back yet");
    nodes.start_again(1).await.unwrap();
    while renew().await == before {
        assert!(Instant::now() < deadline, "its return goes unnoticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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
        let alone = RiakStore::connect(&nodes.url_of(&[node])).await.unwrap();
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

/// What a bare request for a record answers.
async fn ask(nodes: &RiakStandIn, method: &str, name: &Address, headers: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let at = ("127.0.0.1", nodes.port(0).unwrap());
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let text = format!(
        "{method} /buckets/test/keys/s%3A{name} HTTP/1.1\r\nHost: riak\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The header with the vclock of a record.
async fn vclock(nodes: &RiakStandIn, name: &Address) -> String {
    let answer = ask(nodes, "GET", name, "").await;
    let line = answer.lines().find(|line| line.starts_with("X-Riak-Vclock"));
    format!("{}\r\n", line.unwrap())
}

/// Deletes a record as `reclaim` does, which has read it a while ago.
async fn delete(nodes: &RiakStandIn, name: &Address, vclock: &str) {
    let answer = ask(nodes, "DELETE", name, vclock).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

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
    delete(&nodes, &name, &vclock(&nodes, &name).await).await;
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
        let first = store.claim(&owner, &name).await.unwrap();
        store.release(&owner, &name, first.seq).await.unwrap();
        let vclock = vclock(&nodes, &name).await;
        let (claimed, ()) = tokio::join!(store.claim(&owner, &name), delete(&nodes, &name, &vclock));
        let claimed = claimed.unwrap();
        let found = store.lookup(&name).await.unwrap();
        assert_eq!(
            found.map(|session| session.seq),
            Some(claimed.seq),
            "round {round}"
        );
    }
}

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
}
