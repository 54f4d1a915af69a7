//! What must hold in every run, checked where it happens. A promise that is broken panics.
//!
//! The oracle knows clients only by what programs are told, leases only by what the store has answered, and messages only by
//! what enters an inbox: nothing that it judges by comes from the tables of the router that it judges.
//!
//! Some promises hold at any moment, whatever happens. Others hold when the cluster is *calm*: nothing has gone wrong for
//! [`CALM_TERMS`] lease terms. Then nothing excuses a message that is not delivered.

mod best_effort;
mod broadcasts;
mod leases;
mod records;
mod sends;

use core::time::Duration;
use std::collections::BTreeMap;

use waypost_types::{Address, MonoTime};

use crate::process::{ProcessId, Ticket};

pub(crate) use records::Held;
pub(crate) use sends::reply_to;

/// How many lease terms after the last fault the cluster has to serve as if there had been none.
pub const CALM_TERMS: u32 = 3;

/// One process's one life.
pub(crate) type Life = (ProcessId, u64);

/// What goes wrong from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trouble {
    /// Anything.
    #[default]
    Any,
    /// Links break, and brokers end while others run. That costs no acked message.
    Links,
    /// The store is away. That costs no message whose route is known.
    Store,
}

/// Knows everything that was asked for and everything that became of it.
#[derive(Debug, Default)]
pub struct Oracle {
    /// When something was wrong last; anything, and each kind by itself.
    troubled_at: MonoTime,
    kinds: [MonoTime; 3],
    /// What can be wrong now, and since when no more than that.
    kind: Trouble,
    kind_since: MonoTime,
    /// The longest lease term in the cluster.
    term: Duration,
    /// When anything was asked for or told that may change who holds an address.
    changed_at: BTreeMap<Address, MonoTime>,
    /// Connects and disconnects under way.
    moving: BTreeMap<Ticket, (Life, Address)>,
    /// Some queue is so small that calm does not exclude `Overloaded`.
    pub(crate) is_tight: bool,
    /// Without the store routes that were known go on: servers deliver, and nodes forget none.
    pub(crate) goes_on: bool,
    sends: sends::Sends,
    best_effort: best_effort::BestEffort,
    leases: leases::Leases,
    records: records::Records,
    broadcasts: broadcasts::Broadcasts,
}

impl Oracle {
    /// Something is wrong, or has just been put right.
    pub(crate) fn trouble(&mut self, now: MonoTime) {
        self.troubled_at = self.troubled_at.max(now);
        self.kinds[self.kind as usize] = now;
    }

    pub(crate) fn note_term(&mut self, term: Duration) {
        self.term = self.term.max(term);
    }

    /// From when on nothing has gone wrong, and had not for long enough.
    fn calm_from(&self) -> MonoTime {
        self.troubled_at + self.term * CALM_TERMS
    }

    /// Whether nothing had gone wrong for long enough at that time, nor has since.
    pub(crate) fn was_calm(&self, at: MonoTime) -> bool {
        self.calm_from() <= at
    }

    /// From now on no more than this goes wrong.
    pub(crate) const fn expect(&mut self, now: MonoTime, kind: Trouble) {
        self.kind = kind;
        self.kind_since = now;
    }

    /// The same, but for trouble of this kind.
    pub(crate) fn was_calm_but_for(&self, kind: Trouble, at: MonoTime) -> bool {
        [Trouble::Any, Trouble::Links, Trouble::Store]
            .into_iter()
            .filter(|other| *other != kind)
            .all(|other| self.kinds[other as usize] + self.term * CALM_TERMS <= at)
    }

    pub(crate) fn changed(&mut self, now: MonoTime, address: &Address) {
        self.changed_at.insert(address.clone(), now);
    }

    /// A connect or a disconnect has been asked for.
    pub(crate) fn moves(&mut self, now: MonoTime, ticket: Ticket, life: Life, address: &Address) {
        self.changed(now, address);
        self.moving.insert(ticket, (life, address.clone()));
    }

    /// It has ended.
    pub(crate) fn moved(&mut self, ticket: Ticket) {
        self.moving.remove(&ticket);
    }

    /// Whether it has been clear since then who holds the address.
    pub(crate) fn is_settled_since(&self, at: MonoTime, address: &str) -> bool {
        let is_moving = self.moving.values().any(|(_, moving)| moving.as_str() == address);
        !is_moving && self.changed_at.get(address).is_none_or(|changed| *changed < at)
    }
}
