//! The record of one address, which merges: whatever is written at the same time, everybody ends with the same one.

use core::cmp::Ordering;
use core::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use waypost_types::{Identity, Incarnation, Owner, Seq, Session};

use crate::fault::Fault;
use crate::names::encode;
use crate::object::Object;
use crate::stamp;

/// How many claims that lost are remembered in a record, and for how long after the claim that beat them.
const BEATEN_MAX: usize = 8;
const BEATEN_FOR: Duration = Duration::from_secs(60);

/// What is known of an address.
///
/// Of two records the greater is the one with the greater claim, by (seq, incarnation, identity). What happens to a session
/// after its claim raises the revision: a release makes revision 1 without a holder, so it beats the claim that it
/// releases and no other. A restore after it makes revision 2, and so on. Records are totally ordered: merging is taking
/// the greatest, and no order of writes and reads matters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    /// The greatest claim there was: its seq is never given again.
    pub(crate) claim: Session,
    pub(crate) revision: u64,
    /// Who holds the address; `None` when it is vacant. Another session than `claim` only after a restore.
    pub(crate) holder: Option<Session>,
    /// Sessions that lost against claims made at the same time or shortly after, greatest first: so that the winner learns
    /// of them although somebody else has merged the siblings.
    pub(crate) beaten: Vec<Session>,
}

impl Record {
    /// A fresh claim over what was known.
    pub(crate) fn claimed(mine: Session, known: &View) -> Self {
        let beaten = beaten(&mine, known.sessions());
        Self {
            revision: 0,
            holder: Some(mine.clone()),
            claim: mine,
            beaten,
        }
    }

    /// The same with another holder, greater than this one.
    pub(crate) fn with_holder(&self, holder: Option<Session>) -> Self {
        Self {
            revision: self.revision.saturating_add(1),
            holder,
            ..self.clone()
        }
    }

    pub(crate) fn encode(&self) -> Result<Bytes, Fault> {
        encode(&Stored {
            claim: stored(&self.claim),
            revision: self.revision,
            holder: self.holder.as_ref().map(stored),
            beaten: self.beaten.iter().map(stored).collect(),
        })
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(value).ok()?;
        Some(Self {
            claim: session(stored.claim)?,
            revision: stored.revision,
            holder: match stored.holder {
                Some(holder) => Some(session(holder)?),
                None => None,
            },
            beaten: stored.beaten.into_iter().map(session).collect::<Option<_>>()?,
        })
    }

    fn cmp_rank(&self, other: &Self) -> Ordering {
        cmp_sessions(&self.claim, &other.claim)
            .then(self.revision.cmp(&other.revision))
            .then_with(|| match (&self.holder, &other.holder) {
                (Some(one), Some(two)) => cmp_sessions(one, two),
                (one, two) => one.is_some().cmp(&two.is_some()),
            })
    }
}

/// The order of claims.
pub(crate) fn cmp_sessions(one: &Session, two: &Session) -> Ordering {
    let key = |session: &Session| (session.seq, session.owner.incarnation);
    key(one)
        .cmp(&key(two))
        .then_with(|| one.owner.identity.cmp(&two.owner.identity))
}

/// What one read of an address has shown: all siblings.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    records: Vec<Record>,
    /// How many values there are, those that cannot be read among them.
    siblings: usize,
}

impl View {
    /// A view of these siblings.
    #[cfg(test)]
    pub(crate) const fn new(records: Vec<Record>) -> Self {
        let siblings = records.len();
        Self { records, siblings }
    }

    pub(crate) fn of(object: &Object) -> Self {
        Self {
            records: object.readable_by("the record of an address", Record::decode),
            siblings: object.values.len(),
        }
    }

    /// The record that stands: the greatest, with what its siblings remember.
    pub(crate) fn merged(&self) -> Option<Record> {
        let top = self.records.iter().max_by(|one, two| one.cmp_rank(two))?;
        let beaten = beaten(&top.claim, self.sessions());
        Some(Record {
            beaten,
            ..top.clone()
        })
    }

    pub(crate) fn has_siblings(&self) -> bool {
        self.siblings > 1
    }

    /// Every session that is mentioned, whether or not it stands.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.records.iter().flat_map(|record| {
            record
                .holder
                .iter()
                .chain(&record.beaten)
                .chain(core::iter::once(&record.claim))
        })
    }

    /// Holders that have lost to the record that stands without the writer of that record knowing: nobody has told them.
    pub(crate) fn unaware(&self) -> Vec<Session> {
        let Some(top) = self.records.iter().max_by(|one, two| one.cmp_rank(two)) else {
            return Vec::new();
        };
        let holders = self.records.iter().filter_map(|record| record.holder.as_ref());
        let mut unaware: Vec<Session> = holders
            .filter(|session| Some(*session) != top.holder.as_ref() && **session != top.claim)
            .filter(|session| !top.beaten.contains(session))
            .cloned()
            .collect();
        unaware.sort_by(cmp_sessions);
        unaware.dedup();
        unaware
    }

    /// Sessions that were held at the same time as others: those that a claim made meanwhile has displaced too.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Session> {
        self.records
            .iter()
            .flat_map(|record| record.holder.iter().chain(&record.beaten))
    }
}

/// The sessions below `top` that are worth remembering.
fn beaten<'a>(top: &Session, all: impl Iterator<Item = &'a Session>) -> Vec<Session> {
    let oldest = stamp::before(top.seq.0, BEATEN_FOR);
    let mut beaten: Vec<&Session> = all
        .filter(|session| session.seq.0 >= oldest && cmp_sessions(session, top).is_lt())
        .collect();
    beaten.sort_by(|one, two| cmp_sessions(two, one));
    beaten.dedup();
    beaten.truncate(BEATEN_MAX);
    beaten.into_iter().cloned().collect()
}

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(rename = "c")]
    claim: (u64, u64, String),
    #[serde(rename = "r", default)]
    revision: u64,
    #[serde(rename = "h", default)]
    holder: Option<(u64, u64, String)>,
    #[serde(rename = "b", default, skip_serializing_if = "Vec::is_empty")]
    beaten: Vec<(u64, u64, String)>,
}

fn stored(session: &Session) -> (u64, u64, String) {
    (
        session.seq.0,
        session.owner.incarnation.0,
        session.owner.identity.as_str().to_owned(),
    )
}

fn session((seq, incarnation, identity): (u64, u64, String)) -> Option<Session> {
    let identity = Identity::new(&identity).ok()?;
    Some(Session::new(
        Owner::new(identity, Incarnation(incarnation)),
        Seq(seq),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64, identity: &str) -> Session {
        Session::new(
            Owner::new(Identity::new(identity).unwrap(), Incarnation(1)),
            Seq(seq),
        )
    }

    fn claim(seq: u64, identity: &str) -> Record {
        Record::claimed(at(seq, identity), &View::default())
    }

    fn merged(records: &[&Record]) -> Record {
        let object = Object {
            values: records.iter().map(|record| record.encode().unwrap()).collect(),
            ..Object::default()
        };
        View::of(&object).merged().unwrap()
    }

    #[test]
    fn the_greatest_seq_then_incarnation_then_identity_stands() {
        assert_eq!(merged(&[&claim(2, "a"), &claim(1, "b")]).holder, Some(at(2, "a")));
        assert_eq!(merged(&[&claim(1, "a"), &claim(1, "b")]).holder, Some(at(1, "b")));
        let mut newer = claim(1, "a");
        newer.claim.owner.incarnation = Incarnation(2);
        newer.holder = Some(newer.claim.clone());
        assert_eq!(merged(&[&newer, &claim(1, "b")]).holder, newer.holder);
    }

    #[test]
    fn a_release_beats_the_claim_that_it_releases_and_no_other() {
        let held = claim(1, "a");
        let released = held.with_holder(None);
        assert_eq!(merged(&[&held, &released]).holder, None);
        assert_eq!(merged(&[&released, &claim(2, "b")]).holder, Some(at(2, "b")));
        let restored = released.with_holder(Some(at(1, "a")));
        assert_eq!(merged(&[&released, &restored, &held]).holder, Some(at(1, "a")));
        assert_eq!(merged(&[&restored.with_holder(None), &restored]).holder, None);
    }

    #[test]
    fn merging_forgets_no_claim_that_was_beaten_just_now() {
        let first = merged(&[&claim(7, "a"), &claim(8, "b")]);
        assert_eq!(first.beaten, [at(7, "a")]);
        let second = merged(&[&first, &claim(9, "c")]);
        assert_eq!(second.beaten, [at(8, "b"), at(7, "a")]);
        let later = stamp::after(9, BEATEN_FOR + Duration::from_secs(1));
        assert_eq!(merged(&[&second, &claim(later, "d")]).beaten, []);
    }

    #[test]
    fn records_survive_their_encoding_and_others_are_refused() {
        let record = merged(&[&claim(7, "ä\"\0"), &claim(u64::MAX, "b")]).with_holder(None);
        assert_eq!(Record::decode(&record.encode().unwrap()), Some(record));
        for value in ["", "{}", "[]", "one", r#"{"c":[1,1,""]}"#, r#"{"c":[-1,1,"a"]}"#] {
            assert_eq!(Record::decode(value.as_bytes()), None, "{value}");
        }
    }
}
