//! What addresses each owner may hold, so that reclaiming finds them without listing keys.
//!
//! A journal belongs to one owner and one handle, so that nobody else writes it. It is a row of pages, each an object with
//! the addresses of some claims; an address is written down before its claim is made. Its head says which pages there
//! are, and lists of journals, in a few objects that all share, say which journals there are.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use waypost_types::{Address, Identity, Incarnation, Owner};

use crate::fault::Fault;
use crate::key;
use crate::names::{self, encode};
use crate::object::{Object, Objects};

/// Most addresses of one page: some ten kilobytes.
const PAGE_MAX: usize = 256;

/// Names one journal: nobody uses a number twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) owner: Owner,
    nonce: u64,
}

impl Name {
    /// As it stands in the lists of journals.
    pub(crate) fn text(&self) -> String {
        let Owner {
            identity,
            incarnation,
        } = &self.owner;
        format!("{incarnation}/{:x}/{identity}", self.nonce)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let incarnation = Incarnation(parts.next()?.parse().ok()?);
        let nonce = u64::from_str_radix(parts.next()?, 16).ok()?;
        let owner = Owner::new(Identity::new(parts.next()?).ok()?, incarnation);
        Some(Self { owner, nonce })
    }

    pub(crate) fn head(&self) -> String {
        ["h:", &self.text()].concat()
    }

    pub(crate) fn page(&self, number: u64) -> String {
        format!("p:{number}/{}", self.text())
    }
}

/// Which pages a journal has: `first` up to but without `next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) first: u64,
    pub(crate) next: u64,
}

impl Head {
    /// All pages that any sibling names.
    pub(crate) fn of(object: &Object) -> Option<Self> {
        let heads: Vec<Self> = object.readable("the head of a journal");
        heads.into_iter().reduce(|one, two| Self {
            first: one.first.min(two.first),
            next: one.next.max(two.next),
        })
    }
}

/// The addresses of a page, of all its siblings.
pub(crate) fn addresses(object: &Object) -> BTreeSet<Address> {
    let mut all = BTreeSet::new();
    for page in object.readable::<Vec<String>>("a page of a journal") {
        all.extend(page.iter().filter_map(|text| Address::new(text).ok()));
    }
    all
}

/// The journals of one handle.
#[derive(Debug, Default)]
pub(crate) struct Journals {
    open: Mutex<HashMap<Owner, Arc<Journal>>>,
}

#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) name: Name,
    waiting: Mutex<Waiting>,
    pub(crate) written: tokio::sync::Mutex<Written>,
    /// How many sessions this handle has claimed and not released since: what a tidy journal would list.
    held: Mutex<u64>,
}

/// Addresses to be written down, of several claims at once. They stay until their page is stored, so that a claim which is
/// dropped in the middle takes nobody's with it.
#[derive(Debug, Default)]
struct Waiting {
    addresses: Vec<Address>,
    /// How many have been written since the beginning.
    done: u64,
}

/// What is stored.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) head: Head,
    head_vclock: Option<String>,
    listed: bool,
    page: BTreeSet<Address>,
    page_vclock: Option<String>,
    /// How many addresses all pages have.
    pub(crate) entries: u64,
}

impl Journals {
    /// The owner's open journal.
    fn of(&self, owner: &Owner) -> Arc<Journal> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let journal = open.entry(owner.clone()).or_insert_with(|| {
            Arc::new(Journal {
                name: Name {
                    owner: owner.clone(),
                    nonce: rand::random(),
                },
                waiting: Mutex::default(),
                written: tokio::sync::Mutex::default(),
                held: Mutex::default(),
            })
        });
        Arc::clone(journal)
    }

    /// Those that are open, of all owners.
    pub(crate) fn all(&self) -> Vec<Arc<Journal>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().cloned().collect()
    }

    /// The owner is dead: what it claims hereafter goes into another journal.
    pub(crate) fn close(&self, owner: &Owner) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(owner);
    }

    /// Writes addresses down; returns when they are stored.
    pub(crate) async fn note(
        &self,
        objects: &Objects,
        owner: &Owner,
        addresses: Vec<Address>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let journal = self.of(owner);
        journal.note(objects, addresses, deadline).await
    }

    /// Counts sessions that were claimed.
    pub(crate) fn claimed(&self, owner: &Owner, count: u64) {
        let journal = self.of(owner);
        *journal.held.lock().unwrap_or_else(PoisonError::into_inner) += count;
    }

    /// Counts a session that was released.
    pub(crate) fn released(&self, owner: &Owner) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = open.get(owner) {
            let mut held = journal.held.lock().unwrap_or_else(PoisonError::into_inner);
            *held = held.saturating_sub(1);
        }
    }
}

impl Journal {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether most of what is written down is gone.
    pub(crate) fn is_untidy(&self, written: &Written) -> bool {
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        written.head.next > written.head.first + 1 && written.entries > 2 * held + 2 * PAGE_MAX as u64
    }

    pub(crate) async fn note(
        &self,
        objects: &Objects,
        addresses: Vec<Address>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let until = {
            let mut waiting = self.waiting();
            waiting.addresses.extend(addresses);
            waiting.done + waiting.addresses.len() as u64
        };
        let mut written = self.written.lock().await;
        while self.waiting().done < until {
            // Whoever comes first writes for all who wait.
            let next: Vec<Address> = self.waiting().addresses.iter().take(PAGE_MAX).cloned().collect();
            let count = next.len();
            self.write(objects, &mut written, next, deadline).await?;
            let mut waiting = self.waiting();
            waiting.addresses.drain(..count);
            waiting.done += count as u64;
        }
        Ok(())
    }

    /// Puts addresses onto the last page, or onto a new one.
    async fn write(
        &self,
        objects: &Objects,
        written: &mut Written,
        addresses: Vec<Address>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        if addresses.iter().all(|address| written.page.contains(address)) {
            return Ok(());
        }
        let mut page: BTreeSet<Address> = written.page.clone();
        page.extend(addresses.iter().cloned());
        let new = page.len() > PAGE_MAX || written.head.next == 0;
        if new {
            page = addresses.into_iter().collect();
            let head = Head {
                next: written.head.next + 1,
                ..written.head
            };
            self.write_head(objects, written, head, deadline).await?;
        }
        if !written.listed {
            self.list(objects, deadline).await?;
            written.listed = true;
        }
        let vclock = if new { None } else { written.page_vclock.clone() };
        let texts: Vec<&str> = page.iter().map(Address::as_str).collect();
        let key = self.name.page(written.head.next - 1);
        let after = objects.put(&key, vclock, encode(&texts)?, deadline).await?;
        let before = if new { 0 } else { written.page.len() };
        written.entries += (page.len() - before) as u64;
        (written.page, written.page_vclock) = (page, after.vclock);
        Ok(())
    }

    pub(crate) async fn write_head(
        &self,
        objects: &Objects,
        written: &mut Written,
        head: Head,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let body = encode(&head)?;
        let after = objects
            .put(&self.name.head(), written.head_vclock.clone(), body, deadline)
            .await?;
        written.head = head;
        written.head_vclock = after.vclock;
        if head.next > head.first {
            // A page that was begun and never stored has no content.
            written.page.clear();
            written.page_vclock = None;
        }
        Ok(())
    }

    async fn list(&self, objects: &Objects, deadline: Instant) -> Result<(), Fault> {
        let key = key::journals(key::shard(&self.name.owner.identity));
        let text = self.name.text();
        names::update(objects, &key, deadline, |names| {
            if names.len() >= names::NAMES_MAX {
                // Claims go on; what they leave behind is not found any more.
                tracing::warn!("a list of journals is full: call `reclaim` more often");
                return false;
            }
            names.insert(text.clone(), 0).is_none()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_journals_are_read_back_whatever_the_identity() {
        for identity in ["a", "a/b/c", "/", "é\0"] {
            let owner = Owner::new(Identity::new(identity).unwrap(), Incarnation(7));
            let name = Name {
                owner,
                nonce: u64::MAX,
            };
            assert_eq!(Name::parse(&name.text()), Some(name));
        }
        for text in ["", "1", "1/2", "1/2/", "x/2/a", "1/x/a"] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn siblings_of_a_head_name_all_pages() {
        let values = [r#"{"first":0,"next":3}"#, r#"{"first":1,"next":2}"#];
        let object = Object {
            values: values
                .iter()
                .map(|text| bytes::Bytes::from_static(text.as_bytes()))
                .collect(),
            ..Object::default()
        };
        assert_eq!(Head::of(&object), Some(Head { first: 0, next: 3 }));
        assert_eq!(Head::of(&Object::default()), None);
    }
}
