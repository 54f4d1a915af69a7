//! A lease's document.

use core::time::Duration;

use waypost_types::{Identity, Incarnation, Lease, LeaseState, Location, Owner};

const VERSION: u8 = 1;
const NUMBERS: usize = 4;

/// What is known of one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseDoc {
    pub(crate) incarnation: Incarnation,
    /// Grows with every renewal.
    pub(crate) counter: u64,
    pub(crate) term: Duration,
    /// Tells one registration from another whose outcome is not known.
    pub(crate) nonce: u64,
    /// `None` when the lease is over: deregistered, or found lapsed by somebody. It never comes back.
    pub(crate) state: Option<LeaseState>,
    pub(crate) location: Location,
}

impl LeaseDoc {
    /// `None` when it is something else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let ([version, state], rest) = bytes.split_first_chunk()?;
        if *version != VERSION {
            return None;
        }
        let state = match state {
            0 => None,
            1 => Some(LeaseState::Live),
            2 => Some(LeaseState::Draining),
            _ => return None,
        };
        let (numbers, location) = rest.split_at_checked(NUMBERS * 8)?;
        let mut numbers = numbers
            .chunks_exact(8)
            .map(|chunk| chunk.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)));
        Some(Self {
            incarnation: Incarnation(numbers.next()?),
            counter: numbers.next()?,
            term: Duration::from_millis(numbers.next()?),
            nonce: numbers.next()?,
            state,
            location: Location::new(core::str::from_utf8(location).ok()?).ok()?,
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let state = match self.state {
            None => 0,
            Some(LeaseState::Live) => 1,
            Some(LeaseState::Draining) => 2,
        };
        let mut bytes = vec![VERSION, state];
        let term = u64::try_from(self.term.as_millis()).unwrap_or(u64::MAX);
        for number in [self.incarnation.0, self.counter, term, self.nonce] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(self.location.as_str().as_bytes());
        bytes
    }

    pub(crate) fn owner(&self, identity: &Identity) -> Owner {
        Owner::new(identity.clone(), self.incarnation)
    }

    /// The lease, unless it is over.
    pub(crate) fn lease(&self, identity: &Identity) -> Option<Lease> {
        Some(Lease {
            owner: self.owner(identity),
            location: self.location.clone(),
            counter: self.counter,
            state: self.state?,
            term: self.term,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_comes_back_and_a_damaged_one_does_not() {
        for state in [None, Some(LeaseState::Live), Some(LeaseState::Draining)] {
            let doc = LeaseDoc {
                incarnation: Incarnation(u64::MAX),
                counter: 3,
                term: Duration::from_millis(77_777),
                nonce: 5,
                state,
                location: Location::new("tcp://h:1").unwrap(),
            };
            let bytes = doc.encode();
            assert_eq!(LeaseDoc::decode(&bytes).unwrap(), doc);
            for len in 0..=34 {
                assert_eq!(LeaseDoc::decode(&bytes[..len]), None);
            }
        }
        assert_eq!(LeaseDoc::decode(&[1, 9]), None);
    }
}
