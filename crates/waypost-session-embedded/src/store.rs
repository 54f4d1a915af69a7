//! The store: a handle on an environment.

use core::fmt;
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use waypost_session::{
    BATCH_MAX, Capabilities, Claimed, ErrorKind, Reclaimed, Released, Renewal, Renewed, Restored,
    SessionStore, StoreError, check_batch,
};
use waypost_types::{Address, Identity, Incarnation, Lease, Location, Owner, Seq, Session};

use crate::check;
use crate::environment::Environment;
use crate::error::Failure;
use crate::options::EmbeddedOptions;
use crate::reads::{self, Found, Observer};
use crate::transaction::Transaction;
use crate::{leases, sessions};

/// Shortest term of a lease.
const TERM_MIN: Duration = Duration::from_millis(100);
/// Largest look-up that is done where it is asked for: some tens of microseconds, less than handing it to another
/// thread and back. Larger ones go to the runtime's pool of blocking threads.
const INLINE_LOOKUPS_MAX: usize = 64;
/// Nothing that was acknowledged is ever lost while the environment is open.
const GENERATION: u64 = 1;

/// A session store in one directory of one machine. See the crate's documentation.
///
/// Handles of one process on one path share one environment and one writing thread. Its methods must be called in a
/// tokio runtime with time enabled. Dropping it is like [`close`](SessionStore::close), without waiting.
pub struct EmbeddedStore {
    path: PathBuf,
    environment: RwLock<Option<Arc<Environment>>>,
    observer: Arc<Observer>,
    /// Whether leases that this handle took for dead are being ended.
    ending: Arc<AtomicBool>,
}

/// Says when they have been.
struct Ending(Arc<AtomicBool>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl EmbeddedStore {
    /// Opens the store in the directory `path`, which is created with its parents if it is not there. Blocks for a few
    /// file operations.
    ///
    /// # Errors
    /// `ConfigInvalid` when the path is not a directory or holds something else, when an option is out of its range, or
    /// when this process has the path open with other options; `PermissionDenied`; `LimitExceeded` when there is no
    /// address space for the map; `Timeout` when another process is stopped in the middle of opening it.
    pub fn open(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let environment = Environment::open(path, &options.checked()?)?;
        Ok(Self {
            path: path.to_owned(),
            environment: RwLock::new(Some(environment)),
            observer: Arc::new(Observer::default()),
            ending: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Looks at everything and says what does not fit together: for tests.
    ///
    /// # Errors
    /// As any read.
    #[doc(hidden)]
    pub fn check(&self) -> Result<check::Report, StoreError> {
        check::check(&*self.environment("check")?)
    }

    fn environment(&self, operation: &'static str) -> Result<Arc<Environment>, StoreError> {
        let environment = self.environment.read().unwrap_or_else(PoisonError::into_inner);
        environment.clone().ok_or_else(|| {
            StoreError::new(
                ErrorKind::Unavailable,
                operation,
                "the store was closed: open it again",
            )
        })
    }

    /// Ends the leases of those that a read took for dead, so that they are dead for everybody and a late renewal is told
    /// so. In passing: the read does not wait for it, and it happens before whatever this process writes next.
    fn end_lapsed<T>(&self, environment: &Environment, Found { answer, lapsed }: Found<T>) -> T {
        // One at a time, so that a stuck writer does not find its queue full of these.
        if !lapsed.is_empty() && !self.ending.swap(true, Ordering::AcqRel) {
            let guard = Ending(Arc::clone(&self.ending));
            environment
                .writer
                .post("reclaim", guard, move |tx| leases::end_lapsed(tx, &lapsed));
        }
        answer
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        entries: usize,
        work: impl FnMut(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let environment = self.environment(operation)?;
        environment
            .writer
            .write(operation, entries, environment.timeout(), work)
            .await
    }
}

#[async_trait]
impl SessionStore for EmbeddedStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL
    }

    async fn register(
        &self,
        identity: &Identity,
        location: &Location,
        term: Duration,
    ) -> Result<Incarnation, StoreError> {
        let term_ms = u64::try_from(term.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        if term < TERM_MIN {
            return Err(StoreError::new(
                ErrorKind::ConfigInvalid,
                "register",
                format!("a lease term of {term:?} is too short: give at least {TERM_MIN:?}"),
            ));
        }
        let owned = (identity.clone(), location.clone());
        let asked = self.observer.now();
        let incarnation = self
            .write("register", 1, move |tx| {
                leases::register(tx, &owned.0, &owned.1, term_ms)
            })
            .await?;
        let owner = Owner::new(identity.clone(), incarnation);
        self.observer.note(
            asked,
            &owner,
            leases::FIRST_COUNTER,
            Duration::from_millis(term_ms),
        );
        Ok(incarnation)
    }

    async fn renew(&self, owners: &[Owner], location: &Location) -> Result<Renewed, StoreError> {
        check_batch("renew", owners.len())?;
        if owners.is_empty() {
            self.environment("renew")?;
            return Ok(Renewed {
                renewals: Vec::new(),
                generation: GENERATION,
            });
        }
        let owned = (owners.to_vec(), location.clone());
        let asked = self.observer.now();
        let answers = self
            .write("renew", owners.len(), move |tx| {
                owned
                    .0
                    .iter()
                    .map(|owner| leases::renew(tx, owner, &owned.1))
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let mut renewals = Vec::with_capacity(answers.len());
        for (owner, (renewal, lease)) in owners.iter().zip(answers) {
            if let Some((counter, term)) = lease {
                self.observer.note(asked, owner, counter, term);
            }
            renewals.push(renewal);
        }
        Ok(Renewed {
            renewals,
            generation: GENERATION,
        })
    }

    async fn drain(&self, owner: &Owner) -> Result<Renewal, StoreError> {
        let owner = owner.clone();
        self.write("drain", 1, move |tx| leases::drain(tx, &owner)).await
    }

    async fn deregister(&self, owner: &Owner) -> Result<(), StoreError> {
        let owner = owner.clone();
        self.write("deregister", 1, move |tx| leases::deregister(tx, &owner))
            .await
    }

    async fn peers(&self) -> Result<Vec<Lease>, StoreError> {
        let environment = self.environment("peers")?;
        let (shared, observer) = (Arc::clone(&environment), Arc::clone(&self.observer));
        let found = in_pool("peers", environment.timeout(), move || {
            reads::peers(&shared, &observer, "peers")
        })
        .await?;
        Ok(self.end_lapsed(&environment, found))
    }

    async fn claim_many(&self, owner: &Owner, addresses: &[Address]) -> Result<Vec<Claimed>, StoreError> {
        check_batch("claim", addresses.len())?;
        if addresses.is_empty() {
            self.environment("claim")?;
            return Ok(Vec::new());
        }
        let (owner, addresses) = (owner.clone(), addresses.to_vec());
        self.write("claim", addresses.len(), move |tx| {
            sessions::claim(tx, &owner, &addresses)
        })
        .await
    }

    async fn release_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Released>, StoreError> {
        check_batch("release", sessions.len())?;
        if sessions.is_empty() {
            self.environment("release")?;
            return Ok(Vec::new());
        }
        let (owner, sessions) = (owner.clone(), sessions.to_vec());
        self.write("release", sessions.len(), move |tx| {
            sessions::release(tx, &owner, &sessions)
        })
        .await
    }

    async fn restore_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Restored>, StoreError> {
        check_batch("restore", sessions.len())?;
        if sessions.is_empty() {
            self.environment("restore")?;
            return Ok(Vec::new());
        }
        let (owner, sessions) = (owner.clone(), sessions.to_vec());
        self.write("restore", sessions.len(), move |tx| {
            sessions::restore(tx, &owner, &sessions)
        })
        .await
    }

    async fn lookup_many(&self, addresses: &[Address]) -> Result<Vec<Option<Session>>, StoreError> {
        check_batch("lookup", addresses.len())?;
        let environment = self.environment("lookup")?;
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        let found = if addresses.len() <= INLINE_LOOKUPS_MAX {
            reads::lookup(&environment, &self.observer, addresses)?
        } else {
            let addresses = addresses.to_vec();
            let (shared, observer) = (Arc::clone(&environment), Arc::clone(&self.observer));
            in_pool("lookup", environment.timeout(), move || {
                reads::lookup(&shared, &observer, &addresses)
            })
            .await?
        };
        Ok(self.end_lapsed(&environment, found))
    }

    async fn reclaim(&self, budget: usize) -> Result<Reclaimed, StoreError> {
        let environment = self.environment("reclaim")?;
        let observer = Arc::clone(&self.observer);
        let timeout = environment.timeout();
        let lapsed = in_pool("reclaim", timeout, move || {
            reads::peers(&environment, &observer, "reclaim")
        })
        .await?
        .lapsed;
        self.write("reclaim", budget.min(BATCH_MAX), move |tx| {
            leases::reclaim(tx, &lapsed, budget)
        })
        .await
    }

    async fn close(&self) {
        let environment = self
            .environment
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // Other handles and calls under way keep it; the last of them ends it.
        let Some(environment) = environment.and_then(Arc::into_inner) else {
            return;
        };
        let timeout = environment.timeout();
        let Environment { writer, env, .. } = environment;
        drop(env);
        // Its last writes are done when the thread ends. Should another process hold the lock, it ends later.
        if let Some(thread) = writer.end() {
            let ended = tokio::task::spawn_blocking(move || thread.join().is_ok());
            let _ = tokio::time::timeout(timeout, ended).await;
        }
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Runs `read` on the runtime's pool of blocking threads.
async fn in_pool<T: Send + 'static>(
    operation: &'static str,
    timeout: Duration,
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::time::timeout(timeout, tokio::task::spawn_blocking(read)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            Err(StoreError::new(ErrorKind::Unexpected, operation, "the read did not end").with_source(error))
        }
        Err(_) => Err(StoreError::new(
            ErrorKind::Timeout,
            operation,
            "the disk or the thread pool did not answer in time",
        )
        .with_may_have_applied(false)),
    }
}
