//! The verbs on leases but renewal: register, drain, deregister, peers.

use core::time::Duration;
use std::time::SystemTime;

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use waypost_session::{ErrorKind, Renewal};
use waypost_types::{Identity, Incarnation, Lease, Location, Owner};

use crate::RiakStore;
use crate::fault::{Again, Fault};
use crate::key::{self, SHARDS};
use crate::lease::{self, Record};
use crate::liveness::Standing;
use crate::names::{self, NAMES_MAX};
use crate::object::Object;
use crate::renewals::Held;
use crate::stamp;

const TERM_MIN: Duration = Duration::from_millis(100);
const TERM_MAX: Duration = Duration::from_secs(1 << 32);
/// How often a registration tries when others register the same identity at the same moment.
const ROUNDS: usize = 16;
const AT_ONCE: usize = 128;

/// A lease as it was read and judged.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) object: Object,
    pub(crate) record: Option<Record>,
    /// `Over` when there is none.
    pub(crate) standing: Standing,
}

impl RiakStore {
    pub(crate) async fn read_lease(&self, identity: &Identity, deadline: Instant) -> Result<Read, Fault> {
        let asked = self.liveness.now();
        let object = self.objects.get(&key::lease(identity), deadline).await?;
        let record = lease::merged(&object);
        let standing = record.as_ref().map_or(Standing::Over, |record| {
            self.liveness.judge(asked, identity, record, object.age)
        });
        Ok(Read {
            object,
            record,
            standing,
        })
    }

    pub(crate) async fn register_one(
        &self,
        identity: &Identity,
        location: &Location,
        term: Duration,
    ) -> Result<Incarnation, Fault> {
        if !(TERM_MIN..=TERM_MAX).contains(&term) {
            let message = format!(
                "a lease term is {} ms to {} s",
                TERM_MIN.as_millis(),
                TERM_MAX.as_secs()
            );
            return Err(Fault::new(ErrorKind::ConfigInvalid, message));
        }
        let deadline = self.objects.deadline();
        let (listed, lease) = tokio::join!(
            self.list_member(identity, deadline),
            self.write_new_lease(identity, location, term, deadline)
        );
        match (listed, lease) {
            (Ok(()), Ok(incarnation)) => Ok(incarnation),
            (Err(fault), Ok(_)) => Err(fault.sent(true)),
            (_, Err(fault)) => Err(fault),
        }
    }

    /// Writes a lease with a greater incarnation than any that is known.
    async fn write_new_lease(
        &self,
        identity: &Identity,
        location: &Location,
        term: Duration,
        deadline: Instant,
    ) -> Result<Incarnation, Fault> {
        let _one_at_a_time = self.registering.lock().await;
        let key = key::lease(identity);
        let mut object = self.objects.get(&key, deadline).await?;
        let mut sent = false;
        for _ in 0..ROUNDS {
            let seen = lease::siblings(&object)
                .iter()
                .map(|record| record.incarnation)
                .max();
            let incarnation = self
                .stamps
                .next(seen.unwrap_or(0))
                .map(Incarnation)
                .ok_or_else(|| {
                    Fault::new(
                        ErrorKind::LimitExceeded,
                        "the identity's 64-bit counter is used up",
                    )
                })?;
            let record = Record::new(incarnation, rand::random(), term, location);
            let (asked, asked_wall) = (self.liveness.now(), SystemTime::now());
            match self
                .objects
                .put(&key, object.vclock.take(), record.encode()?, deadline)
                .await
            {
                Ok(after) => {
                    sent = true;
                    let twin = lease::siblings(&after)
                        .iter()
                        .any(|other| other.incarnation == incarnation.0 && other.nonce != record.nonce);
                    if twin {
                        // Two processes under one number could not be told apart: at least one of them takes another.
                        object = after;
                        continue;
                    }
                    // One that has been superseded already learns it by reading. It must not write under this vclock, which
                    // covers the newer one.
                    if lease::merged(&after).is_some_and(|merged| merged == record) {
                        self.liveness.judge(asked, identity, &record, None);
                        let owner = Owner::new(identity.clone(), incarnation);
                        self.renewals.hold(
                            owner,
                            Held {
                                noticed: record.checks,
                                record,
                                vclock: after.vclock,
                                asked,
                                asked_wall,
                            },
                        );
                    }
                    return Ok(incarnation);
                }
                Err(fault) if fault.again == Again::AfterReading => {
                    sent |= fault.sent;
                    object = self
                        .objects
                        .get(&key, deadline)
                        .await
                        .map_err(|fault| fault.sent(sent))?;
                }
                Err(fault) => return Err(fault.sent(sent)),
            }
        }
        let message = "others register the same identity again and again: give every server its own";
        Err(Fault::new(ErrorKind::Conflict, message).sent(sent))
    }

    /// Puts the identity onto its list. The entry changes with every registration, so that somebody who removes an old one at
    /// the same time does not remove this one.
    pub(crate) async fn list_member(&self, identity: &Identity, deadline: Instant) -> Result<(), Fault> {
        let _one_at_a_time = self.listing.lock().await;
        let mut full = false;
        let key = key::members(key::shard(identity));
        names::update(&self.objects, &key, deadline, |names| {
            full = names.len() >= NAMES_MAX && !names.contains_key(identity.as_str());
            if !full {
                let number = names.entry(identity.as_str().to_owned()).or_default();
                *number = stamp::now().max(number.saturating_add(1));
            }
            !full
        })
        .await?;
        if full {
            let message = "a list of identities is full: call `reclaim`, or use fewer identities";
            return Err(Fault::new(ErrorKind::LimitExceeded, message));
        }
        Ok(())
    }

    pub(crate) async fn drain_one(&self, owner: &Owner) -> Result<Renewal, Fault> {
        let deadline = self.objects.deadline();
        for _ in 0..ROUNDS {
            let read = self.read_lease(&owner.identity, deadline).await?;
            let mut record = match self.own_lease(owner, &read) {
                Ok(record) => record,
                Err(renewal) => return Ok(renewal),
            };
            if record.draining {
                return Ok(Renewal::Renewed);
            }
            record.draining = true;
            let key = key::lease(&owner.identity);
            match self
                .objects
                .put(&key, read.object.vclock, record.encode()?, deadline)
                .await
            {
                Ok(after) => {
                    self.renewals.refresh(owner, lease::merged(&after), after.vclock);
                    return Ok(Renewal::Renewed);
                }
                Err(fault) if fault.again == Again::AfterReading => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::new(
            ErrorKind::Conflict,
            "others changed the lease again and again",
        ))
    }

    /// The owner's own lease, or what a renewal answers instead. A stale one will do: its owner asks, so it lives.
    pub(crate) fn own_lease(&self, owner: &Owner, read: &Read) -> Result<Record, Renewal> {
        let Some(record) = read
            .record
            .as_ref()
            .filter(|_| matches!(read.standing, Standing::Live | Standing::Stale))
        else {
            return Err(Renewal::Gone);
        };
        match record.incarnation.cmp(&owner.incarnation.0) {
            core::cmp::Ordering::Equal => Ok(record.clone()),
            core::cmp::Ordering::Greater => Err(Renewal::Superseded(Incarnation(record.incarnation))),
            core::cmp::Ordering::Less => Err(Renewal::Gone),
        }
    }

    pub(crate) async fn deregister_one(&self, owner: &Owner) -> Result<(), Fault> {
        self.renewals.drop(owner);
        let deadline = self.objects.deadline();
        let read = self.read_lease(&owner.identity, deadline).await?;
        let is_this = |record: &Record| record.incarnation == owner.incarnation.0 && !record.over;
        if read.record.as_ref().is_some_and(is_this) {
            self.end_lease(owner, read, deadline).await?;
        }
        Ok(())
    }

    /// Ends this incarnation's lease for good, unless a newer one stands.
    pub(crate) async fn end_lease(
        &self,
        owner: &Owner,
        mut read: Read,
        deadline: Instant,
    ) -> Result<(), Fault> {
        for _ in 0..ROUNDS {
            let record = match read.record {
                Some(record) if record.incarnation > owner.incarnation.0 || record.over => return Ok(()),
                Some(record) if record.incarnation == owner.incarnation.0 => Record { over: true, ..record },
                _ => Record::ended(owner.incarnation),
            };
            let key = key::lease(&owner.identity);
            match self
                .objects
                .put_blind(&key, read.object.vclock, record.encode()?, deadline)
                .await
            {
                Ok(()) => return Ok(()),
                Err(fault) if fault.again == Again::AfterReading => {
                    read = self.read_lease(&owner.identity, deadline).await?;
                }
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault::new(
            ErrorKind::Conflict,
            "others changed the lease again and again",
        ))
    }

    pub(crate) async fn live_leases(&self) -> Result<Vec<Lease>, Fault> {
        let deadline = self.objects.deadline() + self.objects.timeout();
        let identities = self.members(deadline).await?;
        let reads = stream::iter(identities.iter().cloned().map(|identity| async move {
            let read = self.read_lease(&identity, deadline).await?;
            let live = read.record.filter(|_| read.standing == Standing::Live);
            Ok::<_, Fault>(live.and_then(|record| record.lease(&identity)))
        }));
        let leases: Vec<Option<Lease>> = reads.buffered(AT_ONCE).try_collect().await?;
        self.liveness
            .retain(|identity| identities.binary_search(identity).is_ok());
        // A list may have lost an entry of ours with a replica; whoever renews puts it back.
        for identity in self.renewals.identities() {
            if identities.binary_search(&identity).is_err() {
                self.list_member(&identity, deadline).await?;
            }
        }
        Ok(leases.into_iter().flatten().collect())
    }

    /// The identities that may have a lease, sorted.
    pub(crate) async fn members(&self, deadline: Instant) -> Result<Vec<Identity>, Fault> {
        let lists = (0..SHARDS).map(|shard| async move {
            let object = self.objects.get(&key::members(shard), deadline).await?;
            Ok::<_, Fault>(names::joined(&object))
        });
        let lists = try_join_all(lists).await?;
        let names = lists.iter().flat_map(|names| names.keys());
        let mut identities: Vec<_> = names.filter_map(|name| Identity::new(name).ok()).collect();
        identities.sort_unstable();
        Ok(identities)
    }
}
