//! Looks at a whole environment and says what does not fit together.

use std::collections::HashMap;

use waypost_session::StoreError;
use waypost_types::{Incarnation, Owner};

use crate::codec::{decode_clock, decode_lease, decode_owner_key, decode_session, held_key, owner_key};
use crate::environment::{CLOCK, Environment};
use crate::error::from_heed;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many sessions there are.
    pub sessions: usize,
    /// How many leases there are.
    pub leases: usize,
    /// How many owners wait to be reclaimed.
    pub dead: usize,
    /// The last incarnation or seq that was given.
    pub clock: u64,
    /// What does not fit together, each in a sentence; empty when all is well.
    pub problems: Vec<String>,
}

/// Looks at one snapshot. Takes time and memory in proportion to everything that is there.
pub(crate) fn check(environment: &Environment) -> Result<Report, StoreError> {
    const OPERATION: &str = "check";
    let failed = |error| from_heed(OPERATION, error);
    let txn = environment.read(OPERATION)?;
    let tables = environment.tables;
    let mut report = Report::default();
    let mut problems = Vec::new();

    match tables.meta.get(&txn, CLOCK).map_err(failed)?.map(decode_clock) {
        Some(Ok(clock)) => report.clock = clock,
        _ => problems.push("the counter is missing or cannot be read".to_owned()),
    }
    let mut leases: HashMap<String, Incarnation> = HashMap::new();
    for entry in tables.leases.iter(&txn).map_err(failed)? {
        let (identity, lease) = entry.map_err(failed)?;
        report.leases += 1;
        match (core::str::from_utf8(identity), decode_lease(lease)) {
            (Ok(identity), Ok(lease)) => {
                if lease.incarnation.0 > report.clock {
                    problems.push(format!("{identity} has an incarnation that was not given yet"));
                }
                leases.insert(identity.to_owned(), lease.incarnation);
            }
            _ => problems.push(format!("the lease of {} cannot be read", identity.escape_ascii())),
        }
    }
    let mut key = Vec::new();
    let mut seqs: HashMap<u64, Vec<u8>> = HashMap::new();
    for entry in tables.sessions.iter(&txn).map_err(failed)? {
        let (address, session) = entry.map_err(failed)?;
        report.sessions += 1;
        let name = address.escape_ascii();
        let Ok(session) = decode_session(session) else {
            problems.push(format!("the session of {name} cannot be read"));
            continue;
        };
        if session.seq.0 > report.clock {
            problems.push(format!("the session of {name} has a seq that was not given yet"));
        }
        if let Some(other) = seqs.insert(session.seq.0, address.to_vec()) {
            problems.push(format!(
                "the sessions of {name} and {} have the same seq",
                other.escape_ascii()
            ));
        }
        held_key(&mut key, session.identity, session.incarnation, session.slot);
        if tables.held.get(&txn, &key).map_err(failed)? != Some(address) {
            problems.push(format!("the session of {name} is not among what its owner holds"));
        }
        owner_key(&mut key, session.identity, session.incarnation);
        let is_leased = leases.get(session.identity) == Some(&session.incarnation);
        let is_dead = tables.dead.get(&txn, &key).map_err(failed)?.is_some();
        if is_leased == is_dead {
            problems.push(format!(
                "the owner of {name} must be either leased or waiting to be reclaimed"
            ));
        }
    }
    let mut held = 0;
    for entry in tables.held.iter(&txn).map_err(failed)? {
        let (key, address) = entry.map_err(failed)?;
        held += 1;
        let Ok((owner, _)) = decode_owner_key(key) else {
            problems.push(format!("what {} holds cannot be read", key.escape_ascii()));
            continue;
        };
        if !holds(tables.sessions.get(&txn, address).map_err(failed)?, &owner) {
            problems.push(format!(
                "{owner} is said to hold {} and does not",
                address.escape_ascii()
            ));
        }
    }
    if held != report.sessions {
        problems.push(format!(
            "{held} addresses are held and {} sessions are there",
            report.sessions
        ));
    }
    for entry in tables.dead.iter(&txn).map_err(failed)? {
        let (key, _) = entry.map_err(failed)?;
        report.dead += 1;
        if decode_owner_key(key).is_err() {
            problems.push(format!("the dead owner {} cannot be read", key.escape_ascii()));
        }
    }
    report.problems = problems;
    Ok(report)
}

fn holds(session: Option<&[u8]>, owner: &Owner) -> bool {
    session.is_some_and(|bytes| decode_session(bytes).is_ok_and(|session| session.is_held_by(owner)))
}
