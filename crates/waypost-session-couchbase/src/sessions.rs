//! The verbs on sessions: claim, release, restore, look-up.

use core::time::Duration;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep};
use waypost_session::{Claimed, ErrorKind, Released, Restored};
use waypost_types::{Address, Owner, Seq, Session};

use crate::CouchbaseStore;
use crate::batch::each;
use crate::fault::{Fault, unreadable};
use crate::keys::Keys;
use crate::record::{Entry, Record};
use crate::sdk::{Doc, Docs, Wrote};

/// How long the document of an address that nobody holds stays: it keeps the greatest seq. After that the clock in
/// microseconds is greater, unless clocks differ by more than this.
pub(crate) const VACANT_EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a change is tried while others change the same document.
const ROUNDS: u32 = 64;

/// The wall clock, below which no number is given: so numbers also grow after everything was lost.
pub(crate) fn clock_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_micros()).ok())
        .unwrap_or(0)
}

/// The greater of one more than the last and the clock.
pub(crate) fn next_number(last: u64) -> Result<u64, Fault> {
    let next = last
        .checked_add(1)
        .ok_or_else(|| Fault::new(ErrorKind::LimitExceeded, "the record's 64-bit counter is used up"))?;
    Ok(next.max(clock_micros()))
}

/// A random pause that grows with the rounds lost, so that those who change one document do not do it in step.
pub(crate) async fn stagger(round: u32) {
    let most = 500_u64 << round.min(6);
    sleep(Duration::from_micros(rand::random_range(0..most))).await;
}

/// What to do with what stands there.
pub(crate) enum Step<T> {
    /// Change nothing.
    Answer(T),
    /// Make this the address's state, and answer so when it is.
    Write {
        session: Option<Session>,
        high: u64,
        answer: T,
    },
}

/// What is there, read anew.
async fn read(docs: &Docs, key: &str, deadline: Instant) -> Result<(Record, Option<u64>), Fault> {
    Ok(decode(docs.get(key, deadline).await?))
}

/// What a document says, and its version.
fn decode(doc: Option<Doc>) -> (Record, Option<u64>) {
    let Some(doc) = doc else {
        return (Record::default(), None);
    };
    let record = Record::decode(&doc.value).unwrap_or_else(|| {
        unreadable("a session's document");
        Record::default()
    });
    (record, Some(doc.cas))
}

/// Who holds the address by its document, dead or alive.
pub(crate) async fn holder(
    docs: &Docs,
    keys: &Keys,
    address: &Address,
    deadline: Instant,
) -> Result<Option<Session>, Fault> {
    let (record, _) = read(docs, &keys.session(address), deadline).await?;
    Ok(record.of(address).and_then(|entry| entry.session.clone()))
}

/// Changes the address's entry by compare-and-swap, as `decide` says, however many do so at once. `first` is what has been
/// read already.
///
/// A write whose outcome is not known is looked for in what stands there afterwards, by its nonce.
pub(crate) async fn change<T: Clone>(
    docs: &Docs,
    keys: &Keys,
    address: &Address,
    first: Option<Option<Doc>>,
    deadline: Instant,
    mut decide: impl FnMut(Option<&Entry>) -> Result<Step<T>, Fault>,
) -> Result<T, Fault> {
    let key = keys.session(address);
    let mut tried: Vec<(u64, T)> = Vec::new();
    let mut sent = false;
    let pass = docs.gates.pass(&key).await;
    let mut first = first.filter(|_| !pass.waited);
    for round in 0..ROUNDS {
        let there = match first.take() {
            Some(doc) => Ok(decode(doc)),
            None => read(docs, &key, deadline).await,
        };
        let (mut record, cas) = there.map_err(|fault| fault.sent_if(sent))?;
        let entry = record.of(address);
        let is_ours =
            |nonce: &u64| entry.is_some_and(|entry| entry.nonce == *nonce || entry.before == *nonce);
        if let Some((_, answer)) = tried.iter().find(|(nonce, _)| is_ours(nonce)) {
            return Ok(answer.clone());
        }
        let (session, high, answer) = match decide(entry).map_err(|fault| fault.sent_if(sent))? {
            Step::Answer(answer) => return Ok(answer),
            Step::Write {
                session,
                high,
                answer,
            } => (session, high, answer),
        };
        let nonce = rand::random();
        let before = entry.map_or(0, |entry| entry.nonce);
        record.put(Entry {
            address: address.clone(),
            high,
            nonce,
            before,
            session,
        });
        let expiry = record.is_vacant().then_some(VACANT_EXPIRY);
        let wrote = docs.put(&key, &record.encode(), cas, expiry, deadline).await;
        match wrote.map_err(|fault| fault.sent_if(sent))? {
            Wrote::Done => return Ok(answer),
            Wrote::Refused => {}
            Wrote::Unknown(_) => sent = true,
        }
        tried.push((nonce, answer));
        stagger(round).await;
    }
    Err(Fault::conflict().sent_if(sent))
}

impl CouchbaseStore {
    pub(crate) async fn claim_batch(
        &self,
        docs: &Docs,
        owner: &Owner,
        addresses: &[Address],
        deadline: Instant,
    ) -> Result<Vec<Claimed>, Fault> {
        let found = self.index_and_read(docs, owner, addresses, deadline).await?;
        each(addresses.iter().zip(found), |(address, doc)| async move {
            change(docs, &self.keys, address, Some(doc), deadline, |entry| {
                let seq = next_number(entry.map_or(0, |entry| entry.high))?;
                Ok(Step::Write {
                    session: Some(Session::new(owner.clone(), Seq(seq))),
                    high: seq,
                    answer: Claimed {
                        seq: Seq(seq),
                        displaced: entry.and_then(|entry| entry.session.clone()),
                    },
                })
            })
            .await
        })
        .await
    }

    pub(crate) async fn release_batch(
        &self,
        docs: &Docs,
        owner: &Owner,
        sessions: &[(Address, Seq)],
        deadline: Instant,
    ) -> Result<Vec<Released>, Fault> {
        each(sessions, |(address, seq)| async move {
            let session = Session::new(owner.clone(), *seq);
            change(docs, &self.keys, address, None, deadline, |entry| {
                Ok(match entry {
                    Some(entry) if entry.session.as_ref() == Some(&session) => Step::Write {
                        session: None,
                        high: entry.high,
                        answer: Released::Released,
                    },
                    _ => Step::Answer(Released::NotOwner),
                })
            })
            .await
        })
        .await
    }

    pub(crate) async fn restore_batch(
        &self,
        docs: &Docs,
        owner: &Owner,
        sessions: &[(Address, Seq)],
        deadline: Instant,
    ) -> Result<Vec<Restored>, Fault> {
        let addresses = sessions.iter().map(|(address, _)| address);
        let found = self.index_and_read(docs, owner, addresses, deadline).await?;
        each(sessions.iter().zip(found), |((address, seq), doc)| async move {
            change(docs, &self.keys, address, Some(doc), deadline, |entry| {
                Ok(restore(owner, *seq, entry))
            })
            .await
        })
        .await
    }

    /// Notes in the index that the owner may hold these addresses, and at the same time reads their documents.
    async fn index_and_read<'a>(
        &self,
        docs: &Docs,
        owner: &Owner,
        addresses: impl IntoIterator<Item = &'a Address> + Clone,
        deadline: Instant,
    ) -> Result<Vec<Option<Doc>>, Fault> {
        let noted = self
            .index
            .add(docs, &self.keys, owner, addresses.clone(), deadline);
        let read = each(addresses, |address| async move {
            docs.get(&self.keys.session(address), deadline).await
        });
        let ((), found) = tokio::try_join!(noted, read)?;
        Ok(found)
    }

    pub(crate) async fn lookup_batch(
        &self,
        docs: &Docs,
        addresses: &[Address],
        deadline: Instant,
    ) -> Result<Vec<Option<Session>>, Fault> {
        let mut found = each(addresses, |address| holder(docs, &self.keys, address, deadline)).await?;
        let identities: BTreeSet<_> = found
            .iter()
            .flatten()
            .map(|session| session.owner.identity.clone())
            .collect();
        let live: BTreeSet<_> = self
            .live(docs, identities, deadline)
            .await?
            .into_iter()
            .map(|lease| lease.owner)
            .collect();
        for session in &mut found {
            session.take_if(|session| !live.contains(&session.owner));
        }
        Ok(found)
    }
}

fn restore(owner: &Owner, seq: Seq, entry: Option<&Entry>) -> Step<Restored> {
    let high = entry.map_or(0, |entry| entry.high).max(seq.0);
    let put = Step::Write {
        session: Some(Session::new(owner.clone(), seq)),
        high,
        answer: Restored::Held,
    };
    match entry.and_then(|entry| entry.session.as_ref()) {
        Some(standing) if standing.owner == *owner && standing.seq == seq => Step::Answer(Restored::Held),
        Some(standing)
            if standing.owner.identity == owner.identity
                && standing.owner.incarnation < owner.incarnation
                && standing.seq == seq =>
        {
            put
        }
        // An equal seq of another owner was given after the loss: that claim is the newer one.
        Some(standing) if standing.seq >= seq => Step::Answer(Restored::Lost(standing.clone())),
        _ => put,
    }
}
