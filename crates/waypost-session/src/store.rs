//! The trait that a datastore backend implements.

use core::fmt;
use core::time::Duration;

use async_trait::async_trait;
use waypost_types::{Address, Identity, Incarnation, Lease, Location, Owner, Seq, Session};

use crate::{ErrorKind, StoreError};

/// Most entries that one call of a batch method takes; a larger batch is an error of kind `LimitExceeded`.
pub const BATCH_MAX: usize = 1024;

/// Checks how many entries a batch has, for a backend to begin its batch methods with. `operation` is the method's name in the error.
///
/// # Errors
/// Of kind `LimitExceeded`, when there are more than [`BATCH_MAX`].
pub fn check_batch(operation: &'static str, len: usize) -> Result<(), StoreError> {
    if len <= BATCH_MAX {
        return Ok(());
    }
    let message = format!("a batch of {len} entries: send at most {BATCH_MAX} at a time");
    Err(StoreError::new(ErrorKind::LimitExceeded, operation, message))
}

/// What a backend promises, where backends differ. The conformance suite runs accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Each address's claims, releases and look-ups are linearizable. Where false they only converge: a claim reports
    /// the winner that it read back, and two servers may both believe for a moment that they won.
    pub linearizable: bool,
    /// Sessions and leases outlive the store handle, and every handle on the same URL sees the same records.
    pub shared: bool,
    /// Acknowledged records survive the datastore's own restart.
    pub durable: bool,
}

impl Capabilities {
    /// Everything promised.
    pub const FULL: Self = Self {
        linearizable: true,
        shared: true,
        durable: true,
    };

    /// The same with `linearizable` as given.
    #[must_use]
    pub const fn with_linearizable(mut self, linearizable: bool) -> Self {
        self.linearizable = linearizable;
        self
    }

    /// The same with `shared` as given.
    #[must_use]
    pub const fn with_shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// The same with `durable` as given.
    #[must_use]
    pub const fn with_durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }
}

/// What a claim did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Which claim of the address this is: greater than that of every claim before it.
    pub seq: Seq,
    /// The session that this claim replaced, whether or not its owner was still alive; `None` when the address was
    /// free. The winner uses it to tell the loser directly.
    pub displaced: Option<Session>,
}

/// What a release did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The session was this owner's with this seq, and is gone.
    Released,
    /// The address is free, or another owner's, or the same owner's by a newer claim. Nothing was changed.
    NotOwner,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// The session stands in the store, as it did before or put back.
    Held,
    /// A claim with a greater seq stands there, and nothing was changed: the client has moved.
    Lost(Session),
}

/// What became of one owner's renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The lease is this owner's and good for another term.
    Renewed,
    /// A newer incarnation of the same identity holds the lease. This owner is fenced and must stop serving.
    Superseded(Incarnation),
    /// The store does not know the owner (any more): its lease lapsed, was deregistered or was lost. A renewal never
    /// brings it back.
    Gone,
}

/// The answer to one heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewed {
    /// One entry for each owner asked about, in their order.
    pub renewals: Vec<Renewal>,
    /// Changes when the datastore may have lost acknowledged writes (another server process answers, it was emptied).
    /// Owners then [`restore`](SessionStore::restore_many) what they hold. Constant where that cannot happen.
    pub generation: u64,
}

/// What one step of reclaiming did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reclaimed {
    /// How many records were removed.
    pub removed: usize,
    /// Whether there may be more to remove.
    pub more: bool,
}

/// Who holds which client, and which servers are alive.
///
/// One record an address, `address -> (owner, seq)`, and one lease an identity. A session is valid only while the
/// lease of its owner (identity *and* incarnation) is live: a session of any other incarnation is invisible to
/// [`lookup_many`](Self::lookup_many) at once, and its record is removed later by [`reclaim`](Self::reclaim).
///
/// # Liveness without synchronised clocks
/// A lease ends when the datastore's own expiry says so, or when this handle has seen its counter stand still for longer
/// than its term, by this process's monotonic clock. So a handle that was opened a moment ago may take a dead server for
/// alive for up to one term; none ever takes a server for dead that renews in time.
///
/// # Errors
/// Every method fails with a [`StoreError`], whose kind says what to conclude. After a failed read nothing has changed.
/// After a failed write [`StoreError::may_have_applied`] says whether it may have taken effect: then it may still take
/// effect for a bounded time, and only a read tells.
/// A batch is not a transaction: when it fails, any part of it may have been applied, and each entry by itself wholly or
/// not at all. Every method may be called again after an error.
///
/// # Cancel safety
/// Dropping a future may or may not apply a write: treat it like an error that may have been applied. No other call is
/// disturbed, and the handle stays usable.
///
/// # Deadlines
/// Every call ends in bounded time (a backend's own time-out, 2 s by default), also when the datastore hangs.
///
/// # Batches
/// The hot methods take batches of up to [`BATCH_MAX`] entries, whose addresses are distinct, and answer in the order
/// of the entries. An empty batch is answered without asking the datastore.
#[async_trait]
pub trait SessionStore: fmt::Debug + Send + Sync {
    /// What this backend promises, where backends differ.
    fn capabilities(&self) -> Capabilities;

    /// Makes `identity` known at `location` and returns its new incarnation, greater than every one before it. An
    /// incarnation that was live until now is fenced: it learns it at its next renewal.
    ///
    /// `term` is how long each renewal is good for, in steps of a millisecond; at least 100 ms.
    async fn register(
        &self,
        identity: &Identity,
        location: &Location,
        term: Duration,
    ) -> Result<Incarnation, StoreError>;

    /// Renews the leases of `owners`, at most [`BATCH_MAX`], for another term and sets where they are reached: one
    /// heartbeat for all servers of a broker. A draining lease stays draining.
    async fn renew(&self, owners: &[Owner], location: &Location) -> Result<Renewed, StoreError>;

    /// Marks the owner's lease as draining: it still serves what it holds. Answers as a renewal and changes nothing but
    /// the state.
    async fn drain(&self, owner: &Owner) -> Result<Renewal, StoreError>;

    /// Ends the owner's lease now. Its sessions are invisible at once. Does nothing when a newer incarnation holds the
    /// lease.
    async fn deregister(&self, owner: &Owner) -> Result<(), StoreError>;

    /// The live leases, draining ones among them, in no particular order. An owner that is missing is dead.
    async fn peers(&self) -> Result<Vec<Lease>, StoreError>;

    /// Makes `owner` the holder of each address, whoever held it before. Its own older claim is displaced like anybody
    /// else's.
    ///
    /// Of two claims of one address the one with the greater seq stands. A claim by an owner whose lease is over
    /// makes an invisible record.
    async fn claim_many(&self, owner: &Owner, addresses: &[Address]) -> Result<Vec<Claimed>, StoreError>;

    /// Frees each address if it is held by exactly this owner with exactly this seq, atomically: a late disconnect never
    /// removes a newer session, neither another server's nor this server's newer connection.
    async fn release_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Released>, StoreError>;

    /// Puts back sessions which the datastore may have lost, each unless a claim with a greater seq stands there, and so
    /// also tells which of them have moved meanwhile. Writes only what is missing or older. Later claims of these
    /// addresses get a greater seq, as always.
    ///
    /// A session with the same seq that stands under an older incarnation of the same identity becomes this owner's: so a
    /// server that was fenced for a moment goes on with its clients under its new incarnation, except those that have
    /// moved.
    async fn restore_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Restored>, StoreError>;

    /// Who holds each address now: `None` when nobody does or its owner's lease is over.
    async fn lookup_many(&self, addresses: &[Address]) -> Result<Vec<Option<Session>>, StoreError>;

    /// Removes at most `budget` records of owners whose leases are over, without listing all keys and without ever
    /// removing a session of a live owner. Several processes may do it at once.
    async fn reclaim(&self, budget: usize) -> Result<Reclaimed, StoreError>;

    /// Ends what the handle holds (connections, threads, files). Later calls fail with kind `Unavailable`. A second call
    /// does nothing. Leases stay: see [`deregister`](Self::deregister).
    async fn close(&self);

    /// [`claim_many`](Self::claim_many) for one address.
    async fn claim(&self, owner: &Owner, address: &Address) -> Result<Claimed, StoreError> {
        only(
            self.claim_many(owner, core::slice::from_ref(address)).await?,
            "claim",
        )
    }

    /// [`release_many`](Self::release_many) for one session.
    async fn release(&self, owner: &Owner, address: &Address, seq: Seq) -> Result<Released, StoreError> {
        only(
            self.release_many(owner, &[(address.clone(), seq)]).await?,
            "release",
        )
    }

    /// [`lookup_many`](Self::lookup_many) for one address.
    async fn lookup(&self, address: &Address) -> Result<Option<Session>, StoreError> {
        only(self.lookup_many(core::slice::from_ref(address)).await?, "lookup")
    }
}

/// The one answer to a batch of one.
fn only<T>(mut answers: Vec<T>, operation: &'static str) -> Result<T, StoreError> {
    match (answers.pop(), answers.is_empty()) {
        (Some(answer), true) => Ok(answer),
        _ => Err(StoreError::new(
            ErrorKind::Unexpected,
            operation,
            "the backend did not answer a batch of one with one answer",
        )),
    }
}
