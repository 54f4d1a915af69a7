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
/// How often the list of owners is written anew in one call.
const ROUNDS: usize = 8;

/// What this handle remembers of dead owners from one step to the next.
#[derive(Debug, Default)]
pub(crate) struct Graveyard {
    graves: Mutex<HashMap<Owner, Grave>>,
}

/// How far one dead owner has been dealt with.
#[derive(Debug, Clone, Default)]
struct Grave {
    /// For each segment, how many of its entries have been dealt with.
    done: HashMap<u64, usize>,
    /// When everything had been, and by which versions of the lists.
    clean: Option<(u64, Instant)>,
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
        self.removals.min(self.looks)
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

impl CouchbaseStore {
    pub(crate) async fn reclaim_some(
        &self,
        docs: &Docs,
        budget: usize,
        deadline: Instant,
    ) -> Result<Reclaimed, Fault> {
        let now = Instant::now();
        let mut left = Budget {
            removals: budget,
            looks: LOOKS_MAX,
            // Leaves time to finish what is under way.
            until: now + deadline.saturating_duration_since(now) / 2,
        };
        self.index.clean(docs, &self.keys, self.rest, left.until).await?;
        let members = members::read(docs, &self.keys, deadline).await?;
        let live: HashMap<_, _> = self
            .live(docs, members.identities(), deadline)
            .await?
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
        let rested = match grave.clean {
            Some((_, since)) if since.elapsed() < self.rest => return Ok(Visit::Clean),
            Some((versions, _)) => {
                // Once more, since a claim may have been under way the first time.
                grave.done.clear();
                Some(versions)
            }
            None => None,
        };
        if left.chunk() == 0 {
            return Ok(Visit::Unfinished);
        }
        let mut versions = DefaultHasher::new();
        let list = index::read_segments(docs, &self.keys, owner, deadline).await?;
        let (ids, list_cas) = list.map_or((Vec::new(), None), |(ids, cas)| (ids, Some(cas)));
        list_cas.hash(&mut versions);
        let mut segments = Vec::new();
        for id in ids {
            let Some((addresses, cas)) = index::read_segment(docs, &self.keys, owner, id, deadline).await?
            else {
                continue;
            };
            cas.hash(&mut versions);
            segments.push((id, cas));
            let done = grave.done.entry(id).or_default();
            while *done < addresses.len() {
                let chunk = left.chunk().min(addresses.len() - *done);
                if chunk == 0 {
                    grave.clean = None;
                    return Ok(Visit::Unfinished);
                }
                let some = &addresses[*done..*done + chunk];
                left.removals -= self.vacate(docs, owner, some, deadline).await?;
                left.looks -= chunk;
                *done += chunk;
            }
        }
        let versions = versions.finish();
        if rested != Some(versions) {
            grave.clean = Some((versions, Instant::now()));
            return Ok(Visit::Clean);
        }
        for (id, cas) in segments {
            let wrote = docs.remove(&self.keys.segment(owner, id), cas, deadline).await?;
            if !matches!(wrote, Wrote::Done) {
                grave.clean = None;
                return Ok(Visit::Clean);
            }
        }
        if let Some(cas) = list_cas {
            let wrote = docs.remove(&self.keys.segments(owner), cas, deadline).await?;
            if !matches!(wrote, Wrote::Done) {
                grave.clean = None;
                return Ok(Visit::Clean);
            }
        }
        Ok(Visit::Empty)
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
