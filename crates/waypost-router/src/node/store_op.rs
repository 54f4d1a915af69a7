//! What the router asks of the session store, and what comes back.

use waypost_session::{Claimed, Reclaimed, Released, Renewal, Renewed, Restored};
use waypost_types::{Address, Identity, Incarnation, Lease, Location, Owner, Seq, Session};

/// One call of the session store. Batches hold at most 1,024 distinct addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreOp {
    /// Register an identity.
    Register {
        /// Who.
        identity: Identity,
        /// Where it is reached.
        location: Location,
        /// How long a renewal is good for.
        term: core::time::Duration,
    },
    /// Renew leases.
    Renew {
        /// Whose.
        owners: Vec<Owner>,
        /// Where they are reached.
        location: Location,
    },
    /// Mark a lease as draining.
    Drain(Owner),
    /// End a lease.
    Deregister(Owner),
    /// All live leases.
    Peers,
    /// Claim addresses.
    Claim(Owner, Vec<Address>),
    /// Release sessions.
    Release(Owner, Vec<(Address, Seq)>),
    /// Restore sessions.
    Restore(Owner, Vec<(Address, Seq)>),
    /// Look addresses up.
    Lookup(Vec<Address>),
    /// Remove records of dead owners, at most this many.
    Reclaim(usize),
}

/// The datastore's answer to a [`StoreOp`] of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreReply {
    /// The new incarnation.
    Registered(Incarnation),
    /// One entry an owner.
    Renewed(Renewed),
    /// How the lease stands.
    Drained(Renewal),
    /// Done.
    Deregistered,
    /// All live leases.
    Peers(Vec<Lease>),
    /// One entry an address.
    Claimed(Vec<Claimed>),
    /// One entry an address.
    Released(Vec<Released>),
    /// One entry an address.
    Restored(Vec<Restored>),
    /// One entry an address.
    Found(Vec<Option<Session>>),
    /// How much was removed.
    Reclaimed(Reclaimed),
}

/// The datastore did not answer, or said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreFailure;
