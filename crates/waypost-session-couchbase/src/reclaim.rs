//! Removing what dead servers left behind: their sessions at once, the lists by which they were found a while later.
//!
//! A list goes only when it has not changed for longer than any call lasts since everything in it was removed. So a claim
//! that was under way when its server was found dead is still found.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use waypost_session::Reclaimed;
use waypost_types::{Address, Owner};

use crate::CouchbaseStore;
use crate::batch::each;
use crate::fault::Fault;
use crate::sdk::{Docs, Wrote};
use crate::sessions::{Step, change};
use crate::{index, members};

/// Most addresses that one call looks at.
const LOOKS_MAX: usize = 4096;
/// Of these, so many at a time.
const CHUNK: usize = 256;
/// How often the list of owners is written anew in one call.
const ROUNDS: usize = 8;

/// What this handle remembers of dead owners from one step to the next.
#[derive(Debug, Default)]
pub(crate) struct Graveyard {
    graves: Mutex<HashMap<Owner, Grave>>,
}

/// How far one dead owner has been dealt with. All that its lists name is looked at twice, a rest apart: a claim may have been
/// under way the first time.
#[derive(Debug, Clone, Default)]
struct Grave {
    /// For each segment, how much of it has been looked at this time.
    looked: HashMap<u64, Looked>,
    /// When all had been looked at, and which versions the lists had.
    rests: Option<(u64, Instant)>,
    /// The versions that the lists had before the rest: it is the second time.
    before: Option<u64>,
}

/// How much of one segment has been looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Looked {
    entries: usize,
    /// The version of which that was all.
    all_of: Option<u64>,
}

/// What one step may still do.
struct Budget {
    removals: usize,
    looks: usize,
    until: Instant,
}

impl Budget {
    fn chunk(&self) -> usize {
        if Instant::now() >= self.until {
            return 0;
        }
        self.removals.min(self.looks).min(CHUNK)
    }
}

/// What a visit to a grave came to.
enum Visit {
    /// The budget was used up before the end.
    Unfinished,
    /// Nothing is left but the lists.
    Clean,
    /// The lists are gone too.
    Empty,
}

/// What a look through a segment came to.
enum Look {
    /// All of this version.
    All(u64),
    Missing,
    /// The budget was used up before the end.
    Unfinished,
}

impl CouchbaseStore {
    pub(crate) async fn reclaim_some(
        &self,
        docs: &Docs,
        budget: usize,
        deadline: Instant,
    ) -> Result<Reclaimed, Fault> {
        let upkeep = Instant::now() + self.settings.timeout / 2;
        self.index
            .clean(docs, &self.keys, self.rest, upkeep, deadline)
            .await?;
        // Time of its own: upkeep that always takes all of its own keeps nobody from being reclaimed.
        let mut left = Budget {
            removals: budget,
            looks: LOOKS_MAX,
            until: Instant::now() + self.settings.timeout / 2,
        };
        let members = members::read(docs, &self.keys, deadline).await?;
        let live = self.live(docs, members.identities(), deadline).await?;
        let live: HashMap<_, _> = live
            .into_iter()
            .map(|lease| (lease.owner.identity, lease.owner.incarnation))
            .collect();
        let dead: Vec<_> = members
            .owners
            .into_iter()
            .filter(|owner| live.get(&owner.identity) != Some(&owner.incarnation))
            .collect();
        self.graveyard.keep(&dead);
        let (mut empty, mut more) = (Vec::new(), false);
        for owner in dead {
            let mut grave = self.graveyard.take(&owner);
            let visited = self.visit(docs, &owner, &mut grave, &mut left, deadline).await;
            self.graveyard.put(owner.clone(), grave);
            match visited {
                Ok(Visit::Clean) => {}
                Ok(Visit::Empty) => empty.push(owner),
                Ok(Visit::Unfinished) => {
                    more = true;
                    break;
                }
                Err(fault) => return Err(fault.sent_if(left.removals < budget)),
            }
        }
        self.strike(docs, &empty, deadline).await?;
        Ok(Reclaimed {
            removed: budget - left.removals,
            more,
        })
    }

    async fn visit(
        &self,
        docs: &Docs,
        owner: &Owner,
        grave: &mut Grave,
        left: &mut Budget,
        deadline: Instant,
    ) -> Result<Visit, Fault> {
        match grave.rests {
            Some((_, since)) if since.elapsed() < self.rest => return Ok(Visit::Clean),
            Some((versions, _)) => {
                *grave = Grave {
                    before: Some(versions),
                    ..Grave::default()
                }
            }
            None => {}
        }
        if left.chunk() == 0 {
            return Ok(Visit::Unfinished);
        }
        let list = index::read_segments(docs, &self.keys, owner, deadline).await?;
        let (ids, list_cas) = list.map_or((Vec::new(), None), |(ids, cas)| (ids, Some(cas)));
        let mut segments = Vec::new();
        for id in ids {
            let cas = match grave.looked.get(&id).and_then(|looked| looked.all_of) {
                // If it has changed since, its version shows it in the end.
                Some(cas) => cas,
                None => match self.look_through(docs, owner, id, grave, left, deadline).await? {
                    Look::All(cas) => cas,
                    Look::Missing => continue,
                    Look::Unfinished => return Ok(Visit::Unfinished),
                },
            };
            segments.push((id, cas));
        }
        let mut versions = DefaultHasher::new();
        (list_cas, &segments).hash(&mut versions);
        let versions = versions.finish();
        if grave.before != Some(versions) {
            *grave = Grave {
                rests: Some((versions, Instant::now())),
                ..Grave::default()
            };
            return Ok(Visit::Clean);
        }
        let removed = each(segments, |(id, cas)| async move {
            let wrote = docs.remove(&self.keys.segment(owner, id), cas, deadline).await?;
            Ok(matches!(wrote, Wrote::Done))
        });
        let mut all = removed.await?.into_iter().all(|removed| removed);
        if all && let Some(cas) = list_cas {
            let wrote = docs.remove(&self.keys.segments(owner), cas, deadline).await?;
            all = matches!(wrote, Wrote::Done);
        }
        if !all {
            // Something was added: once more from the beginning.
            *grave = Grave::default();
            return Ok(Visit::Clean);
        }
        Ok(Visit::Empty)
    }

    /// Frees what one segment names and this dead owner still holds.
    async fn look_through(
        &self,
        docs: &Docs,
        owner: &Owner,
        id: u64,
        grave: &mut Grave,
        left: &mut Budget,
        deadline: Instant,
    ) -> Result<Look, Fault> {
        let found = index::read_segment(docs, &self.keys, owner, id, deadline).await?;
        let Some((addresses, cas)) = found else {
            return Ok(Look::Missing);
        };
        let looked = grave.looked.entry(id).or_default();
        while looked.entries < addresses.len() {
            let chunk = left.chunk().min(addresses.len() - looked.entries);
            if chunk == 0 {
                return Ok(Look::Unfinished);
            }
            let some = &addresses[looked.entries..looked.entries + chunk];
            left.removals -= self.vacate(docs, owner, some, deadline).await?;
            left.looks -= chunk;
            looked.entries += chunk;
        }
        looked.all_of = Some(cas);
        Ok(Look::All(cas))
    }

    /// Frees those of the addresses that this dead owner still holds, and says how many.
    async fn vacate(
        &self,
        docs: &Docs,
        owner: &Owner,
        addresses: &[Address],
        deadline: Instant,
    ) -> Result<usize, Fault> {
        let freed = each(addresses, |address| async move {
            change(docs, &self.keys, address, None, deadline, |entry| {
                Ok(match entry {
                    Some(entry) if entry.session.as_ref().is_some_and(|held| held.owner == *owner) => {
                        Step::Write {
                            session: None,
                            high: entry.high,
                            answer: true,
                        }
                    }
                    _ => Step::Answer(false),
                })
            })
            .await
        })
        .await?;
        Ok(freed.into_iter().filter(|freed| *freed).count())
    }

    /// Strikes owners without lists from the list of owners, unless they have come to have one again.
    async fn strike(&self, docs: &Docs, empty: &[Owner], deadline: Instant) -> Result<(), Fault> {
        if empty.is_empty() {
            return Ok(());
        }
        for _ in 0..ROUNDS {
            let members = members::read(docs, &self.keys, deadline).await?;
            let lists = each(empty, |owner| {
                index::read_segments(docs, &self.keys, owner, deadline)
            })
            .await?;
            let gone: Vec<_> = empty
                .iter()
                .zip(lists)
                .filter(|(owner, list)| list.is_none() && members.contains(owner))
                .map(|(owner, _)| owner.clone())
                .collect();
            if gone.is_empty() || members::remove(docs, &self.keys, &members, &gone, deadline).await? {
                return Ok(());
            }
        }
        // The next step tries again.
        Ok(())
    }
}

impl Graveyard {
    /// Forgets all but these.
    fn keep(&self, dead: &[Owner]) {
        let mut graves = self.graves.lock().unwrap_or_else(PoisonError::into_inner);
        graves.retain(|owner, _| dead.contains(owner));
    }

    fn take(&self, owner: &Owner) -> Grave {
        let graves = self.graves.lock().unwrap_or_else(PoisonError::into_inner);
        graves.get(owner).cloned().unwrap_or_default()
    }

    fn put(&self, owner: Owner, grave: Grave) {
        let mut graves = self.graves.lock().unwrap_or_else(PoisonError::into_inner);
        graves.insert(owner, grave);
    }
}
