//! What a peer tells its program.

use bytes::Bytes;
use tokio::sync::mpsc;
use waypost_types::{Address, Identity, Incarnation, Outcome};

/// A message for one of this server's clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) body: Bytes,
}

impl Message {
    /// The client that sent it.
    #[must_use]
    pub fn from(&self) -> &str {
        self.from.as_str()
    }

    /// The client of this server that it is for.
    #[must_use]
    pub fn to(&self) -> &str {
        self.to.as_str()
    }

    /// The body; a clone is a reference count.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }
}

/// Names a request that awaits its reply. Give it to [`Peer::reply`](crate::Peer::reply) once.
#[derive(Debug)]
pub struct RequestToken {}

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
    /// This incarnation is over and holds no clients any more.
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
    /// The drain is complete.
    Drained,
    /// The peer was shut down; nothing follows.
    Closed,
}

/// The stream of events. Reading slowly fills the inbox, whose bound makes senders wait.
#[derive(Debug)]
pub struct Events {
    pub(crate) events: mpsc::Receiver<Event>,
}

impl Events {
    /// The next event; `None` after the last. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event if there is one now.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}
