//! Operations as futures that end with what stdout is to say.

use core::pin::Pin;

use bytes::Bytes;
use waypost_peer::{Peer, PeerError, RequestError};
use waypost_types::{Address, Outcome};

use super::event::Line;
use super::op::{Id, Op};
use super::sequence::OpId;

/// An operation under way.
pub(super) type Running = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// What has ended, and what stdout is to say about it.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) ops: Vec<OpId>,
    /// Those that end when the peer's event about their client has been shown.
    pub(super) told: Vec<(OpId, Address)>,
    pub(super) lines: Vec<Vec<u8>>,
    /// Whether this was a batch of connects.
    pub(super) connects: bool,
}

/// A connect that waits for its batch.
#[derive(Debug)]
pub(super) struct Connect {
    pub(super) op: OpId,
    pub(super) client: Address,
    pub(super) line: u64,
}

/// Many connects in few round trips.
pub(super) fn connects(peer: Peer, batch: Vec<Connect>) -> Running {
    unhindered(async move {
        let addresses: Vec<Address> = batch.iter().map(|connect| connect.client.clone()).collect();
        let mut results = peer.connect_clients(&addresses).await.into_iter();
        let mut ended = Ended {
            connects: true,
            ..Ended::default()
        };
        for Connect { op, client, line } in batch {
            match results.next().unwrap_or(Err(PeerError::Closed)) {
                Ok(_) => ended.told.push((op, client)),
                Err(error) => {
                    ended.ops.push(op);
                    ended.lines.push(not_connected(line, &client, error));
                }
            }
        }
        ended
    })
}

/// Moving out; the peer's own event says when it is done.
pub(super) fn drain(peer: Peer, line: u64) -> Running {
    unhindered(async move {
        let result = peer.drain().await;
        Ended {
            lines: result
                .err()
                .map(|error| failed(line, "drain", error))
                .into_iter()
                .collect(),
            ..Ended::default()
        }
    })
}

/// Any other operation. Those that are not made here end at once.
pub(super) fn operation(peer: Peer, op_id: OpId, line: u64, op: Op) -> Running {
    unhindered(async move {
        let said = match op {
            Op::Disconnect { client } => match peer.disconnect_client(client.as_str()).await {
                // It has taken effect here; what the store knows follows later.
                Ok(()) | Err(PeerError::TimedOut) => {
                    return Ended {
                        told: vec![(op_id, client)],
                        ..Ended::default()
                    };
                }
                Err(error) => Some(failed(line, &format!("disconnect {client}"), error)),
            },
            Op::Send {
                from,
                to,
                body,
                ack: true,
                id,
            } => {
                let result = peer.send_acked(from.as_str(), to.as_str(), body).await;
                Some(result.map_or_else(
                    |error| not_sent(line, id.as_ref(), error),
                    |it| outcome(id.as_ref(), it),
                ))
            }
            Op::Send {
                from,
                to,
                body,
                ack: false,
                id,
            } => {
                let result = peer.send_message(from.as_str(), to.as_str(), body).await;
                result
                    .err()
                    .and_then(|error| unacked(line, &from, &to, id.as_ref(), error))
            }
            Op::Request { from, to, body, id } => {
                Some(request(&peer, line, &from, &to, body, id.as_ref()).await)
            }
            Op::Broadcast { from, body, id } => Some(match peer.broadcast(from.as_str(), body).await {
                Ok(reached) => Line::BroadcastOutcome {
                    id: id.as_deref(),
                    servers: reached.servers,
                    clients: reached.clients,
                    unreached: reached
                        .unreached
                        .iter()
                        .map(|identity| identity.as_str())
                        .collect(),
                }
                .encode(),
                // It has gone out, and some may have it.
                Err(PeerError::TimedOut) => outcome(id.as_ref(), Outcome::Unknown),
                Err(error) => not_sent(line, id.as_ref(), error),
            }),
            Op::Locate { client, id } => Some(match peer.locate(client.as_str()).await {
                Ok(identity) => Line::Located {
                    id: id.as_deref(),
                    client: client.as_str(),
                    identity: identity.as_ref().map(|identity| identity.as_str()),
                }
                .encode(),
                Err(error) => not_sent(line, id.as_ref(), error),
            }),
            Op::Connect { .. } | Op::Reply { .. } | Op::Drain | Op::Quit => None,
        };
        Ended {
            ops: vec![op_id],
            lines: said.into_iter().collect(),
            ..Ended::default()
        }
    })
}

async fn request(
    peer: &Peer,
    line: u64,
    from: &Address,
    to: &Address,
    body: Bytes,
    id: Option<&Id>,
) -> Vec<u8> {
    match peer.request(from.as_str(), to.as_str(), body).await {
        Ok(body) => Line::Reply {
            id: id.map(|id| &**id),
            body: (&*body).into(),
        }
        .encode(),
        Err(RequestError::Outcome(it)) => outcome(id, it),
        Err(RequestError::Peer(error)) => not_sent(line, id, error),
    }
}

/// The outcome of what was sent, or of what takes the place of sending.
pub(super) fn outcome(id: Option<&Id>, outcome: Outcome) -> Vec<u8> {
    Line::Outcome {
        id: id.map(|id| &**id),
        outcome: outcome.as_str(),
    }
    .encode()
}

/// What was well written and could not be sent has an outcome too; what can never be sent is a bad line.
pub(super) fn not_sent(line: u64, id: Option<&Id>, error: PeerError) -> Vec<u8> {
    let it = match error {
        PeerError::Name(_) | PeerError::TooLarge { .. } => return failed(line, "not sent", error),
        PeerError::StoreUnavailable => Outcome::StoreUnavailable,
        PeerError::Overloaded => Outcome::Overloaded,
        PeerError::TimedOut => Outcome::Expired,
        PeerError::NotRegistered => Outcome::NotConnected,
        _ => Outcome::Unreachable,
    };
    outcome(id, it)
}

/// Without `ack` nobody waits for an outcome; who gave an id hears of a failure all the same.
pub(super) fn unacked(
    line: u64,
    from: &Address,
    to: &Address,
    id: Option<&Id>,
    error: PeerError,
) -> Option<Vec<u8>> {
    if id.is_some() || matches!(error, PeerError::Name(_) | PeerError::TooLarge { .. }) {
        return Some(not_sent(line, id, error));
    }
    tracing::warn!(%from, %to, %error, "not sent");
    None
}

/// A connect that came to nothing.
pub(super) fn not_connected(line: u64, client: &Address, error: PeerError) -> Vec<u8> {
    failed(line, &format!("connect {client}"), error)
}

fn failed(line: u64, what: &str, error: PeerError) -> Vec<u8> {
    let message = format!("{:#}", anyhow::Error::from(error).context(what.to_owned()));
    Line::Error {
        message: &message,
        line,
    }
    .encode()
}

/// Operations start by being polled once, in order: no budget of the runtime may make one of them start later.
fn unhindered(future: impl Future<Output = Ended> + Send + 'static) -> Running {
    Box::pin(tokio::task::unconstrained(future))
}
