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

/// The hash tag of each partition. Tag `p` is the smallest number whose slot is the middle one of the p-th 64th of the
/// 16,384 slots: a Cluster whose masters hold equal ranges of slots then has equally many partitions on each, give or
/// take one. Tags `0` to `63` themselves would not spread so.
const TAGS: [&str; PARTITIONS] = [
    "40821", "5469", "3017", "2113", "574", "18834", "8518", "26368", "18617", "19713", "47996", "39599",
    "13318", "40602", "7842", "6946", "3124", "2020", "40912", "41816", "46782", "15298", "447", "17090",
    "48132", "49036", "4093", "5197", "7971", "6875", "16559", "40731", "712", "21474", "22778", "29899",
    "1079", "69524", "3271", "2375", "41560", "4928", "11376", "10272", "18471", "931", "9859", "11998",
    "11688", "9749", "621", "12584", "3342", "2246", "4638", "69417", "8280", "9384", "41453", "12149",
    "29789", "22868", "1587", "802",
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
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
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
        Self {
            prefix: prefix.to_owned(),
        }
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

    /// What all keys of a partition begin with: scripts add what is in [`counter`](Self::counter) and the like.
    pub(crate) fn base(&self, partition: usize) -> String {
        self.key(partition, "")
    }

    /// Set: owners that have an index in this partition.
    pub(crate) fn owners(&self, partition: usize) -> String {
        self.key(partition, "o")
    }

    /// Set: the addresses of one owner in this partition.
    pub(crate) fn index(&self, partition: usize, owner: &str) -> String {
        self.key(partition, "i:") + owner
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
            assert_eq!(usize::from(*slot), place * 256 + 128, "tag {}", TAGS[place]);
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

    const PINNED: [usize; 4] = [1, 9, 60, 5];

    #[test]
    fn the_keys_of_a_partition_carry_its_tag() {
        let keys = Keys::new("waypost:");
        assert_eq!(keys.base(0), "waypost:{40821}:");
        assert_eq!(keys.sessions(0), "waypost:{40821}:s");
        assert_eq!(keys.index(63, "7 node a"), "waypost:{802}:i:7 node a");
        assert_eq!(keys.lease(&Identity::new("a").unwrap()), "waypost:{lease}:l:a");
    }
}
