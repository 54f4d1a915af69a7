//! Records and those whom they name: no live session is removed by anybody but its owner, and of two owners the older
//! delivers nothing after the newer one's first delivery.

use std::collections::BTreeMap;

use waypost_router::StoreOp;
use waypost_types::{Address, MonoTime, Owner, Seq, Session};

use super::Oracle;

#[derive(Debug, Default)]
pub(super) struct Records {
    /// When the connect was asked for that ended with this claim.
    asked_at: BTreeMap<(Address, Seq), MonoTime>,
    /// Who has delivered to an address by which claim.
    delivered: BTreeMap<Address, BTreeMap<Seq, Owner>>,
}

/// A live session of a client that a running server holds.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) owner: Owner,
    pub(crate) seq: Seq,
}

impl Oracle {
    /// A connect has ended with this claim.
    pub(crate) fn connected(&mut self, asked_at: MonoTime, address: &Address, seq: Seq) {
        self.records.asked_at.insert((address.clone(), seq), asked_at);
    }

    /// A server that holds the client by this claim has delivered to it.
    pub(crate) fn check_owners(&mut self, now: MonoTime, address: &Address, owner: &Owner, seq: Seq) {
        let delivered = self.records.delivered.entry(address.clone()).or_default();
        delivered.entry(seq).or_insert_with(|| owner.clone());
        let newer = delivered
            .range(Seq(seq.0 + 1)..)
            .find(|(_, other)| other.identity != owner.identity);
        let Some((newer_seq, other)) = newer.map(|(seq, other)| (*seq, other.clone())) else {
            return;
        };
        if let Some(asked_at) = self.records.asked_at.get(&(address.clone(), newer_seq)) {
            assert!(
                !self.was_calm(*asked_at),
                "{owner} delivered to {address} at {now} by claim {}, after {other} had by claim {}",
                seq.0,
                newer_seq.0
            );
        }
    }

    /// The store has carried an operation out.
    pub(crate) fn check_records(
        op: &StoreOp,
        before: &[(Address, Session)],
        after: impl Fn(&Address) -> Option<Session>,
        held: impl Fn(&Address) -> Vec<Held>,
    ) {
        for (address, session) in before {
            let now = after(address);
            if now.as_ref() == Some(session) {
                continue;
            }
            let is_right = match op {
                StoreOp::Claim(owner, addresses) => {
                    addresses.contains(address)
                        && now
                            .as_ref()
                            .is_some_and(|now| now.owner == *owner && now.seq > session.seq)
                }
                StoreOp::Release(owner, sessions) => {
                    *owner == session.owner
                        && now.is_none()
                        && sessions
                            .iter()
                            .any(|(a, seq)| a == address && *seq == session.seq)
                }
                StoreOp::Restore(owner, sessions) => {
                    let by = sessions.iter().find(|(a, _)| a == address);
                    now.as_ref().is_some_and(|now| now.owner == *owner)
                        && by.is_some_and(|(_, seq)| {
                            *seq > session.seq
                                || (*seq == session.seq && owner.identity == session.owner.identity)
                        })
                }
                _ => false,
            };
            assert!(
                is_right,
                "the live session {session:?} of {address} became {now:?} by {op:?}"
            );
            if matches!(op, StoreOp::Release(..)) {
                for holder in held(address) {
                    assert!(
                        holder.owner != session.owner || holder.seq != session.seq,
                        "the session {session:?} of {address} was released, and its server holds the client by it"
                    );
                }
            }
        }
    }
}
