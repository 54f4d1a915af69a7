//! The hash map of this crate: fast, keyed by a seed from the settings, so that addresses chosen by an attacker do not
//! collide and a given seed always gives the same order.

use core::cell::Cell;
use core::hash::{BuildHasher, Hash, Hasher};

use foldhash::SharedSeed;
use foldhash::fast::{FoldHasher, SeedableRandomState};
use hashbrown::Equivalent;
use waypost_types::Address;

use crate::large::LargePages;

pub(crate) type Map<K, V> = hashbrown::HashMap<K, V, SeedableRandomState>;

/// An empty map keyed by `seed`.
pub(crate) fn map<K, V>(seed: u64) -> Map<K, V> {
    Map::with_hasher(hasher(seed))
}

/// What hashes its keys.
pub(crate) fn hasher(seed: u64) -> SeedableRandomState {
    SeedableRandomState::with_seed(seed, SharedSeed::global_fixed())
}

/// A map by address in which several can be looked up together.
pub(crate) type AddressMap<V> = hashbrown::HashMap<Address, V, AddressState, LargePages>;

/// An empty map of addresses keyed by `seed`.
pub(crate) fn address_map<V>(seed: u64) -> AddressMap<V> {
    AddressMap::with_hasher_in(AddressState(hasher(seed)), LargePages)
}

/// With fewer entries than this a map is in some cache of the core most of the time, and to touch what is looked up next costs
/// more than it spares.
const LARGE: usize = 4096;

/// Looks up the first `N` of these addresses, and says of each what `look` makes of its entry.
///
/// In a large map each look-up waits for memory twice, for the group of hashes and for the entry, and is so many instructions
/// long that a core has two of them under way at a time. So the memory is touched first, by what is no more than is needed for
/// that, and all that wait for it wait together.
#[inline]
pub(crate) fn look_up_together<'a, V, T: Copy, const N: usize>(
    map: &AddressMap<V>,
    addresses: impl Iterator<Item = &'a str> + Clone,
    look: impl Fn(&V) -> Option<T>,
) -> [Option<T>; N] {
    let mut hashes = [0; N];
    let mut count = 0;
    for (address, hash) in addresses.clone().zip(&mut hashes) {
        *hash = map.hasher().hash_one(address);
        count += 1;
    }
    if map.len() >= LARGE {
        touch(map, hashes.get(..count).unwrap_or_default());
    }
    let mut found = [None; N];
    for ((address, hash), found) in addresses.zip(hashes).zip(&mut found) {
        let equals = |key: &Address| is_same(address.as_bytes(), key.as_str().as_bytes());
        *found = map.get(&Hashed { hash, equals }).and_then(&look);
    }
    found
}

#[inline(never)]
fn touch<V>(map: &AddressMap<V>, hashes: &[u64]) {
    let bytes = Cell::new(0);
    for &hash in hashes {
        // Equals none, and reads from all that it is compared with.
        let equals = |key: &Address| {
            bytes.set(bytes.get() ^ key.as_str().len());
            false
        };
        let is_there = map.contains_key(&Hashed { hash, equals });
        debug_assert!(!is_there, "nothing equals it");
    }
    // So that the reads are not left out.
    core::hint::black_box(bytes.get());
}

/// Something to look for whose hash is known: an address, by what equals it.
struct Hashed<F> {
    hash: u64,
    equals: F,
}

impl<F> Hash for Hashed<F> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<F: Fn(&Address) -> bool> Equivalent<Address> for Hashed<F> {
    #[inline]
    fn equivalent(&self, key: &Address) -> bool {
        (self.equals)(key)
    }
}

/// Whether two addresses are the same. Most have one or two words, which are compared here: to call a function for that would take
/// longer.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let words = |bytes: &[u8]| Some((*bytes.first_chunk::<8>()?, *bytes.last_chunk::<8>()?));
    if one.len() > 16 || one.len() != other.len() {
        return one == other;
    }
    match (words(one), words(other)) {
        // The words may overlap.
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Hashes addresses, and takes a `u64` for what one has been hashed to before.
#[derive(Debug, Clone)]
pub(crate) struct AddressState(SeedableRandomState);

impl BuildHasher for AddressState {
    type Hasher = AddressHasher;

    #[inline]
    fn build_hasher(&self) -> AddressHasher {
        AddressHasher {
            hasher: self.0.build_hasher(),
            known: None,
        }
    }
}

pub(crate) struct AddressHasher {
    hasher: FoldHasher<'static>,
    known: Option<u64>,
}

impl Hasher for AddressHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.hasher.write_u8(byte);
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.known = Some(hash);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.known.unwrap_or_else(|| self.hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_length_differ_by_any_byte() {
        for len in 0..=40 {
            let one: Vec<u8> = (1..=len).collect();
            assert!(is_same(&one, &one.clone()));
            assert!(!is_same(&one, &[one.as_slice(), &[0]].concat()));
            for at in 0..one.len() {
                let mut other = one.clone();
                other[at] ^= 0x40;
                assert!(!is_same(&one, &other), "{at} of {len}");
            }
        }
    }

    #[test]
    fn what_is_looked_up_together_is_what_is_there() {
        for entries in [10, LARGE + 1] {
            let mut map = address_map(7);
            for number in 0..entries {
                map.insert(Address::new(&format!("client/{number}")).unwrap(), number);
            }
            let names: Vec<String> = (0..entries + 20)
                .map(|number| format!("client/{number}"))
                .collect();
            for (from, names) in names.chunks(7).enumerate() {
                let found = look_up_together::<_, _, 8>(&map, names.iter().map(String::as_str), |number| {
                    Some(*number)
                });
                for (at, name) in names.iter().enumerate() {
                    let number = 7 * from + at;
                    let expected = (number < entries).then_some(number);
                    assert_eq!(found[at], expected);
                    assert_eq!(map.get(name.as_str()).copied(), expected);
                }
            }
        }
    }
}
