//! The record of one identity's lease, which merges.

use core::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use waypost_types::{Identity, Incarnation, Lease, LeaseState, Location, Owner};

use crate::fault::Fault;
use crate::names::encode;
use crate::object::Object;

/// A lease as it is stored. Of two the greater incarnation stands; of one and the same, what was said of it adds up: once over
/// it stays over, once draining it stays draining, and the greatest counter has the location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(rename = "i")]
    pub(crate) incarnation: u64,
    /// Tells two processes apart that registered with the same number at the same moment.
    #[serde(rename = "n")]
    pub(crate) nonce: u64,
    #[serde(rename = "c")]
    pub(crate) counter: u64,
    #[serde(rename = "d", default)]
    pub(crate) draining: bool,
    /// It has ended, for good.
    #[serde(rename = "o", default)]
    pub(crate) over: bool,
    /// How often somebody has found that this owner holds what it has lost.
    #[serde(rename = "k", default, skip_serializing_if = "is_zero")]
    pub(crate) checks: u64,
    #[serde(rename = "t")]
    pub(crate) term_ms: u64,
    #[serde(rename = "l")]
    pub(crate) location: String,
}

impl Record {
    pub(crate) fn new(incarnation: Incarnation, nonce: u64, term: Duration, location: &Location) -> Self {
        Self {
            incarnation: incarnation.0,
            nonce,
            counter: 1,
            draining: false,
            over: false,
            checks: 0,
            term_ms: u64::try_from(term.as_millis()).unwrap_or(u64::MAX),
            location: location.as_str().to_owned(),
        }
    }

    /// What ends an incarnation of which nothing else is known.
    pub(crate) fn ended(incarnation: Incarnation) -> Self {
        Self {
            incarnation: incarnation.0,
            nonce: 0,
            counter: 0,
            draining: false,
            over: true,
            checks: 0,
            term_ms: 0,
            location: "-".to_owned(),
        }
    }

    pub(crate) const fn term(&self) -> Duration {
        Duration::from_millis(self.term_ms)
    }

    pub(crate) fn move_to(&mut self, location: &Location) {
        location.as_str().clone_into(&mut self.location);
    }

    pub(crate) fn lease(&self, identity: &Identity) -> Option<Lease> {
        Some(Lease {
            owner: Owner::new(identity.clone(), Incarnation(self.incarnation)),
            location: Location::new(&self.location).ok()?,
            counter: self.counter,
            state: if self.draining {
                LeaseState::Draining
            } else {
                LeaseState::Live
            },
            term: self.term(),
        })
    }

    pub(crate) fn encode(&self) -> Result<Bytes, Fault> {
        encode(self)
    }

    fn join(self, other: Self) -> Self {
        if self.incarnation != other.incarnation {
            return if self.incarnation > other.incarnation {
                self
            } else {
                other
            };
        }
        let (draining, over) = (self.draining || other.draining, self.over || other.over);
        let checks = self.checks.max(other.checks);
        let key = |record: &Self| (record.nonce, record.counter);
        let greater = (key(&self), &self.location) >= (key(&other), &other.location);
        let greatest = if greater { self } else { other };
        Self {
            draining,
            over,
            checks,
            ..greatest
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// All siblings of a lease.
pub(crate) fn siblings(object: &Object) -> Vec<Record> {
    object.readable_by("a lease", |value| {
        let record: Record = serde_json::from_slice(value).ok()?;
        Location::new(&record.location).is_ok().then_some(record)
    })
}

/// The lease that stands, if there is any.
pub(crate) fn merged(object: &Object) -> Option<Record> {
    siblings(object).into_iter().reduce(Record::join)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(incarnation: u64, nonce: u64, counter: u64, location: &str) -> Record {
        let location = Location::new(location).unwrap();
        let mut record = Record::new(Incarnation(incarnation), nonce, Duration::from_secs(1), &location);
        record.counter = counter;
        record
    }

    #[test]
    fn joining_does_not_depend_on_order_or_repetition() {
        let mut drained = record(1, 1, 2, "x");
        (drained.draining, drained.checks) = (true, 3);
        let all = [
            record(1, 1, 3, "y"),
            drained,
            Record::ended(Incarnation(1)),
            record(2, 1, 1, "z"),
            record(2, 9, 1, "z"),
            record(2, 9, 1, "a"),
        ];
        for a in &all {
            assert_eq!(a.clone().join(a.clone()), *a);
            for b in &all {
                assert_eq!(a.clone().join(b.clone()), b.clone().join(a.clone()));
                for c in &all {
                    let left = a.clone().join(b.clone()).join(c.clone());
                    assert_eq!(left, a.clone().join(b.clone().join(c.clone())));
                }
            }
        }
    }

    #[test]
    fn what_is_over_or_draining_stays_so_until_the_next_incarnation() {
        let renewed = record(1, 1, 9, "x");
        let mut ended = record(1, 1, 2, "x");
        (ended.over, ended.draining) = (true, true);
        let joined = renewed.join(ended);
        assert!(joined.over && joined.draining && joined.counter == 9);
        let next = joined.join(record(2, 0, 1, "y"));
        assert!(!next.over && !next.draining);
    }
}
