//! What is written about leases.

use core::time::Duration;

use waypost_session::{Reclaimed, Renewal};
use waypost_types::{Identity, Incarnation, Lease, LeaseState, Location, Owner};

use crate::codec::{
    LeaseRef, decode_address, decode_lease, decode_owner_key, decode_session, encode_lease, owner_key,
    readable,
};
use crate::error::Failure;
use crate::transaction::Transaction;

/// Most records that one transaction reclaims, so that claims need not wait long for its end.
const RECLAIM_RECORDS_MAX: usize = 2048;
/// Most owners that one transaction of reclaiming looks at.
const RECLAIM_OWNERS_MAX: usize = 256;

/// The counter of a lease that was never renewed.
pub(crate) const FIRST_COUNTER: u64 = 1;

/// A lease that an observer has seen standing still for longer than its term.
#[derive(Debug, Clone)]
pub(crate) struct Lapsed {
    pub(crate) owner: Owner,
    pub(crate) counter: u64,
}

impl From<Lease> for Lapsed {
    fn from(lease: Lease) -> Self {
        Self {
            owner: lease.owner,
            counter: lease.counter,
        }
    }
}

pub(crate) fn register(
    tx: &mut Transaction<'_>,
    identity: &Identity,
    location: &Location,
    term_ms: u64,
) -> Result<Incarnation, Failure> {
    let key = identity.as_str().as_bytes();
    // A lease that cannot be read is replaced like any other; whose sessions it kept alive is not known any more.
    let before = match tx.tables.leases.get(&tx.txn, key)? {
        Some(bytes) => readable(decode_lease(bytes)).map(|lease| lease.incarnation),
        None => None,
    };
    let incarnation = tx.next_incarnation()?;
    if let Some(before) = before {
        tx.bury(&Owner::new(identity.clone(), before))?;
    }
    let lease = LeaseRef {
        incarnation,
        counter: FIRST_COUNTER,
        state: LeaseState::Live,
        term_ms,
        location: location.as_str(),
    };
    encode_lease(&mut tx.value, &lease);
    tx.tables.leases.put(&mut tx.txn, key, &tx.value)?;
    Ok(incarnation)
}

/// Renews, and says what an owner that was renewed has now: counter and term.
///
/// An owner whose lease stood still for longer than its term, but is still there, is renewed: nobody has looked
/// meanwhile, so nobody has taken it for dead. Whoever does ends the lease, see [`end_lapsed`].
pub(crate) fn renew(
    tx: &mut Transaction<'_>,
    owner: &Owner,
    location: &Location,
) -> Result<(Renewal, Option<(u64, Duration)>), Failure> {
    let key = owner.identity.as_str().as_bytes();
    let lease = match held_by(tx.tables.leases.get(&tx.txn, key)?, owner) {
        Ok(lease) => lease,
        Err(answer) => return Ok((answer, None)),
    };
    let renewed = LeaseRef {
        counter: lease.counter.wrapping_add(1),
        location: location.as_str(),
        ..lease
    };
    encode_lease(&mut tx.value, &renewed);
    let (counter, term) = (renewed.counter, renewed.term());
    tx.tables.leases.put(&mut tx.txn, key, &tx.value)?;
    Ok((Renewal::Renewed, Some((counter, term))))
}

pub(crate) fn drain(tx: &mut Transaction<'_>, owner: &Owner) -> Result<Renewal, Failure> {
    let key = owner.identity.as_str().as_bytes();
    let lease = match held_by(tx.tables.leases.get(&tx.txn, key)?, owner) {
        Ok(lease) => lease,
        Err(answer) => return Ok(answer),
    };
    encode_lease(
        &mut tx.value,
        &LeaseRef {
            state: LeaseState::Draining,
            ..lease
        },
    );
    tx.tables.leases.put(&mut tx.txn, key, &tx.value)?;
    Ok(Renewal::Renewed)
}

pub(crate) fn deregister(tx: &mut Transaction<'_>, owner: &Owner) -> Result<(), Failure> {
    if lease_is_of(tx, owner)? {
        end(tx, owner)?;
    }
    Ok(())
}

/// Whether the lease of the owner's identity is this very owner's.
pub(crate) fn lease_is_of(tx: &Transaction<'_>, owner: &Owner) -> Result<bool, Failure> {
    let lease = tx
        .tables
        .leases
        .get(&tx.txn, owner.identity.as_str().as_bytes())?;
    Ok(held_by(lease, owner).is_ok())
}

/// The lease if it is the owner's, and otherwise what a renewal answers.
fn held_by<'a>(lease: Option<&'a [u8]>, owner: &Owner) -> Result<LeaseRef<'a>, Renewal> {
    let Some(lease) = lease.and_then(|bytes| readable(decode_lease(bytes))) else {
        return Err(Renewal::Gone);
    };
    if lease.incarnation == owner.incarnation {
        Ok(lease)
    } else if lease.incarnation > owner.incarnation {
        Err(Renewal::Superseded(lease.incarnation))
    } else {
        // An owner from an environment that was lost, or made up.
        Err(Renewal::Gone)
    }
}

fn end(tx: &mut Transaction<'_>, owner: &Owner) -> Result<(), Failure> {
    tx.tables
        .leases
        .delete(&mut tx.txn, owner.identity.as_str().as_bytes())?;
    tx.bury(owner)
}

/// Ends the leases that lapsed and have not been renewed meanwhile.
pub(crate) fn end_lapsed(tx: &mut Transaction<'_>, lapsed: &[Lapsed]) -> Result<(), Failure> {
    for Lapsed { owner, counter } in lapsed {
        let lease = tx
            .tables
            .leases
            .get(&tx.txn, owner.identity.as_str().as_bytes())?;
        if held_by(lease, owner).is_ok_and(|lease| lease.counter == *counter) {
            end(tx, owner)?;
        }
    }
    Ok(())
}

/// Ends the leases that lapsed, and removes up to `budget` sessions of the dead.
pub(crate) fn reclaim(
    tx: &mut Transaction<'_>,
    lapsed: &[Lapsed],
    budget: usize,
) -> Result<Reclaimed, Failure> {
    end_lapsed(tx, lapsed)?;
    let mut left = budget.min(RECLAIM_RECORDS_MAX);
    let mut removed = 0;
    let mut more = false;
    for _ in 0..RECLAIM_OWNERS_MAX {
        let Some((key, _)) = tx.tables.dead.first(&tx.txn)? else {
            more = false;
            break;
        };
        more = true;
        let key = key.to_vec();
        // A key that cannot be read names nobody. An owner whose lease is live can only be here by mistake.
        let owner = match decode_owner_key(&key) {
            Ok((owner, [])) if !lease_is_of(tx, &owner)? => owner,
            _ => {
                tx.tables.dead.delete(&mut tx.txn, &key)?;
                continue;
            }
        };
        let (of_this_one, exhausted) = reclaim_owner(tx, &owner, left)?;
        removed += of_this_one;
        left -= of_this_one;
        if !exhausted {
            break;
        }
        tx.tables.dead.delete(&mut tx.txn, &key)?;
        more = !tx.tables.dead.is_empty(&tx.txn)?;
    }
    Ok(Reclaimed { removed, more })
}

/// Removes up to `budget` of the owner's sessions; says how many, and whether there are no others.
fn reclaim_owner(tx: &mut Transaction<'_>, owner: &Owner, budget: usize) -> Result<(usize, bool), Failure> {
    let mut prefix = Vec::new();
    owner_key(&mut prefix, owner.identity.as_str(), owner.incarnation);
    let mut held = Vec::new();
    let mut exhausted = true;
    for entry in tx.tables.held.prefix_iter(&tx.txn, &prefix)? {
        if held.len() >= budget {
            exhausted = false;
            break;
        }
        let (key, address) = entry?;
        held.push((key.to_vec(), address.to_vec()));
    }
    for (key, address) in &held {
        // An address that cannot be read is not even looked up. A session that cannot be read is nobody's: its next
        // claim replaces it.
        if decode_address(address).is_ok()
            && let Some(bytes) = tx.tables.sessions.get(&tx.txn, address)?
            && let Ok(session) = decode_session(bytes)
            && session.is_held_by(owner)
        {
            tx.tables.sessions.delete(&mut tx.txn, address)?;
        }
        tx.tables.held.delete(&mut tx.txn, key)?;
    }
    Ok((held.len(), exhausted))
}
