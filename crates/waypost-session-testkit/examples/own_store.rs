//! A store of one's own, run through the conformance suite: `cargo run -p waypost-session-testkit --example own_store`.
//!
//! It keeps everything in one map behind a lock. A real one would speak to a datastore in each method and do there, in one
//! atomic step, what happens here under the lock. See `MemoryState` for the same with an index for reclaiming.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use waypost_session::{
    BATCH_MAX, Capabilities, Claimed, ErrorKind, Reclaimed, Released, Renewal, Renewed, Restored,
    SessionStore, StoreError,
};
use waypost_session_testkit::{Datastore, StartError, StoreBuilder, run_suite};
use waypost_types::{Address, Identity, Incarnation, Lease, LeaseState, Location, Owner, Seq, Session};

#[derive(Debug, Default)]
struct Records {
    last: u64,
    leases: HashMap<Identity, (Lease, Instant)>,
    sessions: HashMap<Address, Session>,
}

impl Records {
    fn lease(&mut self, owner: &Owner) -> Result<&mut (Lease, Instant), Renewal> {
        let lease = self
            .leases
            .get_mut(&owner.identity)
            .filter(|(lease, at)| at.elapsed() <= lease.term);
        let lease = lease.ok_or(Renewal::Gone)?;
        match lease.0.owner.incarnation {
            holder if holder == owner.incarnation => Ok(lease),
            holder if holder > owner.incarnation => Err(Renewal::Superseded(holder)),
            _ => Err(Renewal::Gone),
        }
    }
}

/// One handle: the records, unless it is closed.
#[derive(Debug)]
struct OwnStore(Mutex<Option<Arc<Mutex<Records>>>>);

impl OwnStore {
    fn run<T>(
        &self,
        verb: &'static str,
        size: usize,
        run: impl FnOnce(&mut Records) -> T,
    ) -> Result<T, StoreError> {
        if size > BATCH_MAX {
            return Err(StoreError::new(
                ErrorKind::LimitExceeded,
                verb,
                "send smaller batches",
            ));
        }
        let Some(records) = lock(&self.0).clone() else {
            return Err(StoreError::new(
                ErrorKind::Unavailable,
                verb,
                "the handle is closed",
            ));
        };
        let mut records = lock(&records);
        Ok(run(&mut records))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[async_trait]
impl SessionStore for OwnStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL.with_shared(false).with_durable(false)
    }

    async fn register(
        &self,
        id: &Identity,
        at: &Location,
        term: Duration,
    ) -> Result<Incarnation, StoreError> {
        self.run("register", 1, |records| {
            records.last += 1;
            let owner = Owner::new(id.clone(), Incarnation(records.last));
            let lease = Lease {
                owner,
                location: at.clone(),
                counter: 1,
                state: LeaseState::Live,
                term,
            };
            records.leases.insert(id.clone(), (lease, Instant::now()));
            Incarnation(records.last)
        })
    }

    async fn renew(&self, owners: &[Owner], location: &Location) -> Result<Renewed, StoreError> {
        let renew = |records: &mut Records, owner| match records.lease(owner) {
            Err(renewal) => renewal,
            Ok((lease, at)) => {
                (lease.counter, lease.location, *at) = (lease.counter + 1, location.clone(), Instant::now());
                Renewal::Renewed
            }
        };
        let run = |records: &mut Records| owners.iter().map(|owner| renew(records, owner)).collect();
        Ok(Renewed {
            renewals: self.run("renew", owners.len(), run)?,
            generation: 0,
        })
    }

    async fn drain(&self, owner: &Owner) -> Result<Renewal, StoreError> {
        self.run("drain", 1, |records| match records.lease(owner) {
            Err(renewal) => renewal,
            Ok((lease, _)) => {
                lease.state = LeaseState::Draining;
                Renewal::Renewed
            }
        })
    }

    async fn deregister(&self, owner: &Owner) -> Result<(), StoreError> {
        self.run("deregister", 1, |records| {
            if records.lease(owner).is_ok() {
                records.leases.remove(&owner.identity);
            }
        })
    }

    async fn peers(&self) -> Result<Vec<Lease>, StoreError> {
        self.run("peers", 0, |records| {
            let leases = records.leases.values();
            leases
                .filter(|(lease, at)| at.elapsed() <= lease.term)
                .map(|(lease, _)| lease.clone())
                .collect()
        })
    }

    async fn claim_many(&self, owner: &Owner, addresses: &[Address]) -> Result<Vec<Claimed>, StoreError> {
        let claim = |records: &mut Records, address: &Address| {
            records.last += 1;
            let seq = Seq(records.last);
            Claimed {
                seq,
                displaced: records
                    .sessions
                    .insert(address.clone(), Session::new(owner.clone(), seq)),
            }
        };
        self.run("claim", addresses.len(), |records| {
            addresses.iter().map(|a| claim(records, a)).collect()
        })
    }

    async fn release_many(
        &self,
        owner: &Owner,
        list: &[(Address, Seq)],
    ) -> Result<Vec<Released>, StoreError> {
        let release = |records: &mut Records, address, seq| {
            if records.sessions.get(address) != Some(&Session::new(owner.clone(), seq)) {
                return Released::NotOwner;
            }
            records.sessions.remove(address);
            Released::Released
        };
        self.run("release", list.len(), |records| {
            list.iter().map(|(a, seq)| release(records, a, *seq)).collect()
        })
    }

    async fn restore_many(
        &self,
        owner: &Owner,
        list: &[(Address, Seq)],
    ) -> Result<Vec<Restored>, StoreError> {
        let restore = |records: &mut Records, address: &Address, seq: Seq| {
            records.last = records.last.max(seq.0);
            match records.sessions.get(address) {
                Some(standing) if standing.seq > seq => Restored::Lost(standing.clone()),
                // The same claim, under a newer incarnation of the same server already.
                Some(standing) if standing.seq == seq && standing.owner > *owner => {
                    Restored::Lost(standing.clone())
                }
                _ => {
                    records
                        .sessions
                        .insert(address.clone(), Session::new(owner.clone(), seq));
                    Restored::Held
                }
            }
        };
        self.run("restore", list.len(), |records| {
            list.iter().map(|(a, seq)| restore(records, a, *seq)).collect()
        })
    }

    async fn lookup_many(&self, addresses: &[Address]) -> Result<Vec<Option<Session>>, StoreError> {
        let lookup = |records: &mut Records, address| {
            let session = records.sessions.get(address).cloned()?;
            records.lease(&session.owner).is_ok().then_some(session)
        };
        self.run("lookup", addresses.len(), |records| {
            addresses.iter().map(|a| lookup(records, a)).collect()
        })
    }

    async fn reclaim(&self, budget: usize) -> Result<Reclaimed, StoreError> {
        self.run("reclaim", 0, |records| {
            let owners: Vec<_> = records
                .sessions
                .iter()
                .map(|(a, s)| (a.clone(), s.owner.clone()))
                .collect();
            let mut dead: Vec<_> = owners
                .into_iter()
                .filter(|(_, owner)| records.lease(owner).is_err())
                .collect();
            let more = dead.len() > budget;
            dead.truncate(budget);
            for (address, _) in &dead {
                records.sessions.remove(address);
            }
            Reclaimed {
                removed: dead.len(),
                more,
            }
        })
    }

    async fn close(&self) {
        lock(&self.0).take();
    }
}

/// Gives each case a store of its own; each handle shares its records.
struct Builder;
struct Running(Arc<Mutex<Records>>);

#[async_trait]
impl StoreBuilder for Builder {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        Ok(Box::new(Running(Arc::default())))
    }
}

#[async_trait]
impl Datastore for Running {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        Ok(Arc::new(OwnStore(Mutex::new(Some(Arc::clone(&self.0))))))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let report = run_suite(&Builder, "").await;
    if report.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
