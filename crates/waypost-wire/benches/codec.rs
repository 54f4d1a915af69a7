//! How long it takes to encode and to decode one message: `cargo bench -p waypost-wire`.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use waypost_wire::{Frame, Message, OutBuf, decode, encode, split_frame};

const SIZES: [usize; 4] = [16, 128, 1024, 16_384];
/// Messages of one read buffer.
const BATCH: usize = 64;
const FRAME_BYTES_MAX: usize = 1 << 20;

fn main() {
    divan::main();
}

fn message(size: usize) -> Frame {
    let mut message = Message::new("a/00000017", "b/00000042", Bytes::from(vec![7; size]))
        .unwrap_or_else(|error| panic!("the names are sound: {error}"));
    message.origin = 3;
    message.owner = 5;
    message.ttl_ms = 5000;
    Frame::Message(message)
}

fn encoded(size: usize, count: usize) -> BytesMut {
    let mut out = BytesMut::new();
    for _ in 0..count {
        encode(&message(size), &mut out, FRAME_BYTES_MAX).unwrap_or_else(|error| panic!("it fits: {error}"));
    }
    out
}

/// Into the buffer that a link writes from.
#[divan::bench(args = SIZES)]
fn push_into_out_buf(bencher: Bencher<'_, '_>, size: usize) {
    let frame = message(size);
    let mut out = OutBuf::new();
    bencher
        .counter(ItemsCount::new(BATCH))
        .counter(BytesCount::new(BATCH * size))
        .bench_local(|| {
            out.clear();
            for _ in 0..BATCH {
                let _ = black_box(out.push(black_box(&frame), FRAME_BYTES_MAX));
            }
        });
}

/// Out of the buffer that a link reads into, and let go again.
#[divan::bench(args = SIZES)]
fn split_and_decode(bencher: Bencher<'_, '_>, size: usize) {
    bencher
        .counter(ItemsCount::new(BATCH))
        .counter(BytesCount::new(BATCH * size))
        .with_inputs(|| encoded(size, BATCH))
        .bench_local_values(|mut buffer| {
            while let Ok(Some(bytes)) = split_frame(&mut buffer, FRAME_BYTES_MAX) {
                let _ = black_box(decode(bytes));
            }
        });
}

/// A message as a program makes it.
#[divan::bench]
fn new_message(bencher: Bencher<'_, '_>) {
    let body = Bytes::from(vec![7; 128]);
    bencher.bench_local(|| Message::new(black_box("a/00000017"), black_box("b/00000042"), body.clone()));
}
