//! The store itself.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, MutexGuard};
use waypost_session::{
    Capabilities, Claimed, ErrorKind, OpenFuture, Reclaimed, Registry, Released, Renewal, Renewed, Restored,
    SessionStore, StoreError, StoreUrl, check_batch,
};
use waypost_types::{Address, Identity, Incarnation, Lease, Location, Owner, Seq, Session};

use crate::bucket;
use crate::fault::{Fault, Verb};
use crate::journal::Journals;
use crate::key;
use crate::liveness::Liveness;
use crate::object::Objects;
use crate::reasons::Reasons;
use crate::reclaim::Graveyard;
use crate::renewals::Renewals;
use crate::settings::{SCHEMES, Settings};
use crate::stamp::Stamps;
use crate::tell::Waiting;

/// How many addresses can be changed at once by one handle.
const TURNS: usize = 1024;

/// The session store on Riak KV.
///
/// One handle for a process is enough. Works on any tokio runtime with time and I/O enabled.
pub struct RiakStore {
    pub(crate) objects: Objects,
    pub(crate) stamps: Stamps,
    pub(crate) liveness: Liveness,
    pub(crate) renewals: Renewals,
    pub(crate) journals: Journals,
    pub(crate) graveyard: Mutex<Graveyard>,
    /// Registrations by one handle come one after the other, and so do its changes to lists: it need not race itself.
    pub(crate) registering: Mutex<()>,
    pub(crate) listing: Mutex<()>,
    /// The same for changes of one address: by a hash of it.
    turns: Vec<Mutex<()>>,
    pub(crate) marker: AtomicU64,
    pub(crate) waiting: Waiting,
    pub(crate) reasons: Reasons,
    shown: String,
}

impl fmt::Debug for RiakStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RiakStore").field(&self.shown).finish()
    }
}

impl RiakStore {
    /// Opens the store at a URL such as `riak+http://host:8098/bucket`, and makes its bucket fit for use.
    ///
    /// # Errors
    /// `ConfigInvalid` when the URL is wrong or the bucket must not be used, `PermissionDenied` when the credentials are
    /// wrong, `Unavailable` when no node answers within the time-out (at once when none listens), or none is ready within eight
    /// time-outs or 20 s: nodes that start are waited for.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::open(&StoreUrl::parse(url)?).await
    }

    /// The same for a URL that has been read.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        let settings = Settings::from_url(url)?;
        let turn = usize::from(rand::random::<u16>());
        let store = Self {
            objects: Objects::new(&settings, turn)?,
            stamps: Stamps::new(rand::random()),
            liveness: Liveness::new(),
            renewals: Renewals::default(),
            journals: Journals::default(),
            graveyard: Mutex::default(),
            registering: Mutex::default(),
            listing: Mutex::default(),
            turns: (0..TURNS).map(|_| Mutex::default()).collect(),
            marker: AtomicU64::new(0),
            waiting: Waiting::default(),
            reasons: Reasons::new(settings.timeout),
            shown: url.to_string(),
        };
        store.prepare(&settings).await.map_err(|mut fault| {
            if matches!(fault.kind, ErrorKind::Timeout | ErrorKind::Unavailable) {
                fault.kind = ErrorKind::Unavailable;
                fault.message.push_str(if settings.tls {
                    ": is Riak up, and does it speak TLS at this address?"
                } else {
                    ": is Riak up, and is this the address of its HTTP interface (port 8098 by default)?"
                });
            }
            fault.into_error(Verb::read("open"))
        })?;
        Ok(store)
    }

    /// Adds this backend's schemes to a registry.
    pub fn register(registry: &mut Registry) -> &mut Registry {
        fn open(url: StoreUrl) -> OpenFuture {
            Box::pin(async move {
                let store: Arc<dyn SessionStore> = Arc::new(RiakStore::open(&url).await?);
                Ok(store)
            })
        }
        registry.register(&SCHEMES, open)
    }

    async fn prepare(&self, settings: &Settings) -> Result<(), Fault> {
        let deadline = self.objects.opening_deadline();
        bucket::prepare(&self.objects, settings, deadline).await?;
        // Properties may be read before objects can be, and quorums are refused here.
        self.objects.get(key::MARKER, deadline).await?;
        self.check_marker(self.objects.deadline()).await;
        self.objects.opened();
        Ok(())
    }

    /// Waits until nothing else in this handle changes the address.
    pub(crate) async fn turn(&self, address: &Address) -> MutexGuard<'_, ()> {
        let hash = address.as_str().bytes().fold(0_usize, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        self.turns[hash % TURNS].lock().await
    }

    /// Changes with every reason to check what one holds.
    pub(crate) fn generation(&self) -> u64 {
        let met = self.liveness.risen().wrapping_add(self.objects.reunions());
        let reasons = self.reasons.count(met, tokio::time::Instant::now());
        self.marker
            .load(Ordering::Relaxed)
            .wrapping_add(reasons.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn open_for(&self, verb: Verb) -> Result<(), StoreError> {
        if self.objects.is_closed() {
            return Err(Fault::new(ErrorKind::Unavailable, "the store is closed").into_error(verb));
        }
        Ok(())
    }

    fn check_batch(&self, verb: Verb, len: usize) -> Result<(), StoreError> {
        self.open_for(verb)?;
        check_batch(verb.name, len)
    }
}

#[async_trait]
impl SessionStore for RiakStore {
    /// Shared, and durable with a backend that is (any but `memory`). Not linearizable: records converge.
    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL.with_linearizable(false)
    }

    async fn register(
        &self,
        identity: &Identity,
        location: &Location,
        term: Duration,
    ) -> Result<Incarnation, StoreError> {
        let verb = Verb::write("register");
        self.open_for(verb)?;
        let registered = self.register_one(identity, location, term).await;
        registered.map_err(|fault| fault.into_error(verb))
    }

    async fn renew(&self, owners: &[Owner], location: &Location) -> Result<Renewed, StoreError> {
        let verb = Verb::write("renew");
        self.check_batch(verb, owners.len())?;
        let renewed = self.renew_batch(owners, location).await;
        renewed.map_err(|fault| fault.into_error(verb))
    }

    async fn drain(&self, owner: &Owner) -> Result<Renewal, StoreError> {
        let verb = Verb::write("drain");
        self.open_for(verb)?;
        self.drain_one(owner)
            .await
            .map_err(|fault| fault.into_error(verb))
    }

    async fn deregister(&self, owner: &Owner) -> Result<(), StoreError> {
        let verb = Verb::write("deregister");
        self.open_for(verb)?;
        self.deregister_one(owner)
            .await
            .map_err(|fault| fault.into_error(verb))
    }

    async fn peers(&self) -> Result<Vec<Lease>, StoreError> {
        let verb = Verb::read("peers");
        self.open_for(verb)?;
        self.live_leases().await.map_err(|fault| fault.into_error(verb))
    }

    async fn claim_many(&self, owner: &Owner, addresses: &[Address]) -> Result<Vec<Claimed>, StoreError> {
        let verb = Verb::write("claim");
        self.check_batch(verb, addresses.len())?;
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        let claimed = self.claim_batch(owner, addresses).await;
        // Another part of the batch may have been applied.
        claimed.map_err(|fault| fault.sent(addresses.len() > 1).into_error(verb))
    }

    async fn release_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Released>, StoreError> {
        let verb = Verb::write("release");
        self.check_batch(verb, sessions.len())?;
        let released = self.release_batch(owner, sessions).await;
        released.map_err(|fault| fault.sent(sessions.len() > 1).into_error(verb))
    }

    async fn restore_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Restored>, StoreError> {
        let verb = Verb::write("restore");
        self.check_batch(verb, sessions.len())?;
        let restored = self.restore_batch(owner, sessions).await;
        restored.map_err(|fault| fault.sent(sessions.len() > 1).into_error(verb))
    }

    async fn lookup_many(&self, addresses: &[Address]) -> Result<Vec<Option<Session>>, StoreError> {
        let verb = Verb::read("lookup");
        self.check_batch(verb, addresses.len())?;
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        self.lookup_batch(addresses)
            .await
            .map_err(|fault| fault.into_error(verb))
    }

    async fn reclaim(&self, budget: usize) -> Result<Reclaimed, StoreError> {
        let verb = Verb::write("reclaim");
        self.open_for(verb)?;
        self.reclaim_some(budget)
            .await
            .map_err(|fault| fault.into_error(verb))
    }

    async fn close(&self) {
        self.objects.close();
    }
}
