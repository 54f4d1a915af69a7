//! By which way messages went last to addresses that have no route any more.
//!
//! One that comes back, and which others may have overtaken since, must be told from one that is only late, also when the
//! route by which those others went has been forgotten.

use waypost_types::{Address, Seq};

use super::OwnerKey;
use crate::map::{Map, map};

/// When so many have been noted, those before them are forgotten.
const GENERATION: usize = 4096;

#[derive(Debug)]
pub(crate) struct Gone {
    seed: u64,
    newer: Map<Address, (OwnerKey, Seq)>,
    older: Map<Address, (OwnerKey, Seq)>,
}

impl Gone {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            newer: map(seed),
            older: map(seed),
        }
    }

    /// A route is forgotten.
    pub(super) fn note(&mut self, address: Address, way: (OwnerKey, Seq)) {
        if self.newer.len() >= GENERATION {
            self.older = core::mem::replace(&mut self.newer, map(self.seed));
        }
        self.newer.insert(address, way);
    }

    /// By which way messages to this address went last.
    pub(super) fn way(&self, address: &str) -> Option<(OwnerKey, Seq)> {
        let newer = self.newer.get(address);
        newer.or_else(|| self.older.get(address)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ways_are_remembered_and_a_bounded_number() {
        let mut gone = Gone::new(0);
        for n in 0..=2 * GENERATION {
            let name = Address::new(&format!("client-{n}")).unwrap();
            gone.note(name, (OwnerKey(1), Seq(n as u64)));
        }
        assert_eq!(gone.way("client-0"), None);
        let newest = gone.way(&format!("client-{}", GENERATION + 1));
        assert_eq!(newest, Some((OwnerKey(1), Seq(GENERATION as u64 + 1))));
        assert!(gone.newer.len() + gone.older.len() <= 2 * GENERATION);
    }
}
