//! The part of each process's program: reads what comes, answers requests, and is told what has ended.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use waypost_router::{Completion, Event, RequestToken};
use waypost_types::{Address, Outcome, Owner};
use waypost_wire::Message;

use crate::oracle::reply_to;
use crate::process::{ProcessId, Ticket};
use crate::world::{World, ticket_of};

impl World {
    /// The oracle looks at what has newly come into the process's inboxes, whether its program reads them or not.
    fn observe(&mut self, id: ProcessId) {
        let process = &mut self.processes[id.0];
        let Some(endpoint) = process.core.as_ref().and_then(|core| core.endpoint.as_ref()) else {
            return;
        };
        let mut fresh = Vec::new();
        // What is in a client's own inbox came before what the shared one says of that client's end.
        for (address, seen) in &mut process.own_inboxes {
            let before = fresh.len();
            fresh.extend(endpoint.unread_of(address.as_str()).skip(*seen).cloned());
            *seen += fresh.len() - before;
        }
        // Under a new incarnation, if there is one.
        for event in endpoint.unread().skip(process.observed) {
            if let Event::Registered {
                identity,
                incarnation,
            } = event
                && !fresh.is_empty()
            {
                process.owner = Some(Owner::new(identity.clone(), *incarnation));
            }
        }
        let before = fresh.len();
        fresh.extend(endpoint.unread().skip(process.observed).cloned());
        process.observed += fresh.len() - before;
        for event in one_by_one(fresh) {
            self.came(id, &event);
        }
        let process = &mut self.processes[id.0];
        if process.draining
            && let Some(endpoint) = process.core.as_ref().and_then(|core| core.endpoint.as_ref())
        {
            process
                .held
                .retain(|address, _| endpoint.holds(address.as_str()).is_some());
        }
    }

    fn came(&mut self, id: ProcessId, event: &Event) {
        self.note(id, format_args!("event {event:?}"));
        let now = self.now;
        let process = &mut self.processes[id.0];
        match event {
            Event::Registered {
                identity,
                incarnation,
            } => {
                let owner = Owner::new(identity.clone(), *incarnation);
                let was_fenced = core::mem::take(&mut process.is_fenced);
                assert!(
                    was_fenced || process.last_owner.is_none(),
                    "{:?} became {owner}, and its program was not told that its lease was over",
                    process.last_owner
                );
                process.owner = Some(owner.clone());
                process.last_owner = Some(owner);
            }
            Event::Message(message) | Event::Request { message, .. } => self.message_came(id, message),
            Event::Broadcast { to, body, .. } => {
                if let (Some(owner), Some(ticket)) = (&process.owner, ticket_of(body)) {
                    for address in to {
                        let holds = process.held.contains_key(address);
                        self.oracle.broadcast_came(ticket, address, owner, holds);
                    }
                    self.oracle.check_lease(now, owner, &process.settings);
                }
            }
            Event::Connected { client, seq } => {
                process.held.insert(client.clone(), *seq);
                self.oracle.changed(now, client);
                self.oracle.is_held(now, client);
            }
            Event::GivenUp { client } | Event::Displaced { client, .. } => {
                process.held.remove(client);
                self.oracle.changed(now, client);
                if matches!(event, Event::GivenUp { .. }) {
                    self.oracle.is_given_up(Some(client));
                }
            }
            Event::Fenced { superseded } => {
                process.is_fenced = true;
                self.oracle.fenced(now, (id, process.life));
                if *superseded {
                    process.held.clear();
                    self.oracle.is_given_up(None);
                }
            }
            Event::Drained => {
                process.owner = None;
                process.last_owner = None;
            }
            Event::SendFailed { to, count, .. } => {
                let life = (id, process.life);
                self.oracle.best_effort_failed(life, to, *count);
            }
            _ => {}
        }
    }

    fn message_came(&mut self, id: ProcessId, message: &Message) {
        let process = &self.processes[id.0];
        let (Some(owner), Some(ticket)) = (&process.owner, ticket_of(&message.body)) else {
            panic!("{id:?} got {message:?} without being registered");
        };
        let held = process.held.get_key_value(message.to());
        self.oracle.delivered(ticket, message.to(), owner, held.is_some());
        self.oracle.check_lease(self.now, owner, &process.settings);
        let endpoint = process.core.as_ref().and_then(|core| core.endpoint.as_ref());
        let seq = endpoint.and_then(|endpoint| endpoint.holds(message.to()));
        if let (Some((address, _)), Some(seq)) = (held, seq) {
            self.oracle.check_owners(self.now, address, owner, seq);
        }
    }

    /// Tells the program what has ended and what has come.
    pub(crate) fn tell_program(&mut self, id: ProcessId) {
        self.observe(id);
        let process = &mut self.processes[id.0];
        let Some(endpoint) = process.core.as_mut().and_then(|core| core.endpoint.as_mut()) else {
            return;
        };
        let (mut done, mut events) = (Vec::new(), VecDeque::new());
        endpoint.take_done(&mut done);
        if process.reads {
            process.own_inboxes.retain(|address, seen| {
                *seen = 0;
                let mut own = VecDeque::new();
                let goes_on = endpoint.take_client_events(address.as_str(), &mut own, usize::MAX);
                events.append(&mut own);
                goes_on
            });
            let mut shared = VecDeque::new();
            endpoint.take_events(&mut shared, usize::MAX);
            events.append(&mut shared);
            process.observed = 0;
        }
        let replies = self.read(id, events);
        for (ticket, completion) in done {
            self.finished(id, ticket, completion);
        }
        for (token, ticket) in replies {
            self.call(id, |endpoint, _| {
                endpoint.reply(&token, Bytes::from(reply_to(ticket)));
            });
        }
    }

    /// The program reads its events; says which requests it answers at once.
    fn read(&mut self, id: ProcessId, events: VecDeque<Event>) -> Vec<(RequestToken, Ticket)> {
        let process = &mut self.processes[id.0];
        let mut replies = Vec::new();
        let Some(endpoint) = process.core.as_mut().and_then(|core| core.endpoint.as_mut()) else {
            return replies;
        };
        for event in one_by_one(events) {
            match &event {
                Event::Request { token, message } => {
                    if let Some(ticket) = ticket_of(&message.body) {
                        let list = if process.replies {
                            &mut replies
                        } else {
                            &mut process.requests
                        };
                        list.push((token.clone(), ticket));
                    }
                }
                Event::Connected { client, .. }
                    if process.gives_inboxes
                        && !process.own_inboxes.contains_key(client)
                        && endpoint.open_client_inbox(client) =>
                {
                    process.own_inboxes.insert(client.clone(), 0);
                }
                _ => {}
            }
            process.events.push(event);
        }
        replies
    }

    /// A send that the machines have not taken in.
    pub(crate) fn refused(&mut self, id: ProcessId, ticket: Ticket, outcome: Outcome) {
        self.note(id, format_args!("{ticket:?} is refused: {outcome}"));
        self.oracle.refused(ticket, outcome);
        let completion = Completion::Outcome(outcome);
        self.processes[id.0].done.insert(ticket, completion);
    }

    /// An operation of the program's has ended.
    pub(crate) fn finished(&mut self, id: ProcessId, ticket: Ticket, completion: Completion) {
        self.note(id, format_args!("{ticket:?} ends: {completion:?}"));
        let processes = &self.processes;
        let holders = |to: &str| processes.iter().filter(|process| process.has(to)).count();
        self.oracle.ended(self.now, ticket, &completion, holders);
        let asked = self.asked.remove(&ticket);
        self.oracle.moved(ticket);
        let asked_at = asked.as_ref().map_or(self.now, |operation| operation.at);
        let can_succeed = asked.as_ref().is_some_and(|operation| operation.can_succeed);
        if can_succeed {
            self.oracle.operation_ended(asked_at, ticket, &completion);
        }
        match (&completion, asked.and_then(|operation| operation.address)) {
            (Completion::Registered(_), _) => self.processes[id.0].registering = false,
            (Completion::Connected(result), Some(address)) => {
                self.oracle.changed(self.now, &address);
                if let Ok(seq) = result {
                    self.oracle.connected(asked_at, &address, *seq);
                }
            }
            (Completion::Disconnected(_), Some(address)) => self.oracle.changed(self.now, &address),
            (Completion::Located(Ok(found)), Some(address)) => {
                let is_clear = can_succeed
                    && self.oracle.was_calm(asked_at)
                    && self.oracle.is_settled_since(asked_at, address.as_str());
                let holder = processes.iter().find(|process| process.has(address.as_str()));
                assert!(
                    !is_clear || *found == holder.map(|holder| holder.identity.clone()),
                    "{address} was located at {found:?}, while all was calm"
                );
            }
            (Completion::Broadcast(outcome), _) => {
                let held: BTreeSet<Address> = processes
                    .iter()
                    .flat_map(|process| process.held.keys().cloned())
                    .collect();
                self.oracle.broadcast_ended(ticket, outcome.as_ref(), &held);
            }
            (Completion::Drained, _) => self.oracle.drained((id, processes[id.0].life), asked_at),
            _ => {}
        }
        if completion == Completion::Drained {
            self.processes[id.0].draining = false;
        }
        self.processes[id.0].done.insert(ticket, completion);
    }
}

/// Messages that came together as one event each.
fn one_by_one(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut single = Vec::new();
    for event in events {
        match event {
            Event::Messages(batch) => single.extend(batch.map(|message| Event::Message(message.into()))),
            event => single.push(event),
        }
    }
    single
}
