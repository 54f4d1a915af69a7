//! Requests that fail, and nodes that stop or stand still.

use core::time::Duration;
use std::time::Instant;

use waypost_session::{ErrorKind, Released, Renewal, Restored, SessionStore};
use waypost_session_riak::RiakStore;
use waypost_session_testkit::servers::riak::{RiakFault, RiakOptions};
use waypost_types::Session;

use crate::{PATIENCE, address, location, open, open_with, raw, server};

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
        RiakFault::WriteFailures,
        RiakFault::Crash,
        RiakFault::Page,
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
    let store = open_with(&nodes, "?timeout=1s").await;
    let owner = server(&store, "server").await;
    for (fault, kind) in [
        (RiakFault::Hang, ErrorKind::Timeout),
        (RiakFault::NotReady, ErrorKind::Unavailable),
        (RiakFault::NoRoute, ErrorKind::Unavailable),
        (RiakFault::TimedOut, ErrorKind::Timeout),
        (RiakFault::Crash, ErrorKind::Unexpected),
        (RiakFault::Page, ErrorKind::Unexpected),
    ] {
        nodes.disturb(0, fault, 1.0);
        let begin = Instant::now();
        let error = store.lookup(&address("a")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        assert!(!error.may_have_applied(), "a read changes nothing");
        assert!(begin.elapsed() < PATIENCE, "{fault:?} took {:?}", begin.elapsed());
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
    let deadline = Instant::now() + PATIENCE;
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
    assert_eq!(restored, [Restored::Held]);
    let next = store.claim(&owner, &address("a")).await.unwrap();
    assert!(next.seq > claimed.seq, "seqs grow although their record was lost");
}

#[tokio::test]
async fn a_list_that_could_not_be_written_is_not_taken_for_written() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let store = open(&nodes).await;
    server(&store, "server").await;
    for shard in 0..8 {
        raw::ask(&nodes, "DELETE", &format!("m%3A{shard}"), "", "").await;
    }
    nodes.disturb(0, RiakFault::TooManySiblings, 1.0);
    // It would put its server back onto the list.
    let error = store.peers().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    nodes.calm();
    store.peers().await.unwrap();
    assert_eq!(open(&nodes).await.peers().await.unwrap().len(), 1);
}

#[tokio::test]
async fn one_node_of_three_may_stand_still_without_anybody_noticing() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    let store = open_with(&nodes, "?timeout=4s").await;
    let owner = server(&store, "server").await;
    let mut held = Vec::new();
    for round in 0..30 {
        match round {
            5 => nodes.suspend(1),
            20 => nodes.resume(1),
            _ => {}
        }
        let name = address(&format!("a{round}"));
        let claimed = store.claim(&owner, &name).await.unwrap();
        held.push((name, Some(Session::new(owner.clone(), claimed.seq))));
    }
    nodes.settled().await;
    for (name, session) in held {
        assert_eq!(store.lookup(&name).await.unwrap(), session, "{name}");
    }
}

#[tokio::test]
async fn replicas_that_are_silent_give_a_timeout_and_what_they_were_told_is_found_later() {
    let nodes = RiakOptions::new().nodes(3).start().await.unwrap();
    let url = [&*nodes.url_of(&[0]), "?timeout=2s"].concat();
    let store = RiakStore::connect(&url).await.unwrap();
    let owner = server(&store, "server").await;
    store.claim(&owner, &address("a")).await.unwrap();
    nodes.suspend(1);
    nodes.suspend(2);
    let begin = Instant::now();
    let error = store.lookup(&address("a")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.may_have_applied()),
        (ErrorKind::Timeout, false)
    );
    let error = store.claim(&owner, &address("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let owners = std::slice::from_ref(&owner);
    let error = store.renew(owners, &location()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.may_have_applied()),
        (ErrorKind::Timeout, true)
    );
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    nodes.resume(1);
    nodes.resume(2);
    let renewed = store.renew(owners, &location()).await.unwrap();
    assert_eq!(renewed.renewals, [Renewal::Renewed]);
    assert_eq!(store.lookup(&address("a")).await.unwrap().unwrap().owner, owner);
}
