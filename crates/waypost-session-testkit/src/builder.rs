//! What gives the suite its stores.

use core::fmt;
use core::time::Duration;
use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use waypost_session::{MemoryStore, Registry, SessionStore, StoreError, StoreUrl};

/// Why a datastore could not be started, in words for the person who runs the suite.
pub type StartError = Box<dyn Error + Send + Sync>;

/// Gives every case its datastore. Starting a fresh one for each case keeps the cases apart; a running one may serve all
/// of them too, for every case uses names that nobody has used before.
#[async_trait]
pub trait StoreBuilder: Send + Sync {
    /// Starts a datastore, or connects to one.
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError>;
}

/// A running datastore. Its drop stops what was started for it and removes its files.
#[async_trait]
pub trait Datastore: Send + Sync {
    /// Opens one more handle on the same records, as another process would.
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError>;

    /// A text, such as the password, that must appear in no `Debug` and no error.
    fn secret(&self) -> Option<&str> {
        None
    }

    /// How to take the datastore away and bring it back; `None` when that cannot be done.
    fn outage(&self) -> Option<&dyn Outage> {
        None
    }

    /// The lease term for cases that wait for one to lapse. Short, but long enough for a busy machine to renew in time.
    fn short_term(&self) -> Duration {
        Duration::from_millis(500)
    }
}

/// Takes a datastore away and brings it back at the same place.
#[async_trait]
pub trait Outage: Send + Sync {
    /// Makes it unreachable; returns when it is.
    async fn stop(&self) -> Result<(), StartError>;

    /// Makes it reachable again; returns when it is.
    async fn start(&self) -> Result<(), StartError>;
}

/// In-memory stores, one a case.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryBuilder;

#[async_trait]
impl StoreBuilder for MemoryBuilder {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        Ok(Box::new(Memory(MemoryStore::new())))
    }
}

struct Memory(MemoryStore);

#[async_trait]
impl Datastore for Memory {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        Ok(Arc::new(self.0.clone()))
    }
}

/// The datastore at a URL, which runs already and serves all cases.
#[derive(Clone)]
pub struct ByUrl {
    registry: Registry,
    url: String,
    secret: Option<String>,
}

impl ByUrl {
    /// Opens `url` by the backends of `registry`.
    ///
    /// # Errors
    /// `ConfigInvalid` when the URL cannot be read.
    pub fn new(registry: Registry, url: &str) -> Result<Self, StoreError> {
        let secret = StoreUrl::parse(url)?
            .password()
            .map(|secret| secret.expose().to_owned());
        Ok(Self {
            registry,
            url: url.to_owned(),
            secret: secret.filter(|secret| !secret.is_empty()),
        })
    }
}

impl fmt::Debug for ByUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByUrl")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl StoreBuilder for ByUrl {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        if self.url == "memory:" {
            // Each opening of this URL is a new store; the suite wants several handles on one.
            return MemoryBuilder.start().await;
        }
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Datastore for ByUrl {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        self.registry.open(&self.url).await
    }

    fn secret(&self) -> Option<&str> {
        self.secret.as_deref()
    }
}
