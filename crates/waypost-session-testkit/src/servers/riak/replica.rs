//! One replica of all objects.

use std::collections::HashMap;
use std::time::SystemTime;

use super::clock::{Clock, Dot};

/// Bucket (with its type) and key.
pub(super) type Name = (String, Vec<u8>);

/// One value of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sibling {
    pub(super) dot: Dot,
    pub(super) content: Content,
}

/// What a client wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) value: Vec<u8>,
    pub(super) content_type: String,
    /// `X-Riak-Meta-*`, as written.
    pub(super) meta: Vec<(String, String)>,
    pub(super) vtag: String,
    pub(super) modified: SystemTime,
    pub(super) deleted: bool,
}

/// An object with all its siblings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Object {
    pub(super) clock: Clock,
    pub(super) siblings: Vec<Sibling>,
}

/// How siblings come about in a bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) allow_mult: bool,
    pub(super) dvv: bool,
}

impl Object {
    /// Writes over what `context` has seen, as the coordinator of the write.
    pub(super) fn write(&mut self, actor: &str, context: &Clock, content: Content, rules: Rules) {
        let seen_all = context.descends(&self.clock);
        self.clock.merge(context);
        let dot = self.clock.next(actor);
        if seen_all {
            self.siblings.clear();
        } else if rules.dvv {
            self.siblings.retain(|sibling| !context.covers(&sibling.dot));
        }
        self.siblings.push(Sibling { dot, content });
        self.settle(rules);
    }

    /// Takes in what another replica has.
    pub(super) fn merge(&mut self, other: &Self, rules: Rules) {
        if rules.dvv {
            let mine = core::mem::take(&mut self.siblings);
            let is_in = |list: &[Sibling], dot: &Dot| list.iter().any(|sibling| sibling.dot == *dot);
            let new = other
                .siblings
                .iter()
                .filter(|sibling| !is_in(&mine, &sibling.dot) && !self.clock.covers(&sibling.dot));
            let mut all: Vec<Sibling> = new.cloned().collect();
            all.extend(
                mine.into_iter().filter(|sibling| {
                    is_in(&other.siblings, &sibling.dot) || !other.clock.covers(&sibling.dot)
                }),
            );
            self.siblings = all;
        } else if other.clock.descends(&self.clock) {
            self.siblings.clone_from(&other.siblings);
        } else if !self.clock.descends(&other.clock) {
            for sibling in &other.siblings {
                if !self.siblings.contains(sibling) {
                    self.siblings.push(sibling.clone());
                }
            }
        }
        self.clock.merge(&other.clock);
        self.settle(rules);
    }

    fn settle(&mut self, rules: Rules) {
        self.siblings.sort_by(|one, two| one.dot.cmp(&two.dot));
        if !rules.allow_mult && self.siblings.len() > 1 {
            // The newest, and of two made at once the one that was sorted last.
            let newest = self
                .siblings
                .iter()
                .max_by_key(|sibling| sibling.content.modified)
                .cloned();
            self.siblings = newest.into_iter().collect();
        }
    }

    pub(super) fn is_tombstone(&self) -> bool {
        self.siblings.iter().all(|sibling| sibling.content.deleted)
    }
}

/// What one replica stores, and its fallback while its node is down.
#[derive(Debug, Default)]
pub(super) struct Replica {
    objects: HashMap<Name, Object>,
    fallback: HashMap<Name, Object>,
    pub(super) down: bool,
}

impl Replica {
    pub(super) fn objects(&mut self) -> &mut HashMap<Name, Object> {
        if self.down {
            &mut self.fallback
        } else {
            &mut self.objects
        }
    }

    pub(super) fn stored(&self) -> impl Iterator<Item = (&Name, &Object)> {
        if self.down {
            self.fallback.iter()
        } else {
            self.objects.iter()
        }
    }

    pub(super) fn clear(&mut self) {
        self.objects.clear();
        self.fallback.clear();
    }

    /// The node is back: what its fallback has taken is handed over.
    pub(super) fn rise(&mut self, rules: impl Fn(&Name) -> Rules) {
        self.down = false;
        for (name, object) in self.fallback.drain() {
            let rules = rules(&name);
            self.objects.entry(name).or_default().merge(&object, rules);
        }
    }
}
