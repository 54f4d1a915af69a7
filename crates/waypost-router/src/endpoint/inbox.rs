//! What waits for the program: one ordered, bounded stream.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;
use waypost_types::{Address, Identity, Incarnation, MonoTime, Outcome, Owner, Seq};
use waypost_wire::{Batch, Message};

use crate::gate::{Gate, Room};
use crate::outbox::Pins;

/// How many events of the link and the lease may wait to be read. With one more, only the last word of each kind is kept.
const LINK_EVENTS_MAX: usize = 64;

/// Something that the program is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The identity is registered, for the first time or anew after its lease was over.
    Registered {
        /// The name.
        identity: Identity,
        /// Which life of it.
        incarnation: Incarnation,
    },
    /// A message for one of this server's clients.
    Message(Message),
    /// Messages that came together, for clients of this server.
    Messages(Batch),
    /// A message whose sender waits for a reply.
    Request {
        /// What the reply names.
        token: RequestToken,
        /// The message.
        message: Message,
    },
    /// One message to all of this server's clients but the sender.
    Broadcast {
        /// The sending client.
        from: Address,
        /// The clients that it is for.
        to: Vec<Address>,
        /// What is sent.
        body: Bytes,
    },
    /// A client has been claimed by another server: this one holds it no longer.
    Displaced {
        /// The client.
        client: Address,
        /// The server that holds it now.
        by: Identity,
    },
    /// A client is connected here, as it was asked for. Told only when that is asked for, since the operation has its
    /// [`Completion`](crate::Completion): this says where among the other events it belongs.
    Connected {
        /// The client.
        client: Address,
        /// The claim by which it is held.
        seq: Seq,
    },
    /// A client has been given up, as it was asked for, or was not held: nothing for it follows. Told only when that is
    /// asked for.
    GivenUp {
        /// The client.
        client: Address,
    },
    /// This server's lease is over.
    Fenced {
        /// A newer process has the identity: this one stays out. Otherwise it registers anew by itself.
        superseded: bool,
    },
    /// Best-effort messages that were not delivered.
    SendFailed {
        /// Whom they were for.
        to: Address,
        /// Why.
        outcome: Outcome,
        /// How many.
        count: u64,
    },
    /// The link to the broker is down; the endpoint reconnects by itself.
    Disconnected,
    /// The link to the broker is up again, under the same incarnation.
    Reconnected,
    /// Everything has moved out.
    Drained,
}

/// Names a request to which this server owes a reply.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestToken {
    pub(crate) origin: Owner,
    pub(crate) id: u64,
}

impl Event {
    fn cost(&self) -> usize {
        match self {
            Self::Message(message) | Self::Request { message, .. } => message.cost(),
            Self::Messages(batch) => batch.cost(),
            Self::Broadcast { body, to, .. } => body.len() + to.len() * 32 + 64,
            // As many as the program has asked for; they take no room from messages.
            Self::Connected { .. } | Self::GivenUp { .. } => 0,
            _ => 64,
        }
    }

    /// For one of the link or the lease, which come as often as these change: what it has the last word on.
    const fn standing(&self) -> Option<usize> {
        match self {
            Self::Registered { .. } => Some(0),
            Self::Fenced { .. } => Some(1),
            Self::Disconnected | Self::Reconnected => Some(2),
            _ => None,
        }
    }
}

/// The bounded queue. Messages are refused when it is full; what the program must know in any case always goes in: a lost client,
/// as often as it has connected one, and how its link and its lease stand, of which older ones give way to the newest.
#[derive(Debug)]
pub(crate) struct Inbox {
    events: VecDeque<Event>,
    bytes: usize,
    bytes_max: usize,
    reader_idle: bool,
    gate: Gate,
    pins: Pins,
    closed: bool,
    tells_operations: bool,
}

impl Inbox {
    pub(crate) const fn new(bytes_max: usize, stall: Duration) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            bytes_max,
            reader_idle: true,
            gate: Gate::new(bytes_max, stall),
            pins: Pins::new(),
            closed: false,
            tells_operations: false,
        }
    }

    /// From now on the ends of the program's own operations go in too.
    pub(crate) const fn tell_operations(&mut self) {
        self.tells_operations = true;
    }

    /// Puts in the end of an operation, if that is asked for.
    pub(crate) fn tell(&mut self, event: impl FnOnce() -> Event) {
        if self.tells_operations {
            self.put(event());
        }
    }

    /// Nothing more will be put in.
    pub(crate) const fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// What waits, oldest first.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// Bytes of the messages among what waits.
    pub(crate) fn message_bytes(&self) -> usize {
        let is_message = |event: &&Event| {
            matches!(
                event,
                Event::Message(_) | Event::Messages(_) | Event::Request { .. }
            )
        };
        self.events.iter().filter(is_message).map(Event::cost).sum()
    }

    /// Whether a message may be put in now.
    pub(crate) fn room(&mut self, now: MonoTime) -> Room {
        self.gate.room(now, self.bytes)
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.has_no_room_beside(0)
    }

    /// Whether it would be full with `bytes` more.
    pub(crate) const fn has_no_room_beside(&self, bytes: usize) -> bool {
        self.bytes + bytes >= self.bytes_max
    }

    /// Puts a message in; false when the inbox is full.
    pub(crate) fn offer(&mut self, event: Event) -> bool {
        if self.is_full() {
            return false;
        }
        self.put(event);
        true
    }

    /// Puts in what must not be lost.
    pub(crate) fn put(&mut self, mut event: Event) {
        event = match event {
            Event::Message(message) => Event::Message(self.pins.keep(message, self.bytes)),
            Event::Messages(batch) => Event::Messages(self.pins.keep_batch(batch, self.bytes)),
            Event::Request { token, message } => Event::Request {
                token,
                message: self.pins.keep(message, self.bytes),
            },
            event => event,
        };
        let is_of_link = event.standing().is_some();
        self.bytes += event.cost();
        self.events.push_back(event);
        if is_of_link
            && self
                .events
                .iter()
                .filter(|event| event.standing().is_some())
                .count()
                > LINK_EVENTS_MAX
        {
            self.drop_overtaken();
        }
    }

    /// Drops what newer events of the link and the lease have made untrue.
    fn drop_overtaken(&mut self) {
        let mut has_newer = [false; 3];
        let mut kept = VecDeque::with_capacity(self.events.len());
        for event in self.events.drain(..).rev() {
            let standing = event.standing();
            if standing.is_some_and(|standing| core::mem::replace(&mut has_newer[standing], true)) {
                self.bytes -= event.cost();
            } else {
                kept.push_front(event);
            }
        }
        self.events = kept;
    }

    /// Counts a failed best-effort message, together with the one before it where they are alike. Failures are dropped
    /// when the inbox is full: they are counted elsewhere too.
    pub(crate) fn failed(&mut self, to: &Address, outcome: Outcome, more: u64) {
        if let Some(Event::SendFailed {
            to: last,
            outcome: why,
            count,
        }) = self.events.back_mut()
            && last == to
            && *why == outcome
        {
            *count += more;
            return;
        }
        self.offer(Event::SendFailed {
            to: to.clone(),
            outcome,
            count: more,
        });
    }

    /// Moves about `max` events out: messages that came together count one each, and are not parted. Returns true when
    /// room came free.
    pub(crate) fn take(&mut self, into: &mut VecDeque<Event>, max: usize) -> bool {
        let (before, mut count) = (self.bytes, 0);
        while count < max {
            let Some(event) = self.events.pop_front() else {
                break;
            };
            self.bytes -= event.cost().min(self.bytes);
            count += match &event {
                Event::Messages(batch) => batch.len(),
                _ => 1,
            };
            into.push_back(event);
        }
        self.reader_idle = into.is_empty();
        self.gate.took(before - self.bytes, self.bytes)
    }

    /// Whether the reader waits and has something to read now.
    pub(crate) fn wakes_reader(&mut self) -> bool {
        !self.events.is_empty() && core::mem::take(&mut self.reader_idle)
    }
}
