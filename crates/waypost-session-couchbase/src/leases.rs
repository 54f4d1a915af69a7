//! The verbs on leases: register, renew, drain, deregister, peers.

use core::time::Duration;
use std::sync::PoisonError;

use tokio::time::Instant;
use waypost_session::{ErrorKind, Renewal, Renewed};
use waypost_types::{Identity, Incarnation, Lease, LeaseState, Location, Owner};

use crate::CouchbaseStore;
use crate::batch::each;
use crate::fault::{Fault, unreadable};
use crate::lease::LeaseDoc;
use crate::members;
use crate::sdk::{Docs, Wrote};
use crate::sessions::{VACANT_EXPIRY, next_number, stagger};

const TERM_MIN: Duration = Duration::from_millis(100);
/// A hundred years and more.
const TERM_MAX: Duration = Duration::from_secs(1 << 32);
/// How often a change is tried while others change the same lease.
const ROUNDS: u32 = 64;

/// A lease, and the version of what stands there, if anything does.
type Found = (Option<LeaseDoc>, Option<u64>);

/// What to do with a lease.
enum Step<T> {
    Answer(T),
    Write(LeaseDoc, T),
}

impl CouchbaseStore {
    async fn read_lease(&self, docs: &Docs, identity: &Identity, deadline: Instant) -> Result<Found, Fault> {
        let Some(doc) = docs.get(&self.keys.lease(identity), deadline).await? else {
            return Ok((None, None));
        };
        let lease = LeaseDoc::decode(&doc.value);
        if lease.is_none() {
            unreadable("a lease's document");
        }
        Ok((lease, Some(doc.cas)))
    }

    /// Changes a lease by compare-and-swap. `decide` must give the same answer when it sees its own write.
    async fn change_lease<T>(
        &self,
        docs: &Docs,
        identity: &Identity,
        deadline: Instant,
        mut decide: impl FnMut(Option<&LeaseDoc>) -> Result<Step<T>, Fault>,
    ) -> Result<T, Fault> {
        let key = self.keys.lease(identity);
        let mut sent = false;
        for round in 0..ROUNDS {
            let (lease, over) = self
                .read_lease(docs, identity, deadline)
                .await
                .map_err(|fault| fault.sent_if(sent))?;
            let step = decide(lease.as_ref()).map_err(|fault| fault.sent_if(sent))?;
            let (lease, answer) = match step {
                Step::Answer(answer) => return Ok(answer),
                Step::Write(lease, answer) => (lease, answer),
            };
            // One that is over keeps the incarnation for a while.
            let expiry = lease.state.is_none().then_some(VACANT_EXPIRY);
            let wrote = docs.put(&key, &lease.encode(), over, expiry, deadline).await;
            match wrote.map_err(|fault| fault.sent_if(sent))? {
                Wrote::Done => return Ok(answer),
                Wrote::Refused => {}
                Wrote::Unknown(_) => sent = true,
            }
            stagger(round).await;
        }
        Err(Fault::conflict().sent_if(sent))
    }

    pub(crate) async fn register_one(
        &self,
        docs: &Docs,
        identity: &Identity,
        location: &Location,
        term: Duration,
        deadline: Instant,
    ) -> Result<Incarnation, Fault> {
        if !(TERM_MIN..=TERM_MAX).contains(&term) {
            let message = format!(
                "a lease term is {} ms to {} s",
                TERM_MIN.as_millis(),
                TERM_MAX.as_secs()
            );
            return Err(Fault::new(ErrorKind::ConfigInvalid, message));
        }
        let nonce = rand::random();
        let register = |before: Option<&LeaseDoc>| {
            if let Some(mine) = before.filter(|lease| lease.nonce == nonce) {
                return Ok(Step::Answer(mine.incarnation));
            }
            let incarnation = Incarnation(next_number(before.map_or(0, |lease| lease.incarnation.0))?);
            let lease = LeaseDoc {
                incarnation,
                counter: 1,
                term,
                nonce,
                state: Some(LeaseState::Live),
                location: location.clone(),
            };
            Ok(Step::Write(lease, incarnation))
        };
        let incarnation = self.change_lease(docs, identity, deadline, register).await?;
        let owner = Owner::new(identity.clone(), incarnation);
        members::add(docs, &self.keys, &owner, deadline)
            .await
            .map_err(Fault::sent)?;
        Ok(incarnation)
    }

    pub(crate) async fn renew_batch(
        &self,
        docs: &Docs,
        owners: &[Owner],
        location: &Location,
        deadline: Instant,
    ) -> Result<Renewed, Fault> {
        let renew = each(owners, |owner| async move {
            self.change_lease(docs, &owner.identity, deadline, |lease| {
                Ok(match own(owner, lease) {
                    Err(renewal) => Step::Answer(renewal),
                    Ok(mine) => Step::Write(
                        LeaseDoc {
                            counter: mine.counter + 1,
                            location: location.clone(),
                            ..mine.clone()
                        },
                        Renewal::Renewed,
                    ),
                })
            })
            .await
        });
        let list = members::read(docs, &self.keys, deadline);
        let (renewals, list) = tokio::try_join!(renew, list)?;
        // A list that was lost, or lost an entry, must know the living again.
        let missing = owners
            .iter()
            .zip(&renewals)
            .filter(|(owner, renewal)| **renewal == Renewal::Renewed && !list.contains(owner));
        for (owner, _) in missing {
            members::add(docs, &self.keys, owner, deadline)
                .await
                .map_err(Fault::sent)?;
        }
        for (owner, renewal) in owners.iter().zip(&renewals) {
            if *renewal != Renewal::Renewed {
                self.index.forget(owner);
            }
        }
        Ok(Renewed {
            renewals,
            generation: list.generation,
        })
    }

    pub(crate) async fn drain_one(
        &self,
        docs: &Docs,
        owner: &Owner,
        deadline: Instant,
    ) -> Result<Renewal, Fault> {
        self.change_lease(docs, &owner.identity, deadline, |lease| {
            Ok(match own(owner, lease) {
                Err(renewal) => Step::Answer(renewal),
                Ok(mine) if mine.state == Some(LeaseState::Draining) => Step::Answer(Renewal::Renewed),
                Ok(mine) => Step::Write(
                    LeaseDoc {
                        state: Some(LeaseState::Draining),
                        ..mine.clone()
                    },
                    Renewal::Renewed,
                ),
            })
        })
        .await
    }

    pub(crate) async fn deregister_one(
        &self,
        docs: &Docs,
        owner: &Owner,
        deadline: Instant,
    ) -> Result<(), Fault> {
        self.index.forget(owner);
        self.change_lease(docs, &owner.identity, deadline, |lease| {
            Ok(match own(owner, lease) {
                Err(_) => Step::Answer(()),
                Ok(mine) => Step::Write(over(mine), ()),
            })
        })
        .await
    }

    pub(crate) async fn live_leases(&self, docs: &Docs, deadline: Instant) -> Result<Vec<Lease>, Fault> {
        let members = members::read(docs, &self.keys, deadline).await?;
        let identities = members.identities();
        let live = self.live(docs, identities.iter().cloned(), deadline).await?;
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.retain(|identity, _| identities.binary_search(identity).is_ok());
        Ok(live)
    }

    /// The leases of these identities that are live, as of now.
    pub(crate) async fn live(
        &self,
        docs: &Docs,
        identities: impl IntoIterator<Item = Identity>,
        deadline: Instant,
    ) -> Result<Vec<Lease>, Fault> {
        let found = each(identities, |identity| async move {
            self.live_one(docs, &identity, deadline).await
        });
        Ok(found.await?.into_iter().flatten().collect())
    }

    /// One identity's lease, if it is live. A lease that has lapsed is marked as over on the way, for everybody: so all
    /// handles agree, and its server's next renewal learns it.
    async fn live_one(
        &self,
        docs: &Docs,
        identity: &Identity,
        deadline: Instant,
    ) -> Result<Option<Lease>, Fault> {
        for round in 0..ROUNDS {
            let asked = self.clock.now();
            let (Some(doc), Some(cas)) = self.read_lease(docs, identity, deadline).await? else {
                return Ok(None);
            };
            let Some(lease) = doc.lease(identity) else {
                return Ok(None);
            };
            let lives = {
                let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
                watch.observe_read(asked, self.clock.now(), &lease.owner, lease.counter, lease.term)
            };
            if lives {
                return Ok(Some(lease));
            }
            let key = self.keys.lease(identity);
            let value = over(&doc).encode();
            let wrote = docs
                .replace(&key, &value, cas, Some(VACANT_EXPIRY), deadline)
                .await?;
            if matches!(wrote, Wrote::Done) {
                return Ok(None);
            }
            // It was renewed at the last moment, or somebody else found out too: look again.
            stagger(round).await;
        }
        Err(Fault::conflict())
    }
}

fn over(lease: &LeaseDoc) -> LeaseDoc {
    LeaseDoc {
        state: None,
        ..lease.clone()
    }
}

/// The owner's own lease, or what a renewal answers instead.
fn own<'a>(owner: &Owner, lease: Option<&'a LeaseDoc>) -> Result<&'a LeaseDoc, Renewal> {
    match lease {
        Some(lease) if lease.state.is_some() => {
            if lease.incarnation == owner.incarnation {
                Ok(lease)
            } else if lease.incarnation > owner.incarnation {
                Err(Renewal::Superseded(lease.incarnation))
            } else {
                Err(Renewal::Gone)
            }
        }
        _ => Err(Renewal::Gone),
    }
}
