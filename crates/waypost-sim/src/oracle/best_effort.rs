//! Best-effort messages: each is delivered or told as failed, never both, and none is lost while all is calm.

use core::time::Duration;
use std::collections::BTreeMap;

use waypost_types::{Address, MonoTime};

use super::{Life, Oracle};
use crate::process::Ticket;

/// As long as one may be on its way while all is calm.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// What one life of a process has sent to one address.
#[derive(Debug, Default)]
struct Count {
    taken_in: u64,
    delivered: u64,
    failed: u64,
    calm: Calm,
}

/// The same since something was wrong last.
#[derive(Debug, Default)]
struct Calm {
    troubled_at: MonoTime,
    /// How many had been told as failed before.
    failed_before: u64,
    /// How many were not delivered.
    lost: u64,
}

/// One that was sent while all was calm and has not been delivered.
#[derive(Debug)]
struct Open {
    by: Life,
    to: String,
    at: MonoTime,
    /// It follows an acked one that lacked its outcome. Should that have to be sent again, this one is refused, since it may
    /// not overtake.
    follows: bool,
}

#[derive(Debug, Default)]
pub(super) struct BestEffort {
    counts: BTreeMap<(Life, String), Count>,
    open: BTreeMap<Ticket, Open>,
    /// Since when each address has been held without a break, by one server after the other, as long as all has been calm.
    held_since: BTreeMap<Address, MonoTime>,
    /// When the last two connects of each were asked for.
    connects: BTreeMap<Address, [MonoTime; 2]>,
}

impl BestEffort {
    pub(super) fn delivered(&mut self, ticket: Ticket, by: Life, to: &str) {
        self.open.remove(&ticket);
        self.count(by, to).delivered += 1;
        self.check_sum(by, to);
    }

    pub(super) fn died(&mut self, life: Life) {
        self.held_since.clear();
        self.open.retain(|_, open| open.by != life);
    }

    fn count(&mut self, by: Life, to: &str) -> &mut Count {
        self.counts.entry((by, to.to_owned())).or_default()
    }

    fn check_sum(&self, by: Life, to: &str) {
        if let Some(count) = self.counts.get(&(by, to.to_owned())) {
            assert!(
                count.delivered + count.failed <= count.taken_in,
                "some of the best-effort messages of {by:?} to {to} were delivered and told as failed: {count:?}"
            );
        }
    }
}

impl Oracle {
    /// The machines have taken one in; `waited`: not at once.
    pub(super) fn best_effort_taken_in(
        &mut self,
        now: MonoTime,
        ticket: Ticket,
        by: Life,
        to: &str,
        waited: bool,
    ) {
        let follows = self.is_in_flight(by, to);
        let (is_calm, troubled_at) = (self.was_calm(now), self.troubled_at);
        let count = self.best_effort.count(by, to);
        count.taken_in += 1;
        if count.calm.troubled_at != troubled_at {
            count.calm = Calm {
                troubled_at,
                failed_before: count.failed,
                lost: 0,
            };
        }
        if is_calm && !waited {
            let to = to.to_owned();
            self.best_effort.open.insert(
                ticket,
                Open {
                    by,
                    to,
                    at: now,
                    follows,
                },
            );
        }
    }

    /// A server holds the client from now on, as its program has been told.
    pub(crate) fn is_held(&mut self, now: MonoTime, address: &Address) {
        let known = self.best_effort.held_since.get(address);
        if known.is_none_or(|since| !self.was_calm(*since)) {
            self.best_effort.held_since.insert(address.clone(), now);
        }
    }

    /// A connect is asked for.
    pub(crate) fn connects(&mut self, now: MonoTime, address: &Address) {
        let times = self.best_effort.connects.entry(address.clone()).or_default();
        *times = [times[1], now];
    }

    /// A client is given up, or is about to be; `None`: any may be.
    pub(crate) fn is_given_up(&mut self, address: Option<&Address>) {
        match address {
            Some(address) => drop(self.best_effort.held_since.remove(address)),
            None => self.best_effort.held_since.clear(),
        }
    }

    /// A program has been told that so many were not delivered.
    pub(crate) fn best_effort_failed(&mut self, by: Life, to: &Address, count: u64) {
        self.best_effort.count(by, to.as_str()).failed += count;
        self.best_effort.check_sum(by, to.as_str());
    }

    /// Those that were sent while all was calm, and has been since, have been delivered to whoever holds the client all the
    /// while; of the others the sender has been told. `holders`: how many running servers hold an address.
    pub(crate) fn check_best_effort(&mut self, now: MonoTime, holders: impl Fn(&str) -> usize) {
        let due = core::mem::take(&mut self.best_effort.open);
        let (due, rest) = due.into_iter().partition(|(_, open)| open.at + ON_ITS_WAY <= now);
        self.best_effort.open = rest;
        let due: BTreeMap<Ticket, Open> = due;
        for (ticket, Open { by, to, at, follows }) in due {
            if !self.was_calm(at) || self.is_tight {
                continue;
            }
            let is_settled = self.is_settled_since(at, &to) && holders(&to) == 1;
            // One that comes back from a server may be late where the client has moved on twice.
            let connects = self.best_effort.connects.get(to.as_str());
            let moves_once = connects.is_none_or(|times| times[0] + ON_ITS_WAY < at);
            let held_since = self.best_effort.held_since.get(to.as_str());
            let is_kept = held_since.is_some_and(|since| self.was_calm(*since) && *since < at);
            let is_held = is_settled || (is_kept && moves_once);
            assert!(
                !is_held || follows,
                "best-effort {ticket:?} to {to}, which has been held since before it was sent, is lost, while all was calm"
            );
            let count = self.best_effort.count(by, &to);
            count.calm.lost += 1;
            let told = count.failed - count.calm.failed_before;
            assert!(
                count.calm.lost <= told,
                "best-effort {ticket:?} to {to} is lost without a word, while all was calm"
            );
        }
    }
}
