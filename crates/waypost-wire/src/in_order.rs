//! The quick way to read a message: straight through, as an encoder of this crate writes it.
//!
//! One line of comparisons, without a jump that depends on what is read: that costs more than all the rest. Whatever looks
//! otherwise is left to [`decode`](crate::decode()), which knows what is valid and what it means.

use core::ops::Range;

use crate::NAMES_MAX;
use crate::chunk::MessageAt;
use crate::decode::{Cursor, MESSAGE};

/// What no one-byte key is.
const NO_KEY: u8 = 0xff;

/// A place in a frame that looks as an encoder writes it, so far. What looks otherwise is noted and told at the end, which
/// is quicker than at each step.
struct Line<'a> {
    bytes: &'a [u8],
    at: usize,
    is_other: bool,
}

impl Line<'_> {
    /// The byte here, or at the end something that is neither a key nor the end of a number.
    #[inline(always)]
    fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(NO_KEY);
        self.at += 1;
        byte
    }

    /// Where bytes lie whose length takes one byte.
    #[inline(always)]
    fn short(&mut self, is_here: bool) -> Range<usize> {
        let len = self.byte();
        self.is_other |= !is_here || len >= 0x80;
        let start = self.at;
        self.at += usize::from(len);
        start..self.at
    }

    /// A number of one or two bytes, or any other by a longer way.
    #[inline(always)]
    fn number(&mut self) -> u64 {
        let first = self.byte();
        if first < 0x80 {
            return first.into();
        }
        let second = self.byte();
        let value = u64::from(first & 0x7f) | u64::from(second & 0x7f) << 7;
        if second < 0x80 {
            return value;
        }
        self.long_number(value)
    }

    #[inline(never)]
    fn long_number(&mut self, value: u64) -> u64 {
        let mut cursor = Cursor {
            bytes: self.bytes,
            at: self.at,
        };
        let number = cursor.varint_after(value, 14);
        self.at = cursor.at;
        self.is_other |= number.is_none();
        number.unwrap_or(0)
    }

    #[inline(always)]
    fn number_32(&mut self) -> u32 {
        let number = self.number();
        self.is_other |= number > u32::MAX.into();
        #[expect(clippy::cast_possible_truncation, reason = "it was looked at")]
        let number = number as u32;
        number
    }

    #[inline(always)]
    fn flag(&mut self) -> bool {
        self.number() != 0
    }

    #[inline(always)]
    fn fixed_32(&mut self) -> u32 {
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk());
        self.at += 4;
        self.is_other |= bytes.is_none();
        u32::from_le_bytes(bytes.copied().unwrap_or_default())
    }
}

/// Finds the parts of the message whose frame is `frame` from `at` to its end, which fits into 32 bits. False for another frame
/// and for one that needs a closer look.
#[inline]
pub(crate) fn message_in_order(frame: &[u8], at: usize, into: &mut MessageAt) -> bool {
    let mut line = Line {
        bytes: frame,
        at,
        is_other: false,
    };
    let is_message = u32::from(line.byte()) == MESSAGE;
    let len = line.number();
    line.is_other |= !is_message || len != frame.len().wrapping_sub(line.at) as u64;
    // Unlike the numbers, the two addresses are always there, and nearly always short.
    let is_to = line.byte() == 0x0a;
    let to = line.short(is_to);
    let is_from = line.byte() == 0x12;
    let from = line.short(is_from);
    // What lies between them, a key and a length, is ASCII too.
    let are_ascii = frame.get(to.start..from.end).is_some_and(<[u8]>::is_ascii);
    if line.is_other || to.is_empty() || from.is_empty() || !are_ascii {
        return false;
    }
    let mut key = line.byte();
    let (mut id, mut floor_distance, mut after_distance) = (0, 0, 0);
    let (mut origin, mut owner, mut hops, mut request, mut ttl_ms, mut claim) = (0, 0, 0, false, 0, 0);
    macro_rules! number {
        ($key:literal, $place:ident, $read:ident) => {
            if key == $key {
                $place = line.$read();
                key = line.byte();
            }
        };
    }
    number!(0x20, id, number);
    number!(0x28, floor_distance, number);
    number!(0x30, after_distance, number);
    number!(0x38, origin, number_32);
    number!(0x40, owner, number_32);
    number!(0x48, hops, number_32);
    number!(0x50, request, flag);
    number!(0x58, ttl_ms, number_32);
    number!(0x65, claim, fixed_32);
    let body = if key == 0x1a {
        let len = line.number();
        line.is_other |= len != frame.len().wrapping_sub(line.at) as u64;
        line.at..frame.len()
    } else {
        // One byte more than there is has been asked for.
        line.is_other |= line.at != frame.len() + 1;
        0..0
    };
    line.is_other |= origin > NAMES_MAX || owner > NAMES_MAX || hops > u8::MAX.into();
    line.is_other |= floor_distance > id || (id != 0 && after_distance >= id);
    if line.is_other {
        return false;
    }
    let MessageAt { slot, numbers } = into;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the end of the frame fits into 32 bits"
    )]
    {
        slot.to = to.start as u32;
        slot.from = from.start as u32;
        slot.body = body.start as u32;
        slot.body_len = body.len() as u32;
        slot.to_len = to.len() as u8;
        slot.from_len = from.len() as u8;
        numbers.hops = hops as u8;
    }
    numbers.id = id;
    numbers.floor = id - floor_distance;
    numbers.after = if id == 0 || after_distance == 0 {
        after_distance
    } else {
        id - after_distance
    };
    numbers.origin = origin;
    numbers.owner = owner;
    numbers.request = request;
    numbers.ttl_ms = ttl_ms;
    numbers.claim = claim;
    true
}
