//! The quick way to read a message: straight through, as an encoder of this crate writes it.
//!
//! Messages that come one after another between the same two servers have the same numbers most of the time, so these are
//! compared with those of the message before and read only when they differ. Whatever looks otherwise than an encoder writes it
//! is left to [`decode`](crate::decode()), which knows what is valid and what it means.

use core::ops::Range;

use crate::chunk::MessageAt;
use crate::decode::{Cursor, MESSAGE};
use crate::{NAMES_MAX, Numbers};

/// What no one-byte key is.
const NO_KEY: u8 = 0xff;

// Keys within a message.
const TO: u8 = 0x0a;
const FROM: u8 = 0x12;
const BODY: u8 = 0x1a;
const CLAIM: u8 = 0x65;

/// The numbers of the last message that was read, but for its claim, and the bytes that say so.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Alike {
    /// The bytes in a word, and which bits of the word they are. No message begins with no bits, as it has at least a time to live.
    word: u128,
    mask: u128,
    len: usize,
    numbers: Numbers,
}

/// As many bytes as the word has.
const WORD: usize = size_of::<u128>();

impl Alike {
    /// What is behind the numbers here, if they are the same.
    #[inline(always)]
    fn end_of_same(&self, frame: &[u8], at: usize) -> Option<usize> {
        let bytes = frame.get(at..).and_then(|rest| rest.first_chunk::<WORD>())?;
        let is_same = (u128::from_le_bytes(*bytes) ^ self.word) & self.mask == 0;
        (is_same && self.len > 0).then_some(at + self.len)
    }

    /// Reads other numbers.
    #[inline(never)]
    fn read(&mut self, frame: &[u8], at: usize) -> Option<usize> {
        let (numbers, end) = numbers_in_order(frame, at)?;
        self.numbers = numbers;
        self.len = 0;
        let len = end - at;
        // Those of messages that are acknowledged never come again.
        if numbers.id == 0
            && let Some(bytes) = frame.get(at..).and_then(|rest| rest.first_chunk::<WORD>())
            && let Some(mask @ 1..) = low_bytes(len)
        {
            self.len = len;
            self.mask = mask;
            self.word = u128::from_le_bytes(*bytes) & mask;
        }
        Some(end)
    }
}

/// The bits of so many bytes; `None` if there are not so many.
const fn low_bytes(len: usize) -> Option<u128> {
    match len {
        0..WORD => Some((1 << (8 * len)) - 1),
        WORD => Some(u128::MAX),
        _ => None,
    }
}

/// The numbers from here on but the claim, and where they end.
fn numbers_in_order(frame: &[u8], at: usize) -> Option<(Numbers, usize)> {
    let mut line = Line { bytes: frame, at };
    let mut numbers = Numbers::default();
    let mut number = |key| line.number_of(key);
    numbers.id = number(0x20)?;
    let floor_distance = number(0x28)?;
    let after_distance = number(0x30)?;
    numbers.origin = u32::try_from(number(0x38)?).ok()?;
    numbers.owner = u32::try_from(number(0x40)?).ok()?;
    numbers.hops = u8::try_from(number(0x48)?).ok()?;
    numbers.request = number(0x50)? != 0;
    numbers.ttl_ms = u32::try_from(number(0x58)?).ok()?;
    let id = numbers.id;
    numbers.floor = id.checked_sub(floor_distance)?;
    numbers.after = match after_distance {
        after if id == 0 || after == 0 => after,
        distance => id.checked_sub(distance).filter(|after| *after > 0)?,
    };
    (numbers.origin <= NAMES_MAX && numbers.owner <= NAMES_MAX).then_some((numbers, line.at))
}

/// A place in a frame.
struct Line<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Line<'_> {
    /// The byte here, or at the end one that is no key.
    #[inline(always)]
    fn key(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(NO_KEY)
    }

    /// The number behind `key`, 0 if it is not here.
    #[inline]
    fn number_of(&mut self, key: u8) -> Option<u64> {
        if self.key() != key {
            return Some(0);
        }
        self.at += 1;
        self.number()
    }

    #[inline(always)]
    fn number(&mut self) -> Option<u64> {
        let first = *self.bytes.get(self.at)?;
        self.at += 1;
        if first < 0x80 {
            return Some(first.into());
        }
        let second = *self.bytes.get(self.at)?;
        self.at += 1;
        let value = u64::from(first & 0x7f) | u64::from(second & 0x7f) << 7;
        if second < 0x80 {
            return Some(value);
        }
        let mut cursor = Cursor {
            bytes: self.bytes,
            at: self.at,
        };
        let number = cursor.varint_after(value, 14);
        self.at = cursor.at;
        number
    }
}

/// Where the bytes lie whose key and length, of one byte, are these.
#[inline(always)]
fn short(at: usize, [key, len]: [u8; 2], expected: u8) -> Option<Range<usize>> {
    let start = at + 2;
    (key == expected && matches!(len, 1..0x80)).then(|| start..start + usize::from(len))
}

/// Finds the parts of the message whose frame is `frame` from `at` to its end, which fits into 32 bits. False for another frame
/// and for one that needs a closer look.
#[inline]
pub(crate) fn message_in_order(frame: &[u8], at: usize, into: &mut MessageAt, alike: &mut Alike) -> bool {
    parts_in_order(frame, at, into, alike).is_some()
}

#[inline(always)]
fn parts_in_order(frame: &[u8], at: usize, into: &mut MessageAt, alike: &mut Alike) -> Option<()> {
    // The kind and the length of the message, and the key and the length of the first address.
    let &[kind, low, high, a, b, ..] = frame.get(at..)?.first_chunk::<5>()?;
    let (len, at, head) = if low < 0x80 {
        (usize::from(low), at + 2, [high, a])
    } else {
        (usize::from(low & 0x7f) | usize::from(high) << 7, at + 3, [a, b])
    };
    if u32::from(kind) != MESSAGE || (low >= 0x80 && high >= 0x80) || len != frame.len() - at {
        return None;
    }
    let to = short(at, head, TO)?;
    let from = short(to.end, *frame.get(to.end..)?.first_chunk()?, FROM)?;
    // What lies between them, a key and a length, is ASCII too.
    if !frame.get(to.start..from.end)?.is_ascii() {
        return None;
    }
    let end = match alike.end_of_same(frame, from.end) {
        Some(end) => end,
        None => alike.read(frame, from.end)?,
    };
    let mut line = Line {
        bytes: frame,
        at: end,
    };
    let mut claim = 0;
    if line.key() == CLAIM {
        claim = u32::from_le_bytes(*frame.get(line.at + 1..)?.first_chunk()?);
        line.at += 5;
    }
    let body = match line.key() {
        BODY => {
            line.at += 1;
            let len = line.number()?;
            (len == (frame.len() - line.at) as u64).then_some(line.at..frame.len())?
        }
        _ if line.at == frame.len() => 0..0,
        _ => return None,
    };
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
    }
    *numbers = Numbers {
        claim,
        ..alike.numbers
    };
    Some(())
}
