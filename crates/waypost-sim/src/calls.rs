//! What programs ask for.

use core::time::Duration;

use bytes::Bytes;
use waypost_router::Endpoint;
use waypost_types::{Address, MonoTime};
use waypost_wire::Message;

use crate::oracle::reply_to;
use crate::process::{Pending, ProcessId, Ticket};
use crate::world::{Operation, World, name};

impl World {
    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// The ticket of an operation, about an address or not.
    fn ask(&mut self, id: ProcessId, address: Option<&Address>) -> Ticket {
        let ticket = self.ticket();
        let operation = Operation {
            at: self.now,
            address: address.cloned(),
            can_succeed: self.endpoint(id).is_some_and(Endpoint::is_attached),
        };
        self.asked.insert(ticket, operation);
        ticket
    }

    /// Runs a call of the endpoint and then the driver.
    pub(crate) fn call<R>(
        &mut self,
        id: ProcessId,
        call: impl FnOnce(&mut Endpoint<Ticket>, MonoTime) -> R,
    ) -> Option<R> {
        let process = &mut self.processes[id.0];
        let now = process.local(self.now);
        let endpoint = process.core.as_mut().and_then(|core| core.endpoint.as_mut())?;
        let result = call(endpoint, now);
        if !self.processes[id.0].paused {
            self.drive(id);
        }
        Some(result)
    }

    /// Registers the process's identity.
    pub fn register(&mut self, id: ProcessId) -> Ticket {
        let (ticket, identity) = (self.ask(id, None), self.processes[id.0].identity.clone());
        self.note(id, format_args!("{ticket:?}: register"));
        self.processes[id.0].registering = self.is_up(id);
        self.call(id, |endpoint, now| endpoint.register(now, identity, ticket));
        ticket
    }

    /// Whether the process runs without an identity and has not asked for one. A server that was fenced asks by itself.
    #[must_use]
    pub fn wants_to_register(&self, id: ProcessId) -> bool {
        let process = &self.processes[id.0];
        let idle = self
            .endpoint(id)
            .is_some_and(|endpoint| endpoint.owner().is_none());
        idle && process.owner.is_none() && !process.paused && !process.registering
    }

    /// Connects a client; gives up after 5 s.
    pub fn connect(&mut self, id: ProcessId, address: &str) -> Ticket {
        let address = name(address);
        let ticket = self.ask(id, Some(&address));
        self.note(id, format_args!("{ticket:?}: connect {address}"));
        let life = (id, self.processes[id.0].life);
        if self.is_up(id) {
            self.oracle.moves(self.now, ticket, life, &address);
        }
        self.oracle.connects(self.now, &address);
        self.call(id, |endpoint, now| {
            endpoint.connect(now, &address, now + Duration::from_secs(5), ticket);
        });
        ticket
    }

    /// Disconnects a client.
    pub fn disconnect(&mut self, id: ProcessId, address: &str) -> Ticket {
        let address = name(address);
        let ticket = self.ask(id, Some(&address));
        self.note(id, format_args!("{ticket:?}: disconnect {address}"));
        self.oracle.is_given_up(Some(&address));
        let life = (id, self.processes[id.0].life);
        if self.is_up(id) {
            self.oracle.moves(self.now, ticket, life, &address);
        }
        self.call(id, |endpoint, now| endpoint.disconnect(now, &address, ticket));
        ticket
    }

    /// Sends a best-effort message. Its body begins with its ticket.
    pub fn send(&mut self, id: ProcessId, from: &str, to: &str) -> Ticket {
        self.submit(id, from, to, 0, None)
    }

    /// Sends a message whose outcome comes back; within 5 s.
    pub fn send_acked(&mut self, id: ProcessId, from: &str, to: &str) -> Ticket {
        self.submit(id, from, to, 0, Some(false))
    }

    /// Sends a request; within 5 s.
    pub fn request(&mut self, id: ProcessId, from: &str, to: &str) -> Ticket {
        self.submit(id, from, to, 0, Some(true))
    }

    /// Sends a message with this many bytes more than its ticket; `acked`: `None` for best effort, `Some(true)` for a
    /// request.
    ///
    /// # Panics
    /// When one of the addresses is none.
    pub fn submit(
        &mut self,
        id: ProcessId,
        from: &str,
        to: &str,
        padding: usize,
        acked: Option<bool>,
    ) -> Ticket {
        let ticket = self.ticket();
        self.note(id, format_args!("{ticket:?}: send {from} -> {to}, {acked:?}"));
        let mut body = format!("{}:", ticket.0).into_bytes();
        body.resize(body.len() + padding, b'.');
        let message = match Message::new(from, to, Bytes::from(body)) {
            Ok(message) => message,
            Err(error) => panic!("not addresses: {error}"),
        };
        if !self.is_up(id) {
            return ticket;
        }
        let process = &mut self.processes[id.0];
        let (by, within) = ((id, process.life), process.settings.send_deadline);
        self.oracle
            .sent(self.now, ticket, by, to, acked.is_some(), within);
        self.largest = self.largest.max(message.cost());
        let deadline = process.local(self.now) + process.settings.send_deadline;
        process.pending.push_back(Pending {
            ticket,
            message,
            acked,
            deadline,
        });
        self.drive(id);
        ticket
    }

    /// Answers the oldest request that the process's program has not answered.
    pub fn reply(&mut self, id: ProcessId) {
        let requests = &mut self.processes[id.0].requests;
        if !requests.is_empty() {
            let (token, ticket) = requests.remove(0);
            self.call(id, |endpoint, _| {
                endpoint.reply(&token, Bytes::from(reply_to(ticket)));
            });
        }
    }

    /// Sends to all clients but `from`; within 5 s. Its body begins with its ticket.
    pub fn broadcast(&mut self, id: ProcessId, from: &str) -> Ticket {
        let (ticket, from) = (self.ask(id, None), name(from));
        let body = format!("{}:broadcast", ticket.0);
        self.note(id, format_args!("{ticket:?}: broadcast"));
        let can_succeed = self.endpoint(id).is_some_and(Endpoint::is_attached);
        self.oracle.broadcast(self.now, ticket, &from, can_succeed);
        self.call(id, |endpoint, now| {
            endpoint.broadcast(now, from, Bytes::from(body), now + Duration::from_secs(5), ticket);
        });
        ticket
    }

    /// Asks who holds a client; within 5 s.
    pub fn locate(&mut self, id: ProcessId, address: &str) -> Ticket {
        let address = name(address);
        let ticket = self.ask(id, Some(&address));
        self.call(id, |endpoint, now| {
            endpoint.locate(address, now + Duration::from_secs(5), ticket)
        });
        ticket
    }

    /// Moves everything out.
    pub fn drain(&mut self, id: ProcessId) -> Ticket {
        let ticket = self.ask(id, None);
        self.note(id, format_args!("{ticket:?}: drain"));
        self.oracle.trouble(self.now);
        self.processes[id.0].draining = true;
        self.oracle.is_given_up(None);
        self.call(id, |endpoint, now| endpoint.drain(now, ticket));
        ticket
    }

    /// A node says that it ends: its links go other ways, in order. It still has to be ended by [`crash`](Self::crash).
    pub fn go_away(&mut self, id: ProcessId) {
        self.note(id, format_args!("goes away"));
        self.oracle.trouble(self.now);
        let core = self.processes[id.0].core.as_mut();
        if let Some(router) = core.and_then(|core| core.router.as_mut()) {
            router.go_away();
        }
        if !self.processes[id.0].paused {
            self.drive(id);
        }
    }
}
