//! Bytes to frames.
//!
//! The frames that carry messages and their outcomes are read in place by hand, when they look as an encoder writes
//! them. Whatever looks otherwise (a field twice, a group, an error) goes through the generated types, so that there is
//! one authority on what is valid and what it means: the quick way either gives the same frame or steps aside.

use core::ops::Range;

use bytes::Bytes;
use prost::Message as _;
use waypost_types::Address;

use crate::convert::{WireNumbers, failed_count, frame_from_gen, message_numbers, outcome_from_gen};
use crate::encode::tag;
use crate::error::check_alias;
use crate::{DecodeError, Failed, Frame, Message, Outcomes, Protobuf, r#gen};

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LEN: u8 = 2;
const FIXED_32: u8 = 5;

/// Addresses that lie this close together are kept as one slice, with what lies between them.
const NAMES_GAP_MAX: usize = 8;

/// Reads one frame, without its length.
///
/// Bodies are slices of `frame`, and so are a message's addresses: nothing is copied. A kind that this version does not
/// know is [`Frame::Unknown`], and unknown fields are skipped. The caller has bounded the frame's length; what is
/// allocated is bounded by it (by about 20 times it, for a frame of many small entries).
///
/// # Errors
/// [`DecodeError`] when the bytes are not a frame or break the contract: close the link.
pub fn decode(frame: Bytes) -> Result<Frame, DecodeError> {
    match decode_quickly(frame) {
        Ok(frame) => Ok(frame),
        Err(frame) => decode_by_prost(frame),
    }
}

#[inline(never)]
pub(crate) fn decode_by_prost(frame: Bytes) -> Result<Frame, DecodeError> {
    let frame = r#gen::Frame::decode(frame).map_err(|e| DecodeError::Malformed(Protobuf::new(e)))?;
    frame_from_gen(frame)
}

/// The frame, or its bytes when they need a closer look.
pub(crate) fn decode_quickly(frame: Bytes) -> Result<Frame, Bytes> {
    let mut cursor = Cursor { bytes: &frame, at: 0 };
    let Some((number, LEN)) = cursor.key() else {
        return Err(frame);
    };
    let Some(range) = cursor.len_prefixed() else {
        return Err(frame);
    };
    if range.end != frame.len() {
        return Err(frame);
    }
    let (message, bounce) = (u32::from(tag::MESSAGE), u32::from(tag::BOUNCE));
    if number == message || number == bounce {
        let Some(parts) = MessageParts::read(&frame, range) else {
            return Err(frame);
        };
        return match parts.assemble(frame) {
            Ok(parsed) if number == message => Ok(Frame::Message(parsed)),
            Ok(parsed) => Ok(Frame::Bounce(parsed)),
            Err(frame) => Err(frame),
        };
    }
    if number == u32::from(tag::OUTCOMES)
        && let Some(outcomes) = outcomes(&frame, range)
    {
        return Ok(Frame::Outcomes(outcomes));
    }
    Err(frame)
}

/// A place in a frame. Every method gives `None` for what is wrong or needs a closer look.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    const fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let first = *self.bytes.get(self.at)?;
        self.at += 1;
        if first < 0x80 {
            return Some(first.into());
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..63).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        let last = *self.bytes.get(self.at)?;
        self.at += 1;
        (last < 2).then_some(value | u64::from(last) << 63)
    }

    #[inline]
    fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    /// A field's number and its wire type.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "three bits")]
    fn key(&mut self) -> Option<(u32, u8)> {
        let key = self.u32()?;
        (key >= 8).then_some((key >> 3, (key & 7) as u8))
    }

    /// Where the field that begins here lies; the place is then behind it.
    #[inline]
    fn len_prefixed(&mut self) -> Option<Range<usize>> {
        let len = usize::try_from(self.varint()?).ok()?;
        let start = self.at;
        let end = start.checked_add(len).filter(|end| *end <= self.bytes.len())?;
        self.at = end;
        Some(start..end)
    }

    fn skip(&mut self, wire_type: u8) -> Option<()> {
        let len = match wire_type {
            VARINT => return self.varint().map(drop),
            LEN => return self.len_prefixed().map(drop),
            FIXED_64 => 8,
            FIXED_32 => 4,
            _ => return None,
        };
        self.at = self.at.checked_add(len).filter(|end| *end <= self.bytes.len())?;
        Some(())
    }
}

/// Where the parts of a message lie in its frame.
#[derive(Default)]
struct MessageParts {
    to: Range<usize>,
    from: Range<usize>,
    body: Range<usize>,
    wire: WireNumbers,
}

impl MessageParts {
    #[inline]
    fn read(frame: &[u8], range: Range<usize>) -> Option<Self> {
        let mut parts = Self::default();
        let mut cursor = Cursor {
            bytes: frame.get(..range.end)?,
            at: range.start,
        };
        while !cursor.is_at_end() {
            match cursor.key()? {
                (1, LEN) => parts.to = cursor.len_prefixed()?,
                (2, LEN) => parts.from = cursor.len_prefixed()?,
                (3, LEN) => parts.body = cursor.len_prefixed()?,
                (4, VARINT) => parts.wire.id = cursor.varint()?,
                (5, VARINT) => parts.wire.floor_distance = cursor.varint()?,
                (6, VARINT) => parts.wire.after_distance = cursor.varint()?,
                (7, VARINT) => parts.wire.origin = cursor.u32()?,
                (8, VARINT) => parts.wire.owner = cursor.u32()?,
                (9, VARINT) => parts.wire.hops = cursor.u32()?,
                (10, VARINT) => parts.wire.request = cursor.varint()? != 0,
                (11, VARINT) => parts.wire.ttl_ms = cursor.u32()?,
                (1..=11, _) => return None,
                (_, wire_type) => cursor.skip(wire_type)?,
            }
        }
        Some(parts)
    }

    /// Makes the message of its frame's bytes, which come back when they need a closer look.
    #[inline]
    fn assemble(self, frame: Bytes) -> Result<Message, Bytes> {
        let (Some(to_len), Some(from_len)) = (
            address_len(&frame[self.to.clone()]),
            address_len(&frame[self.from.clone()]),
        ) else {
            return Err(frame);
        };
        let adjacent = self.to.end <= self.from.start && self.from.start - self.to.end <= NAMES_GAP_MAX;
        if !adjacent {
            return Err(frame);
        }
        // Checked on a message without bytes, because the frame's are taken only when nothing can fail any more.
        let mut message = Message::from_parts(Bytes::new(), to_len, from_len, Bytes::new());
        if message_numbers(&mut message, &self.wire, "message").is_err() {
            return Err(frame);
        }
        let body = if self.body.is_empty() {
            Bytes::new()
        } else {
            frame.slice(self.body)
        };
        let mut names = frame;
        names.truncate(self.from.end);
        bytes::Buf::advance(&mut names, self.to.start);
        message.set_bytes(names, body);
        Ok(message)
    }
}

/// The length of an address, if the bytes are one.
#[inline]
fn address_len(bytes: &[u8]) -> Option<u8> {
    let text = core::str::from_utf8(bytes).ok()?;
    Address::check(text).ok()?;
    u8::try_from(text.len()).ok()
}

fn outcomes(frame: &[u8], range: Range<usize>) -> Option<Outcomes> {
    let mut outcomes = Outcomes::default();
    let mut cursor = Cursor {
        bytes: frame.get(..range.end)?,
        at: range.start,
    };
    while !cursor.is_at_end() {
        match cursor.key()? {
            (1, VARINT) => outcomes.origin = cursor.u32()?,
            (2, VARINT) => outcomes.delivered.push(cursor.varint()?),
            (2, LEN) => {
                let packed = cursor.len_prefixed()?;
                let mut packed = Cursor {
                    bytes: frame.get(..packed.end)?,
                    at: packed.start,
                };
                while !packed.is_at_end() {
                    outcomes.delivered.push(packed.varint()?);
                }
            }
            (3, LEN) => {
                let range = cursor.len_prefixed()?;
                outcomes.failed.push(failed(frame, range)?);
            }
            (1..=3, _) => return None,
            (_, wire_type) => cursor.skip(wire_type)?,
        }
    }
    check_alias::<DecodeError>("outcomes", "origin", outcomes.origin, 0).ok()?;
    Some(outcomes)
}

fn failed(frame: &[u8], range: Range<usize>) -> Option<Failed> {
    let (mut id, mut outcome, mut to, mut count, mut out_of_order) = (0, 0, &[][..], 0, false);
    let mut cursor = Cursor {
        bytes: frame.get(..range.end)?,
        at: range.start,
    };
    while !cursor.is_at_end() {
        match cursor.key()? {
            (1, VARINT) => id = cursor.varint()?,
            (2, VARINT) => outcome = i32::try_from(cursor.varint()?).ok()?,
            (3, LEN) => to = frame.get(cursor.len_prefixed()?)?,
            (4, VARINT) => count = cursor.u32()?,
            (5, VARINT) => out_of_order = cursor.varint()? != 0,
            (1..=5, _) => return None,
            (_, wire_type) => cursor.skip(wire_type)?,
        }
    }
    Some(Failed {
        id,
        outcome: outcome_from_gen(outcome),
        to: Address::from_utf8(to).ok()?,
        count: failed_count(id, count),
        out_of_order,
    })
}
