//! Many acked messages in flight at once, from one place.

use core::ops::Range;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use waypost_node::Tickets;
use waypost_router::Refusal;
use waypost_types::Outcome;
use waypost_wire::Message;

use crate::{Peer, PeerError};

/// How many bytes are sent without letting anybody else at the node in between: about what is worth a write while somebody waits for
/// outcomes. Fewer at a time would be written each by itself.
const SENT_TOGETHER_BYTES: usize = 18 << 10;
/// What a message has besides its body, in bytes, roughly.
const NAMES_AND_NUMBERS: usize = 50;

/// Sends acked messages one after the other without waiting for each, and gives their outcomes in the order in which they
/// come. At the same number in flight it is several times as fast as as many futures of
/// [`send_acked`](Peer::send_acked), because a batch of outcomes wakes one task once.
///
/// Made by [`Peer::acked_sender`]. Dropping it leaves the messages on their way; their outcomes are not told.
///
/// ```no_run
/// # async fn example(peer: waypost_peer::Peer, lines: Vec<bytes::Bytes>) -> Result<(), waypost_peer::PeerError> {
/// let mut sender = peer.acked_sender(256);
/// for line in lines {
///     while sender.is_full() {
///         if let Some((ticket, outcome)) = sender.next_outcome().await? {
///             println!("message {ticket}: {outcome}");
///         }
///     }
///     sender.send("alice", "bob", line).await?;
/// }
/// while let Some((ticket, outcome)) = sender.next_outcome().await? {
///     println!("message {ticket}: {outcome}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AckedSender {
    peer: Peer,
    tickets: Arc<Tickets>,
    next_ticket: u64,
    /// Messages whose outcome has not been read.
    unread: usize,
    unread_max: usize,
    ready: VecDeque<(u64, Outcome)>,
}

impl AckedSender {
    pub(crate) fn new(peer: Peer, unread_max: usize) -> Self {
        Self {
            peer,
            tickets: Arc::default(),
            next_ticket: 1,
            unread: 0,
            unread_max: unread_max.max(1),
            ready: VecDeque::new(),
        }
    }

    /// How many messages have been sent whose outcome has not been read.
    #[must_use]
    pub const fn unread(&self) -> usize {
        self.unread
    }

    /// Whether an outcome must be read before the next message can be sent.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.unread >= self.unread_max
    }

    /// Sends, waiting up to the send deadline for room in the node's queues, and returns the number under which the
    /// outcome will come: 1 for the first message, and one more for each. Messages to one address arrive in the order of
    /// these calls.
    ///
    /// # Errors
    /// [`PeerError`] for bad input, when not registered and when closed; `Overloaded` when it [is full](Self::is_full).
    /// Nothing was sent then.
    ///
    /// # Cancel safety
    /// Dropping the future while it waits for room sends nothing.
    pub async fn send(&mut self, from: &str, to: &str, body: Bytes) -> Result<u64, PeerError> {
        if self.is_full() {
            return Err(PeerError::Overloaded);
        }
        let Peer { node } = &self.peer;
        self.peer.check(from, to, &body)?;
        let (ticket, patience) = (self.next_ticket, node.settings().send_deadline);
        let mine = (&self.tickets, ticket);
        if !node.send_with_ticket_now(to, from, &body, patience, mine) {
            let message = Message::new(from, to, body)?;
            match Box::pin(node.send_with_ticket(message, patience, mine)).await {
                Ok(()) => {}
                Err(Refusal::Full) if !node.has_ended() => {
                    self.ready.push_back((ticket, Outcome::Overloaded));
                }
                Err(refusal) => return Err(self.peer.error(refusal)),
            }
        }
        self.next_ticket += 1;
        self.unread += 1;
        Ok(ticket)
    }

    /// Sends the first of these messages, each of a sender, a client and a body, as [`send`](Self::send) does, and as many of those
    /// behind it as can be sent without waiting and before this [is full](Self::is_full). Returns their numbers: at least one, if
    /// there is a message.
    ///
    /// For a program that has several messages at hand: it costs less than to send them one by one.
    ///
    /// # Errors
    /// As of [`send`](Self::send), for the first message. Nothing was sent then. A bad message behind it is not sent, and neither are
    /// those that follow it.
    ///
    /// # Cancel safety
    /// Dropping the future while it waits for room sends nothing.
    pub async fn send_many(&mut self, messages: &[(&str, &str, &Bytes)]) -> Result<Range<u64>, PeerError> {
        let first = self.next_ticket;
        let Some((from, to, body)) = messages.first() else {
            return Ok(first..first);
        };
        let room = self
            .unread_max
            .saturating_sub(self.unread)
            .min((SENT_TOGETHER_BYTES / (body.len() + NAMES_AND_NUMBERS)).max(1));
        let is_good = |(from, to, body): &&(&str, &str, &Bytes)| self.peer.check(from, to, body).is_ok();
        let good = messages.iter().take(room).take_while(is_good).count();
        let Peer { node } = &self.peer;
        let patience = node.settings().send_deadline;
        let good = messages.get(..good).unwrap_or_default();
        let sent = node.send_many_with_tickets_now(good, patience, (&self.tickets, first));
        if sent == 0 {
            self.send(from, to, (*body).clone()).await?;
        }
        self.next_ticket += sent as u64;
        self.unread += sent;
        Ok(first..self.next_ticket)
    }

    /// The next outcome and the number of its message; `None` when every outcome has been read. Comes by the message's send
    /// deadline.
    ///
    /// # Errors
    /// [`PeerError::Closed`]: the peer has ended, and the other outcomes are not known.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next_outcome(&mut self) -> Result<Option<(u64, Outcome)>, PeerError> {
        if self.unread == 0 {
            return Ok(None);
        }
        if self.ready.is_empty() && !self.peer.node.next_outcomes(&self.tickets, &mut self.ready).await {
            return Err(PeerError::Closed);
        }
        Ok(self.pop_ready())
    }

    /// The next outcome if it has come already. A program that reads all of them before it sends again has room for several messages
    /// at once, which is what [`send_many`](Self::send_many) is for.
    pub fn try_next_outcome(&mut self) -> Option<(u64, Outcome)> {
        if self.ready.is_empty() {
            self.tickets.take(&mut self.ready);
        }
        self.pop_ready()
    }

    fn pop_ready(&mut self) -> Option<(u64, Outcome)> {
        let outcome = self.ready.pop_front();
        self.unread -= usize::from(outcome.is_some());
        outcome
    }
}
