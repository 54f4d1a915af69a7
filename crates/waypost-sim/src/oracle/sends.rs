//! Messages: delivered once and in order, to whoever holds the client, and with exactly one outcome, which is true.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use waypost_router::{Completion, Refusal};
use waypost_types::{MonoTime, Outcome, Owner};

use super::{Life, Oracle, Trouble};
use crate::process::Ticket;

/// How long after its deadline a send may lack its outcome, at a process that runs.
const GRACE: Duration = Duration::from_secs(1);
/// How often one message may be put on a link: sent again at most five times, each time over the hops that it is allowed,
/// there and back.
const TRANSMISSIONS_MAX: u32 = 160;

#[derive(Debug)]
struct Sent {
    by: Life,
    to: String,
    /// Its place among all that this life has sent to this address.
    number: u64,
    acked: bool,
    at: MonoTime,
    taken_in: Option<MonoTime>,
    deadline: MonoTime,
    delivered_to: Vec<Owner>,
    outcome: Option<Outcome>,
    transmissions: u32,
}

/// The newest numbers that have been delivered.
#[derive(Debug, Default, Clone, Copy)]
struct Newest {
    acked: u64,
    best_effort: u64,
}

impl Newest {
    /// Notes a delivery; the newer number that it comes after, if it must not.
    fn note(&mut self, sent: &Sent, may_be_late: bool) -> Option<u64> {
        // One whose sender knows that it may still come, or which has been delivered elsewhere and is a copy that has been
        // around for long, comes late at most behind best-effort ones.
        let is_stray = sent.outcome == Some(Outcome::Unknown) || !sent.delivered_to.is_empty();
        let newest = if is_stray {
            self.acked
        } else {
            self.acked.max(self.best_effort)
        };
        let kind = if sent.acked {
            &mut self.acked
        } else {
            &mut self.best_effort
        };
        *kind = sent.number.max(*kind);
        (!may_be_late && newest >= sent.number).then_some(newest)
    }
}

#[derive(Debug, Default)]
pub(super) struct Sends {
    sent: BTreeMap<Ticket, Sent>,
    counts: BTreeMap<(Life, String), u64>,
    /// The newest delivered number, by sender, address and receiving server.
    newest: BTreeMap<(Life, String, Owner), Newest>,
    /// The same, whichever server received it.
    newest_first: BTreeMap<(Life, String), Newest>,
    /// When the newest message was sent that reached each address.
    reached: BTreeMap<(Life, String), MonoTime>,
    open: BTreeSet<Ticket>,
    ended: BTreeSet<Ticket>,
    /// When each life was told last that its lease is over.
    fenced: BTreeMap<Life, MonoTime>,
    outcomes: BTreeMap<&'static str, u64>,
}

impl Oracle {
    pub(crate) fn sent(
        &mut self,
        now: MonoTime,
        ticket: Ticket,
        by: Life,
        to: &str,
        acked: bool,
        within: Duration,
    ) {
        let count = self.sends.counts.entry((by, to.to_owned())).or_default();
        *count += 1;
        let sent = Sent {
            by,
            to: to.to_owned(),
            number: *count,
            acked,
            at: now,
            taken_in: None,
            deadline: now + within,
            delivered_to: Vec::new(),
            outcome: None,
            transmissions: 0,
        };
        self.sends.sent.insert(ticket, sent);
        if acked {
            self.sends.open.insert(ticket);
        }
    }

    /// The machines have taken it in.
    pub(crate) fn taken_in(&mut self, now: MonoTime, ticket: Ticket) {
        let Some(sent) = self.sends.sent.get_mut(&ticket) else {
            return;
        };
        sent.taken_in = Some(now);
        if !sent.acked {
            let (by, to, waited) = (sent.by, sent.to.clone(), sent.at < now);
            self.best_effort_taken_in(now, ticket, by, &to, waited);
        }
    }

    /// A server has been told that its lease is over.
    pub(crate) fn fenced(&mut self, now: MonoTime, life: Life) {
        self.sends.fenced.insert(life, now);
    }

    /// Whether an acked message of this process to this address lacks its outcome.
    pub(super) fn is_in_flight(&self, by: Life, to: &str) -> bool {
        let mut open = self.sends.open.iter().map(|ticket| &self.sends.sent[ticket]);
        open.any(|sent| sent.by == by && sent.to == to)
    }

    /// So many acked messages of one process may lack their outcome.
    pub(crate) fn check_in_flight(&self, by: Life, max: usize) {
        let is_in_flight = |ticket: &&Ticket| {
            let sent = &self.sends.sent[*ticket];
            sent.by == by && sent.taken_in.is_some()
        };
        let in_flight = self.sends.open.iter().filter(is_in_flight).count();
        assert!(
            in_flight <= max,
            "{in_flight} acked messages of {by:?} lack their outcome, and it may have {max}"
        );
    }

    /// A message has been put on a link.
    pub(crate) fn transmitted(&mut self, ticket: Ticket) {
        if let Some(sent) = self.sends.sent.get_mut(&ticket) {
            sent.transmissions += 1;
            assert!(
                sent.transmissions <= TRANSMISSIONS_MAX,
                "{ticket:?} to {} goes to and fro without end",
                sent.to
            );
        }
    }

    /// A message is in the inbox of `owner`, whose program has been told that it holds the client, or not.
    pub(crate) fn delivered(&mut self, ticket: Ticket, to: &str, owner: &Owner, holds: bool) {
        assert!(holds, "{owner} got {ticket:?} for {to}, which it does not hold");
        let calm_from = self.calm_from();
        let Some(sent) = self.sends.sent.get_mut(&ticket) else {
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
            sent.delivered_to.is_empty() || sent.at < calm_from,
            "{ticket:?} to {to} was delivered at {:?} and at {owner}, while all was calm",
            sent.delivered_to
        );
        assert!(
            matches!(sent.outcome, None | Some(Outcome::Delivered | Outcome::Unknown)),
            "{ticket:?} to {to} had the outcome {:?} and was delivered at {owner} all the same",
            sent.outcome
        );
        // A best-effort message that lies on a silent link for longer than a takeover waits may come late.
        let may_be_late = !sent.acked && self.troubled_at + self.term > sent.at;
        let key = (sent.by, to.to_owned());
        let newest = self.sends.newest.entry((key.0, key.1.clone(), owner.clone()));
        let after = newest.or_default().note(sent, may_be_late);
        assert!(
            after.is_none(),
            "{ticket:?}, number {} of {:?} to {to}, was delivered at {owner} after number {after:?}",
            sent.number,
            sent.by
        );
        // One that was refused where others were delivered, and whose refusal was lost, may be delivered where the client is
        // now.
        if sent.delivered_to.is_empty() && sent.outcome.is_none() && !self.is_tight {
            let newest = self.sends.newest_first.entry(key).or_default();
            let after = newest.note(sent, may_be_late);
            assert!(
                after.is_none(),
                "{ticket:?}, number {} of {:?} to {to}, came first at {owner}, after number {after:?} elsewhere",
                sent.number,
                sent.by
            );
        }
        sent.delivered_to.push(owner.clone());
        if !sent.acked {
            let by = sent.by;
            self.best_effort.delivered(ticket, by, to);
        }
    }

    /// An operation has ended. `holders`: how many running servers hold the address of a send.
    pub(crate) fn ended(
        &mut self,
        now: MonoTime,
        ticket: Ticket,
        completion: &Completion,
        holders: impl FnOnce(&str) -> usize,
    ) {
        assert!(
            self.sends.ended.insert(ticket),
            "{ticket:?} ended twice, the second time with {completion:?}"
        );
        let outcome = match completion {
            Completion::Outcome(outcome) | Completion::Reply(Err(outcome)) => *outcome,
            Completion::Reply(Ok(body)) => {
                assert_eq!(
                    body.as_ref(),
                    reply_to(ticket).as_bytes(),
                    "{ticket:?} has the reply to another request"
                );
                Outcome::Delivered
            }
            _ => return,
        };
        *self.sends.outcomes.entry(outcome.as_str()).or_default() += 1;
        self.sends.open.remove(&ticket);
        let Some(sent) = self.sends.sent.get_mut(&ticket) else {
            return;
        };
        sent.outcome = Some(outcome);
        let sent = &self.sends.sent[&ticket];
        let delivered = !sent.delivered_to.is_empty();
        match outcome {
            Outcome::Delivered => assert!(
                delivered,
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
        self.judge_in_calm(now, ticket, sent, outcome, holders(&sent.to));
        if outcome == Outcome::Delivered {
            let key = (sent.by, sent.to.clone());
            let at = sent.at;
            self.sends.reached.insert(key, at);
        }
    }

    /// Whether the sender's node has had a route to this address since it came to be where it is, while all was well.
    fn is_known(&self, sent: &Sent) -> bool {
        let reached = self.sends.reached.get(&(sent.by, sent.to.clone()));
        self.goes_on
            && reached.is_some_and(|at| {
                self.was_calm_but_for(Trouble::Store, *at) && self.is_settled_since(*at, &sent.to)
            })
    }

    /// What an outcome has to be when nothing excuses another one.
    fn judge_in_calm(&self, now: MonoTime, ticket: Ticket, sent: &Sent, outcome: Outcome, holders: usize) {
        // That somebody is not connected may be said by a link that breaks, and never again.
        let reaches = holders == 1
            && !self.is_tight
            && self.is_settled_since(self.kind_since, &sent.to)
            && (self.was_calm_but_for(Trouble::Links, sent.at)
                || (self.was_calm_but_for(Trouble::Store, sent.at) && self.is_known(sent)));
        let is_calm = reaches || self.was_calm(sent.at);
        let is_clear = is_calm && self.is_settled_since(sent.at, &sent.to);
        // What was on its way when its sender was fenced can be followed no more.
        let is_fenced = self.sends.fenced.get(&sent.by).is_some_and(|at| sent.at <= *at);
        if is_fenced && outcome == Outcome::Unknown && !self.was_calm(sent.at) {
            return;
        }
        // One that had to wait for room may have used up its time.
        let has_waited = sent.taken_in.is_none_or(|at| at > sent.at);
        if !is_clear || has_waited || (self.is_tight && outcome == Outcome::Overloaded) {
            return;
        }
        let expected = match holders {
            0 => Outcome::NotConnected,
            1 => Outcome::Delivered,
            more => panic!("at {now} {more} servers hold {}, and all has been calm", sent.to),
        };
        assert_eq!(
            outcome, expected,
            "{ticket:?} to {}, held by {holders} server since before it was sent, while all was calm",
            sent.to
        );
    }

    /// An operation on a client or a question has ended, asked for at `asked_at`.
    pub(crate) fn operation_ended(&self, asked_at: MonoTime, ticket: Ticket, completion: &Completion) {
        if !self.was_calm(asked_at) {
            return;
        }
        let failed = match completion {
            Completion::Connected(Err(Refusal::Fenced | Refusal::NotRegistered | Refusal::Draining)) => false,
            Completion::Connected(Err(_)) | Completion::Located(Err(_)) => true,
            _ => false,
        };
        assert!(
            !failed,
            "{ticket:?} ended with {completion:?}, while all was calm"
        );
    }

    /// Every send of a process that runs has its outcome when its time is over.
    pub(crate) fn check_deadlines(&self, now: MonoTime, runs_since: impl Fn(Life) -> Option<MonoTime>) {
        for ticket in &self.sends.open {
            let Some(sent) = self.sends.sent.get(ticket) else {
                continue;
            };
            let is_over = sent.deadline + GRACE < now;
            let has_run = || runs_since(sent.by).is_some_and(|since| since + GRACE < now);
            assert!(
                !is_over || !has_run(),
                "{ticket:?} to {} has no outcome at {now}, and was sent at {}",
                sent.to,
                sent.at
            );
        }
    }

    /// A life of a process is over: nothing that it waited for ends any more.
    pub(crate) fn died(&mut self, life: Life) {
        self.moving.retain(|_, (of, _)| *of != life);
        self.best_effort.died(life);
        let sends = &mut self.sends;
        for (ticket, sent) in &mut sends.sent {
            if sent.by == life && sent.outcome.is_none() {
                sends.ended.insert(*ticket);
                sends.open.remove(ticket);
                sent.outcome = Some(Outcome::Unknown);
            }
        }
    }

    /// A send was not taken in at all.
    pub(crate) fn refused(&mut self, ticket: Ticket, outcome: Outcome) {
        assert!(
            self.sends.ended.insert(ticket) && !self.was_delivered(ticket),
            "{ticket:?} was refused and had been taken in"
        );
        self.sends.open.remove(&ticket);
        if let Some(sent) = self.sends.sent.get_mut(&ticket) {
            sent.outcome = Some(outcome);
        }
    }

    /// A server has drained: what it had taken in before has its outcome.
    pub(crate) fn drained(&self, life: Life, asked_at: MonoTime) {
        for ticket in &self.sends.open {
            let sent = self.sends.sent.get(ticket).filter(|sent| sent.by == life);
            let left = sent.is_some_and(|sent| sent.taken_in.is_some_and(|at| at < asked_at));
            assert!(!left, "{ticket:?} has no outcome, and its server has drained");
        }
    }

    /// Acked sends that have no outcome yet.
    #[must_use]
    pub fn open(&self) -> Vec<Ticket> {
        self.sends.open.iter().copied().collect()
    }

    /// Whether the message has reached an inbox.
    #[must_use]
    pub fn was_delivered(&self, ticket: Ticket) -> bool {
        let sent = self.sends.sent.get(&ticket);
        sent.is_some_and(|sent| !sent.delivered_to.is_empty())
    }

    /// The messages that more than one server has delivered, or one under several incarnations.
    #[must_use]
    pub fn repeated(&self) -> Vec<Ticket> {
        let is_repeated = |(ticket, sent): (&Ticket, &Sent)| (sent.delivered_to.len() > 1).then_some(*ticket);
        self.sends.sent.iter().filter_map(is_repeated).collect()
    }

    /// How many sends ended with each outcome.
    #[must_use]
    pub const fn outcomes(&self) -> &BTreeMap<&'static str, u64> {
        &self.sends.outcomes
    }
}

/// The body of the reply to a request.
pub(crate) fn reply_to(ticket: Ticket) -> String {
    format!("reply to {}", ticket.0)
}

#[cfg(test)]
mod tests {
    use waypost_types::{Identity, Incarnation};

    use super::*;
    use crate::process::ProcessId;

    /// An acked message is sent, and delivered by two servers.
    fn deliver_twice(oracle: &mut Oracle, at: MonoTime) {
        let (ticket, by) = (Ticket(1), (ProcessId(0), 1));
        oracle.sent(at, ticket, by, "c", true, Duration::from_secs(5));
        for identity in ["one", "two"] {
            let owner = Owner::new(Identity::new(identity).unwrap(), Incarnation(1));
            oracle.delivered(ticket, "c", &owner, true);
        }
    }

    #[test]
    fn two_servers_that_deliver_one_message_are_found_out_in_calm() {
        let at = MonoTime::ZERO + Duration::from_secs(1);
        let found = std::panic::catch_unwind(|| deliver_twice(&mut Oracle::default(), at));
        let text = *found.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("while all was calm"), "{text}");
    }

    #[test]
    fn after_trouble_two_servers_may_deliver_one_message() {
        let (mut oracle, at) = (Oracle::default(), MonoTime::ZERO + Duration::from_secs(1));
        oracle.note_term(Duration::from_secs(1));
        oracle.trouble(at);
        deliver_twice(&mut oracle, at);
        assert_eq!(oracle.repeated(), [Ticket(1)]);
    }
}
