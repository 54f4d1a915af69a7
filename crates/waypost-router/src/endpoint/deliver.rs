//! Delivery: the check of the own table, once each, in order.

use std::collections::VecDeque;

use waypost_types::{Address, MonoTime, Outcome, Seq};
use waypost_wire::{Broadcast, Failed, Frame, Message};

use super::dedupe::Seen;
use super::{Endpoint, Event, RequestToken, SUM_OF_QUEUES};
use crate::claim::{claim_of, is_stale};
use crate::outbox::unpinned;

impl<T> Endpoint<T> {
    /// A message whose `origin` is this endpoint's own number of the sending server.
    pub(super) fn on_message(&mut self, now: MonoTime, message: Message) {
        if !self.lease.is_valid(now) {
            self.ask_for_lease(now);
            if let Err(message) = self.lease.hold(message) {
                self.refuse(&message, Outcome::Overloaded);
            }
            return;
        }
        let origin = message.origin;
        if let Some(seen) = self.seen(origin, &message) {
            return self.answer_again(origin, &message, seen);
        }
        let in_order = self.is_in_order(&message);
        match self.clients.get_mut(message.to()) {
            Some(client) if client.is_claiming() => {
                let bytes_max = self.settings.queue_bytes_max;
                let Some(work) = client.work.as_mut() else { return };
                let has_room = self.claim_held_bytes < bytes_max.saturating_mul(SUM_OF_QUEUES);
                if work.held_bytes < bytes_max && has_room {
                    work.held_bytes += message.cost();
                    self.claim_held_bytes += message.cost();
                    work.held.push_back(unpinned(message));
                } else {
                    self.refuse(&message, Outcome::Overloaded);
                }
            }
            Some(client) if client.is_held() && !is_stale(message.claim, client.since) => {
                if !in_order {
                    return self.refuse_out_of_order(origin, &message);
                }
                let (id, has_inbox, request) = (message.id, client.has_inbox, message.request);
                let event = self.event(origin, message.clone());
                let is_in = if has_inbox {
                    self.client_inboxes.offer(message.to(), event)
                } else {
                    self.inbox.offer(event)
                };
                if !is_in {
                    self.refuse(&message, Outcome::Overloaded);
                } else if id != 0 {
                    self.note(origin, id, message.to(), Seen::Delivered);
                    if request {
                        self.late_acks.wait(now, origin, id);
                    } else {
                        self.acks_for(origin).delivered.push(id);
                    }
                }
            }
            _ => self.bounce(message),
        }
    }

    /// What became of this message before; also for one that is certainly late, which gets no answer.
    fn seen(&mut self, origin: u32, message: &Message) -> Option<Option<Seen>> {
        if message.id == 0 {
            return None;
        }
        let owner = self.origins.get(origin as usize)?;
        match self.dedupe.check(owner, message.id, message.floor, message.to()) {
            Ok(None) => None,
            Ok(seen) => Some(seen),
            Err(()) => Some(None),
        }
    }

    fn answer_again(&mut self, origin: u32, message: &Message, seen: Option<Seen>) {
        match seen {
            Some(Seen::Delivered) => self.acks_for(origin).delivered.push(message.id),
            Some(Seen::Refused(outcome)) => self.fail(origin, message, outcome, false),
            None => {}
        }
    }

    fn event(&self, origin: u32, message: Message) -> Event {
        match self.origins.get(origin as usize) {
            Some(owner) if message.request => Event::Request {
                token: RequestToken {
                    origin: owner.clone(),
                    id: message.id,
                },
                message,
            },
            _ => Event::Message(message),
        }
    }

    fn note(&mut self, origin: u32, id: u64, to: &str, seen: Seen) {
        if let Some(owner) = self.origins.get(origin as usize) {
            self.dedupe.note(owner, id, to, seen);
        }
    }

    /// Whether the one that has to come before it has come, or never will.
    fn is_in_order(&self, message: &Message) -> bool {
        message.after == 0
            || self
                .origins
                .get(message.origin as usize)
                .is_some_and(|owner| self.dedupe.settled(owner, message.after))
    }

    /// Refuses for good: a repetition gets the same answer. One that others have to come before is not noted, because what
    /// comes after it would not wait for those any more.
    pub(super) fn refuse(&mut self, message: &Message, outcome: Outcome) {
        let origin = message.origin;
        if message.id != 0 && self.is_in_order(message) {
            self.note(origin, message.id, message.to(), Seen::Refused(outcome));
        }
        self.fail(origin, message, outcome, false);
    }

    fn refuse_out_of_order(&mut self, origin: u32, message: &Message) {
        if message.id == 0 {
            self.fail(origin, message, Outcome::Overloaded, false);
        } else {
            self.fail(origin, message, Outcome::Overloaded, true);
        }
    }

    fn fail(&mut self, origin: u32, message: &Message, outcome: Outcome, out_of_order: bool) {
        let Ok(to) = Address::new(message.to()) else {
            return;
        };
        let failed = &mut self.acks_for(origin).failed;
        if message.id == 0
            && let Some(last) = failed.last_mut()
            && last.id == 0
            && last.outcome == outcome
            && last.to == to
        {
            last.count = last.count.saturating_add(1);
            return;
        }
        failed.push(Failed {
            id: message.id,
            outcome,
            to,
            count: u32::from(message.id == 0),
            out_of_order,
        });
    }

    /// Sends back what is not for a client of this server. What has gathered before goes first.
    pub(super) fn bounce(&mut self, mut message: Message) {
        if let Some(alias) = self.alias(message.origin) {
            message.origin = alias;
            message.owner = 0;
            self.push(Frame::Bounce(message));
        }
    }

    /// Goes on with what has waited for a claim. While the lease has lapsed it waits for that, before what has come since.
    pub(super) fn take_up(&mut self, now: MonoTime, held: VecDeque<Message>) {
        if !self.lease.is_valid(now) && !held.is_empty() {
            self.ask_for_lease(now);
            for message in self.lease.hold_first(held) {
                self.refuse(&message, Outcome::Overloaded);
            }
            return;
        }
        for message in held {
            self.on_message(now, message);
        }
    }

    /// Sends back what waits for a claim of this client. The claim may be given to another before it is answered, and then
    /// this would come behind what that one has delivered.
    pub(super) fn send_back_held(&mut self, address: &Address) {
        self.send_back_held_unless(address, |_| false);
    }

    /// The same where a claim by another server is the reason. What means a newer one waits on: it is for the claim under way,
    /// which the store has answered already, and those behind it are about to be delivered.
    pub(super) fn send_back_held_before(&mut self, address: &Address, seq: Seq) {
        let by = claim_of(seq);
        self.send_back_held_unless(address, |message| {
            message.claim != 0 && is_stale(by, message.claim)
        });
    }

    fn send_back_held_unless(&mut self, address: &Address, stays: impl Fn(&Message) -> bool) {
        let client = self.clients.get_mut(address);
        let Some(work) = client.and_then(|client| client.work.as_mut()) else {
            return;
        };
        let (rest, over) = core::mem::take(&mut work.held).into_iter().partition(stays);
        work.held = rest;
        let over: VecDeque<Message> = over;
        let bytes = over.iter().map(Message::cost).sum::<usize>();
        work.held_bytes -= bytes;
        self.claim_held_bytes -= bytes;
        for message in over {
            self.bounce(message);
        }
    }

    pub(super) fn on_broadcast(&mut self, now: MonoTime, broadcast: Broadcast) {
        let Broadcast {
            token, from, body, ..
        } = broadcast;
        let is_valid = self.lease.is_valid(now);
        if !is_valid {
            self.ask_for_lease(now);
        }
        let others = self
            .clients
            .iter()
            .filter(|(address, client)| client.is_held() && **address != from);
        let (own, to): (Vec<_>, Vec<_>) = others.partition(|(_, client)| client.has_inbox);
        let names =
            |clients: Vec<(&Address, _)>| clients.into_iter().map(|(address, _)| address.clone()).collect();
        let (own, to): (Vec<Address>, Vec<Address>) = (names(own), names(to));
        let mut clients = to.len() as u64;
        let mut is_reached = is_valid;
        if is_valid {
            for address in own {
                let event = Event::Broadcast {
                    from: from.clone(),
                    to: vec![address.clone()],
                    body: body.clone(),
                };
                clients += u64::from(self.client_inboxes.offer(address.as_str(), event));
            }
            is_reached = to.is_empty() || self.inbox.offer(Event::Broadcast { from, to, body });
        }
        if let Some(identity) = self.identity.clone() {
            let (reached, unreached) = if is_reached {
                (vec![(identity, clients)], Vec::new())
            } else {
                (Vec::new(), vec![identity])
            };
            self.push(Frame::BroadcastDone {
                token,
                reached,
                unreached,
            });
        }
    }
}
