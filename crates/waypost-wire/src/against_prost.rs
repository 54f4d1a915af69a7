//! Tests that the hand-written encoding and the generated one agree, whatever the bytes.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

use crate::convert::frame_to_gen;
use crate::decode::{decode_by_prost, decode_quickly};
use crate::{Chunk, DecodeError, Frame, decode, r#gen};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{any_frame, bare, message, number, samples};

fn agree(bytes: &Bytes) -> Result<Frame, DecodeError> {
    let by_prost = decode_by_prost(bytes.clone());
    assert_eq!(decode(bytes.clone()), by_prost, "{bytes:02x?}");
    if let Ok(quick) = decode_quickly(bytes.clone()) {
        assert_eq!(Ok(quick), by_prost, "{bytes:02x?}");
    }
    assert_eq!(in_a_chunk(bytes), by_prost, "{bytes:02x?}");
    by_prost
}

/// The frame as it is found among others.
fn in_a_chunk(bytes: &Bytes) -> Result<Frame, DecodeError> {
    let mut stream = BytesMut::new();
    for _ in 0..2 {
        stream.extend_from_slice(&varint(bytes.len() as u64));
        stream.extend_from_slice(bytes);
    }
    let mut chunk = Chunk::new();
    chunk.refill(&mut stream, usize::MAX).unwrap();
    assert!(stream.is_empty() && chunk.len() == 2);
    chunk.advance();
    chunk.front().unwrap().decode()
}

fn varint(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(value, &mut out);
    out
}

fn len_field(tag: u64, body: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(body.len() as u64), body.to_vec()].concat()
}

/// Something that looks like a field, known or not, rightly typed or not.
fn any_field(depth: u32) -> BoxedStrategy<Vec<u8>> {
    let leaf = prop_oneof![
        4 => (1_u64..14, number()).prop_map(|(tag, n)| [varint(tag << 3), varint(n)].concat()),
        4 => (1_u64..4, "[a-z]{1,4}").prop_map(|(tag, text)| len_field(tag, text.as_bytes())),
        1 => (1_u64..2000, vec(any::<u8>(), 0..12)).prop_map(|(tag, bytes)| len_field(tag, &bytes)),
        1 => (1_u64..20, any::<[u8; 8]>()).prop_map(|(tag, b)| [varint(tag << 3 | 1), b.to_vec()].concat()),
        1 => (1_u64..20, any::<[u8; 4]>()).prop_map(|(tag, b)| [varint(tag << 3 | 5), b.to_vec()].concat()),
        1 => (12_u64..20, 0_u64..20)
            .prop_map(|(tag, n)| [varint(tag << 3 | 3), varint(1 << 3), varint(n), varint(tag << 3 | 4)].concat()),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    prop_oneof![
        6 => leaf,
        2 => (1_u64..4, vec(any_field(depth - 1), 0..4)).prop_map(|(tag, f)| len_field(tag, &f.concat())),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn both_encoders_write_the_same_frame(frame in any_frame()) {
        let ours = bare(&frame);
        let generated = frame_to_gen(&frame).unwrap();
        prop_assert_eq!(r#gen::Frame::decode(ours.clone()).unwrap(), generated.clone());
        prop_assert_eq!(ours.len(), generated.encoded_len());
        prop_assert_eq!(agree(&ours).unwrap(), frame.clone());
        prop_assert_eq!(agree(&generated.encode_to_vec().into()).unwrap(), frame);
    }

    #[test]
    fn both_decoders_agree_on_mutated_frames(
        frame in any_frame(),
        cuts in vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 1..4),
    ) {
        let mut bytes = bare(&frame).to_vec();
        for (index, byte, how) in cuts {
            if bytes.is_empty() { break }
            let at = index.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        let _ = agree(&bytes.into());
    }

    #[test]
    fn both_decoders_agree_on_random_bytes(bytes in vec(any::<u8>(), 0..64)) {
        let _ = agree(&bytes.clone().into());
        for kind in 4..=6 {
            let _ = agree(&len_field(kind, &bytes).into());
        }
    }

    #[test]
    fn both_decoders_agree_on_fields_in_any_order_and_number(
        kind in 4_u64..7,
        fields in vec(any_field(2), 0..10),
        named in any::<bool>(),
        after in vec(any_field(1), 0..2),
    ) {
        let mut inner = fields.concat();
        if named {
            inner = [len_field(1, b"to"), len_field(2, b"from"), inner].concat();
        }
        let frame = [len_field(kind, &inner), after.concat()].concat();
        let _ = agree(&frame.into());
    }
}

#[test]
fn every_one_byte_mutation_of_every_kind_is_read_alike() {
    for (_, frame) in samples() {
        let bytes = bare(&frame);
        for at in 0..bytes.len() {
            for byte in 0..=255 {
                let mut mutated = bytes.to_vec();
                mutated[at] = byte;
                let _ = agree(&mutated.into());
            }
        }
    }
}

#[test]
fn the_quick_way_takes_what_encoders_write() {
    let frame = Frame::Message(message());
    assert!(decode_quickly(bare(&frame)).is_ok());
    let in_order = frame_to_gen(&frame).unwrap().encode_to_vec();
    assert!(decode_quickly(in_order.into()).is_ok());
    let with_an_unknown_field = {
        let inner = [
            len_field(1, b"to"),
            len_field(2, b"from"),
            varint(99 << 3),
            varint(7),
        ]
        .concat();
        len_field(4, &inner)
    };
    assert!(decode_quickly(with_an_unknown_field.into()).is_ok());
}

#[test]
fn the_last_value_wins_and_occurrences_merge() {
    let first = len_field(4, &[len_field(1, b"old"), len_field(2, b"from")].concat());
    let second = len_field(4, &len_field(1, b"new"));
    let Ok(Frame::Message(message)) = agree(&[first.clone(), second].concat().into()) else {
        panic!()
    };
    assert_eq!((message.to(), message.from()), ("new", "from"));
    let bounce = len_field(6, &[len_field(2, b"f"), len_field(1, b"t")].concat());
    let Ok(Frame::Bounce(message)) = agree(&[first, bounce].concat().into()) else {
        panic!()
    };
    assert_eq!((message.to(), message.from()), ("t", "f"));
}

#[test]
fn decoded_bytes_are_slices_of_the_frame() {
    let frame = bare(&Frame::Message(message()));
    let range = frame.as_ptr_range();
    let Ok(Frame::Message(message)) = decode(frame) else {
        panic!()
    };
    for part in [
        message.to().as_bytes(),
        message.from().as_bytes(),
        &message.body[..],
    ] {
        assert!(range.contains(&part.as_ptr()));
    }
    let detached = message.clone().detached();
    assert_eq!(detached, message);
    assert!(!range.contains(&detached.body.as_ptr()) && !range.contains(&detached.to().as_ptr()));
}

#[test]
fn groups_nest_as_deep_as_the_generated_decoder_allows_and_no_deeper() {
    for depth in [1, 50, 99, 100, 101, 5000] {
        let nested = [
            varint(20 << 3 | 3).repeat(depth),
            varint(20 << 3 | 4).repeat(depth),
        ]
        .concat();
        let _ = agree(&nested.clone().into());
        let _ = agree(&len_field(4, &[len_field(1, b"t"), len_field(2, b"f"), nested].concat()).into());
    }
}
