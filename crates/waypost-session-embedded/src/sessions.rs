//! What is written about sessions.
//!
//! Two tables change together, in one transaction: `sessions`, and `held`, which mirrors it by owner.

use waypost_session::{Claimed, ErrorKind, Released, Restored};
use waypost_types::{Address, Owner, Seq, Session};

use crate::codec::{decode_session, encode_session, held_key, readable};
use crate::error::Failure;
use crate::leases::lease_is_of;
use crate::transaction::{CLOCK_MAX, Transaction};

pub(crate) fn claim(
    tx: &mut Transaction<'_>,
    owner: &Owner,
    addresses: &[Address],
) -> Result<Vec<Claimed>, Failure> {
    tx.ask_for_room()?;
    bury_unless_leased(tx, owner)?;
    let mut claimed = Vec::with_capacity(addresses.len());
    for address in addresses {
        let before = read(tx, address)?;
        let seq = tx.next_seq()?;
        write(tx, owner, address, seq, seq.0, before.as_ref())?;
        claimed.push(Claimed {
            seq,
            displaced: before.map(|before| before.session),
        });
    }
    Ok(claimed)
}

pub(crate) fn release(
    tx: &mut Transaction<'_>,
    owner: &Owner,
    sessions: &[(Address, Seq)],
) -> Result<Vec<Released>, Failure> {
    let mut released = Vec::with_capacity(sessions.len());
    for (address, seq) in sessions {
        let key = address.as_str().as_bytes();
        let slot = tx
            .tables
            .sessions
            .get(&tx.txn, key)?
            .and_then(|bytes| readable(decode_session(bytes)))
            .filter(|session| session.is_held_by(owner) && session.seq == *seq)
            .map(|session| session.slot);
        released.push(match slot {
            Some(slot) => {
                tx.tables.sessions.delete(&mut tx.txn, key)?;
                strike(tx, owner, slot)?;
                Released::Released
            }
            None => Released::NotOwner,
        });
    }
    Ok(released)
}

pub(crate) fn restore(
    tx: &mut Transaction<'_>,
    owner: &Owner,
    sessions: &[(Address, Seq)],
) -> Result<Vec<Restored>, Failure> {
    if let Some((_, seq)) = sessions.iter().find(|(_, seq)| seq.0 > CLOCK_MAX) {
        return Err(Failure::Operation(
            ErrorKind::LimitExceeded,
            format!("no store ever gave seq {seq}"),
        ));
    }
    tx.ask_for_room()?;
    bury_unless_leased(tx, owner)?;
    let mut restored = Vec::with_capacity(sessions.len());
    for (address, seq) in sessions {
        let before = read(tx, address)?;
        restored.push(match before {
            Some(Before { session, .. }) if session.seq > *seq => Restored::Lost(session),
            Some(Before { session, .. }) if session.seq == *seq && session.owner == *owner => Restored::Held,
            Some(Before { session, .. })
                if session.seq == *seq
                    && (session.owner.identity != owner.identity
                        || session.owner.incarnation > owner.incarnation) =>
            {
                Restored::Lost(session)
            }
            older => {
                tx.advance_past(seq.0)?;
                let slot = tx.next_seq()?.0;
                write(tx, owner, address, *seq, slot, older.as_ref())?;
                Restored::Held
            }
        });
    }
    Ok(restored)
}

/// What stood at an address.
struct Before {
    session: Session,
    slot: u64,
}

fn read(tx: &Transaction<'_>, address: &Address) -> Result<Option<Before>, Failure> {
    let record = tx.tables.sessions.get(&tx.txn, address.as_str().as_bytes())?;
    Ok(record.and_then(|bytes| {
        let session = readable(decode_session(bytes))?;
        Some(Before {
            slot: session.slot,
            session: readable(session.to_session())?,
        })
    }))
}

/// Writes a session, listed at `slot`, a number that was never used before; where the same owner had the address before,
/// it stays listed where it was.
fn write(
    tx: &mut Transaction<'_>,
    owner: &Owner,
    address: &Address,
    seq: Seq,
    slot: u64,
    before: Option<&Before>,
) -> Result<(), Failure> {
    let key = address.as_str().as_bytes();
    let listed = before
        .filter(|before| before.session.owner == *owner)
        .map(|before| before.slot);
    encode_session(&mut tx.value, owner, seq, listed.unwrap_or(slot));
    tx.tables.sessions.put(&mut tx.txn, key, &tx.value)?;
    if listed.is_some() {
        return Ok(());
    }
    if let Some(before) = before {
        strike(tx, &before.session.owner, before.slot)?;
    }
    held_key(&mut tx.key, owner.identity.as_str(), owner.incarnation, slot);
    tx.tables.held.put(&mut tx.txn, &tx.key, key)?;
    Ok(())
}

/// Removes one entry from the list of what the owner holds.
fn strike(tx: &mut Transaction<'_>, owner: &Owner, slot: u64) -> Result<(), Failure> {
    held_key(&mut tx.key, owner.identity.as_str(), owner.incarnation, slot);
    tx.tables.held.delete(&mut tx.txn, &tx.key)?;
    Ok(())
}

/// Records of an owner whose lease is over are invisible, and must still be found by reclaiming: it may have looked for
/// them before they came. The owner's incarnation is never given to anybody else.
fn bury_unless_leased(tx: &mut Transaction<'_>, owner: &Owner) -> Result<(), Failure> {
    if !lease_is_of(tx, owner)? {
        tx.advance_past(owner.incarnation.0)?;
        tx.bury(owner)?;
    }
    Ok(())
}
