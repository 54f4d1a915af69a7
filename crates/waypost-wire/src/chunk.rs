//! Frames that were read together, looked over once and in place.
//!
//! Most of what a busy link brings is messages. A [`Chunk`] finds where each of them lies without making a
//! [`Message`] of it: whoever passes it on copies it from there, and whoever keeps many of them keeps the chunk once, as
//! a [`Batch`], instead of counting a reference for each.

use core::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::decode::MessageParts;
use crate::framing::{Front, front};
use crate::{DecodeError, Delivery, EncodeError, Frame, Message, Numbers, WireError, decode, encode_message};

/// Where one message's parts lie in a chunk.
#[derive(Debug, Clone, Copy)]
struct Slot {
    to: u32,
    from: u32,
    body: u32,
    body_len: u32,
    to_len: u8,
    from_len: u8,
}

/// Where a message lies in a chunk, and its numbers.
#[derive(Debug, Clone, Copy)]
struct MessageAt {
    slot: Slot,
    numbers: Numbers,
}

/// A message in a [`Chunk`], looked over: its addresses and numbers are valid.
#[derive(Debug, Clone, Copy)]
pub struct MessageRef<'a> {
    bytes: &'a Bytes,
    at: &'a MessageAt,
}

impl<'a> MessageRef<'a> {
    /// The client that it is for.
    #[must_use]
    #[inline]
    pub fn to(&self) -> &'a str {
        self.text(self.at.slot.to, self.at.slot.to_len)
    }

    /// The client that sent it.
    #[must_use]
    pub fn from(&self) -> &'a str {
        self.text(self.at.slot.from, self.at.slot.from_len)
    }

    /// All of it but the addresses and the body.
    #[must_use]
    #[inline]
    pub const fn numbers(&self) -> Numbers {
        self.at.numbers
    }

    /// What it counts against a queue's bound, in bytes; the same as [`Message::cost`].
    #[must_use]
    pub const fn cost(&self) -> usize {
        self.at.slot.cost()
    }

    #[inline]
    fn text(&self, start: u32, len: u8) -> &'a str {
        let bytes = self.bytes.get(range(start, len.into())).unwrap_or_default();
        debug_assert!(
            core::str::from_utf8(bytes).is_ok(),
            "checked when the chunk was filled"
        );
        #[expect(
            unsafe_code,
            reason = "looked at several times a message on the hot path, and checked once when the chunk was filled"
        )]
        // SAFETY: only `Chunk::front` and `Chunk::items` make one of these, for a place in the bytes of the same chunk, where
        // `message_at` has checked that the address is UTF-8. Both are borrowed from the chunk, so that it cannot have been
        // filled anew.
        unsafe {
            core::str::from_utf8_unchecked(bytes)
        }
    }

    /// Appends it with other numbers to `out`, copied from here. The rest is as with [`encode_message`].
    ///
    /// # Errors
    /// [`EncodeError`].
    #[inline]
    pub fn forward(
        &self,
        numbers: &Numbers,
        out: &mut BytesMut,
        max_bytes: usize,
    ) -> Result<(), EncodeError> {
        let slot = &self.at.slot;
        let body = self
            .bytes
            .get(range(slot.body, slot.body_len))
            .unwrap_or_default();
        encode_message([self.to(), self.from()], body, numbers, out, max_bytes)
    }
}

impl Slot {
    const fn cost(&self) -> usize {
        self.body_len as usize + self.to_len as usize + self.from_len as usize + 48
    }

    fn parts(&self, bytes: &Bytes) -> (Bytes, Bytes) {
        let body = if self.body_len == 0 {
            Bytes::new()
        } else {
            bytes.slice(range(self.body, self.body_len))
        };
        let names = self.to as usize..self.from as usize + usize::from(self.from_len);
        (bytes.slice(names), body)
    }

    fn message(&self, bytes: &Bytes, numbers: Numbers) -> Message {
        let (names, body) = self.parts(bytes);
        Message::from_parts(names, self.to_len, self.from_len, body, numbers)
    }
}

const fn range(start: u32, len: u32) -> Range<usize> {
    start as usize..start as usize + len as usize
}

#[derive(Debug)]
enum Place {
    Message(MessageAt),
    Other(Range<u32>),
}

/// One frame of a [`Chunk`].
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// A message.
    Message(MessageRef<'a>),
    /// Another frame, or a message that needs a closer look.
    Other(FrameRef<'a>),
}

/// A frame in a [`Chunk`] that has not been looked at.
#[derive(Debug, Clone, Copy)]
pub struct FrameRef<'a> {
    bytes: &'a Bytes,
    at: &'a Range<u32>,
}

impl Item<'_> {
    /// The frame, with slices of the chunk in it.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not a frame or break the contract: close the link.
    pub fn decode(&self) -> Result<Frame, DecodeError> {
        match self {
            Self::Message(MessageRef { bytes, at }) => Ok(Frame::Message(at.slot.message(bytes, at.numbers))),
            Self::Other(FrameRef { bytes, at }) => decode(bytes.slice(at.start as usize..at.end as usize)),
        }
    }
}

/// Most frames of one chunk: what is done with a chunk is done in one go.
pub const CHUNK_FRAMES_MAX: usize = 1024;

/// Whole frames that were read together.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Bytes,
    items: Vec<Place>,
    /// How many of them have been passed over.
    passed: usize,
}

impl Chunk {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes whole frames off the front of `buf`, at most [`CHUNK_FRAMES_MAX`] of them, instead of those that were here. A
    /// frame of more than `max_bytes` bytes, without its length, is an error.
    ///
    /// # Errors
    /// [`WireError`] when the stream has lost its place; the frames before that are here.
    pub fn refill(&mut self, buf: &mut BytesMut, max_bytes: usize) -> Result<(), WireError> {
        self.items.clear();
        self.passed = 0;
        let mut at = 0;
        let result = loop {
            if self.items.len() == CHUNK_FRAMES_MAX {
                break Ok(());
            }
            let rest = buf.get(at..).unwrap_or_default();
            let (start, end) = match front(rest, max_bytes) {
                Ok(Front::Frame {
                    prefix_len,
                    frame_len,
                }) if rest.len() - prefix_len >= frame_len => (at + prefix_len, at + prefix_len + frame_len),
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
            };
            // A chunk of more than 4 GiB is two.
            let (Ok(start_u32), Ok(end_u32)) = (u32::try_from(start), u32::try_from(end)) else {
                break Ok(());
            };
            let place = match buf.get(..end).and_then(|frame| message_at(frame, start)) {
                Some(message) => Place::Message(message),
                None => Place::Other(start_u32..end_u32),
            };
            self.items.push(place);
            at = end;
        };
        self.bytes = match at {
            0 => Bytes::new(),
            at => buf.split_to(at).freeze(),
        };
        result
    }

    /// The next frame.
    #[must_use]
    #[inline]
    pub fn front(&self) -> Option<Item<'_>> {
        self.items.get(self.passed).map(|place| self.item(place))
    }

    /// All frames that are still here, the next one first.
    pub fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let rest = self.items.get(self.passed..).unwrap_or_default();
        rest.iter().map(|place| self.item(place))
    }

    #[inline]
    const fn item<'a>(&'a self, place: &'a Place) -> Item<'a> {
        let bytes = &self.bytes;
        match place {
            Place::Message(at) => Item::Message(MessageRef { bytes, at }),
            Place::Other(at) => Item::Other(FrameRef { bytes, at }),
        }
    }

    /// Passes over the next frame.
    #[inline]
    pub fn advance(&mut self) {
        self.passed += 1;
    }

    /// How many frames are still here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len().saturating_sub(self.passed)
    }

    /// Whether all frames have been passed over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets go of the bytes.
    pub fn clear(&mut self) {
        self.items.clear();
        self.passed = 0;
        self.bytes = Bytes::new();
    }

    /// An empty batch for messages of this chunk.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch {
            bytes: self.bytes.clone(),
            slots: Vec::new(),
            given: 0,
            cost: 0,
        }
    }
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the end of the frame fits into 32 bits"
)]
fn message_at(frame: &[u8], start: usize) -> Option<MessageAt> {
    let (parts, to_len, from_len, numbers) = MessageParts::of_message(frame, start)?;
    let slot = Slot {
        to: parts.to.start as u32,
        from: parts.from.start as u32,
        body: parts.body.start as u32,
        body_len: parts.body.len() as u32,
        to_len,
        from_len,
    };
    Some(MessageAt { slot, numbers })
}

/// Messages of one [`Chunk`], in order, which share its memory. Their numbers are not kept.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Bytes,
    slots: Vec<Slot>,
    /// How many of them have been given.
    given: usize,
    cost: usize,
}

impl Batch {
    /// Appends a message of the chunk that this batch was made by.
    ///
    /// # Panics
    /// When it is of another chunk.
    #[inline]
    pub fn push(&mut self, message: MessageRef<'_>) {
        assert_eq!(
            (self.bytes.as_ptr(), self.bytes.len()),
            (message.bytes.as_ptr(), message.bytes.len()),
            "a batch shares the memory of one chunk"
        );
        self.slots.push(message.at.slot);
        self.cost += message.cost();
    }

    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.given
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the messages count against a queue's bound, in bytes.
    #[must_use]
    pub const fn cost(&self) -> usize {
        self.cost
    }

    /// How many bytes of memory the batch keeps alive at least: those of its chunk.
    #[must_use]
    pub fn chunk_len(&self) -> usize {
        self.bytes.len()
    }

    /// Where the chunk begins in memory, as a number, and where it ends.
    #[must_use]
    pub fn position(&self) -> Range<usize> {
        let start = self.bytes.as_ptr().addr();
        start..start + self.bytes.len()
    }

    /// The same messages in memory of their own, so that they no longer keep their chunk alive.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "no more bytes than in the chunk")]
    pub fn detached(self) -> Self {
        let mut own = BytesMut::with_capacity(self.cost);
        let mut slots = Vec::with_capacity(self.len());
        for slot in self.slots.into_iter().skip(self.given) {
            let mut copy = |start, len| {
                let at = own.len() as u32;
                own.extend_from_slice(self.bytes.get(range(start, len)).unwrap_or_default());
                at
            };
            let to = copy(slot.to, slot.to_len.into());
            let from = copy(slot.from, slot.from_len.into());
            let body = copy(slot.body, slot.body_len);
            slots.push(Slot {
                to,
                from,
                body,
                ..slot
            });
        }
        Self {
            bytes: own.freeze(),
            slots,
            given: 0,
            cost: self.cost,
        }
    }
}

impl Iterator for Batch {
    type Item = Delivery;

    #[inline]
    fn next(&mut self) -> Option<Delivery> {
        let slot = self.slots.get(self.given)?;
        self.given += 1;
        self.cost -= slot.cost();
        let (names, body) = slot.parts(&self.bytes);
        Some(Delivery::from_parts(names, slot.to_len, slot.from_len, body))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

/// Two batches are equal when their messages are.
impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        Iterator::eq(self.clone(), other.clone())
    }
}

impl Eq for Batch {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode;

    fn message(to: &str, body: &'static [u8], id: u64) -> Frame {
        let mut message = Message::new("from", to, Bytes::from_static(body)).unwrap();
        message.id = id;
        message.floor = id;
        message.ttl_ms = 5000;
        Frame::Message(message)
    }

    fn stream() -> (Vec<Frame>, BytesMut) {
        let frames = vec![
            message("a", b"one", 0),
            Frame::Ping { token: 7 },
            message("b", b"", 9),
            Frame::Drain,
            message("c", &[7; 300], 10),
        ];
        let mut out = BytesMut::new();
        for frame in &frames {
            encode(frame, &mut out, 1 << 20).unwrap();
        }
        (frames, out)
    }

    #[test]
    fn every_frame_is_found_and_is_what_decode_gives_and_a_part_of_one_stays() {
        let (frames, mut buf) = stream();
        let part = buf.clone().split_to(5);
        buf.extend_from_slice(&part);
        let mut chunk = Chunk::new();
        chunk.refill(&mut buf, 1 << 20).unwrap();
        assert_eq!(buf, part);
        let found: Vec<Frame> = chunk.items().map(|item| item.decode().unwrap()).collect();
        assert_eq!(found, frames);
        let messages = chunk.items().filter(|item| matches!(item, Item::Message(_)));
        assert_eq!(messages.count(), 3);
    }

    #[test]
    fn frames_before_a_bad_length_are_there() {
        let (frames, mut buf) = stream();
        buf.extend_from_slice(&[0xff; 8]);
        let mut chunk = Chunk::new();
        assert!(matches!(
            chunk.refill(&mut buf, 1 << 20),
            Err(WireError::Length { .. })
        ));
        assert_eq!(chunk.len(), frames.len());
    }

    #[test]
    fn a_message_is_passed_on_with_other_numbers_and_nothing_else_changed() {
        let (_, mut buf) = stream();
        let mut chunk = Chunk::new();
        chunk.refill(&mut buf, 1 << 20).unwrap();
        let Some(Item::Message(at)) = chunk.front() else {
            panic!("a message is first");
        };
        let numbers = Numbers {
            origin: 3,
            owner: 300,
            hops: 1,
            ..at.numbers()
        };
        let mut out = BytesMut::new();
        at.forward(&numbers, &mut out, 1 << 20).unwrap();
        let mut sent = Chunk::new();
        sent.refill(&mut out, 1 << 20).unwrap();
        let Some(Ok(Frame::Message(message))) = sent.front().map(|item| item.decode()) else {
            panic!("it is a message");
        };
        assert_eq!(
            (message.to(), message.from(), &*message.body),
            ("a", "from", &b"one"[..])
        );
        assert_eq!(message.numbers(), numbers);
        assert!(at.forward(&numbers, &mut out, 10).is_err());
        assert!(out.is_empty());
    }

    #[test]
    fn a_batch_gives_its_messages_in_order_also_when_it_has_memory_of_its_own() {
        let (frames, mut buf) = stream();
        let mut chunk = Chunk::new();
        chunk.refill(&mut buf, 1 << 20).unwrap();
        let mut batch = chunk.batch();
        for item in chunk.items() {
            if let Item::Message(at) = item {
                batch.push(at);
            }
        }
        let expected: Vec<_> = frames
            .iter()
            .filter_map(|frame| match frame {
                Frame::Message(m) => Some((m.to().to_owned(), m.from().to_owned(), m.body.clone())),
                _ => None,
            })
            .collect();
        let cost: usize = expected
            .iter()
            .map(|(to, from, body)| to.len() + from.len() + body.len() + 48)
            .sum();
        assert_eq!(batch.cost(), cost);
        let own = batch.clone().detached();
        assert!(own.chunk_len() < batch.chunk_len());
        for batch in [batch, own] {
            assert_eq!(batch.len(), 3);
            let got: Vec<_> = batch
                .map(|m| (m.to().to_owned(), m.from().to_owned(), m.body.clone()))
                .collect();
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_flood_of_tiny_frames_comes_in_chunks_of_a_bounded_number() {
        let mut buf = BytesMut::zeroed(3 * CHUNK_FRAMES_MAX + 1);
        let (mut chunk, mut counts) = (Chunk::new(), Vec::new());
        while !buf.is_empty() {
            chunk.refill(&mut buf, 1 << 20).unwrap();
            counts.push(chunk.len());
        }
        assert_eq!(counts, [CHUNK_FRAMES_MAX, CHUNK_FRAMES_MAX, CHUNK_FRAMES_MAX, 1]);
    }
}
