//! What is read: in a snapshot, beside any writer.

use core::time::Duration;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use waypost_session::{LeaseWatch, ProcessClock, StoreError};
use waypost_types::{Address, Identity, Incarnation, Lease, MonoTime, Owner, Session};

use crate::codec::{decode_identity, decode_lease, decode_session, readable};
use crate::environment::Environment;
use crate::error::from_heed;
use crate::leases::Lapsed;

/// What one handle knows about who is alive.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    clock: ProcessClock,
    watch: Mutex<LeaseWatch>,
}

impl Observer {
    pub(crate) fn now(&self) -> MonoTime {
        self.clock.now()
    }

    /// Takes note of a lease that was read at some moment since `asked`, and says whether it is live.
    fn observe(&self, asked: MonoTime, lease: &Lease) -> bool {
        self.note(asked, &lease.owner, lease.counter, lease.term)
    }

    /// The same for a lease that this handle wrote: its term is counted from here on, also when it is never read.
    pub(crate) fn note(&self, asked: MonoTime, owner: &Owner, counter: u64, term: Duration) -> bool {
        let answered = self.now();
        self.watch().observe_read(asked, answered, owner, counter, term)
    }

    fn watch(&self) -> MutexGuard<'_, LeaseWatch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a read found, and the leases that it saw standing still for longer than their terms.
pub(crate) struct Found<T> {
    pub(crate) answer: T,
    pub(crate) lapsed: Vec<Lapsed>,
}

/// Who holds each address.
pub(crate) fn lookup(
    environment: &Environment,
    observer: &Observer,
    addresses: &[Address],
) -> Result<Found<Vec<Option<Session>>>, StoreError> {
    const OPERATION: &str = "lookup";
    let asked = observer.now();
    let txn = environment.read(OPERATION)?;
    // Which incarnation of each server is live. Servers are few, sessions are many.
    let mut servers: HashMap<&str, Option<(Identity, Incarnation)>> = HashMap::new();
    let mut lapsed = Vec::new();
    let mut answers = Vec::with_capacity(addresses.len());
    for address in addresses {
        let record = environment
            .tables
            .sessions
            .get(&txn, address.as_str().as_bytes())
            .map_err(|error| from_heed(OPERATION, error))?;
        let Some(session) = record.and_then(|record| readable(decode_session(record))) else {
            answers.push(None);
            continue;
        };
        let server = match servers.get(session.identity) {
            Some(server) => server,
            None => {
                let lease = environment
                    .tables
                    .leases
                    .get(&txn, session.identity.as_bytes())
                    .map_err(|error| from_heed(OPERATION, error))?;
                let lease = lease.and_then(|bytes| lease_of(session.identity.as_bytes(), bytes));
                let live = lease.and_then(|lease| {
                    if observer.observe(asked, &lease) {
                        return Some((lease.owner.identity, lease.owner.incarnation));
                    }
                    lapsed.push(Lapsed::from(lease));
                    None
                });
                servers.entry(session.identity).or_insert(live)
            }
        };
        answers.push(match server {
            Some((identity, incarnation)) if *incarnation == session.incarnation => Some(Session::new(
                Owner::new(identity.clone(), *incarnation),
                session.seq,
            )),
            _ => None,
        });
    }
    Ok(Found {
        answer: answers,
        lapsed,
    })
}

/// The live leases.
pub(crate) fn peers(
    environment: &Environment,
    observer: &Observer,
    operation: &'static str,
) -> Result<Found<Vec<Lease>>, StoreError> {
    let (asked, leases) = leases(environment, observer, operation)?;
    let (answer, dead): (Vec<_>, Vec<_>) = leases
        .into_iter()
        .partition(|lease| observer.observe(asked, lease));
    Ok(Found {
        answer,
        lapsed: dead.into_iter().map(Lapsed::from).collect(),
    })
}

/// All leases, and a moment before they were read. Forgets those that are gone.
fn leases(
    environment: &Environment,
    observer: &Observer,
    operation: &'static str,
) -> Result<(MonoTime, Vec<Lease>), StoreError> {
    let asked = observer.now();
    let txn = environment.read(operation)?;
    let mut leases = Vec::new();
    for entry in environment
        .tables
        .leases
        .iter(&txn)
        .map_err(|error| from_heed(operation, error))?
    {
        let (identity, lease) = entry.map_err(|error| from_heed(operation, error))?;
        leases.extend(lease_of(identity, lease));
    }
    drop(txn);
    let known: HashSet<&Identity> = leases.iter().map(|lease| &lease.owner.identity).collect();
    observer.watch().retain(|identity, _| known.contains(identity));
    Ok((asked, leases))
}

fn lease_of(identity: &[u8], lease: &[u8]) -> Option<Lease> {
    readable(decode_identity(identity).and_then(|identity| decode_lease(lease)?.to_lease(identity)))
}
