//! Bytes to frames.
//!
//! The frames that carry messages and their outcomes are read in place by hand, when they look as an encoder writes
//! them. Whatever looks otherwise (a field twice, a group, an error) goes through the generated types, so that there is
//! one authority on what is valid and what it means: the quick way either gives the same frame or steps aside.

use core::ops::Range;

use bytes::{Buf as _, Bytes};
use prost::Message as _;
use waypost_types::{ADDRESS_BYTES_MAX, Address};

use crate::convert::{WireNumbers, failed_count, frame_from_gen, message_numbers, outcome_from_gen};
use crate::encode::tag;
use crate::error::{Refusal as _, check_alias, check_outcomes};
use crate::frame::Numbers;
use crate::{
    DecodeError, Failed, Frame, Message, NAMES_MAX, OUTCOMES_ENTRIES_MAX, Outcomes, Protobuf, r#gen,
};

// Wire types.
const VARINT: u32 = 0;
const FIXED_64: u32 = 1;
const LEN: u32 = 2;
const GROUP: u32 = 3;
const GROUP_END: u32 = 4;
const FIXED_32: u32 = 5;

// Keys of `Frame`: a field's number, and its wire type in the lowest three bits. Those of the messages inside it are
// written out where they are matched.
pub(crate) const MESSAGE: u32 = (tag::MESSAGE as u32) << 3 | LEN;
const BOUNCE: u32 = (tag::BOUNCE as u32) << 3 | LEN;
const OUTCOMES: u32 = (tag::OUTCOMES as u32) << 3 | LEN;

/// Addresses that lie this close together are kept as one slice, with what lies between them.
const NAMES_GAP_MAX: usize = 8;

/// Reads one frame, without its length.
///
/// Bodies are slices of `frame`, and so are a message's addresses: nothing is copied. A kind that this version does not
/// know is [`Frame::Unknown`], and unknown fields are skipped. The caller has bounded the frame's length; what is
/// allocated is bounded by it, and for frames of many small entries by the bound of these
/// ([`BATCH_ENTRIES_MAX`](crate::BATCH_ENTRIES_MAX) and its like), which is looked at before they are made.
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
    check_entries(&frame)?;
    let frame = r#gen::Frame::decode(frame).map_err(|e| DecodeError::Malformed(Protobuf::new(e)))?;
    frame_from_gen(frame)
}

/// Refuses what has more entries than any frame may have, before they are made: one of two bytes takes many times that as a
/// value. What is wrong otherwise is left to the generated types, which read no further than this does.
fn check_entries(frame: &[u8]) -> Result<(), DecodeError> {
    let mut entries = 0;
    let mut cursor = Cursor { bytes: frame, at: 0 };
    while let Some((field, range)) = cursor.field() {
        let name = match field {
            5 => "outcomes",
            15 => "claim",
            16 => "claimed",
            17 => "release",
            18 => "released",
            19 => "announce",
            24 => "broadcast_done",
            _ => continue,
        };
        let mut inner = Cursor {
            bytes: frame.get(..range.end).unwrap_or_default(),
            at: range.start,
        };
        while inner.field().is_some() {
            entries += 1;
            if entries > ENTRIES_MAX {
                return Err(DecodeError::batch(name, entries, ENTRIES_MAX));
            }
        }
    }
    Ok(())
}

/// More than the entries of any frame, and its other fields.
const ENTRIES_MAX: usize = OUTCOMES_ENTRIES_MAX + 16;
const _: () = assert!(OUTCOMES_ENTRIES_MAX >= NAMES_MAX as usize);

/// The frame, or its bytes when they need a closer look.
#[inline]
pub(crate) fn decode_quickly(frame: Bytes) -> Result<Frame, Bytes> {
    let mut cursor = Cursor { bytes: &frame, at: 0 };
    let (Some(key), Some(range)) = (cursor.u32(), cursor.len_prefixed()) else {
        return Err(frame);
    };
    if range.end != frame.len() {
        return Err(frame);
    }
    match key {
        MESSAGE | BOUNCE => {
            let Some(parts) = MessageParts::read(&frame, range.start) else {
                return Err(frame);
            };
            let Some((to_len, from_len)) = parts.check_names(&frame) else {
                return Err(frame);
            };
            let Ok(numbers) = message_numbers(&parts.wire, "message") else {
                return Err(frame);
            };
            let body = if parts.body.is_empty() {
                Bytes::new()
            } else {
                frame.slice(parts.body)
            };
            let mut names = frame;
            names.truncate(parts.from.end);
            names.advance(parts.to.start);
            let message = Message::from_parts(names, to_len, from_len, body, numbers);
            Ok(if key == MESSAGE {
                Frame::Message(message)
            } else {
                Frame::Bounce(message)
            })
        }
        OUTCOMES => match outcomes(&frame, range) {
            Some(outcomes) => Ok(Frame::Outcomes(outcomes)),
            None => Err(frame),
        },
        _ => Err(frame),
    }
}

/// A place in a frame. Every method gives `None` for what is wrong or needs a closer look.
pub(crate) struct Cursor<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
}

impl Cursor<'_> {
    #[inline]
    const fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    #[inline(always)]
    fn varint(&mut self) -> Option<u64> {
        let first = *self.bytes.get(self.at)?;
        self.at += 1;
        if first < 0x80 {
            return Some(first.into());
        }
        self.varint_after((first & 0x7f).into(), 7)
    }

    /// The rest of one whose first bytes hold `value`, in as many bits.
    #[inline(never)]
    pub(crate) fn varint_after(&mut self, mut value: u64, bits: u32) -> Option<u64> {
        for shift in (bits..63).step_by(7) {
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

    #[inline(always)]
    fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    #[inline(always)]
    fn fixed32(&mut self) -> Option<u32> {
        let bytes = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += 4;
        Some(u32::from_le_bytes(*bytes))
    }

    /// Where the field that begins here lies; the place is then behind it.
    #[inline(always)]
    fn len_prefixed(&mut self) -> Option<Range<usize>> {
        let len = usize::try_from(self.varint()?).ok()?;
        let start = self.at;
        let end = start.checked_add(len).filter(|end| *end <= self.bytes.len())?;
        self.at = end;
        Some(start..end)
    }

    /// The number of the field here, and where its value lies if it has a length; the place is then behind it. What is in a
    /// group counts as what is outside it.
    fn field(&mut self) -> Option<(u32, Range<usize>)> {
        let key = self.u32()?;
        let range = match key & 7 {
            LEN => self.len_prefixed()?,
            VARINT => self.varint().map(|_| 0..0)?,
            FIXED_64 | FIXED_32 => {
                let len = if key & 7 == FIXED_64 { 8 } else { 4 };
                self.at = self.at.checked_add(len).filter(|end| *end <= self.bytes.len())?;
                0..0
            }
            GROUP | GROUP_END => 0..0,
            _ => return None,
        };
        Some((key >> 3, range))
    }

    /// Passes over the field behind `key`, whose number must be above `known`: a known number with an unknown wire type
    /// needs a closer look.
    #[inline(never)]
    fn skip(&mut self, key: u32, known: u32) -> Option<()> {
        if key >> 3 <= known {
            return None;
        }
        let len = match key & 7 {
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
pub(crate) struct MessageParts {
    pub(crate) to: Range<usize>,
    pub(crate) from: Range<usize>,
    pub(crate) body: Range<usize>,
    pub(crate) wire: WireNumbers,
}

impl MessageParts {
    #[inline]
    fn read(frame: &[u8], at: usize) -> Option<Self> {
        let mut parts = Self::default();
        let mut cursor = Cursor { bytes: frame, at };
        while !cursor.is_at_end() {
            match cursor.u32()? {
                0x0a => parts.to = cursor.len_prefixed()?,
                0x12 => parts.from = cursor.len_prefixed()?,
                0x1a => parts.body = cursor.len_prefixed()?,
                0x20 => parts.wire.id = cursor.varint()?,
                0x28 => parts.wire.floor_distance = cursor.varint()?,
                0x30 => parts.wire.after_distance = cursor.varint()?,
                0x38 => parts.wire.origin = cursor.u32()?,
                0x40 => parts.wire.owner = cursor.u32()?,
                0x48 => parts.wire.hops = cursor.u32()?,
                0x50 => parts.wire.request = cursor.varint()? != 0,
                0x58 => parts.wire.ttl_ms = cursor.u32()?,
                0x65 => parts.wire.claim = cursor.fixed32()?,
                key => cursor.skip(key, 12)?,
            }
        }
        Some(parts)
    }

    /// The parts of a message's frame, which is `frame` from `at` to its end; `None` for another frame and for one that
    /// needs a closer look.
    #[inline]
    pub(crate) fn of_message(frame: &[u8], at: usize) -> Option<(Self, u8, u8, Numbers)> {
        let mut cursor = Cursor { bytes: frame, at };
        if cursor.u32()? != MESSAGE {
            return None;
        }
        let range = cursor.len_prefixed()?;
        if range.end != frame.len() {
            return None;
        }
        let parts = Self::read(frame, range.start)?;
        let (to_len, from_len) = parts.check_names(frame)?;
        let numbers = message_numbers(&parts.wire, "message").ok()?;
        Some((parts, to_len, from_len, numbers))
    }

    /// The lengths of the two addresses, if they are addresses and lie close together.
    #[inline]
    fn check_names(&self, frame: &[u8]) -> Option<(u8, u8)> {
        let gap = self.from.start.checked_sub(self.to.end)?;
        if gap > NAMES_GAP_MAX {
            return None;
        }
        let to_len = address_len(frame.get(self.to.start..self.to.end)?)?;
        let from_len = address_len(frame.get(self.from.start..self.from.end)?)?;
        Some((to_len, from_len))
    }
}

/// The length of an address, if the bytes are one.
#[inline]
fn address_len(bytes: &[u8]) -> Option<u8> {
    // No longer than a `u8` can say; and most are ASCII, which is quicker to see than UTF-8.
    let len = u8::try_from(bytes.len()).ok().filter(|len| *len > 0)?;
    (bytes.is_ascii() || core::str::from_utf8(bytes).is_ok()).then_some(len)
}

const _: () = assert!(ADDRESS_BYTES_MAX == u8::MAX as usize);

fn outcomes(frame: &[u8], range: Range<usize>) -> Option<Outcomes> {
    let mut outcomes = Outcomes::default();
    let mut cursor = Cursor {
        bytes: frame.get(..range.end)?,
        at: range.start,
    };
    while !cursor.is_at_end() {
        match cursor.u32()? {
            0x08 => outcomes.origin = cursor.u32()?,
            _ if outcomes.delivered.len() + outcomes.failed.len() > OUTCOMES_ENTRIES_MAX => return None,
            0x10 => outcomes.delivered.push(cursor.varint()?),
            0x12 => {
                let packed = cursor.len_prefixed()?;
                let mut packed = Cursor {
                    bytes: frame.get(..packed.end)?,
                    at: packed.start,
                };
                while !packed.is_at_end() && outcomes.delivered.len() <= OUTCOMES_ENTRIES_MAX {
                    outcomes.delivered.push(packed.varint()?);
                }
            }
            0x1a => {
                let range = cursor.len_prefixed()?;
                outcomes.failed.push(failed(frame, range)?);
            }
            key => cursor.skip(key, 3)?,
        }
    }
    check_alias::<DecodeError>("outcomes", "origin", outcomes.origin, 0).ok()?;
    check_outcomes::<DecodeError>(outcomes.delivered.len() + outcomes.failed.len()).ok()?;
    Some(outcomes)
}

fn failed(frame: &[u8], range: Range<usize>) -> Option<Failed> {
    let (mut id, mut outcome, mut to, mut count, mut out_of_order) = (0, 0, &[][..], 0, false);
    let mut cursor = Cursor {
        bytes: frame.get(..range.end)?,
        at: range.start,
    };
    while !cursor.is_at_end() {
        match cursor.u32()? {
            0x08 => id = cursor.varint()?,
            0x10 => outcome = i32::try_from(cursor.varint()?).ok()?,
            0x1a => to = frame.get(cursor.len_prefixed()?)?,
            0x20 => count = cursor.u32()?,
            0x28 => out_of_order = cursor.varint()? != 0,
            key => cursor.skip(key, 5)?,
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
