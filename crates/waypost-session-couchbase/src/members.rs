//! The list of owners: whose leases to read, and whose records to reclaim. It also bears the mark by which servers learn
//! that the bucket was emptied.

use tokio::time::Instant;
use waypost_types::{Identity, Incarnation, Owner};

use crate::fault::{Fault, unreadable};
use crate::keys::Keys;
use crate::log;
use crate::sdk::{Docs, Wrote};

const VERSION: u8 = 1;
const HEAD: usize = 9;

/// More than this in one document is refused: somebody has to reclaim.
const BYTES_MAX: usize = 8 << 20;
/// How often a write is tried.
const ROUNDS: usize = 32;

/// The list as it was read.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) cas: u64,
    /// Drawn when the list was made: another one means that the old was lost.
    pub(crate) generation: u64,
    pub(crate) owners: Vec<Owner>,
}

impl Members {
    /// `None` when it is something else.
    fn decode(bytes: &[u8], cas: u64) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        if head[0] != VERSION {
            return None;
        }
        let generation = head[1..].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        let mut owners = log::entries(rest)?
            .into_iter()
            .map(|entry| {
                let (incarnation, identity) = entry.split_first_chunk()?;
                let identity = Identity::from_utf8(identity).ok()?;
                Some(Owner::new(
                    identity,
                    Incarnation(u64::from_be_bytes(*incarnation)),
                ))
            })
            .collect::<Option<Vec<_>>>()?;
        owners.sort_unstable();
        owners.dedup();
        Some(Self {
            cas,
            generation,
            owners,
        })
    }

    pub(crate) fn contains(&self, owner: &Owner) -> bool {
        self.owners.binary_search(owner).is_ok()
    }

    /// The identities, each once.
    pub(crate) fn identities(&self) -> Vec<Identity> {
        let mut identities: Vec<_> = self.owners.iter().map(|owner| owner.identity.clone()).collect();
        identities.dedup();
        identities
    }
}

fn entry(owner: &Owner) -> Vec<u8> {
    let mut entry = owner.incarnation.0.to_be_bytes().to_vec();
    entry.extend_from_slice(owner.identity.as_str().as_bytes());
    let mut bytes = Vec::new();
    log::push(&mut bytes, &entry);
    bytes
}

fn encode<'a>(generation: u64, owners: impl IntoIterator<Item = &'a Owner>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&generation.to_be_bytes());
    for owner in owners {
        bytes.extend_from_slice(&entry(owner));
    }
    bytes
}

/// Reads the list, and makes it when there is none or something else. Those who live are in it again by their renewals.
pub(crate) async fn read(docs: &Docs, keys: &Keys, deadline: Instant) -> Result<Members, Fault> {
    let key = keys.members();
    for _ in 0..ROUNDS {
        let doc = docs.get(&key, deadline).await?;
        if let Some(doc) = &doc {
            if let Some(members) = Members::decode(&doc.value, doc.cas) {
                return Ok(members);
            }
            unreadable("the list of servers");
        }
        let over = doc.map(|doc| doc.cas);
        docs.put(&key, &encode(rand::random(), []), over, None, deadline)
            .await?;
    }
    Err(Fault::conflict())
}

/// Adds the owner, also when it is there already: whoever is about to remove it must notice.
pub(crate) async fn add(docs: &Docs, keys: &Keys, owner: &Owner, deadline: Instant) -> Result<(), Fault> {
    let key = keys.members();
    let entry = entry(owner);
    let mut unknown = None;
    for _ in 0..ROUNDS {
        match docs.append(&key, &entry, deadline).await? {
            Wrote::Done => return Ok(()),
            Wrote::Unknown(fault) => unknown = Some(fault),
            // Missing, or being written.
            Wrote::Refused => {
                let members = read(docs, keys, deadline).await?;
                if members.owners.len() * 64 > BYTES_MAX {
                    return Err(Fault::new(
                        waypost_session::ErrorKind::LimitExceeded,
                        "the list of servers is full: does any server reclaim what the dead left behind?",
                    ));
                }
            }
        }
    }
    Err(unknown.unwrap_or_else(Fault::conflict))
}

/// Writes the list that was read without `gone`. Says whether it did: not when the list has changed since.
pub(crate) async fn remove(
    docs: &Docs,
    keys: &Keys,
    members: &Members,
    gone: &[Owner],
    deadline: Instant,
) -> Result<bool, Fault> {
    let left = members.owners.iter().filter(|owner| !gone.contains(owner));
    let value = encode(members.generation, left);
    let wrote = docs
        .replace(&keys.members(), &value, members.cas, None, deadline)
        .await?;
    Ok(matches!(wrote, Wrote::Done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_come_back_once_each_and_sorted() {
        let owner = |name: &str, n| Owner::new(Identity::new(name).unwrap(), Incarnation(n));
        let listed = [owner("b", 1), owner("a", 2), owner("a", 1), owner("b", 1)];
        let bytes = encode(77, &listed);
        let members = Members::decode(&bytes, 5).unwrap();
        assert_eq!(members.owners, [owner("a", 1), owner("a", 2), owner("b", 1)]);
        assert_eq!((members.generation, members.cas), (77, 5));
        assert_eq!(members.identities().len(), 2);
        assert!(members.contains(&owner("a", 2)) && !members.contains(&owner("a", 3)));
        for len in 0..bytes.len() {
            let _ = Members::decode(&bytes[..len], 0);
        }
    }
}
