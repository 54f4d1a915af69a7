//! Frames through the codec, whole and in pieces, sound and broken.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio_util::codec::{Decoder, Encoder};
use waypost_types::{Address, Outcome};
use waypost_wire::{
    BATCH_ENTRIES_MAX, DecodeError, EncodeError, Failed, Frame, FrameCodec, Message, NAMES_MAX,
    OUTCOMES_ENTRIES_MAX, OutBuf, Outcomes, WireError, decode, encode,
};

mod support;
use support::{any_frame, bare, message_but, samples};

const MAX: usize = 1 << 20;

fn encoded(frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        FrameCodec::new(MAX).encode(frame, &mut out).unwrap();
    }
    out
}

/// What comes out when the stream comes in these pieces.
fn fed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Frame>, WireError> {
    let mut codec = FrameCodec::new(MAX);
    let (mut buf, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        while let Some(frame) = codec.decode(&mut buf)? {
            frames.push(frame);
        }
    }
    while let Some(frame) = codec.decode_eof(&mut buf)? {
        frames.push(frame);
    }
    Ok(frames)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_frame_comes_back(frame in any_frame()) {
        prop_assert_eq!(decode(bare(&frame)).unwrap(), frame);
    }

    #[test]
    fn every_prefix_of_a_frame_wants_more_and_is_torn_at_the_end(frame in any_frame()) {
        let whole = encoded(&[frame]);
        for len in 0..whole.len() {
            let mut buf = BytesMut::from(&whole[..len]);
            let mut codec = FrameCodec::new(MAX);
            prop_assert_eq!(codec.decode(&mut buf).unwrap(), None);
            match codec.decode_eof(&mut buf) {
                Ok(None) => prop_assert_eq!(len, 0),
                Err(WireError::Torn { have_bytes, need_bytes }) => {
                    prop_assert_eq!(have_bytes, len);
                    prop_assert!(need_bytes.is_none_or(|need| need == whole.len()));
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn every_chunking_gives_the_same_frames(
        frames in vec(any_frame(), 1..6),
        cuts in vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let whole = encoded(&frames);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len())).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut rest = &whole[..];
        let mut start = 0;
        for cut in cuts {
            let (piece, after) = rest.split_at(cut - start);
            pieces.push(piece);
            rest = after;
            start = cut;
        }
        pieces.push(rest);
        prop_assert_eq!(&fed(pieces).unwrap(), &frames);
        prop_assert_eq!(&fed(whole.chunks(1)).unwrap(), &frames);
        prop_assert_eq!(&fed([&whole[..]]).unwrap(), &frames);
    }

    #[test]
    fn mutated_streams_give_errors_or_frames(
        frames in vec(any_frame(), 1..4),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut whole = encoded(&frames);
        let at = at.index(whole.len());
        whole[at] = byte;
        let _ = fed([&whole[..]]);
    }

    #[test]
    fn a_queue_of_chunks_holds_the_same_bytes(frames in vec(any_frame(), 0..8)) {
        let mut out = OutBuf::new();
        for frame in &frames {
            out.push(frame, MAX).unwrap();
        }
        let len = out.len();
        let flat = bytes::Buf::copy_to_bytes(&mut out, len);
        prop_assert_eq!(&flat[..], &encoded(&frames)[..]);
    }
}

#[test]
fn every_one_byte_mutation_of_every_kind_is_an_error_or_a_frame() {
    for (name, frame) in samples() {
        let whole = encoded(std::slice::from_ref(&frame));
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut mutated = whole.clone();
                mutated[at] = byte;
                if let Ok(frames) = fed([&mutated[..]]) {
                    assert!(byte != whole[at] || frames == [frame.clone()], "{name} at {at}");
                }
            }
        }
    }
}

#[test]
fn a_frame_of_two_gibibytes_is_refused_from_its_length_and_nothing_is_allocated() {
    let mut buf = BytesMut::from(&[0x80, 0x80, 0x80, 0x80, 0x08][..]);
    let before = buf.capacity();
    let error = FrameCodec::new(MAX).decode(&mut buf).unwrap_err();
    assert!(
        matches!(
            error,
            WireError::TooLarge {
                frame_len_bytes: 0x8000_0000,
                max_bytes: MAX
            }
        ),
        "{error}"
    );
    assert_eq!(buf.capacity(), before);
    assert!(
        error.to_string().contains("2147483648") && error.to_string().contains("1048576"),
        "{error}"
    );
}

#[test]
fn an_announced_length_alone_takes_little_memory() {
    let mut codec = FrameCodec::new(16 << 20);
    let mut buf = BytesMut::from(&[0x80, 0x80, 0x80, 0x08][..]);
    assert!(codec.decode(&mut buf).unwrap().is_none());
    assert!(buf.capacity() <= 128 << 10, "{}", buf.capacity());
    // No more than the frame when the frame is small.
    let mut buf = BytesMut::from(&[100][..]);
    assert!(codec.decode(&mut buf).unwrap().is_none());
    assert!(buf.capacity() <= 256, "{}", buf.capacity());
}

#[test]
fn a_length_without_an_end_is_refused() {
    let mut buf = BytesMut::from(&[0xff; 5][..]);
    assert!(matches!(
        FrameCodec::new(MAX).decode(&mut buf),
        Err(WireError::Length { max_bytes: 5 })
    ));
}

#[test]
fn limits_change_after_the_handshake_in_both_directions() {
    let large = Frame::Message(Message::new("a", "b", vec![0; 5000].into()).unwrap());
    let mut whole = encoded(std::slice::from_ref(&large));
    let mut codec = FrameCodec::new(4096);
    assert!(matches!(
        codec.decode(&mut whole),
        Err(WireError::TooLarge { max_bytes: 4096, .. })
    ));
    let mut out = BytesMut::new();
    assert!(matches!(
        codec.encode(&large, &mut out),
        Err(WireError::Encode(EncodeError::TooLarge { .. }))
    ));
    assert!(out.is_empty());
    codec.set_frame_bytes_max(MAX, 8192);
    assert_eq!(codec.decode(&mut whole).unwrap(), Some(large.clone()));
    codec.encode(&large, &mut out).unwrap();
    assert!(out.len() > 5000);
}

#[test]
fn the_limit_is_exact() {
    for (_, frame) in samples() {
        let len = bare(&frame).len();
        let mut out = BytesMut::new();
        encode(&frame, &mut out, len).unwrap();
        let refused = encode(&frame, &mut out, len - 1);
        assert_eq!(
            refused,
            Err(EncodeError::TooLarge {
                frame_len_bytes: len,
                max_bytes: len - 1
            })
        );
    }
}

#[test]
fn unknown_kinds_and_fields_are_skipped() {
    // Field 99 of Frame, and no field at all.
    for bytes in [&[0x9a, 0x06, 0x02, 0x08, 0x01][..], &[]] {
        assert_eq!(decode(Bytes::copy_from_slice(bytes)).unwrap(), Frame::Unknown);
    }
    for (name, frame) in samples() {
        let with_unknown = [&bare(&frame)[..], &[0x9a, 0x06, 0x02, 0x08, 0x01]].concat();
        assert_eq!(decode(with_unknown.into()).unwrap(), frame, "{name}");
    }
    // A ping with a field 15 besides its token.
    assert_eq!(
        decode(Bytes::from_static(&[0x6a, 4, 8, 1, 0x78, 9])).unwrap(),
        Frame::Ping { token: 1 }
    );
}

/// A field with a length: its key, its length, its value.
fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for mut number in [number << 3 | 2, u32::try_from(value.len()).unwrap()] {
        while number >= 0x80 {
            out.extend([u8::try_from(number & 0x7f).unwrap() | 0x80]);
            number >>= 7;
        }
        out.extend([u8::try_from(number).unwrap()]);
    }
    [&out[..], value].concat()
}

#[test]
fn more_entries_than_a_frame_may_have_are_refused_before_they_are_made() {
    for (kind, entry) in [(5, 3), (15, 1), (16, 1), (17, 1), (18, 1), (19, 1), (24, 2)] {
        let hostile = Bytes::from(field(kind, &field(entry, b"").repeat(500_000)));
        // No more of them is looked at than it takes to see that there are too many.
        assert!(
            matches!(decode(hostile), Err(DecodeError::Batch { entries, .. }) if entries < 70_000),
            "kind {kind}"
        );
    }
    let outcomes = |delivered, failed| {
        Frame::Outcomes(Outcomes {
            origin: 1,
            delivered: vec![1; delivered],
            failed: vec![
                Failed {
                    id: 1,
                    outcome: Outcome::Overloaded,
                    to: Address::new("a").unwrap(),
                    count: 0,
                    out_of_order: false,
                };
                failed
            ],
        })
    };
    let most = outcomes(OUTCOMES_ENTRIES_MAX - 1000, 1000);
    assert_eq!(decode(bare(&most)).unwrap(), most);
    let more = outcomes(OUTCOMES_ENTRIES_MAX, 1);
    let refused = encode(&more, &mut BytesMut::new(), MAX);
    assert!(matches!(refused, Err(EncodeError::Batch { .. })), "{refused:?}");
    let ids = field(5, &field(2, &vec![1; OUTCOMES_ENTRIES_MAX + 1]));
    assert!(matches!(decode(ids.into()), Err(DecodeError::Batch { .. })));
}

#[test]
fn what_breaks_the_contract_cannot_be_sent() {
    let mut out = BytesMut::new();
    let mut refused = |frame: Frame| encode(&frame, &mut out, MAX).unwrap_err();
    let many = vec![Address::new("a").unwrap(); BATCH_ENTRIES_MAX + 1];
    assert_eq!(
        refused(Frame::Claim(many)),
        EncodeError::Batch {
            frame: "claim",
            entries: 1025,
            max: 1024
        }
    );
    assert!(matches!(
        refused(Frame::Message(message_but(|m| m.floor = 1001))),
        EncodeError::Range { .. }
    ));
    assert!(matches!(
        refused(Frame::Message(message_but(|m| m.after = 1000))),
        EncodeError::Range { .. }
    ));
    assert!(matches!(
        refused(Frame::Bounce(message_but(|m| m.after = u64::MAX))),
        EncodeError::Range { .. }
    ));
    assert!(matches!(
        refused(Frame::Message(message_but(|m| m.origin = NAMES_MAX + 1))),
        EncodeError::Range { field: "origin", .. }
    ));
    assert!(matches!(
        refused(Frame::Proof(Bytes::new())),
        EncodeError::Length { .. }
    ));
    assert_eq!(refused(Frame::Unknown), EncodeError::Unknown);
    assert!(out.is_empty());
}

#[test]
fn what_breaks_the_contract_is_refused_with_what_and_why() {
    let refused = |bytes: &[u8]| decode(Bytes::copy_from_slice(bytes)).unwrap_err();
    // to "t", from "f", and one more field.
    let message = |field: &[u8]| {
        let inner = [&[0x0a, 1, b't', 0x12, 1, b'f'], field].concat();
        refused(&[&[0x22, u8::try_from(inner.len()).unwrap()], &inner[..]].concat())
    };
    assert!(matches!(
        message(&[0x48, 0x80, 0x02]),
        DecodeError::Range {
            field: "hops",
            value: 256,
            ..
        }
    ));
    assert!(matches!(
        message(&[0x20, 5, 0x28, 6]),
        DecodeError::Range {
            field: "floor_distance",
            value: 6,
            ..
        }
    ));
    assert!(matches!(
        message(&[0x20, 5, 0x30, 5]),
        DecodeError::Range {
            field: "after_distance",
            value: 5,
            ..
        }
    ));
    assert!(matches!(
        message(&[0x38, 0x81, 0x80, 0x04]),
        DecodeError::Range { field: "origin", .. }
    ));
    assert!(matches!(
        message(&[0x0a, 0]),
        DecodeError::Name { frame: "message", .. }
    ));
    assert!(matches!(
        message(&[0x12, 1, 0xff]),
        DecodeError::Name { frame: "message", .. }
    ));
    assert!(matches!(message(&[0x20]), DecodeError::Malformed(_)));
    // A claim of 1,025 addresses, a hello without a role, a proof of one byte, a name with number 0.
    let claim = [0x0a, 1, b'a'].repeat(1025);
    let frame = [&[0x7a, 0x83, 0x18], &claim[..]].concat();
    assert_eq!(
        refused(&frame),
        DecodeError::Batch {
            frame: "claim",
            entries: 1025,
            max: 1024
        }
    );
    assert!(matches!(
        refused(&[0x0a, 0]),
        DecodeError::Range {
            frame: "hello",
            field: "role",
            ..
        }
    ));
    assert!(matches!(
        refused(&[0x12, 3, 0x0a, 1, 7]),
        DecodeError::Length { frame: "proof", .. }
    ));
    assert!(matches!(
        refused(&[0x4a, 0]),
        DecodeError::Range {
            frame: "name",
            field: "alias",
            ..
        }
    ));
}
