//! From the domain's frames to the generated types.

use bytes::Bytes;
use waypost_types::{Address, Identity, Outcome, Seq};

use super::front_of;
use crate::error::{Refusal as _, check_alias, check_batch, check_length, check_outcomes, check_servers};
use crate::r#gen::{self, frame::Kind};
use crate::{
    Attached, Broadcast, CLOSE_TEXT_BYTES_MAX, CloseCode, EncodeError, Failed, Frame, Hello, Message,
    Numbers, Outcomes, PROOF_BYTES, Role, SOFTWARE_BYTES_MAX,
};

pub(crate) fn frame_to_gen(frame: &Frame) -> Result<r#gen::Frame, EncodeError> {
    let kind = match frame {
        Frame::Hello(hello) => Kind::Hello(hello_to_gen(hello)),
        Frame::Proof(mac) => {
            check_length::<EncodeError>("proof", "mac", mac.len(), PROOF_BYTES)?;
            Kind::Proof(r#gen::Proof { mac: mac.clone() })
        }
        Frame::Close(close) => Kind::Close(r#gen::Close {
            code: close_code_to_gen(close.code).into(),
            text: front_of(&close.text, CLOSE_TEXT_BYTES_MAX).to_owned(),
        }),
        Frame::Message(message) => Kind::Message(message_to_gen(message, "message")?),
        Frame::Bounce(message) => Kind::Bounce(message_to_gen(message, "bounce")?),
        Frame::Outcomes(outcomes) => Kind::Outcomes(outcomes_to_gen(outcomes)?),
        Frame::Barrier {
            token,
            owner,
            address: client,
        } => {
            check_alias::<EncodeError>("barrier", "owner", *owner, 0)?;
            Kind::Barrier(r#gen::Barrier {
                token: *token,
                owner: *owner,
                address: client.as_ref().map(address).unwrap_or_default(),
            })
        }
        Frame::Echo { token } => Kind::Echo(r#gen::Echo { token: *token }),
        Frame::Name {
            alias,
            owner,
            attachment,
        } => {
            check_alias::<EncodeError>("name", "alias", *alias, 1)?;
            Kind::Name(r#gen::Name {
                alias: *alias,
                identity: identity(&owner.identity),
                incarnation: owner.incarnation.0,
                attachment: *attachment,
            })
        }
        Frame::Attach {
            identity: name,
            resume,
            attachment,
        } => Kind::Attach(r#gen::Attach {
            identity: identity(name),
            incarnation: resume.map_or(0, |incarnation| incarnation.0),
            attachment: *attachment,
        }),
        Frame::Attached(attached) => Kind::Attached(attached_to_gen(*attached)),
        Frame::LeaseOver {
            incarnation,
            superseded,
        } => {
            let state = if *superseded {
                r#gen::lease::State::Superseded
            } else {
                r#gen::lease::State::Gone
            };
            Kind::Lease(r#gen::Lease {
                state: state.into(),
                incarnation: incarnation.0,
            })
        }
        Frame::Ping { token } => Kind::Ping(r#gen::Ping { token: *token }),
        Frame::Pong {
            token,
            lease_ms,
            store_unavailable,
        } => Kind::Pong(r#gen::Pong {
            token: *token,
            lease_ms: *lease_ms,
            store_unavailable: *store_unavailable,
        }),
        Frame::Claim(addresses) => {
            check_batch::<EncodeError>("claim", addresses.len())?;
            Kind::Claim(r#gen::Claim {
                addresses: addresses.iter().map(address).collect(),
            })
        }
        Frame::Claimed(entries) => {
            check_batch::<EncodeError>("claimed", entries.len())?;
            let entry = |(name, seq): &(Address, Option<Seq>)| r#gen::claimed::Entry {
                address: address(name),
                seq: seq.map_or(0, |seq| seq.0),
            };
            Kind::Claimed(r#gen::Claimed {
                entries: entries.iter().map(entry).collect(),
            })
        }
        Frame::Release(entries) => Kind::Release(r#gen::Release {
            entries: held("release", entries)?,
        }),
        Frame::Released(entries) => Kind::Released(r#gen::Released {
            entries: held("released", entries)?,
        }),
        Frame::Announce(entries) => Kind::Announce(r#gen::Announce {
            entries: held("announce", entries)?,
        }),
        Frame::Announced { count } => Kind::Announced(r#gen::Announced { count: *count }),
        Frame::Displaced(displaced) => Kind::Displaced(r#gen::Displaced {
            token: displaced.token,
            identity: identity(&displaced.owner.identity),
            incarnation: displaced.owner.incarnation.0,
            address: address(&displaced.address),
            seq: displaced.seq.0,
            by: identity(&displaced.by),
        }),
        Frame::Reply { origin, id, body } => {
            check_alias::<EncodeError>("reply", "origin", *origin, 0)?;
            Kind::Reply(r#gen::Reply {
                origin: *origin,
                id: *id,
                body: body.clone(),
            })
        }
        Frame::Broadcast(broadcast) => Kind::Broadcast(broadcast_to_gen(broadcast)?),
        Frame::BroadcastDone {
            token,
            reached,
            unreached,
        } => {
            check_servers::<EncodeError>("broadcast_done", reached.len().saturating_add(unreached.len()))?;
            let one = |(name, clients): &(Identity, u64)| r#gen::broadcast_done::Reached {
                identity: identity(name),
                clients: *clients,
            };
            Kind::BroadcastDone(r#gen::BroadcastDone {
                token: *token,
                reached: reached.iter().map(one).collect(),
                unreached: unreached.iter().map(identity).collect(),
            })
        }
        Frame::Locate { token, address: name } => Kind::Locate(r#gen::Locate {
            token: *token,
            address: address(name),
        }),
        Frame::Located { token, result } => Kind::Located(r#gen::Located {
            token: *token,
            identity: result
                .as_ref()
                .ok()
                .and_then(Option::as_ref)
                .map(identity)
                .unwrap_or_default(),
            store_unavailable: result.is_err(),
        }),
        Frame::Drain => Kind::Drain(r#gen::Drain {}),
        Frame::Detach { token } => Kind::Detach(r#gen::Detach { token: *token }),
        Frame::Unknown => return Err(EncodeError::Unknown),
    };
    Ok(r#gen::Frame { kind: Some(kind) })
}

/// What a message's numbers must fulfil to be sent; the distances of its floor and predecessor from its id.
#[inline]
pub(crate) fn check_message(message: &Numbers, frame: &'static str) -> Result<(u64, u64), EncodeError> {
    check_alias::<EncodeError>(frame, "origin", message.origin, 0)?;
    check_alias::<EncodeError>(frame, "owner", message.owner, 0)?;
    let Some(floor_distance) = message.id.checked_sub(message.floor) else {
        return Err(EncodeError::range(frame, "floor", message.floor, 0, message.id));
    };
    let after_distance = if message.id == 0 || message.after == 0 {
        message.after
    } else {
        match message.id.checked_sub(message.after) {
            Some(distance @ 1..) => distance,
            _ => {
                return Err(EncodeError::range(
                    frame,
                    "after",
                    message.after,
                    0,
                    message.id - 1,
                ));
            }
        }
    };
    Ok((floor_distance, after_distance))
}

pub(crate) const fn outcome_to_gen(outcome: Outcome) -> r#gen::Outcome {
    match outcome {
        Outcome::Delivered => r#gen::Outcome::Delivered,
        Outcome::NotConnected => r#gen::Outcome::NotConnected,
        Outcome::Overloaded => r#gen::Outcome::Overloaded,
        Outcome::Unreachable => r#gen::Outcome::Unreachable,
        Outcome::StoreUnavailable => r#gen::Outcome::StoreUnavailable,
        Outcome::Expired => r#gen::Outcome::Expired,
        Outcome::Unknown => r#gen::Outcome::Unknown,
    }
}

fn message_to_gen(message: &Message, frame: &'static str) -> Result<r#gen::Message, EncodeError> {
    let (floor_distance, after_distance) = check_message(&message.numbers(), frame)?;
    Ok(r#gen::Message {
        to: Bytes::copy_from_slice(message.receiver_utf8()),
        from: Bytes::copy_from_slice(message.sender_utf8()),
        body: message.body.clone(),
        id: message.id,
        floor_distance,
        after_distance,
        origin: message.origin,
        owner: message.owner,
        hops: message.hops.into(),
        request: message.request,
        ttl_ms: message.ttl_ms,
        claim: message.claim,
    })
}

fn outcomes_to_gen(outcomes: &Outcomes) -> Result<r#gen::Outcomes, EncodeError> {
    check_alias::<EncodeError>("outcomes", "origin", outcomes.origin, 0)?;
    check_outcomes::<EncodeError>(outcomes.delivered.len() + outcomes.failed.len())?;
    let one = |failed: &Failed| r#gen::outcomes::Failed {
        id: failed.id,
        outcome: outcome_to_gen(failed.outcome).into(),
        to: address(&failed.to),
        count: failed.count,
        out_of_order: failed.out_of_order,
    };
    Ok(r#gen::Outcomes {
        origin: outcomes.origin,
        delivered: outcomes.delivered.clone(),
        failed: outcomes.failed.iter().map(one).collect(),
    })
}

fn broadcast_to_gen(broadcast: &Broadcast) -> Result<r#gen::Broadcast, EncodeError> {
    check_alias::<EncodeError>("broadcast", "origin", broadcast.origin, 0)?;
    Ok(r#gen::Broadcast {
        token: broadcast.token,
        origin: broadcast.origin,
        from: address(&broadcast.from),
        body: broadcast.body.clone(),
        ttl_ms: broadcast.ttl_ms,
    })
}

fn hello_to_gen(hello: &Hello) -> r#gen::Hello {
    let role = match hello.role {
        Role::Peer => r#gen::hello::Role::Peer,
        Role::Node => r#gen::hello::Role::Node,
    };
    r#gen::Hello {
        role: role.into(),
        location: hello
            .location
            .as_ref()
            .map(|l| copy(l.as_str()))
            .unwrap_or_default(),
        nonce: Bytes::copy_from_slice(&hello.nonce),
        software: front_of(&hello.software, SOFTWARE_BYTES_MAX).to_owned(),
    }
}

const fn close_code_to_gen(code: CloseCode) -> r#gen::close::Code {
    match code {
        CloseCode::GoingAway => r#gen::close::Code::GoingAway,
        CloseCode::Malformed => r#gen::close::Code::Malformed,
        CloseCode::Protocol => r#gen::close::Code::Protocol,
        CloseCode::Unauthenticated => r#gen::close::Code::Unauthenticated,
        CloseCode::Superseded => r#gen::close::Code::Superseded,
        CloseCode::Overloaded => r#gen::close::Code::Overloaded,
        CloseCode::NotABroker => r#gen::close::Code::NotABroker,
        CloseCode::Other => r#gen::close::Code::Unspecified,
    }
}

fn attached_to_gen(attached: Attached) -> r#gen::Attached {
    let refused = |result: r#gen::attached::Result| r#gen::Attached {
        result: result.into(),
        ..Default::default()
    };
    match attached {
        Attached::Attached {
            incarnation,
            lease_ms,
            term_ms,
        } => r#gen::Attached {
            result: r#gen::attached::Result::Attached.into(),
            incarnation: incarnation.0,
            lease_ms,
            term_ms,
        },
        Attached::Superseded => refused(r#gen::attached::Result::Superseded),
        Attached::Gone => refused(r#gen::attached::Result::Gone),
        Attached::StoreUnavailable => refused(r#gen::attached::Result::StoreUnavailable),
    }
}

fn held(frame: &'static str, entries: &[(Address, Seq)]) -> Result<Vec<r#gen::Held>, EncodeError> {
    check_batch::<EncodeError>(frame, entries.len())?;
    Ok(entries
        .iter()
        .map(|(name, seq)| r#gen::Held {
            address: address(name),
            seq: seq.0,
        })
        .collect())
}

fn address(address: &Address) -> Bytes {
    copy(address.as_str())
}

fn identity(identity: &Identity) -> Bytes {
    copy(identity.as_str())
}

fn copy(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
