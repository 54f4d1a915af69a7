//! The decorators do what their faults say, and otherwise nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use waypost_session::{ErrorKind, MemoryStore, SessionStore, StoreError};
use waypost_session_testkit::decorators::{Fault, FaultStore, RecordStore, Verb};
use waypost_session_testkit::{Datastore, MemoryBuilder, StartError, StoreBuilder, run_suite};
use waypost_types::{Address, Identity, Location, Owner};

async fn server(store: &dyn SessionStore) -> Owner {
    let identity = Identity::new("server").unwrap();
    let location = Location::new("tcp://192.0.2.1:1").unwrap();
    let incarnation = store
        .register(&identity, &location, Duration::from_secs(60))
        .await
        .unwrap();
    Owner::new(identity, incarnation)
}

fn address(name: &str) -> Address {
    Address::new(name).unwrap()
}

/// In-memory stores inside both decorators.
struct Decorated;
struct Inside(Box<dyn Datastore>);

#[async_trait]
impl StoreBuilder for Decorated {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        Ok(Box::new(Inside(MemoryBuilder.start().await?)))
    }
}

#[async_trait]
impl Datastore for Inside {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        let (recorded, _) = RecordStore::new(self.0.open().await?);
        let (faulty, _) = FaultStore::new(Arc::new(recorded));
        Ok(Arc::new(faulty))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decorators_without_faults_keep_the_contract() {
    let report = run_suite(&Decorated, "").await;
    assert!(report.is_success(), "{report:?}");
}

#[tokio::test]
async fn an_error_fails_the_call_before_it_is_applied_and_only_as_often_as_planned() {
    let (store, faults) = FaultStore::new(Arc::new(MemoryStore::new()));
    let owner = server(&store).await;
    faults.next(Verb::Claim, 1, Fault::Error(ErrorKind::Timeout));
    let error = store.claim(&owner, &address("a")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.may_have_applied()),
        (ErrorKind::Timeout, false)
    );
    assert_eq!(store.lookup(&address("a")).await.unwrap(), None);
    assert!(store.claim(&owner, &address("a")).await.is_ok());
    faults.always_all(Fault::Error(ErrorKind::Unavailable));
    assert!(store.lookup(&address("a")).await.is_err() && store.peers().await.is_err());
    faults.clear();
    assert!(store.lookup(&address("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_lost_answer_is_an_error_after_the_write_was_applied() {
    let (store, faults) = FaultStore::new(Arc::new(MemoryStore::new()));
    let owner = server(&store).await;
    faults.next(Verb::Claim, 1, Fault::LostAnswer(ErrorKind::Unavailable));
    let error = store.claim_many(&owner, &[address("a")]).await.unwrap_err();
    assert!(error.may_have_applied());
    assert!(store.lookup(&address("a")).await.unwrap().is_some());
    faults.next(Verb::Lookup, 1, Fault::LostAnswer(ErrorKind::Timeout));
    assert!(
        !store.lookup(&address("a")).await.unwrap_err().may_have_applied(),
        "a read changes nothing"
    );
}

#[tokio::test]
async fn a_hung_call_goes_on_when_it_is_released_and_is_forgotten_when_it_is_dropped() {
    let (store, faults) = FaultStore::new(Arc::new(MemoryStore::new()));
    let owner = server(&store).await;
    faults.next(Verb::Claim, 2, Fault::Hang);
    let store = Arc::new(store);
    let claims: Vec<_> = ["a", "b"]
        .map(|name| {
            let (store, owner) = (Arc::clone(&store), owner.clone());
            tokio::spawn(async move { store.claim(&owner, &address(name)).await })
        })
        .into();
    faults.wait_hung(2).await;
    claims[1].abort();
    while faults.hung() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.lookup(&address("a")).await.unwrap(), None);
    faults.release_hung();
    let mut claims = claims.into_iter();
    assert!(claims.next().unwrap().await.unwrap().is_ok());
    assert!(claims.next().unwrap().await.unwrap_err().is_cancelled());
    assert!(store.lookup(&address("a")).await.unwrap().is_some());
    assert_eq!(store.lookup(&address("b")).await.unwrap(), None);
    assert_eq!(faults.hung(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_takes_its_time() {
    let (store, faults) = FaultStore::new(Arc::new(MemoryStore::new()));
    faults.always(Verb::Peers, Fault::Delay(Duration::from_secs(3)));
    let begin = tokio::time::Instant::now();
    store.peers().await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
}

#[tokio::test]
async fn calls_and_entries_are_counted() {
    let (store, calls) = RecordStore::new(Arc::new(MemoryStore::new()));
    let owner = server(&store).await;
    store
        .claim_many(&owner, &[address("a"), address("b"), address("c")])
        .await
        .unwrap();
    store.claim(&owner, &address("a")).await.unwrap();
    assert_eq!((calls.of(Verb::Claim), calls.entries_of(Verb::Claim)), (2, 4));
    assert_eq!((calls.of(Verb::Lookup), calls.total()), (0, 3));
    calls.reset();
    assert_eq!(calls.total(), 0);
}
