//! The servers that this node knows of, by a small number each.

use std::collections::VecDeque;

use waypost_types::{Location, MonoTime, Owner};

use super::away::Away;
use super::messages::Parcel;
use super::{LinkId, Router};

/// Stands for one server process (identity and incarnation) in this router's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OwnerKey(pub(crate) u32);

#[derive(Debug)]
pub(crate) struct OwnerEntry {
    pub(crate) owner: Owner,
    /// The link of a server that is attached here.
    pub(crate) attached: Option<LinkId>,
    /// By which of its attachments it was attached here last; 0: not said, or never.
    pub(crate) attachment: u32,
    /// Where it is reached, as the newest view of the leases says; `None`: it is not among the living.
    pub(crate) location: Option<Location>,
    /// The link by which messages last went to its location; to be checked before use.
    pub(crate) by: Option<LinkId>,
    /// The link on which it was last heard of: the way back for outcomes.
    pub(crate) via: Option<LinkId>,
    /// Until when the lease is valid, for a server whose lease this node renews.
    pub(crate) lease_until: Option<MonoTime>,
    pub(crate) draining: bool,
    /// Messages for a server whose link broke a moment ago.
    pub(crate) parked: VecDeque<Parcel>,
    pub(crate) parked_bytes: usize,
    pub(crate) detached_at: Option<MonoTime>,
    /// Its node cannot be reached.
    pub(crate) away: Option<Away>,
    /// How many routes name it.
    pub(crate) routes: usize,
}

impl Router {
    /// The number of a server, given now if it is new.
    pub(super) fn intern(&mut self, owner: &Owner) -> OwnerKey {
        if let Some(key) = self.owner_index.get(owner) {
            return *key;
        }
        let key = OwnerKey(u32::try_from(self.owners.len()).unwrap_or(u32::MAX));
        let location =
            self.leases.view.get(&owner.identity).and_then(|lease| {
                (lease.owner.incarnation == owner.incarnation).then(|| lease.location.clone())
            });
        self.owners.push(OwnerEntry {
            owner: owner.clone(),
            attached: None,
            attachment: 0,
            location,
            by: None,
            via: None,
            lease_until: None,
            draining: false,
            parked: VecDeque::new(),
            parked_bytes: 0,
            detached_at: None,
            away: None,
            routes: 0,
        });
        self.owner_index.insert(owner.clone(), key);
        key
    }

    pub(super) fn entry(&self, key: OwnerKey) -> &OwnerEntry {
        &self.owners[key.0 as usize]
    }

    pub(super) fn entry_mut(&mut self, key: OwnerKey) -> &mut OwnerEntry {
        &mut self.owners[key.0 as usize]
    }
}
