//! Clients of which the store may say that this server holds them, although it does not: claims and releases that came
//! to no certain end, be it that the link broke. The router sees to them. One that ends before it has done so takes its
//! knowledge with it; so they are remembered here until it must have, and told to the next router.

use std::collections::BTreeMap;

use waypost_types::{Address, Seq};
use waypost_wire::{BATCH_ENTRIES_MAX, Frame};

use super::{Endpoint, Standing};

/// Bound; what comes then is left to the router alone.
const DOUBTS_MAX: usize = 65_536;
/// After how many heartbeats with a store that answers the router has seen to them: two lease terms.
const HEARTBEATS: u32 = 6;

#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// With the heartbeats that have gone by.
    addresses: BTreeMap<Address, u32>,
    /// The router has not been told of them.
    untold: bool,
}

impl Doubts {
    pub(super) fn add(&mut self, address: &Address) {
        if self.addresses.len() < DOUBTS_MAX {
            self.addresses.insert(address.clone(), 0);
        }
    }

    pub(super) fn clear(&mut self) {
        self.addresses.clear();
    }

    /// Another router has to see to them.
    pub(super) fn begin_anew(&mut self) {
        self.untold = true;
        for heartbeats in self.addresses.values_mut() {
            *heartbeats = 0;
        }
    }

    /// The router has heard from the store.
    pub(super) fn heartbeat(&mut self) {
        self.addresses.retain(|_, heartbeats| {
            *heartbeats += 1;
            *heartbeats < HEARTBEATS
        });
    }
}

impl<T> Endpoint<T> {
    /// Tells a new router, after everything that is held has been announced to it.
    pub(super) fn flush_doubts(&mut self) {
        if self.standing != Standing::Attached
            || !self.batches.announces.is_empty()
            || !core::mem::take(&mut self.doubts.untold)
        {
            return;
        }
        let addresses: Vec<Address> = self.doubts.addresses.keys().cloned().collect();
        for batch in addresses.chunks(BATCH_ENTRIES_MAX) {
            let entries = batch.iter().map(|address| (address.clone(), Seq(0))).collect();
            self.push(Frame::Release(entries));
        }
    }
}
