//! What others have written to the store's keys harms only the record that it stands for.

#[path = "common/made.rs"]
mod made;

use waypost_session::{Released, Renewal, Restored, SessionStore};
use waypost_session_redis::RedisStore;
use waypost_session_testkit::servers::redis::RedisServer;
use waypost_types::{Address, Seq, Session};

use made::{address, location, server};

/// What other programs write, as text in Lua: JSON, nothing, what begins like ours, what is no text.
const GARBAGE: [&str; 7] = [
    r#"{"json":true}"#,
    r#"{"json": true}"#,
    "",
    "1",
    "99 1",
    r"99 1 \255\254",
    "99 ninety-nine server",
];

/// Puts garbage into the place of a record: runs a command whose last argument it is.
async fn write_over(redis: &RedisServer, command: &[&str], garbage: &str) {
    let quoted: String = command.iter().map(|word| format!("'{word}', ")).collect();
    let script = format!("return redis.call({quoted}'{garbage}')");
    redis.command(&["EVAL", &script, "0"]).await.unwrap();
}

/// A record that others have written over counts as missing: nobody holds the address, and the next claim or restore takes it
/// over. Others of its batch do not feel it.
#[tokio::test]
async fn a_session_that_others_have_written_over_is_free_and_claimed_anew() {
    let redis = RedisServer::start().await.unwrap();
    let store = RedisStore::connect(&redis.url()).await.unwrap();
    let owner = server(&store, "server").await;
    let (a, others) = (address("a"), (0..300).map(|n| address(&format!("{n}"))));
    let others: Vec<Address> = others.collect();
    let mut held = store.claim(&owner, &a).await.unwrap().seq;
    let spoil = async |garbage| {
        let sessions = ["HSET", "waypost:{5469}:s", "a"];
        write_over(&redis, &sessions, garbage).await;
    };
    let all: Vec<Address> = core::iter::once(a.clone()).chain(others).collect();
    for garbage in GARBAGE {
        spoil(garbage).await;
        let claimed = store.claim_many(&owner, &all).await.unwrap();
        assert!(
            claimed[0].displaced.is_none() && claimed[0].seq > held,
            "{garbage}"
        );
        let all_held: Vec<(Address, Seq)> = all
            .iter()
            .cloned()
            .zip(claimed.iter().map(|claimed| claimed.seq))
            .collect();
        held = claimed[0].seq;
        let there: Vec<_> = all_held
            .iter()
            .map(|(_, seq)| Some(Session::new(owner.clone(), *seq)))
            .collect();
        assert_eq!(store.lookup_many(&all).await.unwrap(), there, "{garbage}");

        spoil(garbage).await;
        let found = store.lookup_many(&all).await.unwrap();
        assert!(found[0].is_none() && found[1..] == there[1..], "{garbage}");
        let released = store.release(&owner, &a, held).await.unwrap();
        assert_eq!(released, Released::NotOwner, "{garbage}");
        let restored = store.restore_many(&owner, &all_held).await.unwrap();
        assert!(
            restored.iter().all(|one| *one == Restored::Held),
            "{garbage}: {:?}",
            restored[0]
        );
        assert_eq!(store.lookup_many(&all).await.unwrap(), there, "{garbage}");
    }
    // A dead server's is not looked for any further.
    spoil("garbage").await;
    write_over(&redis, &["SADD", "waypost:{5469}:o"], "garbage").await;
    store.deregister(&owner).await.unwrap();
    assert_eq!(store.reclaim(1000).await.unwrap().removed, all.len() - 1);
}

/// A claim that another server has made since stands against a restore, whatever text its identity is.
#[tokio::test]
async fn a_session_of_a_server_of_any_name_is_none_that_others_have_written() {
    let redis = RedisServer::start().await.unwrap();
    let store = RedisStore::connect(&redis.url()).await.unwrap();
    let a = address("a");
    let older = server(&store, "older").await;
    let seq = store.claim(&older, &a).await.unwrap().seq;
    for name in [
        "größe",
        "한국어 \u{10ffff} ",
        "\u{800}\u{d7ff}\u{e000}\u{10000}",
        " a b",
        "1 2",
    ] {
        let newer = server(&store, name).await;
        let standing = store.claim(&newer, &a).await.unwrap().seq;
        let restored = store.restore_many(&older, &[(a.clone(), seq)]).await.unwrap();
        let standing = Session::new(newer, standing);
        assert_eq!(restored, [Restored::Lost(standing)], "{name}");
    }
}

/// A lease that others have written over is lost: its server learns it by the next renewal and registers anew. Others do not feel
/// it.
#[tokio::test]
async fn a_lease_that_others_have_written_over_is_gone_and_registered_anew() {
    let redis = RedisServer::start().await.unwrap();
    let store = RedisStore::connect(&redis.url()).await.unwrap();
    let witness = server(&store, "witness").await;
    let mut owner = server(&store, "server").await;
    for garbage in GARBAGE {
        write_over(&redis, &["SET", "waypost:{lease}:l:server"], garbage).await;
        let peers = store.peers().await.unwrap();
        let owners: Vec<_> = peers.into_iter().map(|lease| lease.owner).collect();
        assert_eq!(owners, core::slice::from_ref(&witness), "{garbage}");
        let renewed = store
            .renew(&[owner.clone(), witness.clone()], &location())
            .await
            .unwrap();
        assert_eq!(renewed.renewals, [Renewal::Gone, Renewal::Renewed], "{garbage}");
        assert_eq!(store.drain(&owner).await.unwrap(), Renewal::Gone, "{garbage}");
        let anew = server(&store, "server").await;
        assert!(anew.incarnation > owner.incarnation, "{garbage}");
        owner = anew;
        assert_eq!(store.peers().await.unwrap().len(), 2, "{garbage}");
    }
    write_over(&redis, &["SET", "waypost:{lease}:c"], "garbage").await;
    assert!(server(&store, "server").await.incarnation > owner.incarnation);
}
