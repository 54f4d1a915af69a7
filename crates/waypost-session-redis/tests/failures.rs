//! What happens when servers hang, restart, are emptied or lose their scripts, and what errors show.

#[path = "common/made.rs"]
mod made;

use std::time::{Duration, Instant};

use waypost_session::{ErrorKind, Renewal, Restored, SessionStore};
use waypost_session_redis::RedisStore;
use waypost_session_testkit::servers::redis::{RedisCluster, RedisOptions, RedisSentinel, RedisServer};
use waypost_types::Session;

use made::{address, location, server};

/// Tries until it works.
async fn again<T>(what: &str, mut run: impl AsyncFnMut() -> Result<T, waypost_session::StoreError>) -> T {
    let begin = Instant::now();
    loop {
        match run().await {
            Ok(value) => return value,
            Err(error) if begin.elapsed() > Duration::from_secs(20) => panic!("{what}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_a_timeout_that_may_have_applied_and_the_handle_recovers() {
    let redis = RedisServer::start().await.unwrap();
    let store = RedisStore::connect(&format!("{}?timeout=300ms", redis.url()))
        .await
        .unwrap();
    let owner = server(&store, "a").await;
    redis.pause().unwrap();
    let begin = Instant::now();
    let error = store.claim(&owner, &address("x")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.may_have_applied()),
        (ErrorKind::Timeout, true),
        "{error}"
    );
    let error = store.lookup(&address("x")).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable),
        "{error}"
    );
    assert!(!error.may_have_applied(), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    redis.resume().unwrap();
    let claimed = again("claim", async || store.claim(&owner, &address("y")).await).await;
    let found = store.lookup(&address("y")).await.unwrap();
    assert_eq!(found, Some(Session::new(owner, claimed.seq)));
}

#[tokio::test]
async fn nothing_that_listens_is_unavailable_at_once() {
    let redis = RedisServer::start().await.unwrap();
    let store = RedisStore::connect(&redis.url()).await.unwrap();
    redis.kill().unwrap();
    let begin = Instant::now();
    let error = RedisStore::connect(&redis.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    for n in 0..100 {
        let error = store.lookup(&address(&format!("{n}"))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_restart_that_loses_everything_is_noticed_and_repaired() {
    let redis = RedisServer::start().await.unwrap();
    let store = RedisStore::connect(&redis.url()).await.unwrap();
    let owner = server(&store, "a").await;
    let claimed = store.claim(&owner, &address("x")).await.unwrap();
    let before = store
        .renew(std::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    let steady = store
        .renew(std::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    assert_eq!(before.generation, steady.generation);

    redis.kill().unwrap();
    redis.start_again().await.unwrap();
    let after = again("renew", async || {
        store.renew(std::slice::from_ref(&owner), &location()).await
    })
    .await;
    assert_eq!(after.renewals, [Renewal::Gone]);
    assert_ne!(after.generation, before.generation);

    let anew = server(&store, "a").await;
    assert!(anew.incarnation > owner.incarnation);
    let session = [(address("x"), claimed.seq)];
    assert_eq!(
        store.restore_many(&anew, &session).await.unwrap(),
        [Restored::Held]
    );
    assert_eq!(
        store.lookup(&address("x")).await.unwrap(),
        Some(Session::new(anew.clone(), claimed.seq))
    );
    assert!(store.claim(&anew, &address("x")).await.unwrap().seq > claimed.seq);
}

#[tokio::test]
async fn an_emptied_server_is_another_generation_and_gives_no_number_twice() {
    let redis = RedisServer::start().await.unwrap();
    let store = RedisStore::connect(&redis.url()).await.unwrap();
    let other = RedisStore::connect(&redis.url()).await.unwrap();
    let owner = server(&store, "a").await;
    let claimed = store.claim(&owner, &address("x")).await.unwrap();
    let before = store
        .renew(std::slice::from_ref(&owner), &location())
        .await
        .unwrap()
        .generation;
    let elsewhere = other
        .renew(std::slice::from_ref(&owner), &location())
        .await
        .unwrap()
        .generation;
    assert_eq!(before, elsewhere, "handles agree");
    redis.command(&["FLUSHALL"]).await.unwrap();
    let after = store
        .renew(std::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    assert_eq!(after.renewals, [Renewal::Gone]);
    assert_ne!(after.generation, before);
    let anew = server(&store, "a").await;
    assert!(anew.incarnation > owner.incarnation);
    assert!(store.claim(&anew, &address("x")).await.unwrap().seq > claimed.seq);
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let redis = RedisServer::start().await.unwrap();
    let store = RedisStore::connect(&redis.url()).await.unwrap();
    let owner = server(&store, "a").await;
    redis.command(&["SCRIPT", "FLUSH"]).await.unwrap();
    let addresses: Vec<_> = (0..200).map(|n| address(&format!("{n}"))).collect();
    let claimed = store.claim_many(&owner, &addresses).await.unwrap();
    redis.command(&["SCRIPT", "FLUSH"]).await.unwrap();
    let found = store.lookup_many(&addresses).await.unwrap();
    let expected: Vec<_> = claimed
        .iter()
        .map(|c| Some(Session::new(owner.clone(), c.seq)))
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_never_shown() {
    let redis = RedisOptions::new()
        .password("correct-horse")
        .start()
        .await
        .unwrap();
    let wrong = redis.url().replace("correct-horse", "hunter2-wrong");
    let none = redis.url().replace(":correct-horse@", "");
    for url in [wrong, none] {
        let error = RedisStore::connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    let store = RedisStore::connect(&redis.url()).await.unwrap();
    assert!(!format!("{store:?}").contains("horse"), "{store:?}");
}

#[tokio::test]
async fn a_full_server_refuses_claims_and_still_takes_releases() {
    let redis = RedisServer::start().await.unwrap();
    let store = RedisStore::connect(&redis.url()).await.unwrap();
    let owner = server(&store, "a").await;
    let claimed = store.claim(&owner, &address("x")).await.unwrap();
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    let error = store.claim(&owner, &address("y")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    let released = store.release(&owner, &address("x"), claimed.seq).await.unwrap();
    assert_eq!(released, waypost_session::Released::Released);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let redis = RedisOptions::new().tls().start().await.unwrap();
    let url = redis.url();
    let bare = url.split('?').next().unwrap();
    let error = RedisStore::connect(bare).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{error}");
}

#[tokio::test]
async fn a_failover_is_followed_and_noticed() {
    let set = RedisSentinel::start(1).await.unwrap();
    let store = RedisStore::connect(&set.url()).await.unwrap();
    let owner = server(&store, "a").await;
    store.claim(&owner, &address("x")).await.unwrap();
    let before = store
        .renew(std::slice::from_ref(&owner), &location())
        .await
        .unwrap()
        .generation;
    set.failover().await.unwrap();
    let after = again("renew", async || {
        store.renew(std::slice::from_ref(&owner), &location()).await
    })
    .await;
    assert_ne!(after.generation, before, "{after:?}");
    let again_owner = server(&store, "a").await;
    let claimed = store.claim(&again_owner, &address("x")).await.unwrap();
    let found = store.lookup(&address("x")).await.unwrap();
    assert_eq!(found, Some(Session::new(again_owner, claimed.seq)));
}

#[tokio::test]
async fn a_demoted_master_is_left_for_the_new_one() {
    let set = RedisSentinel::start(1).await.unwrap();
    let store = RedisStore::connect(&set.url()).await.unwrap();
    let owner = server(&store, "a").await;
    set.switch().await.unwrap();
    let claimed = again("claim", async || store.claim(&owner, &address("x")).await).await;
    let new = set.master().await.unwrap();
    let direct = RedisStore::connect(&new.url()).await.unwrap();
    let found = direct.lookup(&address("x")).await.unwrap();
    assert_eq!(
        found,
        Some(Session::new(owner, claimed.seq)),
        "the write is on the new master"
    );
}

#[tokio::test]
async fn a_replica_is_no_store() {
    let set = RedisSentinel::start(1).await.unwrap();
    let [_, replica] = set.servers();
    let error = RedisStore::connect(&replica.url()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("replica"), "{error}");
}

#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let cluster = RedisCluster::start(3).await.unwrap();
    let store = RedisStore::connect(&cluster.url()).await.unwrap();
    let owner = server(&store, "a").await;
    let addresses: Vec<_> = (0..500).map(|n| address(&format!("{n}"))).collect();
    // Without records yet: only the slots' holders change, which is what the store must follow.
    let [from, to, _] = cluster.nodes() else {
        panic!("three nodes")
    };
    let target = to.command(&["CLUSTER", "MYID"]).await.unwrap().remove(0);
    for slot in 0..600u32 {
        for node in [to, from] {
            node.command(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &target])
                .await
                .unwrap();
        }
    }
    let claimed = again("claim", async || store.claim_many(&owner, &addresses).await).await;
    let found = store.lookup_many(&addresses).await.unwrap();
    let expected: Vec<_> = claimed
        .iter()
        .map(|c| Some(Session::new(owner.clone(), c.seq)))
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_master_of_a_cluster_that_is_gone_fails_only_its_part_and_comes_back() {
    let cluster = RedisCluster::start(3).await.unwrap();
    let store = RedisStore::connect(&format!("{}?timeout=1s", cluster.url()))
        .await
        .unwrap();
    let owner = server(&store, "a").await;
    let addresses: Vec<_> = (0..100).map(|n| address(&format!("{n}"))).collect();
    store.claim_many(&owner, &addresses).await.unwrap();
    cluster.nodes()[2].kill().unwrap();
    let error = store.claim_many(&owner, &addresses).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
        "{error}"
    );
    cluster.nodes()[2].start_again().await.unwrap();
    again("claim", async || store.claim_many(&owner, &addresses).await).await;
}
