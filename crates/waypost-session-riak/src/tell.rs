//! Telling servers that they hold what they have lost, where nobody else does: through their leases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use waypost_types::{Owner, Session};

use crate::RiakStore;
use crate::fault::Fault;
use crate::key;
use crate::liveness::Standing;

/// Most owners who wait to be told: each is told once, of however many sessions.
const WAITING_MAX: usize = 4096;
/// How many of them one heartbeat tells.
const AT_ONCE: usize = 32;

/// How often a lease that is not there is looked for, once a heartbeat: replicas that have not heard of it yet may have answered
/// for all, and nobody else finds out that its owner has lost anything.
const LOOKS_MAX: u32 = 8;

/// Owners whom this handle could not tell yet, and how often their leases were not there: with the next heartbeats it tries again.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<BTreeMap<Owner, u32>>);

/// What came of telling an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It is told, or nobody is left who could believe it.
    Yes,
    /// It has no lease where this handle looked.
    NotFound,
    No,
}

impl Waiting {
    fn owners(&self) -> std::sync::MutexGuard<'_, BTreeMap<Owner, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn some(&self) -> Vec<Owner> {
        self.owners().keys().take(AT_ONCE).cloned().collect()
    }

    fn note(&self, owner: &Owner, told: Told) {
        let mut owners = self.owners();
        let Some(looks) = owners.get_mut(owner) else {
            return;
        };
        *looks += u32::from(told == Told::NotFound);
        if told == Told::Yes || *looks >= LOOKS_MAX {
            owners.remove(owner);
        }
    }
}

/// Owners who have to be told once something is written. Whoever is left when this goes, because the call failed or was dropped,
/// is told later: what was written may stand all the same, and to be told for nothing costs a look.
#[derive(Debug)]
pub(crate) struct Untold<'a> {
    waiting: &'a Waiting,
    owners: BTreeSet<Owner>,
}

impl Untold<'_> {
    /// The owners of these sessions too.
    pub(crate) fn add<'s>(&mut self, sessions: impl IntoIterator<Item = &'s Session>) {
        self.owners
            .extend(sessions.into_iter().map(|session| session.owner.clone()));
    }

    /// Nobody need be told: nothing has come of it.
    pub(crate) fn clear(&mut self) {
        self.owners.clear();
    }
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        if self.owners.is_empty() {
            return;
        }
        let mut waiting = self.waiting.owners();
        waiting.extend(
            core::mem::take(&mut self.owners)
                .into_iter()
                .map(|owner| (owner, 0)),
        );
        while waiting.len() > WAITING_MAX {
            tracing::warn!("too many servers wait to be told that they have lost a client: one is forgotten");
            waiting.pop_last();
        }
    }
}

impl RiakStore {
    /// Nobody yet who has to be told.
    pub(crate) const fn untold(&self) -> Untold<'_> {
        Untold {
            waiting: &self.waiting,
            owners: BTreeSet::new(),
        }
    }

    /// Makes these owners check what they hold, at their next heartbeat. Nothing that was done before depends on it, so failing is
    /// no error of the caller's.
    pub(crate) async fn tell(&self, mut untold: Untold<'_>, deadline: Instant) {
        for owner in untold.owners.clone() {
            if self.tell_one(&owner, deadline).await == Told::Yes {
                untold.owners.remove(&owner);
            }
        }
    }

    /// Tells those who could not be told before.
    pub(crate) async fn tell_waiting(&self, deadline: Instant) {
        for owner in self.waiting.some() {
            let told = self.tell_one(&owner, deadline).await;
            self.waiting.note(&owner, told);
        }
    }

    async fn tell_one(&self, owner: &Owner, deadline: Instant) -> Told {
        if self.renewals.has(owner) {
            self.reasons.note_mark();
            return Told::Yes;
        }
        self.mark(owner, deadline).await.unwrap_or_else(|fault| {
            tracing::debug!(%owner, error = %fault.message, "a server that has lost a client could not be told yet");
            Told::No
        })
    }

    /// Raises the lease's number of checks, which its owner sees in the answer to its next renewal.
    async fn mark(&self, owner: &Owner, deadline: Instant) -> Result<Told, Fault> {
        let read = self.read_lease(&owner.identity, deadline).await?;
        let Some(mut record) = read
            .record
            .filter(|record| record.incarnation >= owner.incarnation.0)
        else {
            return Ok(Told::NotFound);
        };
        if record.incarnation > owner.incarnation.0
            || matches!(read.standing, Standing::Lapsed | Standing::Over)
        {
            // Nobody is left who could believe it.
            return Ok(Told::Yes);
        }
        // Above the wall clock, so that it is more than what its owner has seen although this replica had not heard of that.
        record.checks = self.stamps.next(record.checks).unwrap_or(u64::MAX);
        let key = key::lease(&owner.identity);
        self.objects
            .put_blind(&key, read.object.vclock, record.encode()?, deadline)
            .await?;
        Ok(Told::Yes)
    }
}
