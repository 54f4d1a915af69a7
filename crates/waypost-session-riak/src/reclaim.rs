//! Removing what dead owners left behind, and vacant records that nobody needs any more.
//!
//! Journals say where to look. A dead owner's record that is still young becomes vacant first and is deleted later, so that its
//! seq is remembered while clocks that differ could give it again. Everything may be done twice, and by several at once.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use waypost_session::Reclaimed;
use waypost_types::{Address, Identity, Owner};

use crate::RiakStore;
use crate::fault::Fault;
use crate::journal::{self, Head, Journal, Name};
use crate::key::{self, SHARDS};
use crate::leases::Read;
use crate::liveness::Standing;
use crate::names::{self, encode};
use crate::record::View;
use crate::stamp;

/// Nothing younger is deleted: longer than the clocks of servers and nodes differ, and than any request is under way.
const KEPT_FOR: Duration = Duration::from_secs(120);
/// How many records are examined at once.
const AT_ONCE: usize = 32;
/// So many records are examined beyond the budget for removals, of which most turn out to be long gone.
const EXAMINED_MORE: usize = 256;

/// So many identities are forgotten by one call.
const FORGOTTEN_AT_ONCE: usize = 256;

/// What one handle has found to do.
#[derive(Debug, Default)]
pub(crate) struct Graveyard {
    journals: VecDeque<Name>,
    current: Option<Burial>,
}

/// A dead owner's journal of which some pages are left.
#[derive(Debug)]
struct Burial {
    name: Name,
    pages: core::ops::Range<u64>,
    page: Option<Page>,
    /// Whether anything must be looked at again later.
    kept: bool,
}

#[derive(Debug)]
struct Page {
    key: String,
    vclock: Option<String>,
    left: Vec<Address>,
    keep: BTreeSet<Address>,
}

/// An identity that can be forgotten.
#[derive(Debug)]
struct Gone {
    identity: Identity,
    /// What its entry on the list says.
    number: u64,
    /// The vclock of its lease, if there is one.
    lease: Option<Option<String>>,
}

/// What became of one address of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Examined {
    /// A dead owner's record was removed.
    removed: bool,
    /// The journal must still name the address.
    keep: bool,
}

impl RiakStore {
    pub(crate) async fn reclaim_some(&self, budget: usize) -> Result<Reclaimed, Fault> {
        let mut yard = self.graveyard.lock().await;
        let deadline = self.objects.deadline() + self.objects.timeout();
        let stop = self.objects.deadline();
        let mut scanned = yard.journals.is_empty() && yard.current.is_none();
        if scanned {
            (yard.journals, scanned) = self.find_dead(stop, deadline).await?;
            if Instant::now() < stop {
                self.tidy_own(deadline).await?;
            }
        }
        let mut removed = 0;
        let mut examined = 0;
        while removed < budget && examined < budget.saturating_add(EXAMINED_MORE) && Instant::now() < stop {
            if yard.current.is_none() {
                let Some(name) = yard.journals.pop_front() else {
                    break;
                };
                let head = Head::of(&self.objects.get(&name.head(), deadline).await?).unwrap_or_default();
                yard.current = Some(Burial {
                    name,
                    pages: head.first..head.next,
                    page: None,
                    kept: false,
                });
            }
            let Some(burial) = &mut yard.current else { break };
            let room = (budget - removed).min(AT_ONCE);
            let (gone, seen) = self
                .bury(burial, room, deadline)
                .await
                .map_err(|fault| fault.sent(removed > 0))?;
            removed += gone;
            examined += seen;
            if burial.pages.is_empty() && burial.page.is_none() {
                self.end_journal(burial, deadline).await?;
                yard.current = None;
            }
        }
        let left = !yard.journals.is_empty() || yard.current.is_some();
        Ok(Reclaimed {
            removed,
            // Only a look at all owners tells that there is nothing left.
            more: left || !scanned,
        })
    }

    /// Examines some addresses of a dead owner's journal. Returns how many records were removed, and how many examined.
    async fn bury(
        &self,
        burial: &mut Burial,
        room: usize,
        deadline: Instant,
    ) -> Result<(usize, usize), Fault> {
        let owner = &burial.name.owner;
        let page = match &mut burial.page {
            Some(page) => page,
            None => {
                let Some(number) = burial.pages.next() else {
                    return Ok((0, 0));
                };
                let key = burial.name.page(number);
                let read = self.objects.get(&key, deadline).await;
                let read = match read {
                    Ok(read) => read,
                    Err(fault) => {
                        burial.pages.start = number;
                        return Err(fault);
                    }
                };
                burial.page.insert(Page {
                    left: journal::addresses(&read).into_iter().collect(),
                    key,
                    vclock: read.vclock,
                    keep: BTreeSet::new(),
                })
            }
        };
        let some: Vec<Address> = page.left.iter().rev().take(room).cloned().collect();
        let examined = try_join_all(
            some.iter()
                .map(|address| self.examine(owner, true, address, deadline)),
        )
        .await?;
        // Only now, so that a call which is dropped in the middle forgets nothing.
        page.left.truncate(page.left.len() - some.len());
        let count = some.len();
        let removed = examined.iter().filter(|examined| examined.removed).count();
        let kept = some
            .into_iter()
            .zip(&examined)
            .filter(|(_, examined)| examined.keep);
        page.keep.extend(kept.map(|(address, _)| address));
        if page.left.is_empty() {
            let vclock = page.vclock.clone();
            if page.keep.is_empty() {
                self.objects.delete(&page.key, vclock, deadline).await?;
            } else {
                let texts: Vec<&str> = page.keep.iter().map(Address::as_str).collect();
                self.objects
                    .put_blind(&page.key, vclock, encode(&texts)?, deadline)
                    .await?;
                burial.kept = true;
            }
            burial.page = None;
        }
        Ok((removed, count))
    }

    /// Looks at the record of an address in the journal of `owner`, and removes what is not needed.
    async fn examine(
        &self,
        owner: &Owner,
        dead: bool,
        address: &Address,
        deadline: Instant,
    ) -> Result<Examined, Fault> {
        const GONE: Examined = Examined {
            removed: false,
            keep: false,
        };
        let _turn = self.turn(address).await;
        let key = key::session(address);
        let object = self.objects.get(&key, deadline).await?;
        let view = View::of(&object);
        let Some(record) = view.merged() else {
            return Ok(GONE);
        };
        let old = object.age.map_or_else(
            || record.claim.seq.0 < stamp::before(stamp::now(), KEPT_FOR),
            |age| age >= KEPT_FOR,
        );
        let untold = || {
            let mut untold = self.untold();
            untold.add(&view.unaware());
            untold
        };
        match &record.holder {
            Some(holder) if holder.owner != *owner => Ok(GONE),
            Some(_) if !dead => Ok(Examined {
                removed: false,
                keep: true,
            }),
            Some(_) if old => {
                let untold = untold();
                self.objects.delete(&key, object.vclock, deadline).await?;
                self.tell(untold, deadline).await;
                Ok(Examined {
                    removed: true,
                    keep: false,
                })
            }
            Some(_) => {
                let untold = untold();
                let body = record.with_holder(None).encode()?;
                self.objects
                    .put_blind(&key, object.vclock, body, deadline)
                    .await?;
                self.tell(untold, deadline).await;
                Ok(Examined {
                    removed: true,
                    keep: true,
                })
            }
            None if old => {
                let untold = untold();
                self.objects.delete(&key, object.vclock, deadline).await?;
                self.tell(untold, deadline).await;
                Ok(GONE)
            }
            None => Ok(Examined {
                removed: false,
                keep: true,
            }),
        }
    }

    /// All pages have been seen to.
    async fn end_journal(&self, burial: &Burial, deadline: Instant) -> Result<(), Fault> {
        let text = burial.name.text();
        let list = key::journals(key::shard(&burial.name.owner.identity));
        let _one_at_a_time = self.listing.lock().await;
        if burial.kept {
            let later = stamp::after(stamp::now(), KEPT_FOR);
            return names::update(&self.objects, &list, deadline, |names| {
                names
                    .insert(text.clone(), later)
                    .is_none_or(|before| before < later)
            })
            .await;
        }
        let head = self.objects.get(&burial.name.head(), deadline).await?;
        if head.vclock.is_some() {
            self.objects
                .delete(&burial.name.head(), head.vclock, deadline)
                .await?;
        }
        names::update(&self.objects, &list, deadline, |names| {
            names.remove(&text).is_some()
        })
        .await
    }

    /// The journals of dead owners that are due, and whether all were looked at by the time to `stop`. Ends the leases of those
    /// whose counters stand still, and forgets identities that are long gone.
    async fn find_dead(&self, stop: Instant, deadline: Instant) -> Result<(VecDeque<Name>, bool), Fault> {
        let lists = |key: fn(usize) -> String| async move {
            try_join_all((0..SHARDS).map(|shard| async move {
                let object = self.objects.get(&key(shard), deadline).await?;
                Ok::<_, Fault>(names::joined(&object))
            }))
            .await
        };
        let (members, journals) = tokio::try_join!(lists(key::members), lists(key::journals))?;
        let members: BTreeMap<Identity, u64> = members
            .into_iter()
            .flatten()
            .filter_map(|(name, number)| Some((Identity::new(&name).ok()?, number)))
            .collect();
        let journals: Vec<(Name, u64)> = journals
            .into_iter()
            .flatten()
            .filter_map(|(name, due)| Some((Name::parse(&name)?, due)))
            .collect();
        let busy: BTreeSet<&Identity> = journals.iter().map(|(name, _)| &name.owner.identity).collect();
        let all: BTreeSet<&Identity> = members.keys().chain(busy.iter().copied()).collect();
        let reads = stream::iter(all.into_iter().cloned().map(|identity| async move {
            let read = self.read_lease(&identity, deadline).await?;
            let read = self.end_dead(&identity, read, deadline).await?;
            Ok::<_, Fault>((identity, read))
        }));
        let mut leases: BTreeMap<Identity, Read> = reads.buffered(AT_ONCE).try_collect().await?;
        let gone = leases.iter().filter(|(identity, _)| !busy.contains(identity));
        let gone = gone.filter_map(|(identity, read)| {
            let number = *members.get(identity)?;
            is_long_over(read, number).then(|| Gone {
                identity: identity.clone(),
                number,
                lease: read.record.as_ref().map(|_| read.object.vclock.clone()),
            })
        });
        // Others are left for the next time.
        let gone: Vec<Gone> = gone.take(FORGOTTEN_AT_ONCE).collect();
        self.forget(gone, deadline).await?;
        let mut dead = VecDeque::new();
        let mut all = true;
        for (name, due) in journals.iter().filter(|(_, due)| *due <= stamp::now()) {
            if Instant::now() >= stop {
                all = false;
                break;
            }
            let Some(read) = leases.remove(&name.owner.identity) else {
                continue;
            };
            let read = self.end_unknown(&name.owner, *due, read, deadline).await?;
            let is_dead = read.record.as_ref().is_some_and(|record| {
                record.incarnation > name.owner.incarnation.0
                    || (record.incarnation == name.owner.incarnation.0 && record.over)
            });
            leases.insert(name.owner.identity.clone(), read);
            if is_dead {
                self.journals.close(&name.owner);
                dead.push_back(name.clone());
            }
        }
        // Several processes that reclaim at once begin at different places.
        let turn = usize::from(rand::random::<u16>());
        let len = dead.len().max(1);
        dead.rotate_left(turn % len);
        Ok((dead, all))
    }

    /// A lease whose counter stands still is ended before anything of its owner is touched: should the owner live after all,
    /// its next renewal tells it.
    async fn end_dead(&self, identity: &Identity, read: Read, deadline: Instant) -> Result<Read, Fault> {
        let (Standing::Lapsed, Some(record)) = (read.standing, &read.record) else {
            return Ok(read);
        };
        let owner = Owner::new(identity.clone(), waypost_types::Incarnation(record.incarnation));
        self.end_lease(&owner, read, deadline).await?;
        self.read_lease(identity, deadline).await
    }

    /// An owner with a journal and without a lease: the lease was lost, and is ended all the same.
    async fn end_unknown(
        &self,
        owner: &Owner,
        due: u64,
        read: Read,
        deadline: Instant,
    ) -> Result<Read, Fault> {
        if read.record.is_some() || due == 0 && owner.incarnation.0 > stamp::before(stamp::now(), KEPT_FOR) {
            return Ok(read);
        }
        self.end_lease(owner, read, deadline).await?;
        self.list_member(&owner.identity, deadline).await?;
        self.read_lease(&owner.identity, deadline).await
    }

    /// Forgets identities: their leases, as they were read, and their entries with these numbers. One that registers again at the
    /// same time stays.
    async fn forget(&self, gone: Vec<Gone>, deadline: Instant) -> Result<(), Fault> {
        let mut keys = Vec::new();
        for one in &gone {
            if let Some(vclock) = &one.lease {
                keys.push((key::lease(&one.identity), vclock.clone()));
            }
        }
        let deletions = stream::iter(
            keys.into_iter()
                .map(|(key, vclock)| async move { self.objects.delete(&key, vclock, deadline).await }),
        );
        deletions
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        let mut lists: BTreeMap<usize, Vec<Gone>> = BTreeMap::new();
        for one in gone {
            lists.entry(key::shard(&one.identity)).or_default().push(one);
        }
        let _one_at_a_time = self.listing.lock().await;
        for (shard, gone) in lists {
            names::update(&self.objects, &key::members(shard), deadline, |names| {
                let before = names.len();
                for Gone { identity, number, .. } in &gone {
                    if names.get(identity.as_str()) == Some(number) {
                        names.remove(identity.as_str());
                    }
                }
                names.len() != before
            })
            .await?;
        }
        Ok(())
    }

    /// Drops what is gone from this handle's own journals, a page each.
    async fn tidy_own(&self, deadline: Instant) -> Result<(), Fault> {
        for journal in self.journals.all() {
            self.tidy_journal(&journal, deadline).await?;
        }
        Ok(())
    }

    async fn tidy_journal(&self, journal: &Arc<Journal>, deadline: Instant) -> Result<(), Fault> {
        let (first, untidy) = {
            let written = journal.written.lock().await;
            (written.head.first, journal.is_untidy(&written))
        };
        if !untidy {
            return Ok(());
        }
        let owner = &journal.name.owner;
        let key = journal.name.page(first);
        let object = self.objects.get(&key, deadline).await?;
        let addresses: Vec<Address> = journal::addresses(&object).into_iter().collect();
        let examined = stream::iter(addresses.iter().cloned().map(|address| async move {
            let examined = self.examine(owner, false, &address, deadline).await?;
            Ok::<_, Fault>(examined.keep.then_some(address))
        }));
        let keep: Vec<Option<Address>> = examined.buffered(AT_ONCE).try_collect().await?;
        // Written down anew before the old page goes.
        journal
            .note(&self.objects, keep.into_iter().flatten().collect(), deadline)
            .await?;
        let mut written = journal.written.lock().await;
        if written.head.first != first || written.head.next <= first + 1 {
            return Ok(());
        }
        self.objects.delete(&key, object.vclock, deadline).await?;
        written.entries = written.entries.saturating_sub(addresses.len() as u64);
        let head = Head {
            first: first + 1,
            ..written.head
        };
        journal
            .write_head(&self.objects, &mut written, head, deadline)
            .await
    }
}

/// Whether an identity that is on the list with this number has been gone for so long that it can be forgotten.
fn is_long_over(read: &Read, number: u64) -> bool {
    match &read.record {
        None => number < stamp::before(stamp::now(), KEPT_FOR),
        Some(record) => record.over && read.object.age.is_some_and(|age| age >= KEPT_FOR),
    }
}
