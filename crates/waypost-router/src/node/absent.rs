//! Takeovers from servers whose leases were over. Nobody was there to be told; should such a server have slept, it comes back
//! with clients that have been elsewhere meanwhile, and perhaps are nowhere any more.

use waypost_types::Identity;
use waypost_wire::Displaced;

use crate::map::{Map, map};

/// When so many have been noted, those before them are forgotten.
const GENERATION: usize = 8192;

#[derive(Debug)]
pub(crate) struct Absent {
    seed: u64,
    newer: Map<Identity, Vec<Displaced>>,
    older: Map<Identity, Vec<Displaced>>,
    newer_len: usize,
}

impl Absent {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            newer: map(seed),
            older: map(seed),
            newer_len: 0,
        }
    }

    pub(super) fn note(&mut self, displaced: Displaced) {
        if self.newer_len >= GENERATION {
            self.older = core::mem::replace(&mut self.newer, map(self.seed));
            self.newer_len = 0;
        }
        self.newer_len += 1;
        let identity = displaced.owner.identity.clone();
        self.newer.entry(identity).or_default().push(displaced);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.newer.is_empty() && self.older.is_empty()
    }

    /// What a server is to be told that lives again, in the order in which it happened.
    pub(super) fn take(&mut self, identity: &Identity) -> Vec<Displaced> {
        let mut told = self.older.remove(identity).unwrap_or_default();
        let newer = self.newer.remove(identity).unwrap_or_default();
        self.newer_len -= newer.len();
        told.extend(newer);
        told
    }

    /// The numbers of claims begin anew.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.seed);
    }
}

#[cfg(test)]
mod tests {
    use waypost_types::{Address, Incarnation, Owner, Seq};

    use super::*;

    #[test]
    fn the_newest_are_kept_and_a_bounded_number() {
        let identity = |name: &str| Identity::new(name).unwrap();
        let mut absent = Absent::new(0);
        for n in 0..=2 * GENERATION as u64 {
            absent.note(Displaced {
                token: 0,
                owner: Owner::new(identity(if n == 0 { "first" } else { "x" }), Incarnation(1)),
                address: Address::new(&format!("client-{n}")).unwrap(),
                seq: Seq(n),
                by: identity("y"),
            });
        }
        assert_eq!(absent.take(&identity("first")), []);
        let told = absent.take(&identity("x"));
        let seqs: Vec<u64> = told.iter().map(|displaced| displaced.seq.0).collect();
        assert!(seqs.is_sorted() && seqs.last() == Some(&(2 * GENERATION as u64)));
        assert!(absent.is_empty() && absent.newer_len == 0);
    }
}
