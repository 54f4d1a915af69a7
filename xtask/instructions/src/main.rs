//! The hot path, for counting the instructions that a message costs: `waypost-instructions CASE`.
//!
//! `cargo xtask instructions` runs each case under callgrind, which counts only what happens within `measured`. Nothing
//! here is random and no clock is read, so a count changes with the code, the compiler and the C library alone.
#![expect(clippy::print_stdout, reason = "its lines are for cargo xtask instructions")]

mod cluster;

use std::collections::VecDeque;
use std::hint::black_box;
use std::process::ExitCode;

use bytes::{Bytes, BytesMut};
use waypost_router::{Event, Outgoing, Whose};
use waypost_wire::{Chunk, Frame, Message, Numbers, Page, encode, encode_message};

use cluster::Cluster;

/// Messages of one case.
const MESSAGES: usize = 16_384;
/// Messages of one read or write of a link.
const BATCH: usize = 64;
/// Clients of the receiving server.
const CLIENTS: usize = 1000;
const FRAME_BYTES_MAX: usize = 1 << 20;
const BODY: &[u8] = &[7; 128];

/// The numbers of a best-effort message between two servers of a mesh.
const BEST_EFFORT: Numbers = Numbers {
    id: 0,
    floor: 0,
    after: 0,
    origin: 1,
    owner: 2,
    hops: 0,
    request: false,
    ttl_ms: 5000,
    claim: 77,
};

type Case = (&'static str, fn());

const CASES: [Case; 7] = [
    ("encode", encode_messages),
    ("decode", decode_messages),
    ("lookup", look_up),
    ("send", send),
    ("send many", send_many),
    ("deliver", deliver),
    ("forward", forward),
];

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {
            println!("{MESSAGES}");
            for (name, _) in CASES {
                println!("{name}");
            }
            ExitCode::SUCCESS
        }
        Some(name) => match CASES.iter().find(|(case, _)| *case == name) {
            Some((_, run)) => {
                run();
                ExitCode::SUCCESS
            }
            None => ExitCode::FAILURE,
        },
    }
}

/// The only function in which instructions are counted.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
    // Something after it, so that it is called and not jumped to.
    black_box(());
}

/// Names of clients in an order that repeats late.
fn names() -> impl Iterator<Item = String> {
    (0..MESSAGES).map(|at| format!("b/{:08}", at * 7919 % CLIENTS))
}

/// What a link would read: so many messages, with these numbers.
fn read(names: &[String], numbers: &Numbers) -> BytesMut {
    let mut bytes = BytesMut::new();
    for to in names {
        encode_message([to, "a/00000017"], BODY, numbers, &mut bytes, FRAME_BYTES_MAX)
            .unwrap_or_else(|error| panic!("it fits: {error}"));
    }
    bytes
}

/// A message into the buffer that a link writes from.
fn encode_messages() {
    let names: Vec<String> = names().collect();
    let mut page = Page::in_memory_of(BytesMut::new(), 64 << 10);
    for names in names.chunks(BATCH) {
        measured(&mut || {
            for to in names {
                let _ = black_box(page.push_message(
                    [black_box(to), "a/00000017"],
                    black_box(BODY),
                    &BEST_EFFORT,
                ));
            }
        });
        let spare = page.take().try_into_mut().unwrap_or_default();
        page = Page::in_memory_of(spare, 64 << 10);
    }
}

/// A message out of the buffer that a link reads into.
fn decode_messages() {
    let names: Vec<String> = names().collect();
    let mut chunk = Chunk::new();
    for names in names.chunks(BATCH) {
        let mut bytes = read(names, &BEST_EFFORT);
        measured(&mut || {
            let _ = black_box(chunk.refill(&mut bytes, FRAME_BYTES_MAX));
            while black_box(chunk.front()).is_some() {
                chunk.advance();
            }
            chunk.clear();
        });
    }
}

/// Where an address is.
fn look_up() {
    let mut cluster = Cluster::brokered(CLIENTS);
    let names: Vec<String> = names().collect();
    let now = cluster.now;
    let core = &mut cluster.nodes[0].core;
    measured(&mut || {
        for to in &names {
            black_box(core.room_to_take(now, black_box(to)));
        }
    });
}

/// From a program's call to the bytes that a link writes.
fn send() {
    let mut cluster = Cluster::mesh(CLIENTS);
    let names: Vec<String> = names().collect();
    let (link, now) = (cluster.link(), cluster.now);
    let core = &mut cluster.nodes[0].core;
    let mut out = Vec::new();
    for names in names.chunks(BATCH) {
        let mut sent = 0;
        measured(&mut || {
            for to in names {
                sent += usize::from(core.send_now(black_box(to), "a/00000017", black_box(BODY)));
            }
            core.pump(now);
            write(core, link, &mut out);
        });
        assert_eq!(sent, names.len(), "every route is known and every queue has room");
        is_written(core, link, &mut out);
    }
}

/// The same, many at a call.
fn send_many() {
    let mut cluster = Cluster::mesh(CLIENTS);
    let names: Vec<String> = names().collect();
    let (link, now, body) = (cluster.link(), cluster.now, Bytes::from_static(BODY));
    let core = &mut cluster.nodes[0].core;
    let mut out = Vec::new();
    for names in names.chunks(BATCH) {
        let messages: Vec<_> = names
            .iter()
            .map(|to| ("a/00000017", to.as_str(), &body))
            .collect();
        let mut sent = 0;
        measured(&mut || {
            sent += core.send_many_now(black_box(&messages));
            core.pump(now);
            write(core, link, &mut out);
        });
        assert_eq!(sent, names.len(), "every route is known and every queue has room");
        is_written(core, link, &mut out);
    }
}

/// From the bytes that a link has read to the events that a program takes.
fn deliver() {
    let mut cluster = Cluster::mesh(CLIENTS);
    let names: Vec<String> = names().collect();
    let numbers = cluster.numbers();
    let (link, now) = (cluster.link_back(), cluster.now);
    let core = &mut cluster.nodes[1].core;
    let (mut chunk, mut events) = (Chunk::new(), VecDeque::new());
    for names in names.chunks(BATCH) {
        let mut bytes = read(names, &numbers);
        let mut delivered = 0;
        measured(&mut || {
            let _ = black_box(chunk.refill(&mut bytes, FRAME_BYTES_MAX));
            let _ = black_box(core.handle_chunk(now, Whose::Router(link), &mut chunk));
            core.pump(now);
            if let Some(endpoint) = &mut core.endpoint {
                endpoint.take_events(&mut events, usize::MAX);
            }
            for event in events.drain(..) {
                delivered += take(event);
            }
        });
        assert_eq!(
            delivered,
            names.len(),
            "every message is for a client that is here"
        );
    }
}

/// What a program does with an event: the messages in it.
fn take(event: Event) -> usize {
    match event {
        Event::Messages(batch) => batch.map(|message| black_box((message.to().len(), 1)).1).sum(),
        Event::Message(message) => black_box((message.to().len(), 1)).1,
        _ => 0,
    }
}

/// Through a broker: from the bytes that one link has read to those that another writes.
fn forward() {
    let mut cluster = Cluster::brokered(CLIENTS);
    let names: Vec<String> = names().collect();
    let numbers = Numbers {
        ttl_ms: 5000,
        ..Numbers::default()
    };
    let (from, to, now) = (cluster.attached[0], cluster.attached[1], cluster.now);
    let core = &mut cluster.nodes[0].core;
    let (mut chunk, mut out) = (Chunk::new(), Vec::new());
    for names in names.chunks(BATCH) {
        let mut bytes = read(names, &numbers);
        measured(&mut || {
            let _ = black_box(chunk.refill(&mut bytes, FRAME_BYTES_MAX));
            let _ = black_box(core.handle_chunk(now, Whose::Router(from), &mut chunk));
            core.pump(now);
            write(core, to, &mut out);
        });
        is_written(core, to, &mut out);
    }
}

/// What was to be written is there, and counts as written from now on.
fn is_written(core: &mut waypost_router::Core<()>, link: waypost_router::LinkId, out: &mut Vec<Outgoing>) {
    assert!(!out.is_empty(), "what was sent or came is written");
    out.clear();
    write(core, link, out);
}

fn write(core: &mut waypost_router::Core<()>, link: waypost_router::LinkId, out: &mut Vec<Outgoing>) {
    if let Some(router) = &mut core.router {
        router.take_outgoing(link, out, usize::MAX);
    }
}

/// A message as a frame, for what goes the long way while a cluster is set up.
fn message(from: &str, to: &str) -> Message {
    Message::new(from, to, Bytes::from_static(BODY))
        .unwrap_or_else(|error| panic!("the names are sound: {error}"))
}

/// A frame as a link reads it.
fn encoded(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(frame, &mut bytes, FRAME_BYTES_MAX).unwrap_or_else(|error| panic!("it fits: {error}"));
    bytes
}
