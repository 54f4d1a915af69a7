//! Frames that were read together, looked over once and in place.
//!
//! Most of what a busy link brings is messages. A [`Chunk`] finds where each of them lies without making a
//! [`Message`] of it: whoever passes it on copies it from there, and whoever keeps many of them keeps the chunk once, as
//! a [`Batch`], instead of counting a reference for each. It looks a few frames ahead, so that what it has found of them is
//! still at hand when their turn comes.

use core::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::decode::MessageParts;
use crate::frame::Names;
use crate::framing::{Front, front};
use crate::in_order::{Alike, message_in_order};
use crate::{DecodeError, Delivery, EncodeError, Frame, Message, Numbers, Page, WireError, decode};

/// Where one message's parts lie in a chunk.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slot {
    pub(crate) to: u32,
    pub(crate) from: u32,
    pub(crate) body: u32,
    pub(crate) body_len: u32,
    pub(crate) to_len: u8,
    pub(crate) from_len: u8,
}

/// Where a message lies in a chunk, and its numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MessageAt {
    pub(crate) slot: Slot,
    pub(crate) numbers: Numbers,
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
        self.at.slot.to(self.bytes)
    }

    /// The client that sent it.
    #[must_use]
    pub fn from(&self) -> &'a str {
        self.at.slot.from(self.bytes)
    }

    /// All of it but the addresses and the body.
    #[must_use]
    #[inline]
    pub const fn numbers(&self) -> Numbers {
        self.at.numbers
    }

    /// The claim in these.
    #[must_use]
    #[inline]
    pub const fn claim(&self) -> u32 {
        self.at.numbers.claim
    }

    /// Whether it is best-effort, comes after no acked one, is of and for the servers with these numbers, has time left and has
    /// been passed on fewer than `hops_max` times.
    #[must_use]
    #[inline]
    pub const fn is_plain(&self, origin: u32, owner: u32, hops_max: u8) -> bool {
        let numbers = &self.at.numbers;
        (numbers.id | numbers.after) == 0
            && !numbers.request
            && numbers.origin == origin
            && numbers.owner == owner
            && numbers.ttl_ms != 0
            && numbers.hops < hops_max
    }

    /// What it counts against a queue's bound, in bytes; the same as [`Message::cost`].
    #[must_use]
    #[inline]
    pub const fn cost(&self) -> usize {
        self.at.slot.cost()
    }

    /// Appends it with other numbers to `page`, copied from here. The rest is as with [`Page::push_message`].
    ///
    /// # Errors
    /// [`EncodeError`].
    #[inline]
    pub fn forward(&self, numbers: &Numbers, page: &mut Page) -> Result<(), EncodeError> {
        let slot = &self.at.slot;
        let body = self
            .bytes
            .get(range(slot.body, slot.body_len))
            .unwrap_or_default();
        page.push_message([self.to(), self.from()], body, numbers)
    }
}

impl Slot {
    const fn cost(&self) -> usize {
        self.body_len as usize + self.to_len as usize + self.from_len as usize + 48
    }

    #[inline]
    fn to<'a>(&self, bytes: &'a Bytes) -> &'a str {
        address(bytes, self.to, self.to_len)
    }

    #[inline]
    fn from<'a>(&self, bytes: &'a Bytes) -> &'a str {
        address(bytes, self.from, self.from_len)
    }

    /// The bytes that hold the two addresses.
    #[inline]
    fn names(&self, bytes: &Bytes) -> Bytes {
        bytes.slice(self.to as usize..self.from as usize + usize::from(self.from_len))
    }

    #[inline]
    fn body(&self, bytes: &Bytes) -> Bytes {
        match self.body_len {
            0 => Bytes::new(),
            len => bytes.slice(range(self.body, len)),
        }
    }

    #[inline]
    fn delivery(&self, bytes: &Bytes) -> Delivery {
        let part = |start, len: u8| bytes.get(range(start, len.into())).unwrap_or_default();
        let names = Names::here(part(self.to, self.to_len), part(self.from, self.from_len))
            .unwrap_or_else(|| Names::Shared(self.names(bytes)));
        Delivery::from_parts(names, self.to_len, self.from_len, self.body(bytes))
    }

    fn message(&self, bytes: &Bytes, numbers: Numbers) -> Message {
        Message::from_parts(
            self.names(bytes),
            self.to_len,
            self.from_len,
            self.body(bytes),
            numbers,
        )
    }
}

/// An address of a message, which has been looked over.
#[inline]
fn address(bytes: &Bytes, start: u32, len: u8) -> &str {
    let bytes = bytes.get(range(start, len.into())).unwrap_or_default();
    debug_assert!(
        core::str::from_utf8(bytes).is_ok(),
        "checked when the chunk was filled"
    );
    #[expect(
        unsafe_code,
        reason = "looked at several times a message on the hot path, and checked once when the chunk was filled"
    )]
    // SAFETY: slots are made for the bytes of one chunk, by `look_over`, which has checked that the address is UTF-8. They are
    // found in that chunk, borrowed so that it cannot be filled anew, or in a batch, which has the same bytes: `Batch::push` sees
    // to that; or copies of the addresses, with slots of their own: `Batch::detached`.
    unsafe {
        core::str::from_utf8_unchecked(bytes)
    }
}

const fn range(start: u32, len: u32) -> Range<usize> {
    start as usize..start as usize + len as usize
}

/// Where a frame lies in a chunk.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    start: u32,
    end: u32,
    is_message: bool,
    /// Of one that is a message.
    message: MessageAt,
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
    at: &'a Place,
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

/// How many frames are looked over at once. A caller that looks something up for each can have so many look-ups under way
/// together, which is about as many as a core waits for at once.
pub const CHUNK_AHEAD: usize = 16;

/// Whole frames that were read together.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Bytes,
    /// The next frames, looked over, each in a place of its own: what is written a field at a time and then moved as a whole
    /// makes a core wait.
    ahead: [Place; CHUNK_AHEAD],
    /// How many these are, and how many of them have been passed over.
    looked_over: usize,
    passed: usize,
    /// Where the frames behind them begin, and how many these are.
    next_at: usize,
    behind: usize,
    /// The numbers that the next message is likely to have.
    alike: Alike,
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
        self.clear();
        let mut at = 0;
        let result = loop {
            if self.behind == CHUNK_FRAMES_MAX {
                break Ok(());
            }
            let rest = buf.get(at..).unwrap_or_default();
            let end = match front(rest, max_bytes) {
                Ok(Front::Frame {
                    prefix_len,
                    frame_len,
                }) if rest.len() - prefix_len >= frame_len => at + prefix_len + frame_len,
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
            };
            // A chunk of more than 4 GiB is two.
            if u32::try_from(end).is_err() {
                break Ok(());
            }
            self.behind += 1;
            at = end;
        };
        if at > 0 {
            self.bytes = buf.split_to(at).freeze();
        }
        self.look_ahead();
        result
    }

    /// Looks the next frames over, those before them having been passed over.
    fn look_ahead(&mut self) {
        let count = self.behind.min(CHUNK_AHEAD);
        for place in self.ahead.iter_mut().take(count) {
            place.look_over(&self.bytes, self.next_at, &mut self.alike);
            self.next_at = place.end as usize;
        }
        self.looked_over = count;
        self.passed = 0;
        self.behind -= count;
    }

    #[inline]
    fn known(&self) -> &[Place] {
        self.ahead.get(self.passed..self.looked_over).unwrap_or_default()
    }

    /// The next frame.
    #[must_use]
    #[inline]
    pub fn front(&self) -> Option<Item<'_>> {
        self.known().first().map(|place| self.item(place))
    }

    /// The next frames that have been looked over, at most [`CHUNK_AHEAD`]; at least one if there is any.
    #[inline]
    pub fn ahead(&self) -> impl Iterator<Item = Item<'_>> + Clone {
        self.known().iter().map(|place| self.item(place))
    }

    #[inline]
    const fn item<'a>(&'a self, place: &'a Place) -> Item<'a> {
        let bytes = &self.bytes;
        if place.is_message {
            let at = &place.message;
            Item::Message(MessageRef { bytes, at })
        } else {
            Item::Other(FrameRef { bytes, at: place })
        }
    }

    /// Passes over the next frame.
    #[inline]
    pub fn advance(&mut self) {
        self.passed += 1;
        if self.passed >= self.looked_over {
            self.look_ahead();
        }
    }

    /// Passes over all that have been looked over.
    #[inline]
    pub fn pass_over_ahead(&mut self) {
        self.look_ahead();
    }

    /// How many frames are still here.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.looked_over.saturating_sub(self.passed) + self.behind
    }

    /// Whether all frames have been passed over.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets go of the bytes.
    pub fn clear(&mut self) {
        self.looked_over = 0;
        self.passed = 0;
        self.next_at = 0;
        self.behind = 0;
        self.bytes = Bytes::new();
    }

    /// How many bytes all of its frames take, also those that have been passed over.
    #[must_use]
    pub const fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The memory in which the frames lie, to be used again when nobody else keeps it.
    #[must_use]
    pub fn memory(&self) -> Bytes {
        self.bytes.clone()
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

impl Place {
    /// Looks over the frame that begins at `at` with its length. It is whole, and its end fits into 32 bits.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the end of the frame fits into 32 bits"
    )]
    fn look_over(&mut self, bytes: &[u8], at: usize, alike: &mut Alike) {
        // Where the frames end was looked at when the chunk was filled.
        let (start, end) = match front(bytes.get(at..).unwrap_or_default(), usize::MAX) {
            Ok(Front::Frame {
                prefix_len,
                frame_len,
            }) => (at + prefix_len, at + prefix_len + frame_len),
            _ => (at, bytes.len()),
        };
        self.start = start as u32;
        self.end = end as u32;
        let frame = bytes.get(..end).unwrap_or_default();
        self.is_message = message_in_order(frame, start, &mut self.message, alike)
            || message_in_any_order(frame, start, &mut self.message);
    }
}

#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the end of the frame fits into 32 bits"
)]
fn message_in_any_order(frame: &[u8], start: usize, into: &mut MessageAt) -> bool {
    let Some((parts, to_len, from_len, numbers)) = MessageParts::of_message(frame, start) else {
        return false;
    };
    let slot = Slot {
        to: parts.to.start as u32,
        from: parts.from.start as u32,
        body: parts.body.start as u32,
        body_len: parts.body.len() as u32,
        to_len,
        from_len,
    };
    *into = MessageAt { slot, numbers };
    true
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

    /// The next message, where it lies.
    #[inline]
    pub fn next_ref(&mut self) -> Option<DeliveryRef<'_>> {
        let slot = self.slots.get(self.given)?;
        self.given += 1;
        self.cost -= slot.cost();
        Some(DeliveryRef {
            bytes: &self.bytes,
            slot,
        })
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

/// A message of a [`Batch`].
#[derive(Debug, Clone, Copy)]
pub struct DeliveryRef<'a> {
    bytes: &'a Bytes,
    slot: &'a Slot,
}

impl<'a> DeliveryRef<'a> {
    /// The client that it is for.
    #[must_use]
    #[inline]
    pub fn to(&self) -> &'a str {
        self.slot.to(self.bytes)
    }

    /// The client that sent it.
    #[must_use]
    #[inline]
    pub fn from(&self) -> &'a str {
        self.slot.from(self.bytes)
    }

    /// The body.
    #[must_use]
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        let body = range(self.slot.body, self.slot.body_len);
        self.bytes.get(body).unwrap_or_default()
    }

    /// The same to be kept.
    #[must_use]
    #[inline]
    pub fn to_delivery(self) -> Delivery {
        self.slot.delivery(self.bytes)
    }
}

impl Iterator for Batch {
    type Item = Delivery;

    #[inline]
    fn next(&mut self) -> Option<Delivery> {
        self.next_ref().map(DeliveryRef::to_delivery)
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
            message(&"c".repeat(200), &[7; 300], 10),
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
        let messages = chunk.ahead().filter(|item| matches!(item, Item::Message(_)));
        assert_eq!(messages.count(), 3);
        assert_eq!(rest(&mut chunk), frames);
    }

    fn rest(chunk: &mut Chunk) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(item) = chunk.front() {
            frames.push(item.decode().unwrap());
            chunk.advance();
        }
        assert!(chunk.is_empty());
        frames
    }

    #[test]
    fn more_frames_than_are_looked_over_at_once_all_come() {
        let sent: Vec<Frame> = (0..3 * CHUNK_AHEAD as u64 + 1)
            .map(|id| match id % 3 {
                0 => Frame::Ping { token: id },
                _ => message("a", b"body", id),
            })
            .collect();
        let mut buf = BytesMut::new();
        for frame in &sent {
            encode(frame, &mut buf, 1 << 20).unwrap();
        }
        let mut chunk = Chunk::new();
        chunk.refill(&mut buf, 1 << 20).unwrap();
        for passed in 0..sent.len() {
            assert_eq!(chunk.len(), sent.len() - passed);
            assert!((1..=CHUNK_AHEAD).contains(&chunk.ahead().count()));
            assert_eq!(chunk.front().unwrap().decode().unwrap(), sent[passed]);
            chunk.advance();
        }
        assert!(chunk.is_empty() && chunk.front().is_none());
        chunk.advance();
        assert!(chunk.is_empty());
    }

    #[test]
    fn numbers_are_compared_with_those_before_and_read_as_decode_does() {
        let message = |claim, after| {
            let mut message =
                Message::new("from", "to", Bytes::from_static(b"a body of some bytes")).unwrap();
            (message.origin, message.owner, message.ttl_ms) = (3, 4, 5000);
            (message.claim, message.after) = (claim, after);
            let mut bytes = BytesMut::new();
            encode(&Frame::Message(message), &mut bytes, 1 << 20).unwrap();
            bytes
        };
        for (claim, after) in [(7, 0), (8, 0), (0, 0), (7, 9)] {
            let next = message(claim, after);
            let mut read = 0;
            for at in 0..next.len() {
                for value in [0, 1, 2, 0x1a, 0x20, 0x28, 0x58, 0x65, 0x7f, 0x80, 0xff] {
                    let mut next = next.clone();
                    next[at] = value;
                    let mut buf = message(7, 0);
                    buf.extend_from_slice(&next);
                    let mut chunk = Chunk::new();
                    let _ = chunk.refill(&mut buf, 1 << 20);
                    chunk.advance();
                    let Some(item) = chunk.front() else { continue };
                    let frame = crate::split_frame(&mut next, 1 << 20).unwrap().unwrap();
                    let (found, expected) = (item.decode().ok(), decode(frame).ok());
                    assert_eq!(found, expected, "{value} at {at}");
                    read += usize::from(found.is_some());
                }
            }
            assert!(read > next.len(), "{read}");
        }
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
        let mut page = Page::in_memory_of(BytesMut::new(), 8 << 10);
        at.forward(&numbers, &mut page).unwrap();
        let mut out = BytesMut::from(page.take());
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
        assert!(at.forward(&numbers, &mut Page::new()).is_err());
    }

    #[test]
    fn a_batch_gives_its_messages_in_order_also_when_it_has_memory_of_its_own() {
        let (frames, mut buf) = stream();
        let mut chunk = Chunk::new();
        chunk.refill(&mut buf, 1 << 20).unwrap();
        let mut batch = chunk.batch();
        for item in chunk.ahead() {
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
