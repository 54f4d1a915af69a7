//! How records and keys are written: compact, big-endian, a version byte first in every value.
//!
//! Reading never trusts what it finds: any bytes give a record or [`Corrupt`].

use core::time::Duration;

use waypost_types::{
    Address, IDENTITY_BYTES_MAX, Identity, Incarnation, Lease, LeaseState, Location, Owner, Seq, Session,
};

/// Of every value's layout. A record of another version is unreadable.
const VERSION: u8 = 1;

/// Bytes that are not a record of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not a {0}")]
pub(crate) struct Corrupt(pub(crate) &'static str);

/// A record, unless it cannot be read. Then it counts as missing, and whoever has something to write there writes over it: nobody
/// could mend what it was, and neither other entries of a batch nor other servers must fail for it.
pub(crate) fn readable<T>(decoded: Result<T, Corrupt>) -> Option<T> {
    decoded
        .inspect_err(|corrupt| {
            tracing::warn!("{corrupt} and count as missing: has another program or version written here, or the disk lost it?");
        })
        .ok()
}

/// A session as it lies in the map, not yet copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionRef<'a> {
    pub(crate) identity: &'a str,
    pub(crate) incarnation: Incarnation,
    pub(crate) seq: Seq,
    /// Where its owner's list of what it holds names it.
    pub(crate) slot: u64,
}

impl SessionRef<'_> {
    pub(crate) fn is_held_by(&self, owner: &Owner) -> bool {
        self.incarnation == owner.incarnation && self.identity == owner.identity.as_str()
    }

    pub(crate) fn to_session(self) -> Result<Session, Corrupt> {
        let identity = Identity::new(self.identity).map_err(|_| Corrupt("session"))?;
        Ok(Session::new(Owner::new(identity, self.incarnation), self.seq))
    }
}

/// version, incarnation, seq, slot, identity.
pub(crate) fn encode_session(out: &mut Vec<u8>, owner: &Owner, seq: Seq, slot: u64) {
    out.clear();
    out.push(VERSION);
    out.extend_from_slice(&owner.incarnation.0.to_be_bytes());
    out.extend_from_slice(&seq.0.to_be_bytes());
    out.extend_from_slice(&slot.to_be_bytes());
    out.extend_from_slice(owner.identity.as_str().as_bytes());
}

pub(crate) fn decode_session(bytes: &[u8]) -> Result<SessionRef<'_>, Corrupt> {
    let mut reader = Reader {
        rest: bytes,
        what: "session",
    };
    reader.version()?;
    let incarnation = Incarnation(reader.u64()?);
    let seq = Seq(reader.u64()?);
    let slot = reader.u64()?;
    let identity = core::str::from_utf8(reader.rest).map_err(|_| Corrupt("session"))?;
    Identity::check(identity).map_err(|_| Corrupt("session"))?;
    Ok(SessionRef {
        identity,
        incarnation,
        seq,
        slot,
    })
}

/// A lease as it lies in the map, without the identity, which is its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseRef<'a> {
    pub(crate) incarnation: Incarnation,
    pub(crate) counter: u64,
    pub(crate) state: LeaseState,
    pub(crate) term_ms: u64,
    pub(crate) location: &'a str,
}

impl LeaseRef<'_> {
    pub(crate) const fn term(&self) -> Duration {
        Duration::from_millis(self.term_ms)
    }

    pub(crate) fn to_lease(self, identity: Identity) -> Result<Lease, Corrupt> {
        Ok(Lease {
            owner: Owner::new(identity, self.incarnation),
            location: Location::new(self.location).map_err(|_| Corrupt("lease"))?,
            counter: self.counter,
            state: self.state,
            term: self.term(),
        })
    }
}

/// version, state, incarnation, counter, term in milliseconds, location.
pub(crate) fn encode_lease(out: &mut Vec<u8>, lease: &LeaseRef<'_>) {
    out.clear();
    out.push(VERSION);
    out.push(match lease.state {
        LeaseState::Live => 0,
        LeaseState::Draining => 1,
    });
    out.extend_from_slice(&lease.incarnation.0.to_be_bytes());
    out.extend_from_slice(&lease.counter.to_be_bytes());
    out.extend_from_slice(&lease.term_ms.to_be_bytes());
    out.extend_from_slice(lease.location.as_bytes());
}

pub(crate) fn decode_lease(bytes: &[u8]) -> Result<LeaseRef<'_>, Corrupt> {
    let mut reader = Reader {
        rest: bytes,
        what: "lease",
    };
    reader.version()?;
    let state = match reader.take::<1>()? {
        [0] => LeaseState::Live,
        [1] => LeaseState::Draining,
        _ => return Err(Corrupt("lease")),
    };
    let incarnation = Incarnation(reader.u64()?);
    let counter = reader.u64()?;
    let term_ms = reader.u64()?;
    let location = core::str::from_utf8(reader.rest).map_err(|_| Corrupt("lease"))?;
    if location.is_empty() {
        return Err(Corrupt("lease"));
    }
    Ok(LeaseRef {
        incarnation,
        counter,
        state,
        term_ms,
        location,
    })
}

pub(crate) fn decode_identity(bytes: &[u8]) -> Result<Identity, Corrupt> {
    Identity::from_utf8(bytes).map_err(|_| Corrupt("lease"))
}

/// The key of an owner: length of the identity, identity, incarnation. No owner's key is a prefix of another's, so that
/// it can be the prefix of the keys of what the owner holds.
pub(crate) fn owner_key(out: &mut Vec<u8>, identity: &str, incarnation: Incarnation) {
    const { assert!(IDENTITY_BYTES_MAX <= u8::MAX as usize) };
    out.clear();
    out.push(u8::try_from(identity.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(identity.as_bytes());
    out.extend_from_slice(&incarnation.0.to_be_bytes());
}

/// The key of one thing held: the owner's key, then the slot. Slots grow with time, so that what one server claims is
/// written side by side, however far apart its addresses are.
pub(crate) fn held_key(out: &mut Vec<u8>, identity: &str, incarnation: Incarnation, slot: u64) {
    owner_key(out, identity, incarnation);
    out.extend_from_slice(&slot.to_be_bytes());
}

/// Reads an owner's key, and what follows it.
pub(crate) fn decode_owner_key(bytes: &[u8]) -> Result<(Owner, &[u8]), Corrupt> {
    let mut reader = Reader {
        rest: bytes,
        what: "key",
    };
    let [len] = reader.take::<1>()?;
    let (identity, rest) = reader
        .rest
        .split_at_checked(usize::from(len))
        .ok_or(Corrupt("key"))?;
    reader.rest = rest;
    let identity = Identity::from_utf8(identity).map_err(|_| Corrupt("key"))?;
    let incarnation = Incarnation(reader.u64()?);
    Ok((Owner::new(identity, incarnation), reader.rest))
}

pub(crate) fn decode_address(bytes: &[u8]) -> Result<Address, Corrupt> {
    Address::from_utf8(bytes).map_err(|_| Corrupt("key"))
}

pub(crate) fn encode_clock(value: u64) -> [u8; 9] {
    let mut out = [VERSION; 9];
    out[1..].copy_from_slice(&value.to_be_bytes());
    out
}

pub(crate) fn decode_clock(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut reader = Reader {
        rest: bytes,
        what: "counter",
    };
    reader.version()?;
    let value = reader.u64()?;
    if reader.rest.is_empty() {
        Ok(value)
    } else {
        Err(Corrupt("counter"))
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Corrupt(self.what))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u64(&mut self) -> Result<u64, Corrupt> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn version(&mut self) -> Result<(), Corrupt> {
        if self.take::<1>()? == [VERSION] {
            Ok(())
        } else {
            Err(Corrupt(self.what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(identity: &str, incarnation: u64) -> Owner {
        Owner::new(Identity::new(identity).unwrap(), Incarnation(incarnation))
    }

    fn samples() -> Vec<Vec<u8>> {
        let mut samples = Vec::new();
        for (identity, number) in [("a", 1), ("sérver/\0 1", u64::MAX), (&*"x".repeat(128), 1 << 40)] {
            let mut out = Vec::new();
            encode_session(&mut out, &owner(identity, number), Seq(number), number);
            samples.push(out.clone());
            held_key(&mut out, identity, Incarnation(number), number);
            samples.push(out.clone());
            for state in [LeaseState::Live, LeaseState::Draining] {
                let lease = LeaseRef {
                    incarnation: Incarnation(number),
                    counter: number,
                    state,
                    term_ms: number,
                    location: "tcp://[::1]:1",
                };
                encode_lease(&mut out, &lease);
                samples.push(out.clone());
            }
            samples.push(encode_clock(number).to_vec());
        }
        samples
    }

    fn decode_all(bytes: &[u8]) {
        if let Ok(session) = decode_session(bytes) {
            session.to_session().expect("checked when it was read");
        }
        if let Ok(lease) = decode_lease(bytes) {
            let _ = lease.to_lease(Identity::new("a").unwrap());
        }
        let _ = decode_owner_key(bytes);
        let _ = decode_clock(bytes);
        let _ = decode_identity(bytes);
        let _ = decode_address(bytes);
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mut out = Vec::new();
        for (identity, incarnation, seq) in
            [("a", 1, 2), (&*"é".repeat(64), u64::MAX, u64::MAX), ("\0", 0, 0)]
        {
            let owner = owner(identity, incarnation);
            encode_session(&mut out, &owner, Seq(seq), seq / 2);
            let read = decode_session(&out).unwrap();
            assert!(read.is_held_by(&owner));
            assert_eq!(read.slot, seq / 2);
            assert_eq!(read.to_session().unwrap(), Session::new(owner.clone(), Seq(seq)));

            held_key(&mut out, identity, Incarnation(incarnation), seq);
            assert_eq!(decode_owner_key(&out).unwrap(), (owner, &seq.to_be_bytes()[..]));
            assert_eq!(decode_clock(&encode_clock(seq)), Ok(seq));

            let location = "u".repeat(512);
            let lease = LeaseRef {
                incarnation: Incarnation(incarnation),
                counter: seq,
                state: LeaseState::Draining,
                term_ms: 10_000,
                location: &location,
            };
            encode_lease(&mut out, &lease);
            assert_eq!(decode_lease(&out), Ok(lease));
        }
    }

    #[test]
    fn the_longest_key_fits_lmdb() {
        let mut out = Vec::new();
        held_key(&mut out, &"i".repeat(128), Incarnation(u64::MAX), u64::MAX);
        assert!(out.len() <= 511, "{}", out.len());
    }

    #[test]
    fn no_owners_key_is_a_prefix_of_anothers() {
        let keys: Vec<Vec<u8>> = [("a", 1), ("a", 256), ("ab", 1), ("a\0", 1), ("b", 1)]
            .iter()
            .map(|(identity, incarnation)| {
                let mut out = Vec::new();
                owner_key(&mut out, identity, Incarnation(*incarnation));
                out
            })
            .collect();
        for (i, a) in keys.iter().enumerate() {
            for (j, b) in keys.iter().enumerate() {
                assert!(i == j || !b.starts_with(a), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn every_prefix_and_every_one_byte_mutation_is_a_record_or_an_error() {
        for sample in samples() {
            for len in 0..=sample.len() {
                decode_all(&sample[..len]);
            }
            for at in 0..sample.len() {
                let mut mutated = sample.clone();
                for value in 0..=u8::MAX {
                    mutated[at] = value;
                    decode_all(&mutated);
                }
            }
        }
    }

    #[test]
    fn another_version_is_corrupt() {
        let mut out = Vec::new();
        encode_session(&mut out, &owner("a", 1), Seq(1), 1);
        out[0] = 2;
        assert_eq!(decode_session(&out), Err(Corrupt("session")));
        assert_eq!(decode_session(&[]), Err(Corrupt("session")));
    }
}
