//! What must hold in every run, checked where it happens.

use std::collections::{BTreeMap, BTreeSet};

use waypost_router::{BroadcastOutcome, Completion};
use waypost_types::{Outcome, Owner};

use crate::process::{ProcessId, Ticket};

/// One process's one life.
type Life = (ProcessId, u64);

#[derive(Debug)]
struct Sent {
    by: Life,
    to: String,
    /// Its place among all that this life has sent to this address.
    number: u64,
    acked: bool,
    delivered_to: Vec<Owner>,
    outcome: Option<Outcome>,
}

/// Knows every message that was sent and everything that became of it, and panics where a promise is broken.
#[derive(Debug, Default)]
pub struct Oracle {
    sent: BTreeMap<Ticket, Sent>,
    counts: BTreeMap<(Life, String), u64>,
    /// The newest delivered number, by sender, address and receiving server.
    newest: BTreeMap<(Life, String, Owner), u64>,
    /// The same, whichever server received it.
    newest_first: BTreeMap<(Life, String), u64>,
    ended: BTreeSet<Ticket>,
    outcomes: BTreeMap<&'static str, u64>,
    /// Some program has let its inbox fill up: what is in there cannot be seen.
    pub(crate) unread_inboxes: bool,
    /// Links have been silent without breaking. A best-effort message that lies on one for longer than a takeover waits
    /// may come late; an acked one never does.
    pub(crate) silent_links: bool,
}

impl Oracle {
    pub(crate) fn sent(&mut self, ticket: Ticket, by: Life, to: &str, acked: bool) {
        let count = self.counts.entry((by, to.to_owned())).or_default();
        *count += 1;
        let sent = Sent {
            by,
            to: to.to_owned(),
            number: *count,
            acked,
            delivered_to: Vec::new(),
            outcome: None,
        };
        self.sent.insert(ticket, sent);
    }

    /// A message is in the inbox of `owner`, who holds its client or not.
    pub(crate) fn delivered(&mut self, ticket: Ticket, to: &str, owner: &Owner, holds: bool) {
        assert!(holds, "{owner} got {ticket:?} for {to}, which it does not hold");
        let Some(sent) = self.sent.get_mut(&ticket) else {
            panic!("{owner} got {ticket:?}, which nobody sent");
        };
        assert_eq!(sent.to, to, "{ticket:?} went to another client at {owner}");
        assert!(
            !sent.delivered_to.contains(owner),
            "{ticket:?} to {to} was delivered twice at {owner}"
        );
        assert!(
            sent.acked || sent.delivered_to.is_empty(),
            "best-effort {ticket:?} to {to} was delivered at {:?} and at {owner}",
            sent.delivered_to
        );
        assert!(
            matches!(sent.outcome, None | Some(Outcome::Delivered | Outcome::Unknown)),
            "{ticket:?} to {to} had the outcome {:?} and was delivered at {owner} all the same",
            sent.outcome
        );
        let key = (sent.by, to.to_owned(), owner.clone());
        let is_late = self.silent_links && !sent.acked;
        let newest = self.newest.entry(key).or_default();
        assert!(
            is_late || *newest < sent.number,
            "{ticket:?}, number {} of {:?} to {to}, was delivered at {owner} after number {newest}",
            sent.number,
            sent.by
        );
        *newest = (*newest).max(sent.number);
        if sent.delivered_to.is_empty() && sent.outcome.is_none() {
            let newest = self.newest_first.entry((sent.by, to.to_owned())).or_default();
            assert!(
                is_late || *newest < sent.number,
                "{ticket:?}, number {} of {:?} to {to}, came first at {owner}, after number {newest} elsewhere",
                sent.number,
                sent.by
            );
            *newest = (*newest).max(sent.number);
        }
        sent.delivered_to.push(owner.clone());
    }

    pub(crate) fn ended(&mut self, ticket: Ticket, completion: &Completion) {
        assert!(
            self.ended.insert(ticket),
            "{ticket:?} ended twice, the second time with {completion:?}"
        );
        let outcome = match completion {
            Completion::Outcome(outcome) => *outcome,
            Completion::Reply(Ok(_)) => Outcome::Delivered,
            Completion::Reply(Err(outcome)) => *outcome,
            Completion::Broadcast(BroadcastOutcome {
                servers, unreached, ..
            }) => {
                assert!(*servers > 0 || unreached.is_empty() || *servers == 0);
                return;
            }
            _ => return,
        };
        *self.outcomes.entry(outcome.as_str()).or_default() += 1;
        let Some(sent) = self.sent.get_mut(&ticket) else {
            return;
        };
        let delivered = !sent.delivered_to.is_empty();
        match outcome {
            Outcome::Delivered => assert!(
                delivered || self.unread_inboxes,
                "{ticket:?} to {} is Delivered and reached no inbox",
                sent.to
            ),
            Outcome::Unknown => {}
            outcome => assert!(
                !delivered,
                "{ticket:?} to {} ended as {outcome} and was delivered at {:?}",
                sent.to, sent.delivered_to
            ),
        }
        sent.outcome = Some(outcome);
    }

    /// A life of a process is over: nothing that it waited for ends any more.
    pub(crate) fn died(&mut self, life: Life) {
        for (ticket, sent) in &mut self.sent {
            if sent.by == life && sent.outcome.is_none() {
                self.ended.insert(*ticket);
                sent.outcome = Some(Outcome::Unknown);
            }
        }
    }

    /// Acked sends that have no outcome yet.
    #[must_use]
    pub fn open(&self) -> Vec<Ticket> {
        let open =
            |(ticket, sent): (&Ticket, &Sent)| (sent.acked && sent.outcome.is_none()).then_some(*ticket);
        self.sent.iter().filter_map(open).collect()
    }

    /// Whether the message has reached an inbox.
    #[must_use]
    pub fn was_delivered(&self, ticket: Ticket) -> bool {
        self.sent
            .get(&ticket)
            .is_some_and(|sent| !sent.delivered_to.is_empty())
    }

    /// How many sends ended with each outcome.
    #[must_use]
    pub const fn outcomes(&self) -> &BTreeMap<&'static str, u64> {
        &self.outcomes
    }
}
