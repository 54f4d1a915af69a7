//! Acked messages that wait for their clients' places, by their numbers.
//!
//! One that its sender has sent again may wait here while the first copy lies with a server that was slow to read it. When that
//! server says that it has delivered it, the other copy must not go on: the client may have moved, and where it is now nobody knows
//! of the first one.

use std::collections::BTreeSet;

use waypost_types::{Address, MonoTime};

use super::messages::Parcel;
use super::routes::Waiting;
use super::{OwnerKey, Route, Router};
use crate::map::{Map, map};

/// So many are remembered; what is forgotten may be delivered once more.
const COPIES_MAX: usize = 1 << 16;

/// Entries stay when a message goes on, until its delivery is told or nothing waits any more.
#[derive(Debug)]
pub(crate) struct Copies(Map<(OwnerKey, u64), Address>);

impl Copies {
    pub(super) fn new(seed: u64) -> Self {
        Self(map(seed))
    }

    /// A message waits.
    pub(super) fn note(&mut self, parcel: &Parcel) {
        if parcel.message.id == 0 {
            return;
        }
        let Ok(address) = Address::new(parcel.message.to()) else {
            return;
        };
        if self.0.len() >= COPIES_MAX {
            self.0.clear();
        }
        self.0.insert((parcel.origin, parcel.message.id), address);
    }
}

impl Waiting {
    /// Takes out what is over; how many bytes that is.
    fn remove(&mut self, is_over: impl Fn(&Parcel) -> bool) -> usize {
        let asked_before = self.asked;
        let (mut at, mut asked, mut bytes) = (0, 0, 0);
        for queue in [&mut self.bounced, &mut self.held] {
            queue.retain(|parcel| {
                let stays = !is_over(parcel);
                asked += usize::from(stays && at < asked_before);
                at += 1;
                bytes += if stays { 0 } else { parcel.message.cost() };
                stays
            });
        }
        self.asked = asked;
        self.held_bytes -= bytes.min(self.held_bytes);
        bytes
    }
}

impl Router {
    /// Messages of this server have been delivered: what waits of them here ends.
    pub(super) fn drop_copies(&mut self, now: MonoTime, origin: OwnerKey, delivered: &[u64]) {
        if self.queues.holding.is_empty() {
            return self.copies.0.clear();
        }
        let waits_at = |id: &u64| self.copies.0.remove(&(origin, *id));
        let addresses: BTreeSet<Address> = delivered.iter().filter_map(waits_at).collect();
        if addresses.is_empty() {
            return;
        }
        let delivered: BTreeSet<u64> = delivered.iter().copied().collect();
        for address in addresses {
            let is_over = |parcel: &Parcel| parcel.origin == origin && delivered.contains(&parcel.message.id);
            let Some(Route::Waiting(waiting)) = self.routes.get_mut(&address) else {
                continue;
            };
            let (away, bytes) = (waiting.away, waiting.remove(is_over));
            let is_empty = waiting.is_empty();
            self.charge(away, 0, bytes);
            self.room_freed |= bytes > 0;
            if is_empty {
                self.queues.holding.remove(&address);
                self.settle(now, &address);
            }
        }
    }
}
