//! What a link's writer is about to write: small frames side by side, large bodies from where they lie.

use core::fmt;
use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::encode::{Sink, apart, write};
use crate::{EncodeError, Frame};

/// Room that is kept once everything has been written, in bytes.
const KEPT_BYTES: usize = 256 << 10;
/// Written bytes at the front are cleared away when there are this many of them at least.
const COMPACT_BYTES: usize = 64 << 10;

/// Frames on their way to a socket.
///
/// Push as many frames as there are, then write the whole as a [`Buf`] (`write_buf`, or `chunks_vectored` and
/// `advance`): small frames share one slice, and each body of
/// [`BODY_APART_BYTES_MIN`](crate::BODY_APART_BYTES_MIN) bytes or more is a slice of its own that is never copied. The
/// memory stays for the next round.
///
/// It has no bound of its own: [`OutBuf::len`] says when to stop pushing and write.
#[derive(Default)]
pub struct OutBuf {
    /// All that is not a body of its own; `..written` has been written.
    text: Vec<u8>,
    written: usize,
    /// Bodies of their own, each with the place in `text` before which it comes. Places never decrease.
    bodies: VecDeque<(usize, Bytes)>,
    len: usize,
}

impl OutBuf {
    /// An empty one; it allocates when the first frame comes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            text: Vec::new(),
            written: 0,
            bodies: VecDeque::new(),
            len: 0,
        }
    }

    /// Appends `frame`, preceded by its length. `max_bytes` is the largest frame that the other side accepts, without
    /// its length.
    ///
    /// # Errors
    /// [`EncodeError`] when the frame is too large or breaks the contract; nothing of it has been appended, and the
    /// buffer is as good as before.
    #[inline]
    pub fn push(&mut self, frame: &Frame, max_bytes: usize) -> Result<(), EncodeError> {
        if self.written >= COMPACT_BYTES && self.written >= self.text.len() / 2 {
            self.compact();
        }
        write(frame, self, max_bytes)
    }

    /// Appends frames that are encoded already.
    pub fn push_encoded(&mut self, frames: Bytes) {
        if self.written >= COMPACT_BYTES && self.written >= self.text.len() / 2 {
            self.compact();
        }
        self.put_body(&frames);
    }

    /// How many bytes there are still to write.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether everything has been written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all that has not been written.
    pub fn clear(&mut self) {
        self.bodies.clear();
        self.len = 0;
        self.reset();
    }

    fn reset(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES);
        self.written = 0;
    }

    #[cold]
    fn compact(&mut self) {
        self.text.drain(..self.written);
        for (place, _) in &mut self.bodies {
            *place -= self.written;
        }
        self.written = 0;
    }

    /// The unwritten slice of `text` before the next body, or all of it.
    fn front_text(&self) -> &[u8] {
        let end = self.bodies.front().map_or(self.text.len(), |(place, _)| *place);
        &self.text[self.written..end]
    }
}

impl fmt::Debug for OutBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutBuf")
            .field("len", &self.len)
            .field("bodies", &self.bodies.len())
            .finish_non_exhaustive()
    }
}

impl Sink for OutBuf {
    #[inline]
    fn reserve(&mut self, bytes: usize) {
        self.text.reserve(bytes);
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    #[inline]
    fn put_body(&mut self, body: &Bytes) {
        if apart(body.len()) == 0 {
            self.put(body);
        } else {
            self.bodies.push_back((self.text.len(), body.clone()));
            self.len += body.len();
        }
    }
}

impl Buf for OutBuf {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        let text = self.front_text();
        match self.bodies.front() {
            Some((_, body)) if text.is_empty() => body,
            _ => text,
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut put = |bytes: &'a [u8]| {
            if bytes.is_empty() {
                return true;
            }
            let Some(slot) = slices.get_mut(filled) else {
                return false;
            };
            *slot = IoSlice::new(bytes);
            filled += 1;
            true
        };
        let mut start = self.written;
        for (place, body) in &self.bodies {
            if !put(&self.text[start..*place]) || !put(body) {
                return filled;
            }
            start = *place;
        }
        put(&self.text[start..]);
        filled
    }

    fn advance(&mut self, count: usize) {
        assert!(
            count <= self.len,
            "cannot advance by {count}: {} bytes remain",
            self.len
        );
        self.len -= count;
        if self.len == 0 {
            self.bodies.clear();
            self.reset();
            return;
        }
        let mut left = count;
        while left > 0 {
            let text = self.front_text().len().min(left);
            self.written += text;
            left -= text;
            if left > 0
                && let Some((_, body)) = self.bodies.front_mut()
            {
                let part = body.len().min(left);
                body.advance(part);
                left -= part;
                if body.is_empty() {
                    self.bodies.pop_front();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BODY_APART_BYTES_MIN, Message};
    use bytes::BytesMut;

    fn frames() -> Vec<Frame> {
        let mut frames = Vec::new();
        for (token, len) in [
            0,
            10,
            BODY_APART_BYTES_MIN,
            5,
            3 * BODY_APART_BYTES_MIN,
            BODY_APART_BYTES_MIN,
            0,
        ]
        .into_iter()
        .enumerate()
        {
            frames.push(Frame::Message(
                Message::new("a", "b", vec![7; len].into()).unwrap(),
            ));
            frames.push(Frame::Ping { token: token as u64 });
        }
        frames
    }

    fn whole(frames: &[Frame]) -> (OutBuf, BytesMut) {
        let (mut out, mut flat) = (OutBuf::new(), BytesMut::new());
        for frame in frames {
            out.push(frame, 1 << 20).unwrap();
            crate::encode(frame, &mut flat, 1 << 20).unwrap();
        }
        (out, flat)
    }

    #[test]
    fn any_way_of_writing_it_gives_the_same_bytes() {
        let (_, flat) = whole(&frames());
        for step in [1, 2, 3, 17, 4096, 5000, usize::MAX] {
            let (mut out, _) = whole(&frames());
            let mut got = Vec::new();
            while out.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 3];
                let filled = out.chunks_vectored(&mut slices);
                let bytes: Vec<u8> = slices[..filled]
                    .iter()
                    .flat_map(|s| s.iter().copied())
                    .take(step)
                    .collect();
                assert!(
                    out.chunk()
                        .starts_with(&bytes[..bytes.len().min(out.chunk().len())])
                );
                assert!(!out.chunk().is_empty());
                out.advance(bytes.len());
                got.extend(bytes);
                assert_eq!(out.len() + got.len(), flat.len());
            }
            assert!(got == flat, "step {step}");
        }
    }

    #[test]
    fn a_large_body_is_the_very_memory_that_was_given() {
        let body = Bytes::from(vec![1; BODY_APART_BYTES_MIN]);
        let mut out = OutBuf::new();
        out.push(
            &Frame::Message(Message::new("a", "b", body.clone()).unwrap()),
            1 << 20,
        )
        .unwrap();
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(out.chunks_vectored(&mut slices), 2);
        assert_eq!(slices[1].as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_writer_that_never_catches_up_does_not_keep_what_it_has_written() {
        let message = Frame::Message(Message::new("a", "b", vec![7; 1000].into()).unwrap());
        let large = Frame::Message(Message::new("a", "b", vec![7; 5000].into()).unwrap());
        let mut out = OutBuf::new();
        out.push(&message, 1 << 20).unwrap();
        for _ in 0..2000 {
            let before = out.len();
            out.push(&message, 1 << 20).unwrap();
            out.push(&large, 1 << 20).unwrap();
            out.advance(out.len() - before);
        }
        assert!(out.text.capacity() <= KEPT_BYTES, "{}", out.text.capacity());
        assert!(out.bodies.len() <= 2);
    }

    #[test]
    fn a_refused_frame_leaves_the_buffer_as_it_was() {
        let mut out = OutBuf::new();
        out.push(&Frame::Drain, 100).unwrap();
        let before = out.chunk().to_vec();
        let large = Frame::Message(Message::new("a", "b", vec![7; 5000].into()).unwrap());
        assert!(matches!(
            out.push(&large, 100),
            Err(EncodeError::TooLarge { max_bytes: 100, .. })
        ));
        assert_eq!(out.push(&Frame::Unknown, 100), Err(EncodeError::Unknown));
        assert_eq!(out.chunk(), before);
        assert_eq!(out.len(), before.len());
    }
}
