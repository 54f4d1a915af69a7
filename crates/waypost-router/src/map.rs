//! The hash map of this crate: fast, keyed by a seed from the settings, so that addresses chosen by an attacker do not
//! collide and a given seed always gives the same order.

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;

pub(crate) type Map<K, V> = hashbrown::HashMap<K, V, SeedableRandomState>;

/// An empty map keyed by `seed`.
pub(crate) fn map<K, V>(seed: u64) -> Map<K, V> {
    Map::with_hasher(hasher(seed))
}

/// What hashes its keys.
pub(crate) fn hasher(seed: u64) -> SeedableRandomState {
    SeedableRandomState::with_seed(seed, SharedSeed::global_fixed())
}
