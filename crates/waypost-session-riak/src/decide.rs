//! What the verbs on sessions conclude from what they have read and written. Pure: a model tries every order of it.

use waypost_types::Session;

use crate::record::{Record, View, cmp_sessions};

/// What a claim has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Whom the claiming server is to tell, or to whom it has lost.
    pub(crate) displaced: Option<Session>,
    /// It has lost against a claim made at the same time, whose owner may not know.
    pub(crate) lost: bool,
    /// Others that have lost and whom nobody else tells.
    pub(crate) unaware: Vec<Session>,
}

/// Judges a claim by what was read before it and what stood after it.
///
/// Of claims made at the same time at least one sees the other, where quorums overlap. The greater one reports the lesser as
/// displaced. One that sees that it has lost reports the winner in the place of the displaced, unless it has displaced
/// somebody else, who must be told; either way the next heartbeat has another generation, so that its owner checks what it
/// holds.
pub(crate) fn claimed(mine: &Session, before: &View, after: &View) -> Claim {
    let now = after.merged();
    let standing = before.merged().and_then(|record| record.holder);
    let known: Vec<&Session> = before.sessions().collect();
    let met = after
        .held()
        .filter(|session| cmp_sessions(session, mine).is_lt() && !known.contains(session));
    // The holder may be one of before that was put back over the greater claim once that had been released.
    let lost = now
        .as_ref()
        .is_some_and(|record| cmp_sessions(&record.claim, mine).is_gt());
    let holder = now.as_ref().and_then(|record| record.holder.as_ref());
    let greatest = met
        .chain(&standing)
        .filter(|session| !lost || Some(*session) != holder)
        .max_by(|one, two| cmp_sessions(one, two))
        .cloned();
    let winner = now
        .as_ref()
        .filter(|_| lost)
        .map(|record| record.holder.as_ref().unwrap_or(&record.claim).clone())
        .filter(|winner| cmp_sessions(winner, mine).is_gt());
    let displaced = match winner {
        None => greatest,
        Some(winner) => greatest
            .filter(|loser| ![&mine.owner, &winner.owner].contains(&&loser.owner))
            .or(Some(winner)),
    };
    let mut unaware = before.unaware();
    unaware.extend(after.unaware());
    // The claim has overwritten it, and somebody else was met and is reported.
    unaware.extend(standing);
    unaware.retain(|session| session.owner != mine.owner && Some(session) != displaced.as_ref());
    Claim {
        displaced,
        lost,
        unaware,
    }
}

/// The record that a release writes; `None` when the session is not there to be released. It loses to every newer claim, also to
/// one that was made since the read.
pub(crate) fn release(session: &Session, view: &View) -> Option<Record> {
    view.merged()
        .filter(|record| record.holder.as_ref() == Some(session))
        .map(|record| record.with_holder(None))
}

/// What putting a session back comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Restore {
    /// It stands.
    Stands,
    /// This one stands instead.
    Lost(Session),
    /// It has to be written.
    Write {
        record: Record,
        /// Who held the address until now, and learns it from nobody else.
        unaware: Vec<Session>,
    },
}

/// Judges a session that is to be put back by what stands there.
pub(crate) fn restore(mine: &Session, view: &View) -> Restore {
    let Some(record) = view.merged() else {
        return Restore::Write {
            record: Record::claimed(mine.clone(), view),
            unaware: Vec::new(),
        };
    };
    let mut unaware = view.unaware();
    if let Some(holder) = &record.holder {
        let same_server = holder.owner.identity == mine.owner.identity && holder.seq == mine.seq;
        if holder == mine {
            return Restore::Stands;
        }
        if holder.seq >= mine.seq && !(same_server && holder.owner.incarnation < mine.owner.incarnation) {
            return Restore::Lost(holder.clone());
        }
        unaware.push(holder.clone());
    }
    unaware.retain(|session| session.owner != mine.owner);
    let record = if mine.seq > record.claim.seq {
        Record::claimed(mine.clone(), view)
    } else {
        record.with_holder(Some(mine.clone()))
    };
    Restore::Write { record, unaware }
}

#[cfg(test)]
mod tests {
    use waypost_types::{Identity, Incarnation, Owner, Seq};

    use super::*;

    fn at(seq: u64, identity: &str) -> Session {
        let owner = Owner::new(Identity::new(identity).unwrap(), Incarnation(1));
        Session::new(owner, Seq(seq))
    }

    fn claim(seq: u64, identity: &str) -> Record {
        Record::claimed(at(seq, identity), &View::default())
    }

    #[test]
    fn a_winner_tells_whom_it_has_overwritten_also_when_it_reports_another_whom_it_met() {
        let before = View::new(vec![claim(1, "a")]);
        let mine = at(3, "c");
        let after = View::new(vec![claim(2, "b"), Record::claimed(mine.clone(), &before)]);
        let claim = claimed(&mine, &before, &after);
        assert_eq!((claim.displaced, claim.lost), (Some(at(2, "b")), false));
        assert_eq!(claim.unaware, [at(1, "a")]);
    }

    #[test]
    fn a_claim_has_lost_to_a_greater_one_also_when_that_was_released_and_somebody_was_put_back() {
        let put_back = claim(9, "a").with_holder(None).with_holder(Some(at(1, "b")));
        let mine = at(5, "c");
        let after = View::new(vec![put_back, claim(5, "c")]);
        let claim = claimed(&mine, &View::default(), &after);
        assert_eq!((claim.displaced, claim.lost), (None, true));
    }
}
