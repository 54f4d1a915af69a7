//! Where records are kept: partitions, their hash tags, and the names of keys.
//!
//! An address belongs to one of [`PARTITIONS`] partitions, and all keys of a partition carry one hash tag, so that one
//! script may touch them in a Cluster. The layout is the same on a single server, so that data may move between the two.

use waypost_types::{Address, Identity, Owner};

/// How many partitions there are. Part of the layout: never changes.
pub(crate) const PARTITIONS: usize = 64;

/// The place of the leases, after those of the partitions.
pub(crate) const LEASES: usize = PARTITIONS;

/// How many places there are that a server may hold.
pub(crate) const PLACES: usize = PARTITIONS + 1;

/// The hash tag of each partition. Tag `p` is the smallest number whose slot is in the middle half of the p-th 64th of
/// the 16,384 slots: a Cluster whose masters hold equal ranges of slots then has equally many partitions on each, give
/// or take one. Tags `0` to `63` themselves would not spread so.
const TAGS: [&str; PARTITIONS] = [
    "14", "100", "117", "342", "29", "21", "7", "122", "69", "61", "76", "162", "54", "140", "157", "43", "15", "101",
    "116", "343", "28", "20", "6", "123", "68", "60", "77", "163", "55", "141", "156", "42", "12", "106", "111", "119",
    "133", "27", "1", "9", "173", "67", "70", "78", "52", "146", "151", "45", "13", "107", "110", "118", "132", "26",
    "0", "8", "172", "66", "71", "79", "53", "147", "150", "44",
];

/// The hash tag of the leases.
const LEASES_TAG: &str = "lease";

/// The partition of an address: FNV-1a of its bytes, folded. Part of the layout: never changes.
pub(crate) fn partition(address: &Address) -> usize {
    let hash = fnv(FNV_START, address.as_str().as_bytes());
    // The low bits of FNV-1a alone are weak for short texts.
    usize::from((hash ^ (hash >> 32) ^ (hash >> 16)).to_le_bytes()[0]) % PARTITIONS
}

/// Where an FNV-1a hash starts.
pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, continued from `hash`.
pub(crate) fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// The slot of each place, for asking a Cluster who holds it.
pub(crate) fn slots() -> [u16; PLACES] {
    core::array::from_fn(|place| slot(TAGS.get(place).copied().unwrap_or(LEASES_TAG).as_bytes()))
}

/// The Cluster slot of a hash tag: CRC-16/XMODEM modulo 16,384.
fn slot(tag: &[u8]) -> u16 {
    let mut crc = 0u16;
    for byte in tag {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % 16_384
}

/// The names of keys under one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    fn key(&self, place: usize, suffix: &str) -> String {
        let tag = TAGS.get(place).copied().unwrap_or(LEASES_TAG);
        [&self.prefix, "{", tag, "}:", suffix].concat()
    }

    /// String: the greatest seq (or incarnation) given.
    pub(crate) fn counter(&self, place: usize) -> String {
        self.key(place, "c")
    }

    /// Hash: address to record.
    pub(crate) fn sessions(&self, partition: usize) -> String {
        self.key(partition, "s")
    }

    /// Set: owners that have an index in this partition.
    pub(crate) fn owners(&self, partition: usize) -> String {
        self.key(partition, "o")
    }

    /// What the indexes' names begin with; the owner follows.
    pub(crate) fn index_prefix(&self, partition: usize) -> String {
        self.key(partition, "i:")
    }

    /// Set: the addresses of one owner in this partition.
    pub(crate) fn index(&self, partition: usize, owner: &str) -> String {
        self.index_prefix(partition) + owner
    }

    /// String: says since when the server that holds this place has not been emptied.
    pub(crate) fn marker(&self, place: usize) -> String {
        self.key(place, "g")
    }

    /// Set: identities that may have a lease.
    pub(crate) fn members(&self) -> String {
        self.key(LEASES, "m")
    }

    /// What the leases' names begin with; the identity follows.
    pub(crate) fn lease_prefix(&self) -> String {
        self.key(LEASES, "l:")
    }

    /// String with an expiry: the lease.
    pub(crate) fn lease(&self, identity: &Identity) -> String {
        self.lease_prefix() + identity.as_str()
    }
}

/// An owner as it stands in records: the incarnation first, because an identity may hold anything.
pub(crate) fn owner_text(owner: &Owner) -> String {
    format!("{} {}", owner.incarnation, owner.identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_spread_evenly_over_the_slots() {
        assert_eq!(slot(b"123456789"), 0x31c3, "the check value of CRC-16/XMODEM");
        for (place, slot) in slots().iter().enumerate().take(PARTITIONS) {
            let from = u16::try_from(place * 256).unwrap();
            assert!((from + 64..from + 192).contains(slot), "tag {} has slot {slot}", TAGS[place]);
        }
        for masters in 1..=16usize {
            let mut held = vec![0; masters];
            for slot in &slots()[..PARTITIONS] {
                held[usize::from(*slot) * masters / 16_384] += 1;
            }
            let (least, most) = (held.iter().min().unwrap(), held.iter().max().unwrap());
            assert!(most - least <= 1, "{masters} masters hold {held:?}");
        }
    }

    #[test]
    fn addresses_spread_evenly_and_never_move() {
        let address = |text: &str| Address::new(text).unwrap();
        assert_eq!(
            ["a", "user:1", "user:2", "größe"].map(|text| partition(&address(text))),
            PINNED,
            "the layout must not change"
        );
        let mut held = [0u32; PARTITIONS];
        for n in 0..64_000 {
            held[partition(&address(&format!("client-{n}")))] += 1;
        }
        assert!(held.iter().all(|n| (800..1200).contains(n)), "{held:?}");
    }

    const PINNED: [usize; 4] = [0, 0, 0, 0];

    #[test]
    fn the_keys_of_a_partition_carry_its_tag() {
        let keys = Keys::new("waypost:");
        assert_eq!(keys.sessions(0), "waypost:{14}:s");
        assert_eq!(keys.index(63, "7 node a"), "waypost:{44}:i:7 node a");
        assert_eq!(keys.lease(&Identity::new("a").unwrap()), "waypost:{lease}:l:a");
    }
}
