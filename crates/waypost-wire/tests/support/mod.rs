//! Frames to test with: one fixed sample of each kind, and any frame at all.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test takes what it needs"
)]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use waypost_types::{Address, Identity, Incarnation, Location, Outcome, Owner, Seq};
use waypost_wire::{
    Attached, Broadcast, Close, CloseCode, Displaced, Failed, Frame, Hello, Message, NAMES_MAX, Outcomes,
    Role, StoreUnavailable,
};

fn addr(text: &str) -> Address {
    Address::new(text).unwrap()
}

fn ident(text: &str) -> Identity {
    Identity::new(text).unwrap()
}

pub fn message() -> Message {
    let mut message =
        Message::new("clientA1", "clientB2", Bytes::from_static(b"Hello from A to B!")).unwrap();
    message.id = 1000;
    message.floor = 990;
    message.after = 999;
    message.origin = 3;
    message.owner = 300;
    message.hops = 1;
    message.request = true;
    message.ttl_ms = 5000;
    message
}

/// [`message`] but for a change.
pub fn message_but(change: impl FnOnce(&mut Message)) -> Message {
    let mut message = message();
    change(&mut message);
    message
}

/// One of every kind, with the name of its golden file.
pub fn samples() -> Vec<(&'static str, Frame)> {
    let owner = Owner::new(ident("server-1"), Incarnation(7));
    let mut best_effort = Message::new("é", "a b/%\0", Bytes::new()).unwrap();
    best_effort.after = 12;
    vec![
        (
            "hello",
            Frame::Hello(Hello {
                role: Role::Node,
                location: Some(Location::new("tcp://10.0.0.1:4500").unwrap()),
                nonce: *b"0123456789abcdef",
                software: "waypost 0.1.0".to_owned(),
            }),
        ),
        ("proof", Frame::Proof(Bytes::from_static(&[0xa5; 32]))),
        (
            "close",
            Frame::Close(Close {
                code: CloseCode::GoingAway,
                text: "drained".to_owned(),
            }),
        ),
        ("message", Frame::Message(message())),
        ("message_best_effort", Frame::Message(best_effort)),
        (
            "message_by_claim",
            Frame::Message(message_but(|m| m.claim = 0x0102_0304)),
        ),
        ("bounce", Frame::Bounce(message_but(|m| m.hops = 2))),
        (
            "outcomes",
            Frame::Outcomes(Outcomes {
                origin: 3,
                delivered: vec![1, 127, 128, 1 << 40],
                failed: vec![
                    Failed {
                        id: 5,
                        outcome: Outcome::NotConnected,
                        to: addr("clientZ"),
                        count: 0,
                        out_of_order: false,
                    },
                    Failed {
                        id: 6,
                        outcome: Outcome::Unknown,
                        to: addr("clientZ"),
                        count: 0,
                        out_of_order: true,
                    },
                    Failed {
                        id: 0,
                        outcome: Outcome::Overloaded,
                        to: addr("b"),
                        count: 40,
                        out_of_order: false,
                    },
                ],
            }),
        ),
        (
            "barrier",
            Frame::Barrier {
                token: 77,
                owner: 2,
                address: None,
            },
        ),
        (
            "barrier_for_a_client",
            Frame::Barrier {
                token: 77,
                owner: 2,
                address: Some(addr("clientZ")),
            },
        ),
        ("echo", Frame::Echo { token: 77 }),
        (
            "name",
            Frame::Name {
                alias: 1,
                owner: owner.clone(),
                attachment: 0,
            },
        ),
        (
            "name_attached",
            Frame::Name {
                alias: 2,
                owner: owner.clone(),
                attachment: 3,
            },
        ),
        (
            "attach",
            Frame::Attach {
                identity: ident("server-1"),
                resume: Some(Incarnation(7)),
                attachment: 0,
            },
        ),
        (
            "attach_again",
            Frame::Attach {
                identity: ident("server-1"),
                resume: Some(Incarnation(7)),
                attachment: 3,
            },
        ),
        (
            "attach_anew",
            Frame::Attach {
                identity: ident("server-1"),
                resume: None,
                attachment: 0,
            },
        ),
        (
            "attached",
            Frame::Attached(Attached::Attached {
                incarnation: Incarnation(7),
                lease_ms: 9500,
                term_ms: 10_000,
            }),
        ),
        ("attached_gone", Frame::Attached(Attached::Gone)),
        (
            "lease_over",
            Frame::LeaseOver {
                incarnation: Incarnation(7),
                superseded: true,
            },
        ),
        ("ping", Frame::Ping { token: 1 }),
        (
            "pong",
            Frame::Pong {
                token: 1,
                lease_ms: 9000,
                store_unavailable: true,
            },
        ),
        ("claim", Frame::Claim(vec![addr("clientA1"), addr("clientB1")])),
        (
            "claimed",
            Frame::Claimed(vec![(addr("clientA1"), Some(Seq(4))), (addr("clientB1"), None)]),
        ),
        ("release", Frame::Release(vec![(addr("clientA1"), Seq(4))])),
        ("released", Frame::Released(vec![(addr("clientA1"), Seq(4))])),
        (
            "announce",
            Frame::Announce(vec![(addr("clientA1"), Seq(4)), (addr("clientB1"), Seq(1))]),
        ),
        ("announced", Frame::Announced { count: 2 }),
        (
            "displaced",
            Frame::Displaced(Displaced {
                token: 8,
                owner,
                address: addr("clientA1"),
                seq: Seq(5),
                by: ident("server-2"),
            }),
        ),
        (
            "reply",
            Frame::Reply {
                origin: 3,
                id: 1000,
                body: Bytes::from_static(b"yes"),
            },
        ),
        (
            "broadcast",
            Frame::Broadcast(Broadcast {
                token: 9,
                origin: 1,
                from: addr("clientA1"),
                body: Bytes::from_static(b"to all"),
                ttl_ms: 5000,
            }),
        ),
        (
            "broadcast_done",
            Frame::BroadcastDone {
                token: 9,
                reached: vec![(ident("server-1"), 100_000), (ident("server-2"), 0)],
                unreached: vec![ident("server-3")],
            },
        ),
        (
            "locate",
            Frame::Locate {
                token: 10,
                address: addr("clientA1"),
            },
        ),
        (
            "located",
            Frame::Located {
                token: 10,
                result: Ok(Some(ident("server-1"))),
            },
        ),
        (
            "located_nowhere",
            Frame::Located {
                token: 10,
                result: Ok(None),
            },
        ),
        (
            "located_unknown",
            Frame::Located {
                token: 10,
                result: Err(StoreUnavailable),
            },
        ),
        ("drain", Frame::Drain),
        ("detach", Frame::Detach { token: 11 }),
    ]
}

/// A number of any magnitude, so that every length of varint comes up.
pub fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0_u32..64).prop_map(|(n, shift)| n >> shift)
}

fn small(max: u32) -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 0..=max.min(200), 0..=max]
}

fn text(max_bytes: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]{1,12}",
        1 => Just("é/%\0 ".to_owned()),
        1 => (1..=max_bytes).prop_map(|len| "x".repeat(len)),
    ]
}

fn address() -> impl Strategy<Value = Address> {
    text(255).prop_map(|text| addr(&text))
}

fn identity() -> impl Strategy<Value = Identity> {
    text(128).prop_map(|text| ident(&text))
}

fn body() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..200).prop_map(Bytes::from),
        1 => (4000_usize..6000).prop_map(|len| Bytes::from(vec![0x5a; len])),
    ]
}

fn any_message() -> impl Strategy<Value = Message> {
    let names = (text(255), text(255), body());
    let numbers = (number(), number(), number(), small(NAMES_MAX), small(NAMES_MAX));
    let rest = (any::<u8>(), any::<bool>(), small(u32::MAX), small(u32::MAX));
    (names, numbers, rest).prop_map(
        |((from, to, body), (id, floor, after, origin, owner), (hops, request, ttl_ms, claim))| {
            let mut message = Message::new(&from, &to, body).unwrap();
            message.id = id;
            message.floor = if id == 0 { 0 } else { id - floor % id };
            message.after = if id == 0 { after } else { after % id };
            message.origin = origin;
            message.owner = owner;
            message.hops = hops;
            message.request = request;
            message.ttl_ms = ttl_ms;
            message.claim = claim;
            message
        },
    )
}

fn failed() -> impl Strategy<Value = Failed> {
    (
        small(3),
        number(),
        proptest::sample::select(&Outcome::ALL[..]),
        address(),
        small(u32::MAX),
        any::<bool>(),
    )
        .prop_map(|(kind, id, outcome, to, count, out_of_order)| {
            let id = if kind == 0 { 0 } else { id };
            let count = if id == 0 { count.max(1) } else { count };
            Failed {
                id,
                outcome,
                to,
                count,
                out_of_order,
            }
        })
}

fn held() -> impl Strategy<Value = Vec<(Address, Seq)>> {
    vec((address(), number().prop_map(Seq)), 0..8)
}

fn owner() -> impl Strategy<Value = Owner> {
    (identity(), number()).prop_map(|(identity, n)| Owner::new(identity, Incarnation(n)))
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    number().prop_map(|n| Incarnation(n.max(1)))
}

/// Any frame that can be sent.
pub fn any_frame() -> impl Strategy<Value = Frame> {
    let hot = prop_oneof![
        any_message().prop_map(Frame::Message),
        any_message().prop_map(Frame::Bounce),
        (small(NAMES_MAX), vec(number(), 0..20), vec(failed(), 0..4)).prop_map(
            |(origin, delivered, failed)| Frame::Outcomes(Outcomes {
                origin,
                delivered,
                failed
            })
        ),
        (small(NAMES_MAX), number(), body()).prop_map(|(origin, id, body)| Frame::Reply { origin, id, body }),
        (number(), small(NAMES_MAX), address(), body(), small(u32::MAX)).prop_map(
            |(token, origin, from, body, ttl_ms)| Frame::Broadcast(Broadcast {
                token,
                origin,
                from,
                body,
                ttl_ms
            })
        ),
    ];
    let link = prop_oneof![
        (
            any::<bool>(),
            proptest::option::of("[a-z:/.]{1,512}"),
            any::<[u8; 16]>(),
            "[a-z .0-9]{0,64}"
        )
            .prop_map(|(peer, location, nonce, software)| Frame::Hello(Hello {
                role: if peer { Role::Peer } else { Role::Node },
                location: location.map(|l| Location::new(&l).unwrap()),
                nonce,
                software,
            })),
        any::<[u8; 32]>().prop_map(|mac| Frame::Proof(Bytes::copy_from_slice(&mac))),
        (
            proptest::sample::select(vec![
                CloseCode::GoingAway,
                CloseCode::Malformed,
                CloseCode::Protocol,
                CloseCode::Unauthenticated,
                CloseCode::Superseded,
                CloseCode::Overloaded,
                CloseCode::NotABroker,
                CloseCode::Other,
            ]),
            "[a-zé]{0,128}"
        )
            .prop_map(|(code, text)| Frame::Close(Close { code, text })),
        (number(), small(NAMES_MAX), proptest::option::of(address())).prop_map(|(token, owner, address)| {
            Frame::Barrier {
                token,
                owner,
                address,
            }
        }),
        number().prop_map(|token| Frame::Echo { token }),
        (1..=NAMES_MAX, owner(), any::<u32>()).prop_map(|(alias, owner, attachment)| Frame::Name {
            alias,
            owner,
            attachment
        }),
        number().prop_map(|token| Frame::Ping { token }),
        (number(), number(), any::<bool>()).prop_map(|(token, lease_ms, store_unavailable)| Frame::Pong {
            token,
            lease_ms,
            store_unavailable
        }),
    ];
    let peer = prop_oneof![
        (identity(), proptest::option::of(incarnation()), any::<u32>()).prop_map(
            |(identity, resume, attachment)| Frame::Attach {
                identity,
                resume,
                attachment
            }
        ),
        (0..4, incarnation(), number(), number()).prop_map(|(kind, incarnation, lease_ms, term_ms)| {
            Frame::Attached(match kind {
                0 => Attached::Attached {
                    incarnation,
                    lease_ms,
                    term_ms,
                },
                1 => Attached::Superseded,
                2 => Attached::Gone,
                _ => Attached::StoreUnavailable,
            })
        }),
        (incarnation(), any::<bool>()).prop_map(|(incarnation, superseded)| Frame::LeaseOver {
            incarnation,
            superseded
        }),
        vec(address(), 0..8).prop_map(Frame::Claim),
        vec(
            (address(), proptest::option::of((1..=u64::MAX).prop_map(Seq))),
            0..8
        )
        .prop_map(Frame::Claimed),
        held().prop_map(Frame::Release),
        held().prop_map(Frame::Released),
        held().prop_map(Frame::Announce),
        any::<u32>().prop_map(|count| Frame::Announced { count }),
        (number(), owner(), address(), number(), identity()).prop_map(|(token, owner, address, seq, by)| {
            Frame::Displaced(Displaced {
                token,
                owner,
                address,
                seq: Seq(seq),
                by,
            })
        }),
        Just(Frame::Drain),
        number().prop_map(|token| Frame::Detach { token }),
    ];
    let ask = prop_oneof![
        (number(), vec((identity(), number()), 0..6), vec(identity(), 0..6)).prop_map(
            |(token, reached, unreached)| Frame::BroadcastDone {
                token,
                reached,
                unreached
            }
        ),
        (number(), address()).prop_map(|(token, address)| Frame::Locate { token, address }),
        (number(), 0..3, identity()).prop_map(|(token, kind, identity)| Frame::Located {
            token,
            result: match kind {
                0 => Ok(None),
                1 => Ok(Some(identity)),
                _ => Err(StoreUnavailable),
            }
        }),
    ];
    prop_oneof![4 => hot, 2 => link, 3 => peer, 1 => ask]
}

/// The frame as bytes, without its length.
pub fn bare(frame: &Frame) -> Bytes {
    let mut out = bytes::BytesMut::new();
    waypost_wire::encode(frame, &mut out, usize::MAX).unwrap();
    waypost_wire::split_frame(&mut out, usize::MAX).unwrap().unwrap()
}
