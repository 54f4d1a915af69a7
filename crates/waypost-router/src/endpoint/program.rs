//! What the program asks for.

use bytes::Bytes;
use waypost_types::{Address, Identity, MonoTime, Outcome};
use waypost_wire::{Broadcast, Frame, Message};

use super::{Completion, Endpoint, Event, Question, Refusal, RequestToken, Standing, clients};
use crate::gate::Room;

impl<T> Endpoint<T> {
    /// Registers the identity under which this server is known.
    pub fn register(&mut self, now: MonoTime, identity: Identity, token: T) {
        match self.standing {
            Standing::Superseded => {
                return self
                    .done
                    .push((token, Completion::Registered(Err(Refusal::Fenced))));
            }
            Standing::Attached | Standing::Attaching { .. } if self.identity.as_ref() == Some(&identity) => {
                match (self.standing == Standing::Attached, self.incarnation) {
                    (true, Some(incarnation)) => {
                        self.done.push((token, Completion::Registered(Ok(incarnation))));
                    }
                    _ => self.registering.push(token),
                }
                return;
            }
            Standing::Attached | Standing::Attaching { .. } => {
                return self
                    .done
                    .push((token, Completion::Registered(Err(Refusal::Full))));
            }
            Standing::Idle => {}
        }
        self.identity = Some(identity);
        self.incarnation = None;
        self.was_attached = false;
        self.draining = None;
        self.registering.push(token);
        self.standing = Standing::Attaching { sent_at: None };
        if self.link_up {
            self.attach(now);
        }
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self.standing {
            Standing::Idle => Some(Refusal::NotRegistered),
            Standing::Superseded => Some(Refusal::Fenced),
            // One that was registered and is fenced registers anew by itself, and what it is asked waits for that.
            Standing::Attaching { .. } if !self.was_attached => Some(Refusal::NotRegistered),
            _ => None,
        }
    }

    /// Whether fewer acked messages than are allowed are in flight.
    pub(crate) fn takes_sends(&self) -> bool {
        self.sends.has_room()
    }

    /// Whether a message of the program's can be sent, as far as this machine is concerned.
    pub(crate) fn can_send(
        &mut self,
        now: MonoTime,
        is_enough: impl Fn(Room) -> bool,
    ) -> Result<(), Refusal> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        if self.detaching.is_some() {
            // Nothing more could be said about it.
            return Err(Refusal::Draining);
        }
        let room = match self.standing {
            Standing::Attached => self.out.room(now),
            _ if self.sends.has_room() => {
                return if is_enough(Room::No) {
                    Ok(())
                } else {
                    Err(Refusal::Full)
                };
            }
            _ => Room::Wait,
        };
        if is_enough(room) {
            Ok(())
        } else {
            Err(Refusal::Full)
        }
    }

    /// Sends a message whose loss is told by [`Event::SendFailed`] at most.
    ///
    /// # Errors
    /// [`Refusal::Full`] when it has to wait for the link or for room; others when there is no identity.
    pub fn send(&mut self, now: MonoTime, mut message: Message) -> Result<(), Refusal> {
        self.can_send(now, |room| room == Room::Yes)?;
        message.id = 0;
        message.after = self.sends.newest_to(message.to());
        message.ttl_ms = u32::try_from(self.settings.send_deadline.as_millis()).unwrap_or(u32::MAX);
        self.push(Frame::Message(message));
        Ok(())
    }

    /// Sends a message whose outcome (or, for a request, reply) comes with `token`, by `deadline` at the latest.
    ///
    /// # Errors
    /// [`Refusal::Full`] when it has to wait for room; others when there is no identity. The token is dropped then.
    pub fn send_acked(
        &mut self,
        now: MonoTime,
        message: Message,
        request: bool,
        deadline: MonoTime,
        token: T,
    ) -> Result<(), Refusal> {
        self.can_send(now, |room| room != Room::Wait)?;
        if !self.sends.has_room() {
            return Err(Refusal::Full);
        }
        if self.standing == Standing::Attached && self.out.room(now) == Room::No {
            let completion = if request {
                Completion::Reply(Err(Outcome::Overloaded))
            } else {
                Completion::Outcome(Outcome::Overloaded)
            };
            self.done.push((token, completion));
            return Ok(());
        }
        self.begin_to_look(now);
        let id = self
            .sends
            .add(now, token, message.into_delivery(), request, deadline);
        self.transmit(now, id);
        Ok(())
    }

    /// A message is about to be sent. While there was none without outcome, nobody has looked whether the process runs.
    pub(super) fn begin_to_look(&mut self, now: MonoTime) {
        if self.sends.is_empty() {
            self.runs.begin(now);
        }
    }

    pub(super) fn transmit(&mut self, now: MonoTime, id: u64) {
        if self.link_up
            && self.standing == Standing::Attached
            && let Some(message) = self.sends.copy(now, id)
        {
            self.push(Frame::Message(message));
        }
    }

    /// Sends what has no outcome to a router that this server has attached to, as far as the link has room.
    pub(super) fn transmit_again(&mut self, now: MonoTime) {
        while self.link_up
            && self.standing == Standing::Attached
            && self.out.has_room()
            && let Some(id) = self.sends.next_again()
        {
            self.transmit(now, id);
        }
    }

    /// Answers a request.
    pub fn reply(&mut self, token: &RequestToken, body: Bytes) {
        let known = self.intern(token.origin.clone());
        if let Some(origin) = self.alias(known) {
            let reply = Frame::Reply {
                origin,
                id: token.id,
                body,
            };
            if self.link_up && self.out.takes(&reply) {
                self.late_acks.replied(known, token.id);
            }
            self.push(reply);
        }
    }

    pub(super) fn alias(&mut self, origin: u32) -> Option<u32> {
        let owner = self.origins.get(usize::try_from(origin).ok()?)?;
        let Some((alias, introduction)) = self.names.give(origin, owner, 0) else {
            self.close_link = true;
            return None;
        };
        if let Some(frame) = introduction {
            self.push(frame);
        }
        Some(alias)
    }

    /// Sends one message to every client of the cluster but `from`. Where it cannot go out now it is refused at once.
    pub fn broadcast(&mut self, now: MonoTime, from: Address, body: Bytes, deadline: MonoTime, token: T) {
        let mut broadcast = Broadcast {
            token: 0,
            origin: 0,
            from,
            body,
            ttl_ms: u32::try_from(deadline.since(now).as_millis()).unwrap_or(u32::MAX),
        };
        let refusal = self.refusal().or(if self.detaching.is_some() {
            Some(Refusal::Draining)
        } else if self.standing != Standing::Attached {
            Some(Refusal::NotAttached)
        } else if !self.out.takes(&Frame::Broadcast(broadcast.clone())) {
            Some(Refusal::Full)
        } else {
            None
        });
        if let Some(refusal) = refusal {
            return self.done.push((token, Completion::Broadcast(Err(refusal))));
        }
        broadcast.token = self.ask(token, deadline, Question::Broadcast);
        self.push(Frame::Broadcast(broadcast));
    }

    /// Asks who holds a client. While there is no router to answer, the question waits for one until the deadline.
    pub fn locate(&mut self, address: Address, deadline: MonoTime, token: T) {
        if let Some(refusal) = self.refusal() {
            return self.done.push((token, Completion::Located(Err(refusal))));
        }
        let question = self.ask(token, deadline, Question::Locate(address.clone()));
        if self.standing == Standing::Attached {
            self.push(Frame::Locate {
                token: question,
                address,
            });
        }
    }

    /// What was asked before, of a router that is gone or did not know this server any more.
    pub(super) fn locate_again(&mut self) {
        let mut asked: Vec<(u64, Address)> = self
            .questions
            .iter()
            .filter_map(|(token, (_, _, question))| match question {
                Question::Locate(address) => Some((*token, address.clone())),
                Question::Broadcast => None,
            })
            .collect();
        asked.sort_unstable_by_key(|(token, _)| *token);
        for (token, address) in asked {
            self.push(Frame::Locate { token, address });
        }
    }

    pub(super) fn ask(&mut self, token: T, deadline: MonoTime, kind: Question) -> u64 {
        self.next_token += 1;
        self.questions.insert(self.next_token, (token, deadline, kind));
        self.next_token
    }

    /// Moves everything out: takes no new clients, releases those it holds, waits for the outcomes of what it sent, and
    /// ends its lease.
    pub fn drain(&mut self, now: MonoTime, token: T) {
        if self.refusal().is_some() || self.detaching.is_some() {
            // Nothing is left to be moved out, or will be in a moment.
            self.inbox.put(Event::Drained);
            return self.done.push((token, Completion::Drained));
        }
        if let Some(Some(earlier)) = self.draining.replace(Some(token)) {
            self.done.push((earlier, Completion::Drained));
        }
        self.push(Frame::Drain);
        let clients: Vec<_> = self.clients.keys().cloned().collect();
        for client in clients {
            self.begin(now, &client, clients::Op::Disconnect { token: None });
        }
    }

    /// Ends the lease now, whatever is held or under way, and completes with [`Completion::Drained`].
    pub fn leave(&mut self, token: T) {
        if self.refusal().is_some() || !self.link_up || self.standing != Standing::Attached {
            self.standing = Standing::Idle;
            self.attach_again_at = None;
            return self.done.push((token, Completion::Drained));
        }
        if let Some(Some(earlier)) = self.draining.replace(Some(token)) {
            self.done.push((earlier, Completion::Drained));
        }
        self.next_token += 1;
        self.detaching = Some((self.next_token, false));
        self.push(Frame::Detach {
            token: self.next_token,
        });
    }

    pub(super) fn drain_step(&mut self) {
        let idle = self.clients.is_empty() && self.sends.is_empty() && self.detaching.is_none();
        if self.draining.is_none() || !idle {
            return;
        }
        if self.link_up && matches!(self.standing, Standing::Attaching { sent_at: Some(_) }) {
            // The answer tells what there is to be ended.
            return;
        }
        if !self.link_up || self.standing != Standing::Attached {
            return self.finish_detach(true);
        }
        self.next_token += 1;
        self.detaching = Some((self.next_token, true));
        self.push(Frame::Detach {
            token: self.next_token,
        });
    }

    pub(super) fn finish_detach(&mut self, drained: bool) {
        self.standing = Standing::Idle;
        self.attach_again_at = None;
        self.incarnation = None;
        for waiter in core::mem::take(&mut self.registering) {
            // Asked for while it moved out: the caller asks again.
            self.done
                .push((waiter, Completion::Registered(Err(Refusal::Draining))));
        }
        if drained {
            self.inbox.put(Event::Drained);
        }
        if let Some(Some(token)) = self.draining.take() {
            self.done.push((token, Completion::Drained));
        }
    }
}
