//! A store that counts.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use waypost_session::{
    Capabilities, Claimed, Reclaimed, Released, Renewal, Renewed, Restored, SessionStore, StoreError,
};
use waypost_types::{Address, Identity, Incarnation, Lease, Location, Owner, Seq, Session};

use super::Verb;

/// How often the verbs of a [`RecordStore`] were called. All clones count together.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<BTreeMap<Verb, Count>>>);

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    calls: usize,
    entries: usize,
}

impl Calls {
    /// How many calls of the verb there were.
    #[must_use]
    pub fn of(&self, verb: Verb) -> usize {
        self.get(verb).calls
    }

    /// How many entries these calls had together; a call without a batch has one.
    #[must_use]
    pub fn entries_of(&self, verb: Verb) -> usize {
        self.get(verb).entries
    }

    /// How many calls there were at all.
    #[must_use]
    pub fn total(&self) -> usize {
        Verb::ALL.into_iter().map(|verb| self.of(verb)).sum()
    }

    /// Begins again at nothing.
    pub fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn get(&self, verb: Verb) -> Count {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&verb)
            .copied()
            .unwrap_or_default()
    }

    fn add(&self, verb: Verb, entries: usize) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(verb).or_default();
        count.calls += 1;
        count.entries += entries;
    }
}

/// A store that counts its calls and does what the store inside does. A call counts when it begins.
#[derive(Debug)]
pub struct RecordStore {
    inner: Arc<dyn SessionStore>,
    calls: Calls,
}

impl RecordStore {
    /// Wraps a store; the second part has the counts.
    #[must_use]
    pub fn new(inner: Arc<dyn SessionStore>) -> (Self, Calls) {
        let calls = Calls::default();
        (
            Self {
                inner,
                calls: calls.clone(),
            },
            calls,
        )
    }
}

#[warn(clippy::missing_trait_methods)]
#[async_trait]
impl SessionStore for RecordStore {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn register(
        &self,
        identity: &Identity,
        location: &Location,
        term: Duration,
    ) -> Result<Incarnation, StoreError> {
        self.calls.add(Verb::Register, 1);
        self.inner.register(identity, location, term).await
    }

    async fn renew(&self, owners: &[Owner], location: &Location) -> Result<Renewed, StoreError> {
        self.calls.add(Verb::Renew, owners.len());
        self.inner.renew(owners, location).await
    }

    async fn drain(&self, owner: &Owner) -> Result<Renewal, StoreError> {
        self.calls.add(Verb::Drain, 1);
        self.inner.drain(owner).await
    }

    async fn deregister(&self, owner: &Owner) -> Result<(), StoreError> {
        self.calls.add(Verb::Deregister, 1);
        self.inner.deregister(owner).await
    }

    async fn peers(&self) -> Result<Vec<Lease>, StoreError> {
        self.calls.add(Verb::Peers, 1);
        self.inner.peers().await
    }

    async fn claim_many(&self, owner: &Owner, addresses: &[Address]) -> Result<Vec<Claimed>, StoreError> {
        self.calls.add(Verb::Claim, addresses.len());
        self.inner.claim_many(owner, addresses).await
    }

    async fn release_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Released>, StoreError> {
        self.calls.add(Verb::Release, sessions.len());
        self.inner.release_many(owner, sessions).await
    }

    async fn restore_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Restored>, StoreError> {
        self.calls.add(Verb::Restore, sessions.len());
        self.inner.restore_many(owner, sessions).await
    }

    async fn lookup_many(&self, addresses: &[Address]) -> Result<Vec<Option<Session>>, StoreError> {
        self.calls.add(Verb::Lookup, addresses.len());
        self.inner.lookup_many(addresses).await
    }

    async fn reclaim(&self, budget: usize) -> Result<Reclaimed, StoreError> {
        self.calls.add(Verb::Reclaim, 1);
        self.inner.reclaim(budget).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn claim(&self, owner: &Owner, address: &Address) -> Result<Claimed, StoreError> {
        self.calls.add(Verb::Claim, 1);
        self.inner.claim(owner, address).await
    }

    async fn release(&self, owner: &Owner, address: &Address, seq: Seq) -> Result<Released, StoreError> {
        self.calls.add(Verb::Release, 1);
        self.inner.release(owner, address, seq).await
    }

    async fn lookup(&self, address: &Address) -> Result<Option<Session>, StoreError> {
        self.calls.add(Verb::Lookup, 1);
        self.inner.lookup(address).await
    }
}
