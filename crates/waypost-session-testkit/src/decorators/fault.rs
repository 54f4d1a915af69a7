//! A store that breaks on demand.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use waypost_session::{
    Capabilities, Claimed, ErrorKind, Reclaimed, Released, Renewal, Renewed, Restored, SessionStore,
    StoreError,
};
use waypost_types::{Address, Identity, Incarnation, Lease, Location, Owner, Seq, Session};

use super::Verb;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails without having been applied.
    Error(ErrorKind),
    /// It is applied and then fails: the answer was lost. The error says that it may have been applied.
    LostAnswer(ErrorKind),
    /// It waits that long and then goes on.
    Delay(Duration),
    /// It waits until [`Faults::release_hung`] and then goes on.
    Hang,
}

#[derive(Debug, Clone, Copy)]
struct Planned {
    fault: Fault,
    /// How many calls it is for; `None` for all.
    left: Option<u32>,
}

/// Says what happens to the calls of a [`FaultStore`]. All clones say the same.
#[derive(Debug, Clone)]
pub struct Faults {
    planned: Arc<Mutex<BTreeMap<Verb, Planned>>>,
    /// How often hung calls have been released.
    releases: watch::Sender<u64>,
    /// How many calls hang now.
    hung: watch::Sender<usize>,
}

impl Faults {
    fn new() -> Self {
        Self {
            planned: Arc::default(),
            releases: watch::Sender::new(0),
            hung: watch::Sender::new(0),
        }
    }

    /// From now on the fault happens to every call of the verb, instead of what was said before.
    pub fn always(&self, verb: Verb, fault: Fault) {
        self.lock().insert(verb, Planned { fault, left: None });
    }

    /// The fault happens to the next `count` calls of the verb, instead of what was said before.
    pub fn next(&self, verb: Verb, count: u32, fault: Fault) {
        self.lock().insert(
            verb,
            Planned {
                fault,
                left: Some(count),
            },
        );
    }

    /// From now on the fault happens to every call of every verb.
    pub fn always_all(&self, fault: Fault) {
        for verb in Verb::ALL {
            self.always(verb, fault);
        }
    }

    /// From now on nothing happens to any call. Hung ones stay hung.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Lets all calls go on that hang now; later ones hang again unless that has been cleared.
    pub fn release_hung(&self) {
        self.releases.send_modify(|releases| *releases += 1);
    }

    /// How many calls hang now.
    #[must_use]
    pub fn hung(&self) -> usize {
        *self.hung.borrow()
    }

    /// Waits until at least `count` calls hang.
    pub async fn wait_hung(&self, count: usize) {
        // The sender lives as long as `self`.
        let _ = self.hung.subscribe().wait_for(|hung| *hung >= count).await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Verb, Planned>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, verb: Verb) -> Option<Fault> {
        let mut planned = self.lock();
        let entry = planned.get_mut(&verb)?;
        match &mut entry.left {
            None => Some(entry.fault),
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                Some(entry.fault)
            }
        }
    }

    async fn hang(&self) {
        let mut releases = self.releases.subscribe();
        let before = *releases.borrow_and_update();
        let _counted = Hung::count(&self.hung);
        let _ = releases.wait_for(|releases| *releases > before).await;
    }

    async fn around<T: Send>(
        &self,
        verb: Verb,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match self.take(verb) {
            None => call.await,
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                call.await
            }
            Some(Fault::Hang) => {
                self.hang().await;
                call.await
            }
            Some(Fault::Error(kind)) => {
                let error = StoreError::new(kind, verb.as_str(), "injected fault");
                Err(error.with_may_have_applied(false))
            }
            Some(Fault::LostAnswer(kind)) => {
                call.await?;
                let error = StoreError::new(kind, verb.as_str(), "injected fault: the answer was lost");
                Err(error.with_may_have_applied(!verb.is_read()))
            }
        }
    }
}

/// Counts one call as hung until it goes on or is dropped.
struct Hung<'a>(&'a watch::Sender<usize>);

impl<'a> Hung<'a> {
    fn count(hung: &'a watch::Sender<usize>) -> Self {
        hung.send_modify(|hung| *hung += 1);
        Self(hung)
    }
}

impl Drop for Hung<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|hung| *hung -= 1);
    }
}

/// A store that breaks as its [`Faults`] say, and otherwise does what the store inside does.
#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<dyn SessionStore>,
    faults: Faults,
}

impl FaultStore {
    /// Wraps a store; the second part says what breaks, at first nothing.
    #[must_use]
    pub fn new(inner: Arc<dyn SessionStore>) -> (Self, Faults) {
        let faults = Faults::new();
        (
            Self {
                inner,
                faults: faults.clone(),
            },
            faults,
        )
    }

    /// Wraps another handle that breaks by the same faults.
    #[must_use]
    pub fn with_faults(inner: Arc<dyn SessionStore>, faults: &Faults) -> Self {
        Self {
            inner,
            faults: faults.clone(),
        }
    }
}

#[warn(clippy::missing_trait_methods)]
#[async_trait]
impl SessionStore for FaultStore {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn register(
        &self,
        identity: &Identity,
        location: &Location,
        term: Duration,
    ) -> Result<Incarnation, StoreError> {
        self.faults
            .around(Verb::Register, self.inner.register(identity, location, term))
            .await
    }

    async fn renew(&self, owners: &[Owner], location: &Location) -> Result<Renewed, StoreError> {
        self.faults
            .around(Verb::Renew, self.inner.renew(owners, location))
            .await
    }

    async fn drain(&self, owner: &Owner) -> Result<Renewal, StoreError> {
        self.faults.around(Verb::Drain, self.inner.drain(owner)).await
    }

    async fn deregister(&self, owner: &Owner) -> Result<(), StoreError> {
        self.faults
            .around(Verb::Deregister, self.inner.deregister(owner))
            .await
    }

    async fn peers(&self) -> Result<Vec<Lease>, StoreError> {
        self.faults.around(Verb::Peers, self.inner.peers()).await
    }

    async fn claim_many(&self, owner: &Owner, addresses: &[Address]) -> Result<Vec<Claimed>, StoreError> {
        self.faults
            .around(Verb::Claim, self.inner.claim_many(owner, addresses))
            .await
    }

    async fn release_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Released>, StoreError> {
        self.faults
            .around(Verb::Release, self.inner.release_many(owner, sessions))
            .await
    }

    async fn restore_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Restored>, StoreError> {
        self.faults
            .around(Verb::Restore, self.inner.restore_many(owner, sessions))
            .await
    }

    async fn lookup_many(&self, addresses: &[Address]) -> Result<Vec<Option<Session>>, StoreError> {
        self.faults
            .around(Verb::Lookup, self.inner.lookup_many(addresses))
            .await
    }

    async fn reclaim(&self, budget: usize) -> Result<Reclaimed, StoreError> {
        self.faults
            .around(Verb::Reclaim, self.inner.reclaim(budget))
            .await
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn claim(&self, owner: &Owner, address: &Address) -> Result<Claimed, StoreError> {
        self.faults
            .around(Verb::Claim, self.inner.claim(owner, address))
            .await
    }

    async fn release(&self, owner: &Owner, address: &Address, seq: Seq) -> Result<Released, StoreError> {
        self.faults
            .around(Verb::Release, self.inner.release(owner, address, seq))
            .await
    }

    async fn lookup(&self, address: &Address) -> Result<Option<Session>, StoreError> {
        self.faults.around(Verb::Lookup, self.inner.lookup(address)).await
    }
}
