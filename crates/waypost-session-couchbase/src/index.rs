//! Which addresses an owner may hold, so that what it leaves behind can be found without listing keys.
//!
//! An owner has a list of segments, and each segment is a list of addresses that only grows. A claim appends its addresses
//! to a segment *before* it writes the sessions, one append a batch, so that a crash in between leaves an entry too many and
//! never a session that nobody finds. Each handle appends to segments of its own.
//!
//! A server that runs for months claims and releases without end; so segments that are full are looked through again
//! (`clean`): what the owner still holds is appended to the newest segment, and the old one goes. A segment rests for a while
//! first, so that no claim which appended to it is still about to write its session.

use core::time::Duration;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use waypost_types::{Address, Owner};

use crate::batch::each;
use crate::fault::{Fault, unreadable};
use crate::keys::Keys;
use crate::sdk::{Docs, Wrote};
use crate::sessions::holder;
use crate::{log, members};

const VERSION: u8 = 1;
/// A segment that has reached this is full. A server writes and copies all of it for every append.
const SEGMENT_BYTES: usize = 8 << 10;
/// Full segments are looked through when they have this together, and twice as much as was left the last time.
const CLEAN_BYTES: usize = 128 << 10;
/// Most segments that one call looks through.
const CLEAN_SEGMENTS: usize = 128;
/// How often a write is tried.
const ROUNDS: usize = 32;
/// More owners than this by one handle are forgotten: they begin new segments.
const WRITERS_MAX: usize = 4096;

/// What this handle knows of the owners that it claims for.
#[derive(Debug, Default)]
pub(crate) struct Index {
    writers: Mutex<HashMap<Owner, Arc<Writer>>>,
}

#[derive(Debug, Default)]
struct Writer {
    state: Mutex<State>,
    /// One at a time begins a segment.
    opening: tokio::sync::Mutex<()>,
    /// One at a time cleans.
    cleaning: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Segment>,
    full: VecDeque<(Segment, Instant)>,
    /// How many of `full` the current round of cleaning has yet to look through.
    round: usize,
    /// The size of `full` that starts the next round.
    clean_at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    id: u64,
    bytes: usize,
}

impl State {
    /// The segment to append so many bytes to, if one is open and has room.
    fn take_room(&mut self, bytes: usize) -> Option<u64> {
        if let Some(segment) = self.current.take_if(|segment| segment.bytes >= SEGMENT_BYTES) {
            self.full.push_back((segment, Instant::now()));
        }
        let segment = self.current.as_mut()?;
        segment.bytes += bytes;
        Some(segment.id)
    }

    fn full_bytes(&self) -> usize {
        self.full.iter().map(|(segment, _)| segment.bytes).sum()
    }
}

impl Index {
    fn writer(&self, owner: &Owner) -> Arc<Writer> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = writers.get(owner) {
            return Arc::clone(writer);
        }
        if writers.len() >= WRITERS_MAX {
            writers.clear();
        }
        Arc::clone(writers.entry(owner.clone()).or_default())
    }

    /// Forgets an owner that is no more.
    pub(crate) fn forget(&self, owner: &Owner) {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.remove(owner);
    }

    /// Notes that the owner may hold these addresses. When it returns they will be found.
    pub(crate) async fn add<'a>(
        &self,
        docs: &Docs,
        keys: &Keys,
        owner: &Owner,
        addresses: impl IntoIterator<Item = &'a Address>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let mut entries = Vec::new();
        for address in addresses {
            log::push(&mut entries, address.as_str().as_bytes());
        }
        if entries.is_empty() {
            return Ok(());
        }
        let writer = self.writer(owner);
        for _ in 0..ROUNDS {
            let Some(id) = lock(&writer).take_room(entries.len()) else {
                let _one = writer.opening.lock().await;
                if lock(&writer).current.is_none() {
                    let id = begin(docs, keys, owner, &entries, deadline).await?;
                    lock(&writer).current = Some(Segment {
                        id,
                        bytes: entries.len(),
                    });
                    return Ok(());
                }
                continue;
            };
            match docs.append(&keys.segment(owner, id), &entries, deadline).await? {
                Wrote::Done => return Ok(()),
                // Twice does no harm.
                Wrote::Unknown(_) => {}
                // Gone: somebody took the owner for dead, and rightly, or the bucket was emptied.
                Wrote::Refused => {
                    lock(&writer).current.take_if(|segment| segment.id == id);
                }
            }
        }
        Err(Fault::conflict())
    }

    /// Looks through full segments of this handle's owners, if they have grown enough. `rest` is how long a segment must
    /// have been full; after `until` none is begun.
    pub(crate) async fn clean(
        &self,
        docs: &Docs,
        keys: &Keys,
        rest: Duration,
        until: Instant,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let writers: Vec<_> = {
            let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
            writers
                .iter()
                .map(|(owner, writer)| (owner.clone(), Arc::clone(writer)))
                .collect()
        };
        let mut budget = CLEAN_SEGMENTS;
        for (owner, writer) in writers {
            let Ok(_one) = writer.cleaning.try_lock() else {
                continue;
            };
            while budget > 0
                && Instant::now() < until
                && let Some(segment) = next_to_clean(&writer, rest)
            {
                budget -= 1;
                self.clean_segment(docs, keys, &owner, segment.id, deadline)
                    .await?;
                let mut state = lock(&writer);
                state.full.pop_front();
                state.round = state.round.saturating_sub(1);
                if state.round == 0 {
                    state.clean_at = CLEAN_BYTES.max(2 * state.full_bytes());
                }
            }
        }
        Ok(())
    }

    async fn clean_segment(
        &self,
        docs: &Docs,
        keys: &Keys,
        owner: &Owner,
        id: u64,
        deadline: Instant,
    ) -> Result<(), Fault> {
        if let Some((addresses, cas)) = read_segment(docs, keys, owner, id, deadline).await? {
            let unique: Vec<_> = addresses
                .into_iter()
                .collect::<HashSet<_>>()
                .into_iter()
                .collect();
            let holders = each(&unique, |address| holder(docs, keys, address, deadline)).await?;
            let held = unique
                .iter()
                .zip(holders)
                .filter(|(_, holder)| holder.as_ref().is_some_and(|session| session.owner == *owner))
                .map(|(address, _)| address);
            self.add(docs, keys, owner, held, deadline).await?;
            docs.remove(&keys.segment(owner, id), cas, deadline).await?;
        }
        forget_segment(docs, keys, owner, id, deadline).await
    }
}

fn lock(writer: &Writer) -> std::sync::MutexGuard<'_, State> {
    writer.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The oldest full segment, when there is enough to clean and it has rested.
fn next_to_clean(writer: &Writer, rest: Duration) -> Option<Segment> {
    let mut state = lock(writer);
    if state.round == 0 {
        if state.full_bytes() < state.clean_at.max(CLEAN_BYTES) {
            return None;
        }
        state.round = state.full.len();
    }
    let (segment, since) = state.full.front()?;
    (since.elapsed() >= rest).then_some(*segment)
}

/// Begins a segment with these entries: lists it first, so that whoever reclaims finds it.
async fn begin(
    docs: &Docs,
    keys: &Keys,
    owner: &Owner,
    entries: &[u8],
    deadline: Instant,
) -> Result<u64, Fault> {
    let id: u64 = rand::random();
    list_segment(docs, keys, owner, id, deadline).await?;
    let mut value = vec![VERSION];
    value.extend_from_slice(entries);
    for _ in 0..ROUNDS {
        match docs
            .insert(&keys.segment(owner, id), &value, None, deadline)
            .await?
        {
            // Nobody else draws this number: what is there was put there by an earlier try.
            Wrote::Done | Wrote::Refused => return Ok(id),
            Wrote::Unknown(_) => {}
        }
    }
    Err(Fault::conflict())
}

async fn list_segment(
    docs: &Docs,
    keys: &Keys,
    owner: &Owner,
    id: u64,
    deadline: Instant,
) -> Result<(), Fault> {
    let key = keys.segments(owner);
    let mut entry = Vec::new();
    log::push(&mut entry, &id.to_be_bytes());
    for _ in 0..ROUNDS {
        match docs.append(&key, &entry, deadline).await? {
            Wrote::Done => return Ok(()),
            Wrote::Unknown(_) => continue,
            Wrote::Refused => {}
        }
        let mut value = vec![VERSION];
        value.extend_from_slice(&entry);
        let wrote = docs.insert(&key, &value, None, deadline).await?;
        if !matches!(wrote, Wrote::Refused) {
            // Whoever reclaims removes an owner from the list of owners only as long as this list is missing and that one
            // unchanged: so the owner is in it from now on.
            members::add(docs, keys, owner, deadline).await?;
        }
        if matches!(wrote, Wrote::Done) {
            return Ok(());
        }
    }
    Err(Fault::conflict())
}

async fn forget_segment(
    docs: &Docs,
    keys: &Keys,
    owner: &Owner,
    id: u64,
    deadline: Instant,
) -> Result<(), Fault> {
    for _ in 0..ROUNDS {
        let Some((ids, cas)) = read_segments(docs, keys, owner, deadline).await? else {
            return Ok(());
        };
        if !ids.contains(&id) {
            return Ok(());
        }
        let mut value = vec![VERSION];
        for left in ids.iter().filter(|left| **left != id) {
            log::push(&mut value, &left.to_be_bytes());
        }
        let wrote = docs
            .replace(&keys.segments(owner), &value, cas, None, deadline)
            .await?;
        if matches!(wrote, Wrote::Done) {
            return Ok(());
        }
    }
    Err(Fault::conflict())
}

/// The owner's segments and the list's version; `None` when there is no list. One that cannot be read names nothing: what was to be
/// found by it stays, and nobody sees it.
pub(crate) async fn read_segments(
    docs: &Docs,
    keys: &Keys,
    owner: &Owner,
    deadline: Instant,
) -> Result<Option<(Vec<u64>, u64)>, Fault> {
    let Some(doc) = docs.get(&keys.segments(owner), deadline).await? else {
        return Ok(None);
    };
    let id = |entry: &[u8]| Some(u64::from_be_bytes(entry.try_into().ok()?));
    let ids = entries(&doc.value, id).unwrap_or_else(|| {
        unreadable("a list of segments");
        Vec::new()
    });
    Ok(Some((ids, doc.cas)))
}

/// A segment's addresses in their order and its version; `None` when it is gone. One that cannot be read has none.
pub(crate) async fn read_segment(
    docs: &Docs,
    keys: &Keys,
    owner: &Owner,
    id: u64,
    deadline: Instant,
) -> Result<Option<(Vec<Address>, u64)>, Fault> {
    let Some(doc) = docs.get(&keys.segment(owner, id), deadline).await? else {
        return Ok(None);
    };
    let address = |entry: &[u8]| Address::from_utf8(entry).ok();
    let addresses = entries(&doc.value, address).unwrap_or_else(|| {
        unreadable("a list of addresses");
        Vec::new()
    });
    Ok(Some((addresses, doc.cas)))
}

/// All entries, each as `read` makes it out; `None` when any cannot be read.
fn entries<T>(value: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<T>> {
    let (_, rest) = value.split_first().filter(|(version, _)| **version == VERSION)?;
    log::entries(rest)?.into_iter().map(read).collect()
}
