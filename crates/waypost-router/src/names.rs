//! Servers under short numbers, for each link and direction.

use waypost_types::Owner;
use waypost_wire::{Frame, NAMES_MAX};

use crate::map::{Map, map};

/// Which numbers stand for which servers on one link. `K` is what this side calls a server by.
#[derive(Debug)]
pub(crate) struct Names<K> {
    given: Map<K, u32>,
    given_list: Vec<K>,
    heard: Vec<Heard<K>>,
}

#[derive(Debug)]
struct Heard<K> {
    key: K,
    /// By which of its attachments the server was introduced.
    attachment: u32,
    /// It is known to send its messages another way now.
    is_overtaken: bool,
}

impl<K: Copy + Eq + core::hash::Hash> Names<K> {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            given: map(seed),
            given_list: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// The number of `key` on this link, and the frame that introduces it, by this attachment, when it is new. `None` when the
    /// link has used up its numbers: it must be closed and opened anew.
    pub(crate) fn give(&mut self, key: K, owner: &Owner, attachment: u32) -> Option<(u32, Option<Frame>)> {
        if let Some(alias) = self.given.get(&key) {
            return Some((*alias, None));
        }
        let alias = u32::try_from(self.given_list.len() + 1)
            .ok()
            .filter(|alias| *alias <= NAMES_MAX)?;
        self.given.insert(key, alias);
        self.given_list.push(key);
        Some((
            alias,
            Some(Frame::Name {
                alias,
                owner: owner.clone(),
                attachment,
            }),
        ))
    }

    /// Has `key` introduced anew before it is used again.
    pub(crate) fn forget(&mut self, key: K) {
        self.given.remove(&key);
    }

    /// The number of `key` if it has been introduced on this link.
    #[inline]
    pub(crate) fn number(&self, key: K) -> Option<u32> {
        self.given.get(&key).copied()
    }

    /// The server that this side introduced as `alias`.
    pub(crate) fn given(&self, alias: u32) -> Option<K> {
        self.given_list
            .get(usize::try_from(alias).ok()?.checked_sub(1)?)
            .copied()
    }

    /// Notes the other side's introduction; false when its number is out of order.
    pub(crate) fn hear(&mut self, alias: u32, key: K, attachment: u32) -> bool {
        if u32::try_from(self.heard.len() + 1) != Ok(alias) || alias > NAMES_MAX {
            return false;
        }
        self.heard.push(Heard {
            key,
            attachment,
            is_overtaken: false,
        });
        true
    }

    /// From now on messages of servers of which `is_overtaken` says so, by key and attachment, count as overtaken.
    pub(crate) fn overtake(&mut self, is_overtaken: impl Fn(K, u32) -> bool) {
        for heard in &mut self.heard {
            heard.is_overtaken |= is_overtaken(heard.key, heard.attachment);
        }
    }

    /// All servers that the other side has introduced.
    pub(crate) fn heard_all(&self) -> impl Iterator<Item = K> {
        self.heard.iter().map(|heard| heard.key)
    }

    fn heard_as(&self, alias: u32) -> Option<&Heard<K>> {
        self.heard.get(usize::try_from(alias).ok()?.checked_sub(1)?)
    }

    /// The server that the other side introduced as `alias`.
    pub(crate) fn heard(&self, alias: u32) -> Option<K> {
        self.heard_as(alias).map(|heard| heard.key)
    }

    /// The same, unless its messages are overtaken.
    pub(crate) fn heard_in_time(&self, alias: u32) -> Option<K> {
        self.heard_as(alias)
            .filter(|heard| !heard.is_overtaken)
            .map(|heard| heard.key)
    }
}
