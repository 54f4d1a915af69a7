//! Messages encoded one after another where they will be written from.
//!
//! On a busy link this is done for every message, so it is done with few instructions: names and numbers are put by words, and
//! the numbers, which are those of the message before it most of the time, are encoded once for many. What was written byte by
//! byte is not read again soon, since a core would have to wait for that.

use core::fmt;

use bytes::{Bytes, BytesMut};
use waypost_types::DEFAULT_HANDSHAKE_FRAME_BYTES_MAX;

use crate::convert::check_message;
use crate::encode::tag;
use crate::short::copy_short;
use crate::{EncodeError, LENGTH_BYTES_MAX, Numbers};

/// Largest frame that is encoded on a page, in bytes without its length: every link takes it.
pub const PAGE_FRAME_BYTES_MAX: usize = DEFAULT_HANDSHAKE_FRAME_BYTES_MAX;

/// What a frame needs on a page, at the most.
const FRAME_BYTES: usize = PAGE_FRAME_BYTES_MAX + LENGTH_BYTES_MAX;
/// The room that is looked for once for each.
const ROOM: usize = FRAME_BYTES + SHORT_TAIL;
/// Words are put also where only their first bytes are meant.
const WORD: usize = 8;
/// And so is the start of the numbers.
const SHORT_TAIL: usize = 16;
/// Addresses up to here are copied by words.
const SHORT_NAME: usize = 40;

/// Memory of a fixed size for encoded messages.
#[derive(Default)]
pub struct Page {
    /// All of it initialised; `..len` holds whole frames, each preceded by its length.
    bytes: BytesMut,
    len: usize,
    tail: Tail,
}

impl Page {
    /// One without memory, on which nothing has room.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one of so many bytes, in the memory of `spare` if that is large enough.
    #[must_use]
    pub fn in_memory_of(mut spare: BytesMut, bytes: usize) -> Self {
        // Part of it may have been split off before, and is free now.
        spare.reserve(bytes.saturating_sub(spare.len()));
        spare.resize(bytes, 0);
        Self {
            bytes: spare,
            len: 0,
            tail: Tail::default(),
        }
    }

    /// How many bytes of frames there are.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no frame.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes of memory it has.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Whether any message has room that a page takes at all.
    #[must_use]
    #[inline]
    pub fn has_room(&self) -> bool {
        self.bytes.len() - self.len >= ROOM
    }

    /// Takes the frames off the page; what room is left stays.
    #[must_use]
    pub fn take(&mut self) -> Bytes {
        let frames = self.bytes.split_to(self.len).freeze();
        self.len = 0;
        frames
    }

    /// Appends a [`Frame::Message`](crate::Frame::Message), preceded by its length. `to` and `from` must be addresses.
    ///
    /// # Errors
    /// [`EncodeError`] when the frame has more than [`PAGE_FRAME_BYTES_MAX`] bytes, there is [no room](Self::has_room), or the
    /// numbers break the contract; nothing has been appended then.
    #[inline]
    pub fn push_message(
        &mut self,
        [to, from]: [&str; 2],
        body: &[u8],
        numbers: &Numbers,
    ) -> Result<(), EncodeError> {
        let (to, from) = (to.as_bytes(), from.as_bytes());
        // All but the body, which is looked at below, is far less than a frame.
        let room = self.bytes.get_mut(self.len..);
        let (Some(page), ..=PAGE_FRAME_BYTES_MAX) =
            (room.and_then(|room| room.first_chunk_mut()), body.len())
        else {
            return Err(too_large(body.len()));
        };
        self.tail.be_of(numbers)?;
        let tail = &self.tail;
        let claim_bytes = if numbers.claim == 0 { 0 } else { 5 };
        let (body_word, body_bytes) = short_varint(body.len());
        let body_prefix = if body.is_empty() { 0 } else { 1 + body_bytes };
        let names_bytes = name_bytes(to) + name_bytes(from);
        let field_len = names_bytes + tail.len + claim_bytes + body_prefix + body.len();
        let (field_word, field_bytes) = short_varint(field_len);
        let frame_len = 1 + field_bytes + field_len;
        if frame_len > PAGE_FRAME_BYTES_MAX {
            return Err(too_large(frame_len));
        }
        let (frame_word, frame_bytes) = short_varint(frame_len);
        let mut pen: Pen<'_, ROOM> = Pen { page, at: 0 };
        let key = u64::from(tag::MESSAGE << 3 | LEN);
        let word = frame_word | (key | field_word << 8) << (8 * frame_bytes);
        pen.word(word, frame_bytes + 1 + field_bytes);
        pen.name(1, to);
        pen.name(2, from);
        pen.tail(tail);
        let claim = u64::from(numbers.claim) << 8 | u64::from(12_u8 << 3 | FIXED_32);
        pen.word(claim, claim_bytes);
        pen.word(u64::from(3_u8 << 3 | LEN) | body_word << 8, body_prefix);
        let end = pen.at + body.len();
        let place = pen.page.get_mut(pen.at..end);
        place.ok_or_else(|| too_large(frame_len))?.copy_from_slice(body);
        self.len += end;
        Ok(())
    }
}

/// The numbers of the last message but its claim, encoded.
#[derive(Debug)]
struct Tail {
    numbers: Numbers,
    bytes: [u8; TAIL_BYTES],
    len: usize,
}

/// All of them at their longest: three of up to ten bytes, three of up to five, two of one, each behind its key. And room for the
/// rest of the last word.
const TAIL_BYTES: usize = 3 * 11 + 3 * 6 + 2 * 2 + WORD;

/// Of a message without numbers.
impl Default for Tail {
    fn default() -> Self {
        Self {
            numbers: Numbers::default(),
            bytes: [0; TAIL_BYTES],
            len: 0,
        }
    }
}

impl Tail {
    #[inline(always)]
    fn be_of(&mut self, numbers: &Numbers) -> Result<(), EncodeError> {
        let last = Numbers {
            claim: numbers.claim,
            ..self.numbers
        };
        if *numbers == last {
            return Ok(());
        }
        self.encode(numbers)
    }

    #[inline(never)]
    fn encode(&mut self, numbers: &Numbers) -> Result<(), EncodeError> {
        let (floor_distance, after_distance) = check_message(numbers, "message")?;
        let mut pen = Pen {
            page: &mut self.bytes,
            at: 0,
        };
        pen.number(4, numbers.id);
        pen.number(5, floor_distance);
        pen.number(6, after_distance);
        pen.number(7, numbers.origin.into());
        pen.number(8, numbers.owner.into());
        pen.number(9, numbers.hops.into());
        pen.number(10, numbers.request.into());
        pen.number(11, numbers.ttl_ms.into());
        self.len = pen.at;
        self.numbers = *numbers;
        Ok(())
    }
}

/// What an address takes with its key and its length, in bytes.
#[inline(always)]
const fn name_bytes(name: &[u8]) -> usize {
    name.len() + if name.len() < 0x80 { 2 } else { 3 }
}

const VARINT: u8 = 0;
const LEN: u8 = 2;
const FIXED_32: u8 = 5;

#[cold]
const fn too_large(frame_len_bytes: usize) -> EncodeError {
    EncodeError::TooLarge {
        frame_len_bytes,
        max_bytes: PAGE_FRAME_BYTES_MAX,
    }
}

/// A number below 16,384 as a varint in a word, and how many bytes of the word it takes.
#[inline(always)]
const fn short_varint(value: usize) -> (u64, usize) {
    let value = value as u64;
    if value < 0x80 {
        (value, 1)
    } else {
        (value & 0x7f | 0x80 | (value >> 7) << 8, 2)
    }
}

/// Puts a field after a field. The caller has seen to the room.
struct Pen<'a, const BYTES: usize> {
    page: &'a mut [u8; BYTES],
    at: usize,
}

impl<const BYTES: usize> Pen<'_, BYTES> {
    /// The first `len` bytes of a word; what is put next lies over the others.
    #[inline(always)]
    fn word(&mut self, word: u64, len: usize) {
        let place = self
            .page
            .get_mut(self.at..)
            .and_then(|rest| rest.first_chunk_mut());
        if let Some(place) = place {
            *place = word.to_le_bytes();
        }
        self.at += len;
    }

    /// A field that is left out when it is 0.
    #[inline(always)]
    fn number(&mut self, tag: u8, value: u64) {
        if value == 0 {
            return;
        }
        let key = u64::from(tag << 3 | VARINT);
        if value < 0x80 {
            self.word(key | value << 8, 2);
        } else if value < 0x4000 {
            self.word(key | (value & 0x7f | 0x80) << 8 | (value >> 7) << 16, 3);
        } else {
            self.long_number(key, value);
        }
    }

    #[inline(never)]
    fn long_number(&mut self, key: u64, mut value: u64) {
        self.word(key, 1);
        while value >= 0x80 {
            self.word(value & 0x7f | 0x80, 1);
            value >>= 7;
        }
        self.word(value, 1);
    }

    #[inline(always)]
    fn len_prefix(&mut self, tag: u8, len: usize) {
        let (word, bytes) = short_varint(len);
        self.word(u64::from(tag << 3 | LEN) | word << 8, 1 + bytes);
    }

    /// Numbers that are encoded already.
    #[inline(always)]
    fn tail(&mut self, tail: &Tail) {
        let (bytes, len) = (&tail.bytes, tail.len);
        let rest = self.page.get_mut(self.at..).unwrap_or_default();
        if len <= SHORT_TAIL {
            if let Some((place, bytes)) = rest.first_chunk_mut::<SHORT_TAIL>().zip(bytes.first_chunk()) {
                *place = *bytes;
            }
        } else if let Some((place, bytes)) = rest.get_mut(..len).zip(bytes.get(..len)) {
            place.copy_from_slice(bytes);
        }
        self.at += len;
    }

    #[inline(always)]
    fn name(&mut self, tag: u8, name: &[u8]) {
        self.len_prefix(tag, name.len());
        let end = self.at + name.len();
        if let Some(place) = self.page.get_mut(self.at..end) {
            if name.len() <= SHORT_NAME {
                copy_short(place, name);
            } else {
                place.copy_from_slice(name);
            }
        }
        self.at = end;
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("len", &self.len)
            .field("capacity", &self.bytes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode_message;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), 1_u64..200, 16_000_u64..17_000, 1 << 40..u64::MAX]
    }

    proptest! {
        #[test]
        fn a_page_holds_the_same_bytes_as_any_buffer(
            to in "[a-zé]{1,120}",
            from in "[a-z]{1,120}",
            body in proptest::collection::vec(any::<u8>(), 0..5000),
            cut in 0_usize..5000,
            (id, floor, after, small) in (number(), number(), number(), any::<[u16; 4]>()),
            (claim, request, few) in (any::<u32>(), any::<bool>(), any::<bool>()),
        ) {
            let body = &body[..body.len().min(if few { cut % 64 } else { cut })];
            let numbers = Numbers {
                id,
                floor: floor.min(id),
                after: if id == 0 { after } else { after % id },
                origin: small[0].into(),
                owner: u32::from(small[1]) * u32::from(small[1] % 2),
                hops: (small[2] % 9) as u8,
                request,
                ttl_ms: u32::from(small[3]) * u32::from(small[3] % 3),
                claim: claim * (claim % 2),
            };
            let mut page = Page::in_memory_of(BytesMut::new(), 16 << 10);
            let mut expected = BytesMut::new();
            for _ in 0..2 {
                let result = page.push_message([&to, &from], body, &numbers);
                let other = encode_message([&to, &from], body, &numbers, &mut expected, PAGE_FRAME_BYTES_MAX);
                prop_assert_eq!(result.is_ok(), other.is_ok());
            }
            prop_assert_eq!(page.take(), expected);
        }
    }

    #[test]
    fn a_page_without_room_refuses_and_stays_as_it_was() {
        let mut page = Page::new();
        assert!(!page.has_room());
        let push = |page: &mut Page| page.push_message(["to", "from"], b"body", &Numbers::default());
        assert!(push(&mut page).is_err() && page.is_empty());
        let mut page = Page::in_memory_of(BytesMut::new(), 8 << 10);
        while page.has_room() {
            push(&mut page).unwrap();
        }
        let len = page.len();
        assert!(push(&mut page).is_err());
        assert_eq!(page.len(), len);
        let frames = page.take();
        assert_eq!(frames.len(), len);
        assert_eq!((page.len(), page.capacity()), (0, (8 << 10) - len));
    }

    #[test]
    fn a_page_is_made_again_in_the_same_memory() {
        let mut page = Page::in_memory_of(BytesMut::new(), 8 << 10);
        page.push_message(["to", "from"], b"body", &Numbers::default())
            .unwrap();
        let first = page.take();
        let place = first.as_ptr();
        page.push_message(["to", "from"], b"body", &Numbers::default())
            .unwrap();
        drop((page.take(), page));
        let spare = first.try_into_mut().unwrap();
        let page = Page::in_memory_of(spare, 8 << 10);
        assert_eq!(page.bytes.as_ptr(), place);
        assert_eq!((page.len(), page.capacity()), (0, 8 << 10));
    }
}
