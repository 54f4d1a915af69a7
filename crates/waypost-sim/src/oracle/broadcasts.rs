//! Broadcasts: to every client but the sender, at most once at each server that stays where it is, and a result that is
//! true.

use std::collections::{BTreeMap, BTreeSet};

use waypost_router::{BroadcastOutcome, Refusal};
use waypost_types::{Address, MonoTime, Owner};

use super::Oracle;
use crate::process::Ticket;

#[derive(Debug)]
struct Sent {
    at: MonoTime,
    from: Address,
    can_succeed: bool,
    reached: BTreeSet<(Owner, Address)>,
}

#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    sent: BTreeMap<Ticket, Sent>,
}

impl Oracle {
    pub(crate) fn broadcast(&mut self, now: MonoTime, ticket: Ticket, from: &Address, can_succeed: bool) {
        let sent = Sent {
            at: now,
            from: from.clone(),
            can_succeed,
            reached: BTreeSet::new(),
        };
        self.broadcasts.sent.insert(ticket, sent);
    }

    /// A broadcast is in an inbox for this client.
    pub(crate) fn broadcast_came(&mut self, ticket: Ticket, to: &Address, owner: &Owner, holds: bool) {
        assert!(
            holds,
            "{owner} got broadcast {ticket:?} for {to}, which it does not hold"
        );
        let at = self.broadcasts.sent.get(&ticket).map(|sent| sent.at);
        let was_calm = at.is_some_and(|at| self.was_calm(at));
        let Some(sent) = self.broadcasts.sent.get_mut(&ticket) else {
            panic!("{owner} got broadcast {ticket:?}, which nobody sent");
        };
        assert_ne!(sent.from, *to, "broadcast {ticket:?} came to its own sender");
        // A server that goes to another broker meanwhile is reached by both.
        let is_first = sent.reached.insert((owner.clone(), to.clone()));
        assert!(
            is_first || !was_calm,
            "broadcast {ticket:?} came twice to {to} at {owner}"
        );
    }

    /// `held`: all clients that running servers hold.
    pub(crate) fn broadcast_ended(
        &mut self,
        ticket: Ticket,
        outcome: Result<&BroadcastOutcome, &Refusal>,
        held: &BTreeSet<Address>,
    ) {
        let Some(sent) = self.broadcasts.sent.remove(&ticket) else {
            return;
        };
        let reached = sent.reached.len() as u64;
        let is_clear = sent.can_succeed
            && self.was_calm(sent.at)
            && held.iter().all(|to| self.is_settled_since(sent.at, to.as_str()));
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(refusal) => {
                assert!(
                    *refusal == Refusal::TimedOut || reached == 0,
                    "broadcast {ticket:?} is refused, {refusal:?}, and has reached {reached} clients"
                );
                assert!(
                    !is_clear || self.is_tight || matches!(refusal, Refusal::Draining | Refusal::Fenced),
                    "broadcast {ticket:?} is refused, {refusal:?}, while all was calm"
                );
                // Copies may still come of one that has timed out.
                if *refusal == Refusal::TimedOut {
                    self.broadcasts.sent.insert(ticket, sent);
                }
                return;
            }
        };
        assert!(
            outcome.clients <= reached,
            "broadcast {ticket:?} says {outcome:?} and has reached {reached} clients"
        );
        if is_clear && !self.is_tight {
            assert_eq!(
                outcome.unreached,
                [],
                "broadcast {ticket:?} did not reach all, while all was calm"
            );
            let others = held.iter().filter(|to| **to != sent.from);
            for to in others {
                assert!(
                    sent.reached.iter().any(|(_, reached)| reached == to),
                    "broadcast {ticket:?} did not reach {to}, while all was calm"
                );
            }
            assert_eq!(
                outcome.clients, reached,
                "broadcast {ticket:?} reached another number of clients, while all was calm"
            );
        }
        // Copies that come later than the answer are still no second ones.
        self.broadcasts.sent.insert(ticket, sent);
    }
}
