//! The store itself.

use core::fmt;
use core::time::Duration;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};
use waypost_session::{
    BATCH_MAX, Capabilities, Claimed, ErrorKind, LeaseWatch, OpenFuture, ProcessClock, Reclaimed, Registry,
    Released, Renewal, Renewed, Restored, SessionStore, StoreError, StoreUrl, check_batch,
};
use waypost_types::{Address, Identity, Incarnation, Lease, Location, Owner, Seq, Session};

use crate::client::Client;
use crate::fault::{Fault, Verb};
use crate::index::Index;
use crate::keys::Keys;
use crate::members;
use crate::reclaim::Graveyard;
use crate::sdk::Docs;
use crate::settings::{SCHEMES, Settings};

/// How long a network may hold a write back.
const REST_MIN: Duration = Duration::from_secs(10);
/// How much longer a call may take for each entry.
const PER_ENTRY: Duration = Duration::from_millis(12);
/// As what a call counts that does as much as there is to do.
const MANY: usize = BATCH_MAX;

/// The session store on Couchbase Server.
///
/// One handle for a process is enough: calls share its connections. Works on any tokio runtime with time and I/O enabled,
/// and spawns tasks there, so it must be opened inside of one.
pub struct CouchbaseStore {
    pub(crate) client: Arc<Client>,
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) index: Index,
    pub(crate) graveyard: Graveyard,
    pub(crate) watch: Mutex<LeaseWatch>,
    pub(crate) clock: ProcessClock,
    /// Longer than any call lasts.
    pub(crate) rest: Duration,
    shown: String,
}

impl fmt::Debug for CouchbaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CouchbaseStore").field(&self.shown).finish()
    }
}

impl CouchbaseStore {
    /// Opens the store at a URL such as `couchbase://user:password@host/bucket`, and checks that the bucket and the
    /// collection are there and answer. Ends within twice the time-out, or ten seconds where that is more; at once when
    /// nothing listens, or when the server refuses the password, the bucket or the collection (by `couchbases` without a
    /// `ca-file` such a refusal is only told from silence by time).
    ///
    /// # Errors
    /// `ConfigInvalid` when the URL is wrong or the bucket, scope or collection does not exist, `PermissionDenied` when the
    /// credentials are wrong, `Unavailable` when nothing answers in time.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::open(&StoreUrl::parse(url)?).await
    }

    /// The same for a URL that has been read.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        let settings = Settings::from_url(url)?;
        let keys = Keys::new(&settings.prefix);
        Self::with_keys(settings, keys, url.to_string()).await
    }

    pub(crate) async fn with_keys(settings: Settings, keys: Keys, shown: String) -> Result<Self, StoreError> {
        let wrong = |fault: Fault| fault.into_error(Verb::read("open"), false);
        let client = Client::connect(settings.clone(), keys.members())
            .await
            .map_err(wrong)?;
        let deadline = Instant::now() + settings.timeout;
        let docs = client.docs().ok_or_else(|| wrong(Fault::closed()))?;
        // Makes the mark that tells when the bucket was emptied, and shows that the collection can be written.
        members::read(&docs, &keys, deadline).await.map_err(wrong)?;
        Ok(Self {
            client,
            rest: longest(&settings, MANY) + settings.timeout + REST_MIN,
            settings,
            keys,
            index: Index::default(),
            graveyard: Graveyard::default(),
            watch: Mutex::default(),
            clock: ProcessClock::new(),
            shown,
        })
    }

    /// Adds this backend's schemes to a registry.
    pub fn register(registry: &mut Registry) -> &mut Registry {
        fn open(url: StoreUrl) -> OpenFuture {
            Box::pin(async move {
                let store: Arc<dyn SessionStore> = Arc::new(CouchbaseStore::open(&url).await?);
                Ok(store)
            })
        }
        registry.register(&SCHEMES, open)
    }

    /// Runs one verb for so many entries on the open collection, within its time.
    async fn run<T>(
        &self,
        verb: Verb,
        entries: usize,
        call: impl AsyncFnOnce(&Docs, Instant) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let Some(docs) = self.client.docs() else {
            return Err(Fault::closed().into_error(verb, false));
        };
        let deadline = Instant::now() + longest(&self.settings, entries);
        let result = timeout_at(deadline, call(&docs, deadline)).await;
        let result = result.unwrap_or_else(|_| Err(Fault::late()));
        result.map_err(|fault| {
            if fault.kind == ErrorKind::Timeout {
                self.client.was_late();
            }
            // Of a batch, or of the several writes of one change, another part may have been applied.
            fault.into_error(verb, true)
        })
    }
}

/// How long a call for so many entries may take: on a slow node those of a batch are served one after the other.
fn longest(settings: &Settings, entries: usize) -> Duration {
    settings.timeout + PER_ENTRY * u32::try_from(entries).unwrap_or(u32::MAX)
}

#[async_trait]
impl SessionStore for CouchbaseStore {
    /// Linearizable as long as no failover loses writes, and shared. Durable when the URL asks for writes to be persisted.
    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL.with_durable(self.settings.durability.persists())
    }

    async fn register(
        &self,
        identity: &Identity,
        location: &Location,
        term: Duration,
    ) -> Result<Incarnation, StoreError> {
        self.run(Verb::write("register"), 1, async |docs, deadline| {
            self.register_one(docs, identity, location, term, deadline).await
        })
        .await
    }

    async fn renew(&self, owners: &[Owner], location: &Location) -> Result<Renewed, StoreError> {
        check_batch("renew", owners.len())?;
        self.run(Verb::write("renew"), owners.len(), async |docs, deadline| {
            self.renew_batch(docs, owners, location, deadline).await
        })
        .await
    }

    async fn drain(&self, owner: &Owner) -> Result<Renewal, StoreError> {
        self.run(Verb::write("drain"), 1, async |docs, deadline| {
            self.drain_one(docs, owner, deadline).await
        })
        .await
    }

    async fn deregister(&self, owner: &Owner) -> Result<(), StoreError> {
        self.run(Verb::write("deregister"), 1, async |docs, deadline| {
            self.deregister_one(docs, owner, deadline).await
        })
        .await
    }

    async fn peers(&self) -> Result<Vec<Lease>, StoreError> {
        self.run(Verb::read("peers"), MANY, async |docs, deadline| {
            self.live_leases(docs, deadline).await
        })
        .await
    }

    async fn claim_many(&self, owner: &Owner, addresses: &[Address]) -> Result<Vec<Claimed>, StoreError> {
        check_batch("claim", addresses.len())?;
        self.run(Verb::write("claim"), addresses.len(), async |docs, deadline| {
            self.claim_batch(docs, owner, addresses, deadline).await
        })
        .await
    }

    async fn release_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Released>, StoreError> {
        check_batch("release", sessions.len())?;
        self.run(Verb::write("release"), sessions.len(), async |docs, deadline| {
            self.release_batch(docs, owner, sessions, deadline).await
        })
        .await
    }

    async fn restore_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Restored>, StoreError> {
        check_batch("restore", sessions.len())?;
        self.run(Verb::write("restore"), sessions.len(), async |docs, deadline| {
            self.restore_batch(docs, owner, sessions, deadline).await
        })
        .await
    }

    async fn lookup_many(&self, addresses: &[Address]) -> Result<Vec<Option<Session>>, StoreError> {
        check_batch("lookup", addresses.len())?;
        self.run(Verb::read("lookup"), addresses.len(), async |docs, deadline| {
            self.lookup_batch(docs, addresses, deadline).await
        })
        .await
    }

    async fn reclaim(&self, budget: usize) -> Result<Reclaimed, StoreError> {
        self.run(Verb::write("reclaim"), MANY, async |docs, deadline| {
            self.reclaim_some(docs, budget, deadline).await
        })
        .await
    }

    async fn close(&self) {
        self.client.close();
    }
}
