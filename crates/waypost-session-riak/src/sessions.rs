//! The verbs on sessions: claim, release, restore, look-up.

use std::collections::HashMap;

use futures_util::future::FutureExt as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use waypost_session::{Claimed, ErrorKind, Released, Restored};
use waypost_types::{Address, Identity, Owner, Seq, Session};

use crate::RiakStore;
use crate::decide::{self, Restore};
use crate::fault::{Again, Fault};
use crate::key;
use crate::liveness::Standing;
use crate::names::contended;
use crate::record::{Record, View};

/// How many entries of a batch are under way at once; the connections bound them further.
const AT_ONCE: usize = 128;
/// How often a record is read and written when others change it at the same time.
const ROUNDS: usize = 8;

impl RiakStore {
    /// Until when one entry of a batch may take: each has the whole time-out, all together not much more.
    fn entry_deadline(&self, batch: Instant) -> Instant {
        self.objects.deadline().min(batch)
    }

    /// Until when a batch may take.
    fn batch_deadline(&self, entries: usize) -> Instant {
        let more = core::time::Duration::from_millis(7) * u32::try_from(entries).unwrap_or(u32::MAX);
        self.objects.deadline() + more
    }

    async fn view(&self, address: &Address, deadline: Instant) -> Result<(View, Option<String>), Fault> {
        let object = self.objects.get(&key::session(address), deadline).await?;
        Ok((View::of(&object), object.vclock))
    }

    pub(crate) async fn claim_batch(
        &self,
        owner: &Owner,
        addresses: &[Address],
    ) -> Result<Vec<Claimed>, Fault> {
        let batch = self.batch_deadline(addresses.len());
        // Written down while the records are read, and before any is written.
        let noted = self
            .journals
            .note(&self.objects, owner, addresses.to_vec(), batch)
            .shared();
        let claims = stream::iter(addresses.iter().cloned().map(|address| {
            let noted = noted.clone();
            async move { self.claim_one(owner, &address, noted, batch).await }
        }));
        let claims: Vec<Claimed> = claims.buffered(AT_ONCE).try_collect().await?;
        self.journals.claimed(owner, claims.len() as u64);
        Ok(claims)
    }

    /// Reads, and writes a greater claim. The answer to the write shows what was written at the same time.
    async fn claim_one(
        &self,
        owner: &Owner,
        address: &Address,
        noted: impl Future<Output = Result<(), Fault>>,
        batch: Instant,
    ) -> Result<Claimed, Fault> {
        let _turn = self.turn(address).await;
        let deadline = self.entry_deadline(batch);
        let (read, noted) = tokio::join!(self.view(address, deadline), noted);
        let (mut before, mut vclock) = read?;
        noted?;
        let mut sent = false;
        // Should the claim stand although this call fails, whom it has overwritten learns it from nobody else.
        let mut untold = self.untold();
        for _ in 0..ROUNDS {
            untold.add(&before.unaware());
            untold.add(before.merged().and_then(|record| record.holder).as_ref());
            let seen = before.sessions().map(|session| session.seq.0).max().unwrap_or(0);
            let seq = self.stamps.next(seen).ok_or_else(|| {
                Fault::new(
                    ErrorKind::LimitExceeded,
                    "the address's 64-bit counter is used up",
                )
                .sent(sent)
            })?;
            let mine = Session::new(owner.clone(), Seq(seq));
            let record = Record::claimed(mine.clone(), &before);
            let key = key::session(address);
            match self
                .objects
                .put(&key, vclock.take(), record.encode()?, deadline)
                .await
            {
                Ok(object) => {
                    let after = View::of(&object);
                    if after.has_siblings() {
                        self.tidy(&key, &after, object.vclock, deadline).await;
                    }
                    let claim = decide::claimed(&mine, &before, &after);
                    if claim.lost {
                        self.reasons.note_loss();
                    }
                    untold.clear();
                    untold.add(&claim.displaced);
                    let mut others = self.untold();
                    others.add(&claim.unaware);
                    self.tell(others, deadline).await;
                    // The caller tells it.
                    untold.clear();
                    return Ok(Claimed {
                        seq: mine.seq,
                        displaced: claim.displaced,
                    });
                }
                Err(fault) if fault.again == Again::AfterReading => {
                    sent |= fault.sent;
                    (before, vclock) = self
                        .view(address, deadline)
                        .await
                        .map_err(|fault| fault.sent(sent))?;
                }
                Err(fault) => {
                    if !(sent || fault.sent) {
                        untold.clear();
                    }
                    return Err(fault.sent(sent));
                }
            }
        }
        Err(contended().sent(sent))
    }

    /// Replaces siblings by the one record that they merge to. Nothing depends on it.
    async fn tidy(&self, key: &str, view: &View, vclock: Option<String>, deadline: Instant) {
        if let Some(Ok(body)) = view.merged().map(|record| record.encode()) {
            let _ = self.objects.put_blind(key, vclock, body, deadline).await;
        }
    }

    pub(crate) async fn release_batch(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Released>, Fault> {
        let batch = self.batch_deadline(sessions.len());
        let releases = stream::iter(sessions.iter().cloned().map(|(address, seq)| async move {
            self.release_one(&Session::new(owner.clone(), seq), &address, batch)
                .await
        }));
        releases.buffered(AT_ONCE).try_collect().await
    }

    /// Makes the record vacant if it is this session's. What is written loses to every newer claim, also to one that was
    /// made since the read.
    async fn release_one(
        &self,
        session: &Session,
        address: &Address,
        batch: Instant,
    ) -> Result<Released, Fault> {
        let _turn = self.turn(address).await;
        let deadline = self.entry_deadline(batch);
        let mut sent = false;
        for _ in 0..ROUNDS {
            let (view, vclock) = self
                .view(address, deadline)
                .await
                .map_err(|fault| fault.sent(sent))?;
            let Some(record) = decide::release(session, &view) else {
                return Ok(if sent {
                    Released::Released
                } else {
                    Released::NotOwner
                });
            };
            let mut untold = self.untold();
            untold.add(&view.unaware());
            match self
                .objects
                .put_blind(&key::session(address), vclock, record.encode()?, deadline)
                .await
            {
                Ok(()) => {
                    self.journals.released(&session.owner);
                    self.tell(untold, deadline).await;
                    return Ok(Released::Released);
                }
                Err(fault) if fault.again == Again::AfterReading => sent |= fault.sent,
                Err(fault) => return Err(fault.sent(sent)),
            }
        }
        Err(contended().sent(sent))
    }

    pub(crate) async fn restore_batch(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Restored>, Fault> {
        let batch = self.batch_deadline(sessions.len());
        let restores = stream::iter(sessions.iter().cloned().map(|(address, seq)| async move {
            self.restore_one(Session::new(owner.clone(), seq), &address, batch)
                .await
        }));
        restores.buffered(AT_ONCE).try_collect().await
    }

    async fn restore_one(&self, mine: Session, address: &Address, batch: Instant) -> Result<Restored, Fault> {
        let _turn = self.turn(address).await;
        let deadline = self.entry_deadline(batch);
        let mut noted = false;
        let mut sent = false;
        let (mut view, mut vclock) = self.view(address, deadline).await?;
        for _ in 0..ROUNDS {
            let (record, unaware) = match decide::restore(&mine, &view) {
                Restore::Stands => return Ok(Restored::Held),
                Restore::Lost(winner) => return Ok(Restored::Lost(winner)),
                Restore::Write { record, unaware } => (record, unaware),
            };
            if !noted {
                let addresses = vec![address.clone()];
                self.journals
                    .note(&self.objects, &mine.owner, addresses, deadline)
                    .await?;
                self.journals.claimed(&mine.owner, 1);
                noted = true;
            }
            let key = key::session(address);
            let mut untold = self.untold();
            untold.add(&unaware);
            match self
                .objects
                .put(&key, vclock.take(), record.encode()?, deadline)
                .await
            {
                // Looked at once more: it stands, or it has met something greater.
                Ok(object) => {
                    sent = true;
                    self.tell(untold, deadline).await;
                    view = View::of(&object);
                    vclock = object.vclock;
                }
                Err(fault) if fault.again == Again::AfterReading => {
                    sent |= fault.sent;
                    (view, vclock) = self
                        .view(address, deadline)
                        .await
                        .map_err(|fault| fault.sent(sent))?;
                }
                Err(fault) => return Err(fault.sent(sent)),
            }
        }
        Err(contended().sent(sent))
    }

    pub(crate) async fn lookup_batch(&self, addresses: &[Address]) -> Result<Vec<Option<Session>>, Fault> {
        let batch = self.batch_deadline(addresses.len());
        let mut found = self.holders(addresses, batch).await?;
        let mut open: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_some()).collect();
        for _ in 0..ROUNDS {
            let owners = open.iter().filter_map(|at| Some(&found[*at].as_ref()?.owner));
            let live = self.are_live(owners, batch).await?;
            // A lease that is live after the record was read was live then: it answers. One that is over proves nothing yet,
            // for the session may have moved between the two reads: only when the record is still the same is there none.
            open.retain(|at| {
                found[*at]
                    .as_ref()
                    .is_some_and(|session| !live.contains(&session.owner))
            });
            if open.is_empty() {
                return Ok(found);
            }
            let again: Vec<Address> = open.iter().map(|at| addresses[*at].clone()).collect();
            let records = self.holders(&again, batch).await?;
            let mut moved = Vec::new();
            for (at, record) in core::mem::take(&mut open).into_iter().zip(records) {
                if record.is_none() || record == found[at] {
                    found[at] = None;
                } else {
                    found[at] = record;
                    moved.push(at);
                }
            }
            open = moved;
        }
        Err(contended())
    }

    async fn holders(&self, addresses: &[Address], batch: Instant) -> Result<Vec<Option<Session>>, Fault> {
        let reads = stream::iter(addresses.iter().cloned().map(|address| async move {
            let deadline = self.entry_deadline(batch);
            let (view, vclock) = self.view(&address, deadline).await?;
            let unaware = view.unaware();
            if !unaware.is_empty() {
                // Replicas have met that had not known of each other. The record that stands is written before those who
                // have lost are told, so that it is what they find.
                let mut untold = self.untold();
                untold.add(&unaware);
                self.tidy(&key::session(&address), &view, vclock, deadline).await;
                self.tell(untold, deadline).await;
            }
            Ok(view.merged().and_then(|record| record.holder))
        }));
        reads.buffered(AT_ONCE).try_collect().await
    }

    /// Those of the owners whose leases are live.
    async fn are_live<'a>(
        &self,
        owners: impl Iterator<Item = &'a Owner>,
        batch: Instant,
    ) -> Result<Vec<Owner>, Fault> {
        let mut distinct: HashMap<Identity, Vec<Owner>> = HashMap::new();
        for owner in owners {
            let of = distinct.entry(owner.identity.clone()).or_default();
            if !of.contains(owner) {
                of.push(owner.clone());
            }
        }
        let reads = stream::iter(distinct.into_iter().map(|(identity, owners)| async move {
            let read = self.read_lease(&identity, self.entry_deadline(batch)).await?;
            let live = read
                .record
                .filter(|_| read.standing == Standing::Live)
                .map(|record| record.incarnation);
            let live = owners.into_iter().find(|owner| Some(owner.incarnation.0) == live);
            Ok::<_, Fault>(live)
        }));
        let live: Vec<Option<Owner>> = reads.buffered(AT_ONCE).try_collect().await?;
        Ok(live.into_iter().flatten().collect())
    }
}
