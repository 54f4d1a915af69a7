//! Heartbeats: one write for each lease that this handle knows.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use waypost_session::{Renewal, Renewed};
use waypost_types::{Identity, Incarnation, Location, MonoTime, Owner};

use crate::RiakStore;
use crate::fault::{Again, Fault};
use crate::key;
use crate::lease::{self, Record};
use crate::object::Object;

const AT_ONCE: usize = 128;

/// A lease as this handle wrote it last.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) record: Record,
    /// How many of the record's `checks` a renewal has answered with a new generation.
    pub(crate) noticed: u64,
    pub(crate) vclock: Option<String>,
    /// When that write was begun, by both clocks: the monotonic one stands still while a machine sleeps.
    pub(crate) asked: MonoTime,
    pub(crate) asked_wall: SystemTime,
}

/// The leases that this handle renews.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    held: Mutex<HashMap<Owner, Held>>,
}

impl Renewals {
    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Owner, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hold(&self, owner: Owner, held: Held) {
        self.held().insert(owner, held);
    }

    pub(crate) fn drop(&self, owner: &Owner) {
        self.held().remove(owner);
    }

    /// Whether this handle renews the owner's lease.
    pub(crate) fn has(&self, owner: &Owner) -> bool {
        self.held().contains_key(owner)
    }

    fn noticed(&self, owner: &Owner) -> u64 {
        self.held().get(owner).map_or(0, |held| held.noticed)
    }

    /// The lease was changed without being renewed, and now stands like this.
    pub(crate) fn refresh(&self, owner: &Owner, merged: Option<Record>, vclock: Option<String>) {
        let mut held = self.held();
        match merged.filter(|record| record.incarnation == owner.incarnation.0 && !record.over) {
            Some(record) => {
                if let Some(held) = held.get_mut(owner) {
                    (held.record, held.vclock) = (record, vclock);
                }
            }
            None => drop(held.remove(owner)),
        }
    }

    pub(crate) fn identities(&self) -> Vec<Identity> {
        self.held().keys().map(|owner| owner.identity.clone()).collect()
    }

    /// What is held, unless it may have lapsed meanwhile.
    fn fresh(&self, owner: &Owner, now: MonoTime) -> Option<Held> {
        let held = self.held().get(owner).cloned()?;
        let slept = held.asked_wall.elapsed().unwrap_or_default();
        let term = held.record.term();
        (now.since(held.asked) <= term && slept <= term).then_some(held)
    }
}

impl RiakStore {
    pub(crate) async fn renew_batch(&self, owners: &[Owner], location: &Location) -> Result<Renewed, Fault> {
        let deadline = self.objects.deadline() + self.objects.timeout();
        let distinct: BTreeSet<Owner> = owners.iter().cloned().collect();
        let renewals = stream::iter(distinct.into_iter().map(|owner| async move {
            let renewal = self.renew_one(&owner, location, deadline).await?;
            if renewal != Renewal::Renewed {
                self.renewals.drop(&owner);
            }
            Ok::<_, Fault>((owner, renewal))
        }));
        let (renewals, ()) = tokio::join!(renewals.buffered(AT_ONCE).try_collect::<HashMap<_, _>>(), async {
            if !owners.is_empty() {
                // Not at the cost of the heartbeat.
                let soon = self.objects.deadline() - self.objects.timeout() / 2;
                tokio::join!(self.check_marker(deadline), self.tell_waiting(soon));
            }
        });
        // One for every owner asked about.
        let answers = renewals?;
        Ok(Renewed {
            renewals: owners.iter().map(|owner| answers[owner]).collect(),
            generation: self.generation(),
        })
    }

    async fn renew_one(
        &self,
        owner: &Owner,
        location: &Location,
        deadline: Instant,
    ) -> Result<Renewal, Fault> {
        let mut held = self.renewals.fresh(owner, self.liveness.now());
        loop {
            let (record, vclock) = match held.take() {
                Some(held) => (held.record, held.vclock),
                None => {
                    let read = self.read_lease(&owner.identity, deadline).await?;
                    match self.own_lease(owner, &read) {
                        Ok(record) => (record, read.object.vclock),
                        Err(renewal) => {
                            self.end_lapsed(owner, read, deadline).await;
                            return Ok(renewal);
                        }
                    }
                }
            };
            let mut record = record;
            record.counter += 1;
            record.move_to(location);
            let (asked, asked_wall) = (self.liveness.now(), SystemTime::now());
            let key = key::lease(&owner.identity);
            let after = match self.objects.put(&key, vclock, record.encode()?, deadline).await {
                Ok(after) => after,
                Err(fault) if fault.again == Again::AfterReading => continue,
                Err(fault) => return Err(fault),
            };
            return self.renewed(owner, record, &after, asked, asked_wall);
        }
    }

    /// What the answer to the write says: others may have written at the same time.
    fn renewed(
        &self,
        owner: &Owner,
        written: Record,
        after: &Object,
        asked: MonoTime,
        asked_wall: SystemTime,
    ) -> Result<Renewal, Fault> {
        let merged = lease::merged(after).unwrap_or_else(|| written.clone());
        let newer = merged.incarnation > owner.incarnation.0;
        // Another process has the same number: it registered at the same moment and has won.
        let twin = merged.incarnation == owner.incarnation.0 && merged.nonce > written.nonce;
        if merged.over || twin {
            return Ok(Renewal::Gone);
        }
        if newer {
            return Ok(Renewal::Superseded(Incarnation(merged.incarnation)));
        }
        self.liveness.judge(asked, &owner.identity, &merged, None);
        if merged.checks > self.renewals.noticed(owner) {
            self.reasons.note_mark();
        }
        self.renewals.hold(
            owner.clone(),
            Held {
                noticed: merged.checks,
                record: merged,
                vclock: after.vclock.clone(),
                asked,
                asked_wall,
            },
        );
        Ok(Renewal::Renewed)
    }

    /// A server that has found its own lease lapsed says so to all: it will not come back under this incarnation.
    async fn end_lapsed(&self, owner: &Owner, read: crate::leases::Read, deadline: Instant) {
        let lapsed = |record: &Record| record.incarnation == owner.incarnation.0 && !record.over;
        if read.record.as_ref().is_some_and(lapsed)
            && let Err(fault) = self.end_lease(owner, read, deadline).await
        {
            tracing::debug!(%owner, error = %fault.message, "a lapsed lease could not be ended");
        }
    }

    /// Looks whether the bucket still has what this handle has once seen there.
    pub(crate) async fn check_marker(&self, deadline: Instant) {
        let Ok(object) = self.objects.get(key::MARKER, deadline).await else {
            // The renewals tell of it, if it is more than a hiccup.
            return;
        };
        let found = match greatest(&object) {
            Some(found) => Some(found),
            None => {
                let mine = Bytes::from(format!("{}", rand::random::<u64>() >> 11));
                let after = self.objects.put(key::MARKER, object.vclock, mine, deadline).await;
                after.ok().as_ref().and_then(greatest)
            }
        };
        if let Some(found) = found {
            self.marker.store(found, core::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// The marker that stands: of several made at once the greatest.
fn greatest(object: &Object) -> Option<u64> {
    object
        .values
        .iter()
        .filter_map(|value| serde_json::from_slice(value).ok())
        .max()
}
