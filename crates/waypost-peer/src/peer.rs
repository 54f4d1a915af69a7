//! The handle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waypost_node::{Counters, Node, Topology};
pub use waypost_router::BroadcastOutcome;
use waypost_router::{Completion, Refusal};
use waypost_session::SessionStore;
use waypost_types::{Address, Identity, Incarnation, Outcome, Seq};
use waypost_wire::Message;

use crate::{AckedSender, ClientEvents, PeerBuilder, PeerError, RequestError, RequestToken};

/// How many messages are sent without letting anybody else at the node in between.
const SENT_TOGETHER: usize = 32;
/// What a frame holds besides the body, at the most, in bytes.
const FRAME_OVERHEAD: usize = 1024;
/// How long `shutdown` waits for the lease to end.
const LEAVE_DEADLINE: Duration = Duration::from_secs(2);
/// How long it then waits for its links to end.
const GO_AWAY_DEADLINE: Duration = Duration::from_secs(1);

/// A server's place in the cluster. A clone is cheap and is the same peer.
///
/// Dropping all clones ends nothing: the peer goes on, and its clients stay connected, until [`shutdown`](Self::shutdown)
/// or the end of the runtime. All calls need a tokio runtime.
///
/// # Cancel safety
/// Dropping the future of a call leaves open whether the call took effect, and disturbs no other call.
#[derive(Debug, Clone)]
pub struct Peer {
    pub(crate) node: Node,
}

impl Peer {
    /// A peer that is itself a node of the mesh. All nodes of a cluster are given the same sessions: the same datastore, or
    /// clones of one [`MemoryStore`](waypost_session::MemoryStore) within a process.
    #[must_use]
    pub fn mesh(store: Arc<dyn SessionStore>) -> PeerBuilder {
        PeerBuilder::new(Topology::Mesh(store))
    }

    /// A peer attached to one of these brokers, by their URLs: the first that can be reached, and the next ones in turn
    /// when that is gone.
    #[must_use]
    pub fn attached(brokers: &[&str]) -> PeerBuilder {
        PeerBuilder::new(Topology::Attached(
            brokers.iter().map(|&broker| broker.to_owned()).collect(),
        ))
    }

    pub(crate) const fn new(node: Node) -> Self {
        Self { node }
    }

    /// Makes this server known as `identity`; an older process of the same name is fenced. Waits for the datastore or the
    /// broker up to the send deadline.
    ///
    /// # Errors
    /// [`PeerError`]; `TimedOut` when no broker could be reached: the registration goes on in the background.
    pub async fn register_identity(&self, identity: &str) -> Result<Incarnation, PeerError> {
        let identity = Identity::new(identity)?;
        let asked = self.node.call(|now, core, waiter| {
            if let Some(endpoint) = &mut core.endpoint {
                endpoint.register(now, identity, waiter);
            }
        });
        match tokio::time::timeout(self.node.settings().send_deadline, asked).await {
            Ok(Some(Completion::Registered(result))) => result.map_err(Into::into),
            Ok(_) => Err(PeerError::Closed),
            Err(_) => Err(PeerError::TimedOut),
        }
    }

    /// Connects a client here, whoever held it before. When this returns, the server that held it has stopped delivering
    /// to it, is gone, or has had a second to answer.
    ///
    /// # Errors
    /// [`PeerError`]: `TimedOut` when it was not done within the send deadline, `Overloaded` when `Settings::connects_max`
    /// are under way, `Draining`, `Fenced`, `NotRegistered`, `StoreUnavailable`. The client is then not connected here.
    pub async fn connect_client(&self, address: &str) -> Result<Seq, PeerError> {
        let address = Address::new(address)?;
        match self.connect_clients(core::slice::from_ref(&address)).await.pop() {
            Some(result) => result,
            None => Err(PeerError::Closed),
        }
    }

    /// Connects many clients in few round trips; one answer for each, in their order, as of
    /// [`connect_client`](Self::connect_client). They share one send deadline.
    pub async fn connect_clients(&self, addresses: &[Address]) -> Vec<Result<Seq, PeerError>> {
        let patience = self.node.settings().send_deadline;
        let answers = self
            .node
            .call_many(addresses, |now, core, address, waiter| {
                if let Some(endpoint) = &mut core.endpoint {
                    endpoint.connect(now, address, now + patience, waiter);
                }
            })
            .await;
        answers
            .into_iter()
            .map(|answer| match answer {
                Some(Completion::Connected(result)) => result.map_err(Into::into),
                _ => Err(PeerError::Closed),
            })
            .collect()
    }

    /// Gives a client that is connected here a stream of its own, instead of its part in the stream of all clients; an
    /// earlier stream of the same client ends. `None` when it is not connected here.
    ///
    /// # Errors
    /// [`PeerError`] for a bad address.
    pub fn client_events(&self, address: &str) -> Result<Option<ClientEvents>, PeerError> {
        let address = Address::new(address)?;
        Ok(self.node.open_client_inbox(&address).map(ClientEvents))
    }

    /// Disconnects a client: nothing is delivered to it from now on. Does nothing to a newer session elsewhere, and nothing
    /// for a client that is not connected here. The datastore's record follows later when it cannot be reached now.
    ///
    /// # Errors
    /// [`PeerError`] for a bad address and when closed; `TimedOut` when it has not been completed within the send
    /// deadline, because an earlier call for the client is under way or no broker is there: it is done all the same.
    pub async fn disconnect_client(&self, address: &str) -> Result<(), PeerError> {
        let address = Address::new(address)?;
        let asked = self.node.call(|now, core, waiter| {
            if let Some(endpoint) = &mut core.endpoint {
                endpoint.disconnect(now, &address, waiter);
            }
        });
        match tokio::time::timeout(self.node.settings().send_deadline, asked).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(PeerError::Closed),
            Err(_) => Err(PeerError::TimedOut),
        }
    }

    /// Checks what comes with a send.
    #[inline]
    pub(crate) fn check(&self, from: &str, to: &str, body: &Bytes) -> Result<(), PeerError> {
        self.check_body(body)?;
        Address::check(to)?;
        Address::check(from)?;
        Ok(())
    }

    #[inline]
    fn check_body(&self, body: &Bytes) -> Result<(), PeerError> {
        let frame_bytes_max = self.node.settings().frame_bytes_max;
        let max_bytes = frame_bytes_max.saturating_sub(FRAME_OVERHEAD);
        if body.len() > max_bytes {
            return Err(PeerError::TooLarge {
                len_bytes: body.len(),
                max_bytes,
            });
        }
        Ok(())
    }

    /// Sends and returns once the message is in a bounded queue, waiting for room up to the send deadline. A later failure
    /// comes as [`Event::SendFailed`](crate::Event::SendFailed).
    ///
    /// # Errors
    /// [`PeerError`]; `Overloaded` when no room came free in time. Nothing was sent then.
    ///
    /// # Cancel safety
    /// Dropping the future while it waits sends nothing.
    pub async fn send_message(&self, from: &str, to: &str, body: Bytes) -> Result<(), PeerError> {
        self.check(from, to, &body)?;
        if self.node.send_now(to, from, &body) {
            return Ok(());
        }
        // Boxed, so that the future of nearly all calls is small: it is moved a few times before it is polled.
        let message = Message::new(from, to, body)?;
        Box::pin(self.node.send(message, self.node.settings().send_deadline))
            .await
            .map_err(|refusal| self.error(refusal))
    }

    /// Sends many messages, each of a sender, a client and a body, in their order. Returns those that were not sent, by their places
    /// and with the error that [`send_message`](Self::send_message) gives; they do not keep those behind them from being sent.
    ///
    /// For a program that has several messages at hand: it costs less than to send them one by one, most of all where the
    /// clients are so many that finding each takes a look into memory that no cache holds.
    ///
    /// # Cancel safety
    /// Dropping the future while it waits sends nothing more; those before the one that waits for room are on their way.
    #[must_use = "an error means that a message was not sent"]
    pub async fn send_messages(&self, messages: &[(&str, &str, &Bytes)]) -> Vec<(usize, PeerError)> {
        let (mut failed, mut at) = (Vec::new(), 0);
        while let Some(next) = messages.get(at..)
            && let Some((from, to, body)) = next.first()
        {
            let is_good = |(from, to, body): &&(&str, &str, &Bytes)| self.check(from, to, body).is_ok();
            let good = next.iter().take(SENT_TOGETHER).take_while(is_good).count();
            let sent = self.node.send_many_now(next.get(..good).unwrap_or_default());
            if sent == 0
                && let Err(error) = self.send_message(from, to, (*body).clone()).await
            {
                failed.push((at, error));
            }
            at += sent.max(1);
        }
        failed
    }

    async fn acked(
        &self,
        from: &str,
        to: &str,
        body: Bytes,
        request: bool,
    ) -> Result<Option<Completion>, Refusal> {
        let patience = self.node.settings().send_deadline;
        if let Some(answer) = self.node.send_acked_now(to, from, &body, request, patience) {
            return Ok(answer.await);
        }
        let Ok(message) = Message::new(from, to, body) else {
            // They have been checked.
            return Ok(None);
        };
        // Boxed, so that the future of nearly all calls is small: it is moved a few times before it is polled.
        Box::pin(self.node.send_acked(message, request, patience)).await
    }

    /// Sends and returns what became of the message, within the send deadline.
    ///
    /// # Errors
    /// [`PeerError`] for bad input, when not registered and when closed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the message on its way; its outcome is not told.
    pub async fn send_acked(&self, from: &str, to: &str, body: Bytes) -> Result<Outcome, PeerError> {
        self.check(from, to, &body)?;
        match self.acked(from, to, body, false).await {
            Ok(Some(Completion::Outcome(outcome))) => Ok(outcome),
            Ok(_) => Err(PeerError::Closed),
            Err(Refusal::Full) => Ok(Outcome::Overloaded),
            Err(refusal) => Err(self.error(refusal)),
        }
    }

    /// A sender of many acked messages, of which up to `unread_max` (at least one) may be on their way at a time or have an
    /// outcome that has not been read.
    #[must_use]
    pub fn acked_sender(&self, unread_max: usize) -> AckedSender {
        AckedSender::new(self.clone(), unread_max)
    }

    /// Sends and returns the receiving client's reply, or what became of the message, within the send deadline.
    ///
    /// # Errors
    /// [`RequestError`]; `Outcome(Delivered)` when it was delivered and not answered in time.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the request on its way; its reply is dropped.
    pub async fn request(&self, from: &str, to: &str, body: Bytes) -> Result<Bytes, RequestError> {
        self.check(from, to, &body).map_err(RequestError::Peer)?;
        match self.acked(from, to, body, true).await {
            Ok(Some(Completion::Reply(Ok(body)))) => Ok(body),
            Ok(Some(Completion::Reply(Err(outcome)))) => Err(RequestError::Outcome(outcome)),
            Ok(_) => Err(RequestError::Peer(PeerError::Closed)),
            Err(Refusal::Full) => Err(RequestError::Outcome(Outcome::Overloaded)),
            Err(refusal) => Err(RequestError::Peer(self.error(refusal))),
        }
    }

    /// Answers a request. The reply of a request whose sender waits no longer is dropped there, and so is one for which
    /// the link to the sender has no room: the request then ends as `Delivered` without a reply.
    ///
    /// # Errors
    /// [`PeerError`]: `TooLarge`, and `Closed`.
    pub fn reply(&self, request: RequestToken, body: Bytes) -> Result<(), PeerError> {
        self.check_body(&body)?;
        if self.node.has_ended() {
            return Err(PeerError::Closed);
        }
        self.node.tell(|_, core| {
            if let Some(endpoint) = &mut core.endpoint {
                endpoint.reply(&request.0, body);
            }
        });
        Ok(())
    }

    /// Sends to every client of the cluster but the sender, and says whom it reached within the send deadline. It is not
    /// sent again, and has no order with messages.
    ///
    /// # Errors
    /// [`PeerError`]: a bad name, `TooLarge`, and `Closed`. It reached nobody with `NotRegistered`, `NotAttached` while there is no
    /// link to a broker, `Fenced`, `Draining`, and `Overloaded` where the queue to the broker is full, all of them at once. `TimedOut`:
    /// no answer came within the send deadline, and whom it reached is not known.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the broadcast on its way; whom it reached is not told.
    pub async fn broadcast(&self, from: &str, body: Bytes) -> Result<BroadcastOutcome, PeerError> {
        let from = Address::new(from)?;
        self.check_body(&body)?;
        let patience = self.node.settings().send_deadline;
        let answer = self.node.call(|now, core, waiter| {
            if let Some(endpoint) = &mut core.endpoint {
                endpoint.broadcast(now, from, body, now + patience, waiter);
            }
        });
        match answer.await {
            Some(Completion::Broadcast(result)) => result.map_err(|refusal| self.error(refusal)),
            _ => Err(PeerError::Closed),
        }
    }

    /// Which server holds the client, as the datastore knows it now; `None`: no live one. It costs a look-up in the
    /// datastore each time: to send, there is no need to ask.
    ///
    /// # Errors
    /// [`PeerError`]: a bad name, `StoreUnavailable`, `TimedOut` after the send deadline, `NotRegistered`, `Fenced`, and
    /// `Closed`.
    pub async fn locate(&self, address: &str) -> Result<Option<Identity>, PeerError> {
        let address = Address::new(address)?;
        let patience = self.node.settings().send_deadline;
        let answer = self.node.call(|now, core, waiter| {
            if let Some(endpoint) = &mut core.endpoint {
                endpoint.locate(address, now + patience, waiter);
            }
        });
        match answer.await {
            Some(Completion::Located(result)) => result.map_err(Into::into),
            _ => Err(PeerError::Closed),
        }
    }

    /// Moves this server out: takes no new clients, releases those it holds, waits for the outcomes of what it sent, and
    /// ends its lease; then [`Event::Drained`](crate::Event::Drained) follows. No acked message is lost. The peer stays,
    /// without clients, until it is [shut down](Self::shutdown).
    ///
    /// It has no deadline of its own, and waits for a datastore or a broker that is away: put a time-out around it.
    ///
    /// # Errors
    /// [`PeerError::Closed`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the drain going on.
    pub async fn drain(&self) -> Result<(), PeerError> {
        match self
            .node
            .call(|now, core, waiter| {
                if let Some(endpoint) = &mut core.endpoint {
                    endpoint.drain(now, waiter);
                }
            })
            .await
        {
            Some(_) => Ok(()),
            None => Err(PeerError::Closed),
        }
    }

    /// Ends the lease, links, tasks and sockets, within some three seconds whatever cannot be reached. Calls that wait end
    /// with [`PeerError::Closed`], and what is in the inbox can still be read. A second call does nothing. To lose no acked
    /// message, [`drain`](Self::drain) first.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the peer running: call it again.
    pub async fn shutdown(&self) {
        let left = self.node.call(|_, core, waiter| {
            if let Some(endpoint) = &mut core.endpoint {
                endpoint.leave(waiter);
            }
        });
        let _ = tokio::time::timeout(LEAVE_DEADLINE, left).await;
        // The last outcomes are still on their way to the other nodes.
        self.node.go_away(GO_AWAY_DEADLINE).await;
        self.node.end().await;
    }

    pub(crate) fn error(&self, refusal: Refusal) -> PeerError {
        if self.node.has_ended() {
            PeerError::Closed
        } else {
            refusal.into()
        }
    }

    /// What this node's router has counted since its start; `None` when attached to a broker, whose router works for it.
    #[must_use]
    pub fn counters(&self) -> Option<Counters> {
        self.node.counters()
    }

    /// Where this node is reached, with the ports that it really got; empty when attached to a broker.
    #[must_use]
    pub fn listen_urls(&self) -> Vec<String> {
        self.node.listen_urls().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_session::MemoryStore;

    #[tokio::test]
    async fn futures_of_sends_are_small_because_they_are_moved_at_every_call() {
        let store = Arc::new(MemoryStore::new());
        let (peer, _events) = Peer::mesh(store)
            .listen("tcp://127.0.0.1:0")
            .start()
            .await
            .unwrap();
        let size = size_of_val(&peer.send_message("a", "b", Bytes::new()));
        assert!(size <= 256, "{size}");
        let size = size_of_val(&peer.send_acked("a", "b", Bytes::new()));
        assert!(size <= 512, "{size}");
        peer.shutdown().await;
    }
}
