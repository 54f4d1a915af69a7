//! Servers under short numbers, for each link and direction.

use waypost_types::Owner;
use waypost_wire::{Frame, NAMES_MAX};

use crate::map::{Map, map};

/// Which numbers stand for which servers on one link. `K` is what this side calls a server by.
#[derive(Debug)]
pub(crate) struct Names<K> {
    given: Map<K, u32>,
    given_list: Vec<K>,
    heard: Vec<K>,
}

impl<K: Copy + Eq + core::hash::Hash> Names<K> {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            given: map(seed),
            given_list: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// The number of `key` on this link, and the frame that introduces it when it is new. `None` when the link has used
    /// up its numbers: it must be closed and opened anew.
    pub(crate) fn give(&mut self, key: K, owner: &Owner) -> Option<(u32, Option<Frame>)> {
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
            }),
        ))
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
    pub(crate) fn hear(&mut self, alias: u32, key: K) -> bool {
        if u32::try_from(self.heard.len() + 1) != Ok(alias) || alias > NAMES_MAX {
            return false;
        }
        self.heard.push(key);
        true
    }

    /// The server that the other side introduced as `alias`.
    pub(crate) fn heard(&self, alias: u32) -> Option<K> {
        self.heard
            .get(usize::try_from(alias).ok()?.checked_sub(1)?)
            .copied()
    }
}
