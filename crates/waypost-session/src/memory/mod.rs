//! The in-memory reference store.

mod state;

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use waypost_types::{Address, Identity, Incarnation, Lease, Location, MonoTime, Owner, Seq, Session};

pub use state::MemoryState;

use crate::{
    Capabilities, Claimed, ErrorKind, ProcessClock, Reclaimed, Registry, Released, Renewal, Renewed,
    Restored, SessionStore, StoreError, check_batch,
};

/// A session store in this process's memory: the reference for the others, and a store for tests and for several nodes
/// in one process.
///
/// A clone is another open handle on the same records, with its own [`close`](SessionStore::close). The URL `memory:`
/// opens a new, empty store each time.
pub struct MemoryStore {
    shared: Arc<Shared>,
    closed: AtomicBool,
}

struct Shared {
    state: Mutex<MemoryState>,
    clock: Box<dyn Fn() -> MonoTime + Send + Sync>,
}

impl MemoryStore {
    /// An empty store that goes by the process's monotonic clock.
    #[must_use]
    pub fn new() -> Self {
        let clock = ProcessClock::new();
        Self::with_clock(move || clock.now())
    }

    /// An empty store that asks `clock` what time it is; it must never go back.
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> MonoTime + Send + Sync + 'static) -> Self {
        let shared = Shared {
            state: Mutex::new(MemoryState::new()),
            clock: Box::new(clock),
        };
        Self {
            shared: Arc::new(shared),
            closed: AtomicBool::new(false),
        }
    }

    /// Adds the scheme `memory` to a registry.
    pub fn register(registry: &mut Registry) -> &mut Registry {
        registry.register(&["memory"], |url| {
            Box::pin(async move {
                url.params().finish()?;
                let store: Arc<dyn SessionStore> = Arc::new(Self::new());
                Ok(store)
            })
        })
    }

    /// Runs one operation alone, at one moment, unless the handle is closed.
    fn at_once<T>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&mut MemoryState, MonoTime) -> T,
    ) -> Result<T, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::new(
                ErrorKind::Unavailable,
                operation,
                "the handle is closed",
            ));
        }
        // No operation leaves the state half-changed when it panics.
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that time never goes back between two operations.
        let now = (self.shared.clock)();
        Ok(run(&mut state, now))
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL.with_shared(false).with_durable(false)
    }

    async fn register(
        &self,
        identity: &Identity,
        location: &Location,
        term: Duration,
    ) -> Result<Incarnation, StoreError> {
        self.at_once("register", |state, now| {
            state.register(now, identity, location, term)
        })?
    }

    async fn renew(&self, owners: &[Owner], location: &Location) -> Result<Renewed, StoreError> {
        check_batch("renew", owners.len())?;
        self.at_once("renew", |state, now| Renewed {
            renewals: owners
                .iter()
                .map(|owner| state.renew(now, owner, location))
                .collect(),
            generation: 0,
        })
    }

    async fn drain(&self, owner: &Owner) -> Result<Renewal, StoreError> {
        self.at_once("drain", |state, now| state.drain(now, owner))
    }

    async fn deregister(&self, owner: &Owner) -> Result<(), StoreError> {
        self.at_once("deregister", |state, _| state.deregister(owner))
    }

    async fn peers(&self) -> Result<Vec<Lease>, StoreError> {
        self.at_once("peers", |state, now| state.peers(now))
    }

    async fn claim_many(&self, owner: &Owner, addresses: &[Address]) -> Result<Vec<Claimed>, StoreError> {
        check_batch("claim", addresses.len())?;
        self.at_once("claim", |state, _| {
            addresses
                .iter()
                .map(|address| state.claim(owner, address))
                .collect()
        })?
    }

    async fn release_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Released>, StoreError> {
        check_batch("release", sessions.len())?;
        self.at_once("release", |state, _| {
            sessions
                .iter()
                .map(|(address, seq)| state.release(owner, address, *seq))
                .collect()
        })
    }

    async fn restore_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Restored>, StoreError> {
        check_batch("restore", sessions.len())?;
        self.at_once("restore", |state, _| {
            sessions
                .iter()
                .map(|(address, seq)| state.restore(owner, address, *seq))
                .collect()
        })
    }

    async fn lookup_many(&self, addresses: &[Address]) -> Result<Vec<Option<Session>>, StoreError> {
        check_batch("lookup", addresses.len())?;
        self.at_once("lookup", |state, now| {
            addresses
                .iter()
                .map(|address| state.lookup(now, address))
                .collect()
        })
    }

    async fn reclaim(&self, budget: usize) -> Result<Reclaimed, StoreError> {
        self.at_once("reclaim", |state, now| state.reclaim(now, budget))
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            closed: AtomicBool::new(false),
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
