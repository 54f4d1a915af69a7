//! Frames to bytes.
//!
//! The frames that carry messages and their outcomes are written by hand, in the protobuf encoding that the generated
//! types would give them except that the body comes last, so that it can be sent from where it lies. Nothing is written
//! before all of a frame has been checked.

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::encoded_len_varint;
use waypost_types::{ADDRESS_BYTES_MAX, DEFAULT_HANDSHAKE_FRAME_BYTES_MAX};

use crate::convert::{check_message, frame_to_gen, outcome_to_gen};
use crate::error::{check_alias, check_outcomes};
use crate::{Broadcast, EncodeError, Failed, Frame, Message, Numbers, Outcomes};

/// A body of at least this many bytes is not copied into an [`OutBuf`](crate::OutBuf) but sent from where it lies.
pub const BODY_APART_BYTES_MIN: usize = 4096;

const _: () =
    assert!(BODY_APART_BYTES_MIN >= DEFAULT_HANDSHAKE_FRAME_BYTES_MAX && ADDRESS_BYTES_MAX < 1 << 14);

/// Appends `frame`, preceded by its length, to `out`. `max_bytes` is the largest frame that the other side accepts,
/// without its length. The body is copied; [`OutBuf`](crate::OutBuf) spares that for large ones.
///
/// # Errors
/// [`EncodeError`] when the frame is too large or breaks the contract; `out` is then unchanged.
pub fn encode(frame: &Frame, out: &mut BytesMut, max_bytes: usize) -> Result<(), EncodeError> {
    write(frame, out, max_bytes)
}

/// Where encoded bytes go.
pub(crate) trait Sink {
    /// Makes room for this many bytes that are about to be put.
    fn reserve(&mut self, bytes: usize);
    /// Takes a copy.
    fn put(&mut self, bytes: &[u8]);
    /// Takes a body, copied or not.
    fn put_body(&mut self, body: &Bytes);
}

impl Sink for BytesMut {
    #[inline]
    fn reserve(&mut self, bytes: usize) {
        Self::reserve(self, bytes);
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn put_body(&mut self, body: &Bytes) {
        self.extend_from_slice(body);
    }
}

#[inline]
pub(crate) fn write(frame: &Frame, out: &mut impl Sink, max_bytes: usize) -> Result<(), EncodeError> {
    match frame {
        Frame::Message(message) => write_message(message, tag::MESSAGE, "message", out, max_bytes),
        Frame::Bounce(message) => write_message(message, tag::BOUNCE, "bounce", out, max_bytes),
        Frame::Outcomes(outcomes) => write_outcomes(outcomes, out, max_bytes),
        Frame::Reply { origin, id, body } => write_reply(*origin, *id, body, out, max_bytes),
        Frame::Broadcast(broadcast) => write_broadcast(broadcast, out, max_bytes),
        _ => write_other(frame, out, max_bytes),
    }
}

/// Tags of the hand-written kinds in `Frame`.
pub(crate) mod tag {
    pub(crate) const MESSAGE: u8 = 4;
    pub(crate) const OUTCOMES: u8 = 5;
    pub(crate) const BOUNCE: u8 = 6;
    pub(crate) const REPLY: u8 = 22;
    pub(crate) const BROADCAST: u8 = 23;
}

const VARINT: u8 = 0;
const LEN: u8 = 2;
const FIXED_32: u8 = 5;

/// The key of a field whose number is below 16.
const fn key(tag: u8, wire_type: u8) -> u8 {
    tag << 3 | wire_type
}

/// A few bytes on the stack; `N` must be enough for all that is put.
struct Scrap<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Scrap<N> {
    #[inline]
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    /// A field that is left out when it is 0.
    #[inline]
    fn number(&mut self, tag: u8, value: u64) {
        if value != 0 {
            self.byte(key(tag, VARINT));
            self.varint(value);
        }
    }

    /// The same in four bytes, whatever the value.
    #[inline]
    fn fixed32(&mut self, tag: u8, value: u32) {
        if value != 0 {
            self.byte(key(tag, FIXED_32));
            let end = self.len + 4;
            self.bytes[self.len..end].copy_from_slice(&value.to_le_bytes());
            self.len = end;
        }
    }

    #[inline]
    fn len_prefix(&mut self, tag: u8, len: usize) {
        self.byte(key(tag, LEN));
        self.varint(len as u64);
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Puts the frame's length, and the key and length of its one field, once the frame is known to be small enough.
#[inline]
fn open(
    tag: u8,
    field_len: usize,
    out: &mut impl Sink,
    apart: usize,
    max_bytes: usize,
) -> Result<(), EncodeError> {
    let key_len = if tag < 16 { 1 } else { 2 };
    let frame_len = key_len + encoded_len_varint(field_len as u64) + field_len;
    check_frame_len(frame_len, max_bytes)?;
    let mut head = Scrap::<24>::new();
    head.varint(frame_len as u64);
    head.varint(u64::from(tag) << 3 | u64::from(LEN));
    head.varint(field_len as u64);
    out.reserve(head.len + field_len - apart);
    out.put(head.as_slice());
    Ok(())
}

#[inline]
fn check_frame_len(frame_len_bytes: usize, max_bytes: usize) -> Result<(), EncodeError> {
    // A length that takes more than 5 bytes could not be read by anyone.
    let max_bytes = max_bytes.min(u32::MAX as usize);
    if frame_len_bytes > max_bytes {
        Err(EncodeError::TooLarge {
            frame_len_bytes,
            max_bytes,
        })
    } else {
        Ok(())
    }
}

/// How much of a body is not copied.
#[inline]
pub(crate) const fn apart(body_len: usize) -> usize {
    if body_len >= BODY_APART_BYTES_MIN {
        body_len
    } else {
        0
    }
}

#[inline]
const fn bytes_field_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

fn write_message(
    message: &Message,
    tag: u8,
    frame: &'static str,
    out: &mut impl Sink,
    max_bytes: usize,
) -> Result<(), EncodeError> {
    let (to, from, body) = (message.receiver_utf8(), message.sender_utf8(), &message.body);
    let (copied, numbers) = (body.len() - apart(body.len()), message.numbers());
    write_message_head(
        tag,
        frame,
        [to, from],
        &numbers,
        body.len(),
        copied,
        out,
        max_bytes,
    )?;
    out.put_body(body);
    Ok(())
}

/// Appends a [`Frame::Message`], preceded by its length, to `out`, without making a [`Message`] of it. `to` and `from`
/// must be addresses; the body is copied. `max_bytes` is the largest frame that the other side accepts, without its
/// length.
///
/// # Errors
/// [`EncodeError`] when the frame is too large or the numbers break the contract; `out` is then unchanged.
#[inline]
pub fn encode_message(
    [to, from]: [&str; 2],
    body: &[u8],
    numbers: &Numbers,
    out: &mut BytesMut,
    max_bytes: usize,
) -> Result<(), EncodeError> {
    let names = [to.as_bytes(), from.as_bytes()];
    write_message_head(
        tag::MESSAGE,
        "message",
        names,
        numbers,
        body.len(),
        body.len(),
        out,
        max_bytes,
    )?;
    out.extend_from_slice(body);
    Ok(())
}

/// All of a message but its body, of which `copied` bytes are about to be put.
#[inline]
#[expect(clippy::too_many_arguments, reason = "the parts of one frame")]
fn write_message_head(
    tag: u8,
    frame: &'static str,
    [to, from]: [&[u8]; 2],
    message: &Numbers,
    body_len: usize,
    copied: usize,
    out: &mut impl Sink,
    max_bytes: usize,
) -> Result<(), EncodeError> {
    let (floor_distance, after_distance) = check_message(message, frame)?;
    // At most 3 * 11 + 2 * 6 + 3 + 2 + 6 + 5, and 11 for the body's key and length.
    let mut numbers = Scrap::<72>::new();
    numbers.number(4, message.id);
    numbers.number(5, floor_distance);
    numbers.number(6, after_distance);
    numbers.number(7, message.origin.into());
    numbers.number(8, message.owner.into());
    numbers.number(9, message.hops.into());
    numbers.number(10, message.request.into());
    numbers.number(11, message.ttl_ms.into());
    numbers.fixed32(12, message.claim);
    if body_len > 0 {
        numbers.len_prefix(3, body_len);
    }
    let len = bytes_field_len(to.len()) + bytes_field_len(from.len()) + numbers.len + body_len;
    open(tag, len, out, body_len - copied, max_bytes)?;
    let mut prefix = Scrap::<12>::new();
    prefix.len_prefix(1, to.len());
    out.put(prefix.as_slice());
    out.put(to);
    let mut prefix = Scrap::<12>::new();
    prefix.len_prefix(2, from.len());
    out.put(prefix.as_slice());
    out.put(from);
    out.put(numbers.as_slice());
    Ok(())
}

fn write_outcomes(outcomes: &Outcomes, out: &mut impl Sink, max_bytes: usize) -> Result<(), EncodeError> {
    check_alias::<EncodeError>("outcomes", "origin", outcomes.origin, 0)?;
    check_outcomes::<EncodeError>(outcomes.delivered.len() + outcomes.failed.len())?;
    let failed_len =
        |failed: &Failed, numbers: &Scrap<40>| bytes_field_len(failed.to.as_str().len()) + numbers.len;
    let packed_len: usize = outcomes.delivered.iter().map(|id| encoded_len_varint(*id)).sum();
    let mut start = Scrap::<24>::new();
    start.number(1, outcomes.origin.into());
    if packed_len > 0 {
        start.len_prefix(2, packed_len);
    }
    let failed_all: usize = outcomes
        .failed
        .iter()
        .map(|failed| bytes_field_len(failed_len(failed, &failed_numbers(failed))))
        .sum();
    open(
        tag::OUTCOMES,
        start.len + packed_len + failed_all,
        out,
        0,
        max_bytes,
    )?;
    out.put(start.as_slice());
    for id in &outcomes.delivered {
        let mut number = Scrap::<10>::new();
        number.varint(*id);
        out.put(number.as_slice());
    }
    for failed in &outcomes.failed {
        let numbers = failed_numbers(failed);
        let mut prefix = Scrap::<24>::new();
        prefix.len_prefix(3, failed_len(failed, &numbers));
        prefix.len_prefix(3, failed.to.as_str().len());
        out.put(prefix.as_slice());
        out.put(failed.to.as_str().as_bytes());
        out.put(numbers.as_slice());
    }
    Ok(())
}

/// At most 11 + 2 + 6 + 2 bytes.
fn failed_numbers(failed: &Failed) -> Scrap<40> {
    let mut numbers = Scrap::new();
    numbers.number(1, failed.id);
    numbers.number(
        2,
        u64::from((outcome_to_gen(failed.outcome) as i32).unsigned_abs()),
    );
    numbers.number(4, failed.count.into());
    numbers.number(5, failed.out_of_order.into());
    numbers
}

fn write_reply(
    origin: u32,
    id: u64,
    body: &Bytes,
    out: &mut impl Sink,
    max_bytes: usize,
) -> Result<(), EncodeError> {
    check_alias::<EncodeError>("reply", "origin", origin, 0)?;
    let mut start = Scrap::<40>::new();
    start.number(1, origin.into());
    start.number(2, id);
    if !body.is_empty() {
        start.len_prefix(3, body.len());
    }
    open(
        tag::REPLY,
        start.len + body.len(),
        out,
        apart(body.len()),
        max_bytes,
    )?;
    out.put(start.as_slice());
    out.put_body(body);
    Ok(())
}

fn write_broadcast(broadcast: &Broadcast, out: &mut impl Sink, max_bytes: usize) -> Result<(), EncodeError> {
    check_alias::<EncodeError>("broadcast", "origin", broadcast.origin, 0)?;
    let (from, body) = (broadcast.from.as_str().as_bytes(), &broadcast.body);
    let mut start = Scrap::<40>::new();
    start.number(1, broadcast.token);
    start.number(2, broadcast.origin.into());
    start.len_prefix(3, from.len());
    let mut end = Scrap::<24>::new();
    end.number(5, broadcast.ttl_ms.into());
    if !body.is_empty() {
        end.len_prefix(4, body.len());
    }
    open(
        tag::BROADCAST,
        start.len + from.len() + end.len + body.len(),
        out,
        apart(body.len()),
        max_bytes,
    )?;
    out.put(start.as_slice());
    out.put(from);
    out.put(end.as_slice());
    out.put_body(body);
    Ok(())
}

/// The frames that come once a link or once a batch.
#[inline(never)]
fn write_other(frame: &Frame, out: &mut impl Sink, max_bytes: usize) -> Result<(), EncodeError> {
    let frame = frame_to_gen(frame)?;
    check_frame_len(frame.encoded_len(), max_bytes)?;
    out.put(&frame.encode_length_delimited_to_vec());
    Ok(())
}
