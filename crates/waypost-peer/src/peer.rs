//! The handle.

use std::sync::Arc;

use bytes::Bytes;
use waypost_session::SessionStore;
use waypost_types::{Address, Identity, Incarnation, Outcome, Seq};

use crate::builder::Topology;
use crate::{PeerBuilder, PeerError, RequestError, RequestToken};

/// Whom a broadcast reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BroadcastOutcome {
    /// How many servers took it.
    pub servers: u64,
    /// How many clients it was put in the inbox of.
    pub clients: u64,
    /// The servers that it did not reach.
    pub unreached: Vec<Identity>,
}

/// A server's place in the cluster. A clone is cheap and is the same peer.
///
/// # Cancel safety
/// Dropping the future of a call leaves open whether the call took effect, and disturbs no other call.
#[derive(Debug, Clone)]
pub struct Peer {}

impl Peer {
    /// A peer that is itself a node of the mesh.
    #[must_use]
    pub fn mesh(store: Arc<dyn SessionStore>) -> PeerBuilder {
        PeerBuilder::new(Topology::Mesh(store))
    }

    /// A peer attached to one of these brokers.
    #[must_use]
    pub fn attached(brokers: &[&str]) -> PeerBuilder {
        PeerBuilder::new(Topology::Attached(
            brokers.iter().map(|&broker| broker.to_owned()).collect(),
        ))
    }

    /// Makes this server known as `identity`; an older process of the same name is fenced.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn register_identity(&self, _identity: &str) -> Result<Incarnation, PeerError> {
        Err(PeerError::Closed)
    }

    /// Connects a client here, whoever held it before.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn connect_client(&self, _address: &str) -> Result<Seq, PeerError> {
        Err(PeerError::Closed)
    }

    /// Connects many clients in few round trips; one answer for each, in their order.
    pub async fn connect_clients(&self, addresses: &[Address]) -> Vec<Result<Seq, PeerError>> {
        addresses.iter().map(|_| Err(PeerError::Closed)).collect()
    }

    /// Disconnects a client; does nothing to a newer session elsewhere.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn disconnect_client(&self, _address: &str) -> Result<(), PeerError> {
        Err(PeerError::Closed)
    }

    /// Sends and returns once the message is in a bounded queue. A later failure comes as an event.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn send_message(&self, _from: &str, _to: &str, _body: Bytes) -> Result<(), PeerError> {
        Err(PeerError::Closed)
    }

    /// Sends and returns what became of the message.
    ///
    /// # Errors
    /// [`PeerError`] for bad input, when not registered and when closed.
    pub async fn send_acked(&self, _from: &str, _to: &str, _body: Bytes) -> Result<Outcome, PeerError> {
        Err(PeerError::Closed)
    }

    /// Sends and returns the receiving client's reply.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&self, _from: &str, _to: &str, _body: Bytes) -> Result<Bytes, RequestError> {
        Err(RequestError::Peer(PeerError::Closed))
    }

    /// Answers a request.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn reply(&self, request: RequestToken, _body: Bytes) -> Result<(), PeerError> {
        let RequestToken {} = request;
        Err(PeerError::Closed)
    }

    /// Sends to every client of the cluster but the sender.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn broadcast(&self, _from: &str, _body: Bytes) -> Result<BroadcastOutcome, PeerError> {
        Err(PeerError::Closed)
    }

    /// Which server holds the client.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn locate(&self, _address: &str) -> Result<Option<Identity>, PeerError> {
        Err(PeerError::Closed)
    }

    /// Moves this server out with no acked message lost; [`Event::Drained`](crate::Event::Drained) follows.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn drain(&self) -> Result<(), PeerError> {
        Err(PeerError::Closed)
    }

    /// Ends links, tasks and sockets, and deregisters. A second call does nothing.
    pub async fn shutdown(&self) {}

    /// Where this node is reached, with the ports that it really got; empty when attached to a broker.
    #[must_use]
    pub fn listen_urls(&self) -> Vec<String> {
        Vec::new()
    }
}
