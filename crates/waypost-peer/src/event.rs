//! What a peer tells its program.

use std::collections::VecDeque;

use bytes::Bytes;
use waypost_node::{ClientInbox, Node};
use waypost_types::{Address, Identity, Incarnation, Outcome, Seq};

/// A message for one of this server's clients. A clone counts references and copies no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(waypost_wire::Delivery);

impl Message {
    /// The client that sent it.
    #[must_use]
    pub fn from(&self) -> &str {
        self.0.from()
    }

    /// The client of this server that it is for.
    #[must_use]
    pub fn to(&self) -> &str {
        self.0.to()
    }

    /// The body; a clone is a reference count.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// The body alone.
    #[must_use]
    pub fn into_body(self) -> Bytes {
        self.0.body
    }
}

/// A [`Message`] where it was read, lent by [`Messages`].
#[derive(Debug, Clone, Copy)]
pub struct MessageRef<'a>(waypost_wire::DeliveryRef<'a>);

impl<'a> MessageRef<'a> {
    /// The client that sent it.
    #[must_use]
    pub fn from(&self) -> &'a str {
        self.0.from()
    }

    /// The client of this server that it is for.
    #[must_use]
    pub fn to(&self) -> &'a str {
        self.0.to()
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.0.body()
    }

    /// The same to be kept; its body is not copied.
    #[must_use]
    pub fn to_message(self) -> Message {
        Message(self.0.to_delivery())
    }
}

/// Messages that came together, in their order. Those that are left when it is dropped come next.
#[derive(Debug)]
pub struct Messages<'a>(&'a mut waypost_wire::Batch);

impl Messages<'_> {
    /// The next one.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> Option<MessageRef<'_>> {
        self.0.next_ref().map(MessageRef)
    }

    /// How many are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What [`Events::recv_batch`] gives.
#[derive(Debug)]
pub enum EventBatch<'a> {
    /// Messages, at least one, each of which would be an [`Event::Message`].
    Messages(Messages<'a>),
    /// Any event, a message that came alone among them.
    Event(Event),
}

/// Names a request that awaits its reply. Give it to [`Peer::reply`](crate::Peer::reply) once.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestToken(pub(crate) Box<waypost_router::RequestToken>);

/// What happened, in one order for all clients of this server.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The server is registered, for the first time or anew after it was fenced.
    Registered {
        /// Its name.
        identity: Identity,
        /// Which life of it.
        incarnation: Incarnation,
    },
    /// A message for a client.
    Message(Message),
    /// A request for a client, which awaits a reply.
    Request {
        /// Goes with the reply.
        token: RequestToken,
        /// The request itself.
        message: Message,
    },
    /// A broadcast; one event for each of this server's clients.
    Broadcast {
        /// The client that sent it.
        from: Address,
        /// The client of this server that it is for.
        to: Address,
        /// The body.
        body: Bytes,
    },
    /// Another server, or a newer connection here, holds this client now.
    Displaced {
        /// The client.
        client: Address,
        /// The server that holds it.
        by: Identity,
    },
    /// A client is connected here, as this program asked for. Comes only after
    /// [`Events::include_operations`].
    Connected {
        /// The client.
        client: Address,
        /// The claim by which it is held.
        seq: Seq,
    },
    /// A client has been given up, as this program asked for, or was not held: nothing for it follows. Comes only after
    /// [`Events::include_operations`].
    GivenUp {
        /// The client.
        client: Address,
    },
    /// This incarnation is over, and nothing is delivered. Clients that nobody has claimed meanwhile go on by themselves
    /// under the next one, and [`Displaced`](Self::Displaced) tells of the others.
    Fenced {
        /// A newer process of the same identity took over, and this one stays fenced; otherwise a `Registered` with a
        /// new incarnation follows when the store answers.
        superseded: bool,
    },
    /// Sends without acknowledgement that failed, counted.
    SendFailed {
        /// The client they were for.
        to: Address,
        /// What became of them.
        outcome: Outcome,
        /// How many.
        count: u64,
    },
    /// The link to the broker broke; the peer connects again by itself.
    Disconnected,
    /// The link to a broker is up again, and this server goes on under the same incarnation.
    Reconnected,
    /// The drain is complete.
    Drained,
    /// The peer was shut down; nothing follows.
    Closed,
}

/// The stream of events. Reading slowly fills the inbox, whose bound makes senders wait and then fail as overloaded.
///
/// A program that has clients must keep reading it: dropping it does not end the inbox, which then stays full. Of events of the link
/// and the lease ([`Event::Disconnected`], [`Event::Reconnected`], [`Event::Fenced`], [`Event::Registered`]) up to 64 wait to be read;
/// then the last of each kind are kept.
#[derive(Debug)]
pub struct Events {
    node: Node,
    /// Moved out of the inbox a few at a time, so that its lock is taken once for many.
    ahead: VecDeque<waypost_router::Event>,
    /// Messages that came together and have not all been read.
    batch: Option<waypost_wire::Batch>,
    /// A broadcast whose clients have not all been told.
    broadcast: Option<(Address, std::vec::IntoIter<Address>, Bytes)>,
    closed: bool,
}

/// How many events are moved out of the inbox at once.
const AHEAD: usize = 256;

impl Events {
    pub(crate) const fn new(node: Node) -> Self {
        Self {
            node,
            ahead: VecDeque::new(),
            batch: None,
            broadcast: None,
            closed: false,
        }
    }

    /// From now on [`Event::Connected`] and [`Event::GivenUp`] tell where, among the other events, the program's own
    /// connects and disconnects take effect. A program that learns of those by their futures cannot know otherwise whether
    /// a `Displaced` that it reads is older than a connect that has just ended.
    pub async fn include_operations(&self) {
        let told = self.node.call(|_, core, _| {
            if let Some(endpoint) = &mut core.endpoint {
                endpoint.tell_operations();
            }
        });
        // There is no answer to wait for.
        let _ = told.await;
    }

    /// The next event; `None` after the last, which is [`Event::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.next_here() {
                return Some(event);
            }
            if !self.read_more().await {
                return self.close();
            }
        }
    }

    /// The next event, or messages that came together, lent and not given: a program that needs none of them for longer than it
    /// takes to write it to a client's socket spares itself a value and a reference count for each. `None` after the last, which is
    /// [`Event::Closed`]. The order is that of [`recv`](Self::recv), and the two may be mixed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn recv_batch(&mut self) -> Option<EventBatch<'_>> {
        while self.batch.as_ref().is_none_or(waypost_wire::Batch::is_empty) {
            self.batch = None;
            if let Some(event) = self.next_ahead() {
                return Some(EventBatch::Event(event));
            }
            if self.batch.is_none() && !self.read_more().await {
                return self.close().map(EventBatch::Event);
            }
        }
        self.batch
            .as_mut()
            .map(|batch| EventBatch::Messages(Messages(batch)))
    }

    /// The next event if there is one now. Never [`Event::Closed`], which [`recv`](Self::recv) alone gives.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.next_here().or_else(|| {
            self.node.try_read_events(&mut self.ahead, AHEAD);
            self.next_here()
        })
    }

    /// Moves more events out of the inbox, waiting for them; false when there are none any more.
    async fn read_more(&mut self) -> bool {
        !self.closed && self.node.read_events(&mut self.ahead, AHEAD).await
    }

    /// The last event, once.
    fn close(&mut self) -> Option<Event> {
        let was_closed = core::mem::replace(&mut self.closed, true);
        (!was_closed).then_some(Event::Closed)
    }

    fn next_here(&mut self) -> Option<Event> {
        loop {
            if let Some(batch) = &mut self.batch {
                if let Some(message) = batch.next() {
                    return Some(Event::Message(Message(message)));
                }
                self.batch = None;
            }
            let event = self.next_ahead();
            if event.is_some() || self.batch.is_none() {
                return event;
            }
        }
    }

    /// The next of the events that were moved out of the inbox. `None`: there is none, or there is a batch, whose messages come next.
    fn next_ahead(&mut self) -> Option<Event> {
        loop {
            if let Some((from, clients, body)) = &mut self.broadcast {
                if let Some(to) = clients.next() {
                    return Some(Event::Broadcast {
                        from: from.clone(),
                        to,
                        body: body.clone(),
                    });
                }
                self.broadcast = None;
            }
            match self.ahead.pop_front()? {
                waypost_router::Event::Broadcast { from, to, body } => {
                    self.broadcast = Some((from, to.into_iter(), body));
                }
                waypost_router::Event::Messages(batch) => {
                    self.batch = Some(batch);
                    return None;
                }
                event => {
                    if let Some(event) = translate(event) {
                        return Some(event);
                    }
                }
            }
        }
    }
}

/// The events of one client alone: [`Event::Message`], [`Event::Request`] and [`Event::Broadcast`]. Its bound is its own:
/// when it is full, messages for this client fail as overloaded at once, and nobody else is held up.
///
/// Dropping it sends what comes from then on to the stream of all clients; what it had not read is gone.
#[derive(Debug)]
pub struct ClientEvents(pub(crate) ClientInbox);

impl ClientEvents {
    /// The next event; `None` when the client is not connected here any more and everything has been read.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            return Some(match self.0.recv().await? {
                waypost_router::Event::Broadcast { from, body, .. } => Event::Broadcast {
                    from,
                    to: self.0.client().clone(),
                    body,
                },
                event => match translate(event) {
                    Some(event) => event,
                    None => continue,
                },
            });
        }
    }
}

fn translate(event: waypost_router::Event) -> Option<Event> {
    use waypost_router::Event as Inner;
    Some(match event {
        Inner::Registered {
            identity,
            incarnation,
        } => Event::Registered {
            identity,
            incarnation,
        },
        Inner::Message(message) => Event::Message(Message(message.into_delivery())),
        Inner::Request { token, message } => Event::Request {
            token: RequestToken(Box::new(token)),
            message: Message(message.into_delivery()),
        },
        Inner::Displaced { client, by } => Event::Displaced { client, by },
        Inner::Connected { client, seq } => Event::Connected { client, seq },
        Inner::GivenUp { client } => Event::GivenUp { client },
        Inner::Fenced { superseded } => Event::Fenced { superseded },
        Inner::SendFailed { to, outcome, count } => Event::SendFailed { to, outcome, count },
        Inner::Disconnected => Event::Disconnected,
        Inner::Reconnected => Event::Reconnected,
        Inner::Drained => Event::Drained,
        _ => return None,
    })
}
