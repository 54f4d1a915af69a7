//! From the generated types to the domain's frames.

use bytes::{Bytes, BytesMut};
use waypost_types::{Address, Identity, Incarnation, Location, NameError, Outcome, Owner, Seq};

use super::front_of;
use crate::error::{Refusal as _, check_alias, check_batch, check_length, check_outcomes, check_servers};
use crate::frame::Numbers;
use crate::r#gen::{self, frame::Kind};
use crate::{
    Attached, Broadcast, CLOSE_TEXT_BYTES_MAX, Close, CloseCode, DecodeError, Displaced, Failed, Frame,
    Hello, Message, NONCE_BYTES, Outcomes, PROOF_BYTES, Role, SOFTWARE_BYTES_MAX, StoreUnavailable,
};

pub(crate) fn frame_from_gen(frame: r#gen::Frame) -> Result<Frame, DecodeError> {
    let Some(kind) = frame.kind else {
        return Ok(Frame::Unknown);
    };
    Ok(match kind {
        Kind::Hello(hello) => Frame::Hello(hello_from_gen(&hello)?),
        Kind::Proof(proof) => {
            check_length::<DecodeError>("proof", "mac", proof.mac.len(), PROOF_BYTES)?;
            Frame::Proof(proof.mac)
        }
        Kind::Close(close) => Frame::Close(Close {
            code: close_code_from_gen(close.code()),
            text: front_of(&close.text, CLOSE_TEXT_BYTES_MAX).to_owned(),
        }),
        Kind::Message(message) => Frame::Message(message_from_gen(message, "message")?),
        Kind::Bounce(message) => Frame::Bounce(message_from_gen(message, "bounce")?),
        Kind::Outcomes(outcomes) => Frame::Outcomes(outcomes_from_gen(outcomes)?),
        Kind::Barrier(barrier) => {
            check_alias::<DecodeError>("barrier", "owner", barrier.owner, 0)?;
            Frame::Barrier {
                token: barrier.token,
                owner: barrier.owner,
                address: match &*barrier.address {
                    b"" => None,
                    name => Some(address("barrier", name)?),
                },
            }
        }
        Kind::Echo(echo) => Frame::Echo { token: echo.token },
        Kind::Name(name) => {
            check_alias::<DecodeError>("name", "alias", name.alias, 1)?;
            Frame::Name {
                alias: name.alias,
                owner: owner("name", &name.identity, name.incarnation)?,
                attachment: name.attachment,
            }
        }
        Kind::Attach(attach) => Frame::Attach {
            identity: identity("attach", &attach.identity)?,
            resume: (attach.incarnation != 0).then_some(Incarnation(attach.incarnation)),
            attachment: attach.attachment,
        },
        Kind::Attached(attached) => Frame::Attached(attached_from_gen(attached)?),
        Kind::Lease(lease) => Frame::LeaseOver {
            incarnation: Incarnation(lease.incarnation),
            superseded: match lease.state() {
                r#gen::lease::State::Superseded => true,
                r#gen::lease::State::Gone => false,
                r#gen::lease::State::Unspecified => {
                    return Err(enumeration("lease", "state", lease.state, 2));
                }
            },
        },
        Kind::Ping(ping) => Frame::Ping { token: ping.token },
        Kind::Pong(pong) => Frame::Pong {
            token: pong.token,
            lease_ms: pong.lease_ms,
            store_unavailable: pong.store_unavailable,
        },
        Kind::Claim(claim) => {
            check_batch::<DecodeError>("claim", claim.addresses.len())?;
            Frame::Claim(
                claim
                    .addresses
                    .iter()
                    .map(|name| address("claim", name))
                    .collect::<Result<_, _>>()?,
            )
        }
        Kind::Claimed(claimed) => {
            check_batch::<DecodeError>("claimed", claimed.entries.len())?;
            let entry = |entry: &r#gen::claimed::Entry| {
                Ok((
                    address("claimed", &entry.address)?,
                    (entry.seq != 0).then_some(Seq(entry.seq)),
                ))
            };
            Frame::Claimed(claimed.entries.iter().map(entry).collect::<Result<_, _>>()?)
        }
        Kind::Release(release) => Frame::Release(held("release", &release.entries)?),
        Kind::Released(released) => Frame::Released(held("released", &released.entries)?),
        Kind::Announce(announce) => Frame::Announce(held("announce", &announce.entries)?),
        Kind::Announced(announced) => Frame::Announced {
            count: announced.count,
        },
        Kind::Displaced(displaced) => Frame::Displaced(Displaced {
            token: displaced.token,
            owner: owner("displaced", &displaced.identity, displaced.incarnation)?,
            address: address("displaced", &displaced.address)?,
            seq: Seq(displaced.seq),
            by: identity("displaced", &displaced.by)?,
        }),
        Kind::Reply(reply) => {
            check_alias::<DecodeError>("reply", "origin", reply.origin, 0)?;
            Frame::Reply {
                origin: reply.origin,
                id: reply.id,
                body: reply.body,
            }
        }
        Kind::Broadcast(broadcast) => {
            check_alias::<DecodeError>("broadcast", "origin", broadcast.origin, 0)?;
            Frame::Broadcast(Broadcast {
                token: broadcast.token,
                origin: broadcast.origin,
                from: address("broadcast", &broadcast.from)?,
                body: broadcast.body,
                ttl_ms: broadcast.ttl_ms,
            })
        }
        Kind::BroadcastDone(done) => broadcast_done_from_gen(&done)?,
        Kind::Locate(locate) => Frame::Locate {
            token: locate.token,
            address: address("locate", &locate.address)?,
        },
        Kind::Located(located) => Frame::Located {
            token: located.token,
            result: if located.store_unavailable {
                Err(StoreUnavailable)
            } else if located.identity.is_empty() {
                Ok(None)
            } else {
                Ok(Some(identity("located", &located.identity)?))
            },
        },
        Kind::Drain(r#gen::Drain {}) => Frame::Drain,
        Kind::Detach(detach) => Frame::Detach { token: detach.token },
    })
}

/// The numbers of a message as they are on the wire.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WireNumbers {
    pub(crate) id: u64,
    pub(crate) floor_distance: u64,
    pub(crate) after_distance: u64,
    pub(crate) origin: u32,
    pub(crate) owner: u32,
    pub(crate) hops: u32,
    pub(crate) request: bool,
    pub(crate) ttl_ms: u32,
    pub(crate) claim: u32,
}

/// The numbers of a message, checked.
#[inline]
pub(crate) fn message_numbers(wire: &WireNumbers, frame: &'static str) -> Result<Numbers, DecodeError> {
    check_alias::<DecodeError>(frame, "origin", wire.origin, 0)?;
    check_alias::<DecodeError>(frame, "owner", wire.owner, 0)?;
    let Ok(hops) = u8::try_from(wire.hops) else {
        return Err(DecodeError::range(
            frame,
            "hops",
            wire.hops.into(),
            0,
            u8::MAX.into(),
        ));
    };
    let Some(floor) = wire.id.checked_sub(wire.floor_distance) else {
        return Err(DecodeError::range(
            frame,
            "floor_distance",
            wire.floor_distance,
            0,
            wire.id,
        ));
    };
    let after = if wire.id == 0 || wire.after_distance == 0 {
        wire.after_distance
    } else {
        match wire.id.checked_sub(wire.after_distance) {
            Some(after @ 1..) => after,
            _ => {
                return Err(DecodeError::range(
                    frame,
                    "after_distance",
                    wire.after_distance,
                    0,
                    wire.id - 1,
                ));
            }
        }
    };
    Ok(Numbers {
        id: wire.id,
        floor,
        after,
        origin: wire.origin,
        owner: wire.owner,
        hops,
        request: wire.request,
        ttl_ms: wire.ttl_ms,
        claim: wire.claim,
    })
}

/// An outcome that this version does not know is one of which nothing is known.
pub(crate) fn outcome_from_gen(outcome: i32) -> Outcome {
    match r#gen::Outcome::try_from(outcome) {
        Ok(r#gen::Outcome::Delivered) => Outcome::Delivered,
        Ok(r#gen::Outcome::NotConnected) => Outcome::NotConnected,
        Ok(r#gen::Outcome::Overloaded) => Outcome::Overloaded,
        Ok(r#gen::Outcome::Unreachable) => Outcome::Unreachable,
        Ok(r#gen::Outcome::StoreUnavailable) => Outcome::StoreUnavailable,
        Ok(r#gen::Outcome::Expired) => Outcome::Expired,
        Ok(r#gen::Outcome::Unknown | r#gen::Outcome::Unspecified) | Err(_) => Outcome::Unknown,
    }
}

/// A best-effort failure stands for one message at least.
pub(crate) fn failed_count(id: u64, count: u32) -> u32 {
    if id == 0 { count.max(1) } else { count }
}

fn message_from_gen(message: r#gen::Message, frame: &'static str) -> Result<Message, DecodeError> {
    let check = |name: &Bytes| -> Result<u8, NameError> {
        let text = core::str::from_utf8(name).map_err(|_| NameError::NotUtf8 { what: "address" })?;
        Address::check(text)?;
        Ok(u8::try_from(text.len()).unwrap_or(u8::MAX))
    };
    let bad = |source| DecodeError::Name { frame, source };
    let to_len = check(&message.to).map_err(bad)?;
    let from_len = check(&message.from).map_err(bad)?;
    let mut names = BytesMut::with_capacity(message.to.len() + message.from.len());
    names.extend_from_slice(&message.to);
    names.extend_from_slice(&message.from);
    let wire = WireNumbers {
        id: message.id,
        floor_distance: message.floor_distance,
        after_distance: message.after_distance,
        origin: message.origin,
        owner: message.owner,
        hops: message.hops,
        request: message.request,
        ttl_ms: message.ttl_ms,
        claim: message.claim,
    };
    let numbers = message_numbers(&wire, frame)?;
    Ok(Message::from_parts(
        names.freeze(),
        to_len,
        from_len,
        message.body,
        numbers,
    ))
}

fn outcomes_from_gen(outcomes: r#gen::Outcomes) -> Result<Outcomes, DecodeError> {
    check_alias::<DecodeError>("outcomes", "origin", outcomes.origin, 0)?;
    check_outcomes::<DecodeError>(outcomes.delivered.len() + outcomes.failed.len())?;
    let one = |failed: &r#gen::outcomes::Failed| {
        Ok(Failed {
            id: failed.id,
            outcome: outcome_from_gen(failed.outcome),
            to: address("outcomes", &failed.to)?,
            count: failed_count(failed.id, failed.count),
            out_of_order: failed.out_of_order,
        })
    };
    Ok(Outcomes {
        origin: outcomes.origin,
        delivered: outcomes.delivered,
        failed: outcomes.failed.iter().map(one).collect::<Result<_, _>>()?,
    })
}

fn broadcast_done_from_gen(done: &r#gen::BroadcastDone) -> Result<Frame, DecodeError> {
    const FRAME: &str = "broadcast_done";
    check_servers::<DecodeError>(FRAME, done.reached.len().saturating_add(done.unreached.len()))?;
    let one =
        |reached: &r#gen::broadcast_done::Reached| Ok((identity(FRAME, &reached.identity)?, reached.clients));
    Ok(Frame::BroadcastDone {
        token: done.token,
        reached: done.reached.iter().map(one).collect::<Result<_, _>>()?,
        unreached: done
            .unreached
            .iter()
            .map(|name| identity(FRAME, name))
            .collect::<Result<_, _>>()?,
    })
}

fn hello_from_gen(hello: &r#gen::Hello) -> Result<Hello, DecodeError> {
    const FRAME: &str = "hello";
    let role = match hello.role() {
        r#gen::hello::Role::Peer => Role::Peer,
        r#gen::hello::Role::Node => Role::Node,
        r#gen::hello::Role::Unspecified => return Err(enumeration(FRAME, "role", hello.role, 2)),
    };
    let location = if hello.location.is_empty() {
        None
    } else {
        let text = core::str::from_utf8(&hello.location).map_err(|_| NameError::NotUtf8 { what: "location" });
        Some(
            text.and_then(Location::new)
                .map_err(|source| DecodeError::Name { frame: FRAME, source })?,
        )
    };
    let Ok(nonce) = <[u8; NONCE_BYTES]>::try_from(&*hello.nonce) else {
        return Err(DecodeError::length(
            FRAME,
            "nonce",
            hello.nonce.len(),
            NONCE_BYTES,
        ));
    };
    Ok(Hello {
        role,
        location,
        nonce,
        software: front_of(&hello.software, SOFTWARE_BYTES_MAX).to_owned(),
    })
}

const fn close_code_from_gen(code: r#gen::close::Code) -> CloseCode {
    match code {
        r#gen::close::Code::Unspecified => CloseCode::Other,
        r#gen::close::Code::GoingAway => CloseCode::GoingAway,
        r#gen::close::Code::Malformed => CloseCode::Malformed,
        r#gen::close::Code::Protocol => CloseCode::Protocol,
        r#gen::close::Code::Unauthenticated => CloseCode::Unauthenticated,
        r#gen::close::Code::Superseded => CloseCode::Superseded,
        r#gen::close::Code::Overloaded => CloseCode::Overloaded,
        r#gen::close::Code::NotABroker => CloseCode::NotABroker,
    }
}

fn attached_from_gen(attached: r#gen::Attached) -> Result<Attached, DecodeError> {
    Ok(match attached.result() {
        r#gen::attached::Result::Attached => Attached::Attached {
            incarnation: Incarnation(attached.incarnation),
            lease_ms: attached.lease_ms,
            term_ms: attached.term_ms,
        },
        r#gen::attached::Result::Superseded => Attached::Superseded,
        r#gen::attached::Result::Gone => Attached::Gone,
        r#gen::attached::Result::StoreUnavailable => Attached::StoreUnavailable,
        r#gen::attached::Result::Unspecified => {
            return Err(enumeration("attached", "result", attached.result, 4));
        }
    })
}

/// A choice that must be made and is missing or unknown.
#[cold]
fn enumeration(frame: &'static str, field: &'static str, value: i32, max: u64) -> DecodeError {
    // A negative number is as far out of range as one can be.
    DecodeError::range(frame, field, u64::try_from(value).unwrap_or(u64::MAX), 1, max)
}

fn held(frame: &'static str, entries: &[r#gen::Held]) -> Result<Vec<(Address, Seq)>, DecodeError> {
    check_batch::<DecodeError>(frame, entries.len())?;
    entries
        .iter()
        .map(|held| Ok((address(frame, &held.address)?, Seq(held.seq))))
        .collect()
}

fn owner(frame: &'static str, name: &[u8], incarnation: u64) -> Result<Owner, DecodeError> {
    Ok(Owner::new(identity(frame, name)?, Incarnation(incarnation)))
}

fn address(frame: &'static str, name: &[u8]) -> Result<Address, DecodeError> {
    Address::from_utf8(name).map_err(|source| DecodeError::Name { frame, source })
}

fn identity(frame: &'static str, name: &[u8]) -> Result<Identity, DecodeError> {
    Identity::from_utf8(name).map_err(|source| DecodeError::Name { frame, source })
}
