//! What is written about sessions.
//!
//! Two tables change together, in one transaction: `sessions`, and `held`, which mirrors it by owner.

use waypost_session::{Claimed, ErrorKind, Released, Restored};
use waypost_types::{Address, Owner, Seq, Session};

use crate::codec::{decode_session, encode_session, held_key};
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
        // A record that cannot be read is replaced: nobody could ever claim the address otherwise.
        let displaced = read(tx, address).or_else(|failure| match failure {
            Failure::Operation(ErrorKind::Corrupt, _) => Ok(None),
            other => Err(other),
        })?;
        let seq = tx.next_seq()?;
        write(tx, owner, address, seq, displaced.as_ref())?;
        claimed.push(Claimed { seq, displaced });
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
        let is_theirs = match tx.tables.sessions.get(&tx.txn, key)? {
            Some(bytes) => {
                let session = decode_session(bytes)?;
                session.is_held_by(owner) && session.seq == *seq
            }
            None => false,
        };
        released.push(if is_theirs {
            tx.tables.sessions.delete(&mut tx.txn, key)?;
            held_key(&mut tx.key, owner.identity.as_str(), owner.incarnation, key);
            tx.tables.held.delete(&mut tx.txn, &tx.key)?;
            Released::Released
        } else {
            Released::NotOwner
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
        let session = read(tx, address)?;
        restored.push(match session {
            Some(session) if session.seq > *seq => Restored::Lost(session),
            Some(session) if session.seq == *seq && session.owner == *owner => Restored::Held,
            older => {
                tx.advance_past(seq.0)?;
                write(tx, owner, address, *seq, older.as_ref())?;
                Restored::Held
            }
        });
    }
    Ok(restored)
}

fn read(tx: &Transaction<'_>, address: &Address) -> Result<Option<Session>, Failure> {
    match tx.tables.sessions.get(&tx.txn, address.as_str().as_bytes())? {
        Some(bytes) => Ok(Some(decode_session(bytes)?.to_session()?)),
        None => Ok(None),
    }
}

fn write(
    tx: &mut Transaction<'_>,
    owner: &Owner,
    address: &Address,
    seq: Seq,
    before: Option<&Session>,
) -> Result<(), Failure> {
    let address = address.as_str().as_bytes();
    encode_session(&mut tx.value, owner, seq);
    tx.tables.sessions.put(&mut tx.txn, address, &tx.value)?;
    if let Some(before) = before {
        if before.owner == *owner {
            return Ok(());
        }
        held_key(
            &mut tx.key,
            before.owner.identity.as_str(),
            before.owner.incarnation,
            address,
        );
        tx.tables.held.delete(&mut tx.txn, &tx.key)?;
    }
    held_key(&mut tx.key, owner.identity.as_str(), owner.incarnation, address);
    tx.tables.held.put(&mut tx.txn, &tx.key, &[])?;
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
