//! The store itself.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use waypost_session::{
    Capabilities, Claimed, ErrorKind, OpenFuture, Reclaimed, Registry, Released, Renewal, Renewed, Restored,
    SessionStore, StoreError, StoreUrl, check_batch,
};
use waypost_types::{Address, Identity, Incarnation, Lease, Location, Owner, Seq, Session};

use crate::evidence::Evidence;
use crate::exec::Call;
use crate::fault::Verb;
use crate::keys::{Keys, LEASES};
use crate::reclaim::Graveyard;
use crate::settings::{SCHEMES, Settings};
use crate::topology::Topology;

/// The session store on Redis or Valkey.
///
/// One handle for a process is enough: calls share one connection for each server. Works on any tokio runtime with time
/// and I/O enabled.
pub struct RedisStore {
    pub(crate) topology: Topology,
    pub(crate) keys: Keys,
    pub(crate) evidence: Evidence,
    pub(crate) graveyard: Graveyard,
    shown: String,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisStore").field(&self.shown).finish()
    }
}

impl RedisStore {
    /// Opens the store at a URL such as `redis://host:6379/0`, and asks it once whether it is there.
    ///
    /// # Errors
    /// `ConfigInvalid` when the URL is wrong, `PermissionDenied` when the credentials are, `Unavailable` when nothing
    /// answers within the time-out (at once when nothing listens), `Unsupported` when the server is too old.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::open(&StoreUrl::parse(url)?).await
    }

    /// The same for a URL that has been read.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        let topology = Topology::new(Settings::from_url(url)?)?;
        let keys = Keys::new(topology.prefix());
        let store = Self {
            topology,
            keys,
            evidence: Evidence::default(),
            graveyard: Graveyard::default(),
            shown: url.to_string(),
        };
        store.check(url).await?;
        Ok(store)
    }

    /// Adds this backend's schemes to a registry.
    pub fn register(registry: &mut Registry) -> &mut Registry {
        fn open(url: StoreUrl) -> OpenFuture {
            Box::pin(async move {
                let store: Arc<dyn SessionStore> = Arc::new(RedisStore::open(&url).await?);
                Ok(store)
            })
        }
        registry.register(&SCHEMES, open)
    }

    /// Whether the server that holds the leases answers, and knows what is needed.
    async fn check(&self, url: &StoreUrl) -> Result<(), StoreError> {
        let verb = Verb::read("open");
        let deadline = Instant::now() + self.topology.timeout();
        let call = Call::command(LEASES, "SCARD").arg(self.keys.members());
        match self.topology.run_each(vec![call], deadline).await.pop() {
            Some(Ok(_)) => Ok(()),
            Some(Err(mut fault)) => {
                if matches!(fault.kind, ErrorKind::Timeout | ErrorKind::Unavailable) {
                    fault.kind = ErrorKind::Unavailable;
                    fault.message.push_str(if url.scheme().starts_with("rediss") {
                        ": is the server up, and does it speak TLS at this address?"
                    } else {
                        ": is the server up, and is this its address?"
                    });
                }
                Err(fault.into_error(verb, false))
            }
            None => Err(crate::reply::strange().into_error(verb, false)),
        }
    }
}

#[async_trait]
impl SessionStore for RedisStore {
    /// Linearizable and shared. Not durable: whether records survive a restart is the server's configuration.
    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL.with_durable(false)
    }

    async fn register(
        &self,
        identity: &Identity,
        location: &Location,
        term: Duration,
    ) -> Result<Incarnation, StoreError> {
        self.register_one(identity, location, term).await
    }

    async fn renew(&self, owners: &[Owner], location: &Location) -> Result<Renewed, StoreError> {
        check_batch("renew", owners.len())?;
        self.renew_batch(owners, location).await
    }

    async fn drain(&self, owner: &Owner) -> Result<Renewal, StoreError> {
        self.drain_one(owner).await
    }

    async fn deregister(&self, owner: &Owner) -> Result<(), StoreError> {
        self.deregister_one(owner).await
    }

    async fn peers(&self) -> Result<Vec<Lease>, StoreError> {
        self.live_leases().await
    }

    async fn claim_many(&self, owner: &Owner, addresses: &[Address]) -> Result<Vec<Claimed>, StoreError> {
        check_batch("claim", addresses.len())?;
        self.claim_batch(owner, addresses).await
    }

    async fn release_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Released>, StoreError> {
        check_batch("release", sessions.len())?;
        self.release_batch(owner, sessions).await
    }

    async fn restore_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Restored>, StoreError> {
        check_batch("restore", sessions.len())?;
        self.restore_batch(owner, sessions).await
    }

    async fn lookup_many(&self, addresses: &[Address]) -> Result<Vec<Option<Session>>, StoreError> {
        check_batch("lookup", addresses.len())?;
        self.lookup_batch(addresses).await
    }

    async fn reclaim(&self, budget: usize) -> Result<Reclaimed, StoreError> {
        self.reclaim_some(budget).await
    }

    async fn close(&self) {
        self.topology.close();
    }
}
