//! One process: handles that share an environment, limits, closing and reopening.

use core::time::Duration;

use waypost_session::{BATCH_MAX, Claimed, ErrorKind, Reclaimed, Released, Renewal, Restored, SessionStore};
use waypost_session_embedded::{EmbeddedOptions, EmbeddedStore};
use waypost_types::{Address, Identity, Incarnation, Location, Owner, Seq};

const TERM: Duration = Duration::from_secs(10);

fn address(text: &str) -> Address {
    Address::new(text).unwrap()
}

fn location() -> Location {
    Location::new("tcp://127.0.0.1:1").unwrap()
}

fn open(dir: &tempfile::TempDir) -> EmbeddedStore {
    EmbeddedStore::open(dir.path(), EmbeddedOptions::default()).unwrap()
}

async fn register(store: &EmbeddedStore, identity: &str, term: Duration) -> Owner {
    let identity = Identity::new(identity).unwrap();
    let incarnation = store.register(&identity, &location(), term).await.unwrap();
    Owner::new(identity, incarnation)
}

fn assert_sound(store: &EmbeddedStore) {
    assert_eq!(store.check().unwrap().problems, Vec::<String>::new());
}

#[tokio::test]
async fn two_handles_on_one_path_see_the_same_records() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (open(&dir), open(&dir));
    let owner = register(&one, "server", TERM).await;
    let Claimed { seq, displaced } = one.claim(&owner, &address("client")).await.unwrap();
    assert_eq!(displaced, None);
    let found = two.lookup(&address("client")).await.unwrap().unwrap();
    assert_eq!((found.owner, found.seq), (owner.clone(), seq));

    one.close().await;
    one.close().await;
    assert_eq!(
        one.lookup(&address("client")).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(
        one.claim_many(&owner, &[]).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(
        two.release(&owner, &address("client"), seq).await.unwrap(),
        Released::Released
    );
    assert_sound(&two);
}

#[tokio::test]
async fn records_outlive_the_handle_and_a_dropped_one_can_be_opened_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let owner = register(&store, "server", TERM).await;
    let first = store.claim(&owner, &address("client")).await.unwrap();
    store.close().await;
    for _ in 0..20 {
        drop(open(&dir));
    }
    let store = open(&dir);
    assert_eq!(
        store.lookup(&address("client")).await.unwrap().unwrap().seq,
        first.seq
    );
    let again = store.claim(&owner, &address("client")).await.unwrap();
    assert!(again.seq > first.seq);
    assert_eq!(again.displaced.unwrap().seq, first.seq);
    let renewed = store
        .renew(core::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    assert_eq!(renewed.renewals, [Renewal::Renewed]);
}

#[tokio::test]
async fn one_path_takes_one_set_of_options() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(&dir);
    let error =
        EmbeddedStore::open(dir.path(), EmbeddedOptions::default().map_size_bytes(1 << 24)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
}

#[tokio::test]
async fn a_full_file_is_said_with_its_setting_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), EmbeddedOptions::default().map_size_bytes(16 << 20)).unwrap();
    let owner = register(&store, "server", TERM).await;
    let mut held = Vec::new();
    let error = loop {
        let batch: Vec<Address> = (0..512)
            .map(|i| address(&format!("{}-{i}-{}", held.len(), "x".repeat(200))))
            .collect();
        match store.claim_many(&owner, &batch).await {
            Ok(claimed) => {
                held.extend(
                    batch
                        .into_iter()
                        .zip(claimed.into_iter().map(|claimed| claimed.seq)),
                );
                assert!(held.len() < 100_000, "16 MiB hold no such number of sessions");
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("map_size"), "{error}");
    assert!(!error.may_have_applied());
    assert_sound(&store);
    let found = store.lookup(&held[0].0).await.unwrap().unwrap();
    assert_eq!(found.seq, held[0].1);
    let renewed = store
        .renew(core::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    assert_eq!(
        renewed.renewals,
        [Renewal::Renewed],
        "nobody is fenced because the file is full"
    );
    for some in held.chunks(64) {
        assert!(
            store
                .release_many(&owner, some)
                .await
                .unwrap()
                .iter()
                .all(|r| *r == Released::Released)
        );
    }
    store.claim(&owner, &address("room again")).await.unwrap();
    assert_sound(&store);
}

#[tokio::test]
async fn batches_and_terms_have_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let owner = register(&store, "server", TERM).await;
    let many: Vec<Address> = (0..=BATCH_MAX).map(|i| address(&i.to_string())).collect();
    assert_eq!(
        store.claim_many(&owner, &many).await.unwrap_err().kind(),
        ErrorKind::LimitExceeded
    );
    assert_eq!(
        store.lookup_many(&many).await.unwrap_err().kind(),
        ErrorKind::LimitExceeded
    );
    assert_eq!(
        store.claim_many(&owner, &many[..BATCH_MAX]).await.unwrap().len(),
        BATCH_MAX
    );
    assert!(
        store
            .lookup_many(&many[..BATCH_MAX])
            .await
            .unwrap()
            .iter()
            .all(Option::is_some)
    );
    let short = store
        .register(&owner.identity, &location(), Duration::from_millis(99))
        .await;
    assert_eq!(short.unwrap_err().kind(), ErrorKind::ConfigInvalid);
}

#[tokio::test]
async fn a_lease_is_renewed_late_while_nobody_has_looked_and_gone_once_somebody_has() {
    let dir = tempfile::tempdir().unwrap();
    let (server, observer) = (open(&dir), open(&dir));
    let term = Duration::from_millis(100);
    let owner = register(&server, "server", term).await;
    server.claim(&owner, &address("client")).await.unwrap();

    // Another lease of that term, taken later in another place and looked at there, shows that the term is over.
    let elsewhere = tempfile::tempdir().unwrap();
    let witness = open(&elsewhere);
    let other = register(&witness, "witness", term).await;
    witness.claim(&other, &address("client")).await.unwrap();
    wait_until_invisible(&open(&elsewhere), "client").await;
    let renewed = server
        .renew(core::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    assert_eq!(renewed.renewals, [Renewal::Renewed]);

    wait_until_invisible(&observer, "client").await;
    let renewed = server
        .renew(core::slice::from_ref(&owner), &location())
        .await
        .unwrap();
    assert_eq!(renewed.renewals, [Renewal::Gone]);
    assert_eq!(observer.lookup(&address("client")).await.unwrap(), None);
    assert_eq!(
        observer.reclaim(10).await.unwrap(),
        Reclaimed {
            removed: 1,
            more: false
        }
    );
    assert_eq!(observer.reclaim(10).await.unwrap(), Reclaimed::default());
    assert_sound(&observer);
}

async fn wait_until_invisible(store: &EmbeddedStore, client: &str) {
    let visible = async {
        while store.lookup(&address(client)).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), visible)
        .await
        .expect("the lease must lapse");
}

#[tokio::test]
async fn reclaiming_takes_its_budget_and_never_a_live_owners_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let live = register(&store, "live", TERM).await;
    let old = register(&store, "server", TERM).await;
    let addresses: Vec<Address> = (0..100).map(|i| address(&i.to_string())).collect();
    store.claim_many(&old, &addresses).await.unwrap();
    store.claim_many(&live, &addresses[90..]).await.unwrap();
    let new = register(&store, "server", TERM).await;
    store.claim_many(&new, &addresses[80..90]).await.unwrap();

    let mut removed = 0;
    loop {
        let step = store.reclaim(7).await.unwrap();
        assert!(step.removed <= 7);
        removed += step.removed;
        assert_sound(&store);
        if !step.more {
            break;
        }
    }
    assert_eq!(removed, 80);
    let found = store.lookup_many(&addresses).await.unwrap();
    assert_eq!(found.iter().flatten().count(), 20);
    assert_eq!(store.check().unwrap().dead, 0);

    // A claim by an owner whose lease is over comes late, and is found all the same.
    store.claim(&old, &address("late")).await.unwrap();
    assert_eq!(store.lookup(&address("late")).await.unwrap(), None);
    assert_eq!(
        store.reclaim(7).await.unwrap(),
        Reclaimed {
            removed: 1,
            more: false
        }
    );
}

#[tokio::test]
async fn a_seq_from_a_store_that_was_lost_is_never_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let owner = register(&store, "server", TERM).await;
    let ahead = Seq(owner.incarnation.0 + 1_000_000);
    store
        .restore_many(&owner, &[(address("client"), ahead)])
        .await
        .unwrap();
    assert!(store.claim(&owner, &address("client")).await.unwrap().seq > ahead);
    let absurd = store
        .restore_many(&owner, &[(address("client"), Seq(u64::MAX))])
        .await
        .unwrap_err();
    assert_eq!(absurd.kind(), ErrorKind::LimitExceeded);

    let stranger = Owner::new(Identity::new("stranger").unwrap(), Incarnation(ahead.0 + 1000));
    store.claim(&stranger, &address("other")).await.unwrap();
    let registered = register(&store, "stranger", TERM).await;
    assert!(registered.incarnation > stranger.incarnation);
    assert_eq!(store.lookup(&address("other")).await.unwrap(), None);
    assert_sound(&store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_at_once_have_one_winner_and_distinct_seqs() {
    let dir = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(open(&dir));
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..16 {
        let store = std::sync::Arc::clone(&store);
        tasks.spawn(async move {
            let owner = register(&store, &format!("server-{worker}"), TERM).await;
            let mut seqs = Vec::new();
            for _ in 0..50 {
                seqs.push(store.claim(&owner, &address("client")).await.unwrap().seq);
            }
            seqs
        });
    }
    let mut seqs: Vec<Seq> = tasks.join_all().await.into_iter().flatten().collect();
    seqs.sort_unstable();
    let last = *seqs.last().unwrap();
    seqs.dedup();
    assert_eq!(seqs.len(), 16 * 50);
    assert_eq!(store.lookup(&address("client")).await.unwrap().unwrap().seq, last);
    assert_sound(&store);
}

#[tokio::test]
async fn a_session_that_cannot_be_read_counts_as_missing_and_its_next_claim_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let owner = register(&store, "server", TERM).await;
    let both = [address("damaged"), address("sound")];
    let claimed = store.claim_many(&owner, &both).await.unwrap();
    store.close().await;
    damage(&dir, "sessions", "damaged");

    let store = open(&dir);
    let found = store.lookup_many(&both).await.unwrap();
    assert_eq!(found[0], None);
    assert!(found[1].is_some(), "the rest of the batch is answered");
    let held = [
        (both[0].clone(), claimed[0].seq),
        (both[1].clone(), claimed[1].seq),
    ];
    assert_eq!(
        store.release_many(&owner, &held).await.unwrap(),
        [Released::NotOwner, Released::Released]
    );
    assert_eq!(
        store.check().unwrap().problems.len(),
        2,
        "the session, and the list of what its owner holds"
    );

    assert_eq!(
        store.restore_many(&owner, &held).await.unwrap(),
        [Restored::Held, Restored::Held]
    );
    assert!(store.lookup(&both[0]).await.unwrap().is_some());
    store.close().await;
    damage(&dir, "sessions", "damaged");
    let store = open(&dir);
    assert_eq!(store.claim(&owner, &both[0]).await.unwrap().displaced, None);
    assert!(store.lookup(&both[0]).await.unwrap().is_some());
    store.deregister(&owner).await.unwrap();
    while store.reclaim(100).await.unwrap().more {}
    assert_eq!(store.check().unwrap().sessions, 0);
    assert_sound(&store);
}

#[tokio::test]
async fn a_lease_that_cannot_be_read_is_the_trouble_of_its_server_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (damaged, sound) = (
        register(&store, "damaged", TERM).await,
        register(&store, "sound", TERM).await,
    );
    let held = store.claim(&damaged, &address("a")).await.unwrap().seq;
    store.claim(&sound, &address("b")).await.unwrap();
    store.close().await;
    damage(&dir, "leases", "damaged");

    let store = open(&dir);
    let peers = store.peers().await.unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].owner, sound);
    let found = store.lookup_many(&[address("a"), address("b")]).await.unwrap();
    assert_eq!(found[0], None);
    assert!(found[1].is_some());
    let renewed = store.renew(&[damaged, sound], &location()).await.unwrap();
    assert_eq!(renewed.renewals, [Renewal::Gone, Renewal::Renewed]);
    // So its server registers anew, and puts back what it holds.
    let again = register(&store, "damaged", TERM).await;
    let restored = store.restore_many(&again, &[(address("a"), held)]).await.unwrap();
    assert_eq!(restored, [Restored::Held]);
    assert!(store.lookup(&address("a")).await.unwrap().is_some());
}

#[expect(
    unsafe_code,
    reason = "opens the environment as LMDB itself does, to damage a record"
)]
fn damage(dir: &tempfile::TempDir, table: &str, key: &str) {
    use heed::types::Bytes;
    // SAFETY: nobody else has it open.
    let env = unsafe {
        heed::EnvOpenOptions::new()
            .map_size(4 << 30)
            .max_dbs(5)
            .open(dir.path())
    }
    .unwrap();
    let table = env
        .create_databases_and_commit(env.write_txn().unwrap(), |opener, txn| {
            let table = opener.create_database::<Bytes, Bytes>(txn, Some(table))?;
            Ok::<_, heed::Error>(heed::CommitOrAbort::<_, ()>::Commit(table))
        })
        .unwrap()
        .unwrap_commit();
    let mut txn = env.write_txn().unwrap();
    table.put(&mut txn, key.as_bytes(), b"\xff garbage").unwrap();
    txn.commit().unwrap();
}
