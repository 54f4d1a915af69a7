//! How long it takes to encode and to decode one message: `cargo run --release -p waypost-wire --example wire_bench`.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and reports on stdout"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use waypost_wire::{Frame, Message, OutBuf, decode, encode, split_frame};

const BATCH: u32 = 64;
const ROUNDS: u32 = 20_000;
const REPEATS: usize = 7;
const FRAME_BYTES_MAX: usize = 1 << 20;

fn main() {
    for body_bytes in [128, 1024, 16_384] {
        let frame = message(body_bytes);
        println!("message with a body of {body_bytes} bytes, ns each:");
        let rounds = if body_bytes > 4096 { ROUNDS / 10 } else { ROUNDS };
        report("encode into BytesMut", rounds, encode_flat(&frame));
        report("push into OutBuf", rounds, encode_out_buf(&frame));
        report_decode(&frame, rounds);
        report(
            "split from the read buffer, decode, drop",
            rounds,
            decode_stream(&frame),
        );
        report("make it detached", rounds, detach(&frame));
    }
}

fn message(body_bytes: usize) -> Frame {
    let mut message = Message::new("client-0001", "client-0002", Bytes::from(vec![7; body_bytes]))
        .unwrap_or_else(|error| panic!("the names are sound: {error}"));
    message.id = 1_000_000;
    message.floor = 999_900;
    message.origin = 3;
    message.owner = 5;
    message.ttl_ms = 5000;
    Frame::Message(message)
}

/// The best of some repeats: the others were disturbed.
fn report(what: &str, rounds: u32, mut batch: impl FnMut()) {
    let best = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            (0..rounds).for_each(|_| batch());
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!(
        "  {what:<40} {:>8.1}",
        best.as_secs_f64() * 1e9 / f64::from(rounds * BATCH)
    );
}

fn encode_flat(frame: &Frame) -> impl FnMut() {
    let mut out = BytesMut::new();
    move || {
        out.clear();
        for _ in 0..BATCH {
            let _ = black_box(encode(black_box(frame), &mut out, FRAME_BYTES_MAX));
        }
    }
}

fn encode_out_buf(frame: &Frame) -> impl FnMut() {
    let mut out = OutBuf::new();
    move || {
        for _ in 0..BATCH {
            let _ = black_box(out.push(black_box(frame), FRAME_BYTES_MAX));
        }
        let len = out.len();
        bytes::Buf::advance(&mut out, len);
    }
}

/// Decoding alone: the references to the frame are made, and the messages dropped, outside of what is timed.
fn report_decode(frame: &Frame, rounds: u32) {
    let mut out = BytesMut::new();
    let _ = encode(frame, &mut out, FRAME_BYTES_MAX);
    let bare = split_frame(&mut out, FRAME_BYTES_MAX)
        .ok()
        .flatten()
        .unwrap_or_default();
    let mut best = f64::INFINITY;
    let mut decoded = Vec::with_capacity(BATCH as usize);
    for _ in 0..REPEATS {
        let mut taken = Duration::ZERO;
        for _ in 0..rounds {
            let mut bytes = vec![bare.clone(); BATCH as usize];
            let start = Instant::now();
            decoded.extend(bytes.drain(..).map(|bytes| black_box(decode(bytes))));
            taken += start.elapsed();
            decoded.clear();
        }
        best = best.min(taken.as_secs_f64());
    }
    println!(
        "  {:<40} {:>8.1}",
        "decode",
        best * 1e9 / f64::from(rounds * BATCH)
    );
}

fn decode_stream(frame: &Frame) -> impl FnMut() {
    let mut stream = BytesMut::new();
    for _ in 0..BATCH {
        let _ = encode(frame, &mut stream, FRAME_BYTES_MAX);
    }
    let mut buf = BytesMut::with_capacity(stream.len());
    move || {
        buf.extend_from_slice(&stream);
        while let Ok(Some(bare)) = split_frame(&mut buf, FRAME_BYTES_MAX) {
            let _ = black_box(decode(bare));
        }
    }
}

fn detach(frame: &Frame) -> impl FnMut() {
    let Frame::Message(message) = frame.clone() else {
        unreachable!("it is a message")
    };
    move || {
        for _ in 0..BATCH {
            drop(black_box(black_box(message.clone()).detached()));
        }
    }
}
