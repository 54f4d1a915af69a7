//! What a case is given.

use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::join_all;
use waypost_session::{Capabilities, SessionStore, StoreError};
use waypost_types::{Address, Identity, Location, Owner};

use crate::{Datastore, Outage, Rng, Stop};

/// Long enough never to lapse within a case.
const LONG_TERM: Duration = Duration::from_secs(120);
/// How long something may take that ought to happen soon.
const SOON: Duration = Duration::from_secs(20);

/// What a case is given: handles, and names that nobody has used before.
pub struct Ctx {
    datastore: Box<dyn Datastore>,
    store: Arc<dyn SessionStore>,
    prefix: String,
    seed: u64,
    /// The servers that were registered.
    owners: Mutex<Vec<Owner>>,
}

impl Ctx {
    /// Opens the first handle on `datastore`. `seed` decides everything random in the case but the names' prefix.
    ///
    /// # Errors
    /// What the store says when it cannot be opened.
    pub async fn new(datastore: Box<dyn Datastore>, seed: u64) -> Result<Self, StoreError> {
        let store = datastore.open().await?;
        Ok(Self {
            datastore,
            store,
            prefix: format!("{:012x}", Rng::fresh_seed() >> 16),
            seed,
            owners: Mutex::default(),
        })
    }

    /// Ends what the case has registered, so that a datastore which others use is not left with servers that count as live for
    /// minutes. Nothing depends on it.
    pub(crate) async fn clean_up(&self) {
        let owners = core::mem::take(&mut *self.owners.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(owners.iter().map(|owner| self.store.deregister(owner))).await;
    }

    /// The first handle.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn SessionStore> {
        &self.store
    }

    /// One more handle on the same records.
    ///
    /// # Errors
    /// What the store says when it cannot be opened.
    pub async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        self.datastore.open().await
    }

    /// `count` handles, the first among them.
    ///
    /// # Errors
    /// What the store says when it cannot be opened.
    pub async fn handles(&self, count: usize) -> Result<Vec<Arc<dyn SessionStore>>, StoreError> {
        let mut handles = vec![Arc::clone(&self.store)];
        while handles.len() < count {
            handles.push(self.open().await?);
        }
        Ok(handles)
    }

    /// What the store promises.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    /// The text that must appear nowhere.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        self.datastore.secret()
    }

    /// How to take the datastore away and bring it back.
    ///
    /// # Errors
    /// [`Stop::NotApplicable`] when the builder cannot.
    pub fn outage(&self) -> Result<&dyn Outage, Stop> {
        self.datastore
            .outage()
            .ok_or_else(|| Stop::not_applicable("this builder cannot stop its datastore and start it again"))
    }

    /// A short lease term, for waiting until it is over.
    #[must_use]
    pub fn short_term(&self) -> Duration {
        self.datastore.short_term()
    }

    /// The seed of this run.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Random numbers of this run's seed.
    #[must_use]
    pub const fn rng(&self) -> Rng {
        Rng::new(self.seed)
    }

    /// The text before all names of this case; nobody has used it before. 12 bytes.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// This case's address of that name.
    ///
    /// # Errors
    /// When it gets too long.
    pub fn address(&self, name: &str) -> Result<Address, Stop> {
        Ok(Address::new(&format!("{}{name}", self.prefix))?)
    }

    /// `count` addresses of this case.
    ///
    /// # Errors
    /// When a name gets too long.
    pub fn addresses(&self, name: &str, count: usize) -> Result<Vec<Address>, Stop> {
        (0..count)
            .map(|index| self.address(&format!("-{name}-{index}")))
            .collect()
    }

    /// This case's identity of that name.
    ///
    /// # Errors
    /// When it gets too long.
    pub fn identity(&self, name: &str) -> Result<Identity, Stop> {
        Ok(Identity::new(&format!("{}{name}", self.prefix))?)
    }

    /// Where the servers of this case say that they are.
    ///
    /// # Errors
    /// Never in fact.
    pub fn location(&self) -> Result<Location, Stop> {
        Ok(Location::new("tcp://192.0.2.1:4500")?)
    }

    /// Registers this case's server of that name, for longer than the case takes.
    ///
    /// # Errors
    /// What the store says.
    pub async fn server(&self, name: &str) -> Result<Owner, Stop> {
        self.server_for(name, LONG_TERM).await
    }

    /// Registers this case's server of that name for `term`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn server_for(&self, name: &str, term: Duration) -> Result<Owner, Stop> {
        let identity = self.identity(name)?;
        let incarnation = self.store.register(&identity, &self.location()?, term).await?;
        let owner = Owner::new(identity, incarnation);
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.push(owner.clone());
        Ok(owner)
    }

    /// Asks again and again until the answer is yes.
    ///
    /// # Errors
    /// What `ask` says, or a failure that names `what` when it does not come true soon.
    pub async fn eventually<F>(&self, what: &str, mut ask: impl FnMut() -> F + Send) -> Result<(), Stop>
    where
        F: Future<Output = Result<bool, Stop>> + Send,
    {
        let start = Instant::now();
        while !ask().await? {
            if start.elapsed() > SOON {
                return Err(Stop::failed(format!("not within {} s: {what}", SOON.as_secs())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl core::fmt::Debug for Ctx {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Ctx")
            .field("store", &self.store)
            .field("prefix", &self.prefix)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
