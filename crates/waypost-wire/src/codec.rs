//! The tokio-util codec.
//!
//! One `BytesMut` holds what was read; each frame is split off its front and frozen, so that its body is a slice of the
//! read buffer: one reference count a frame, no copy. A frame that is kept for long keeps its read buffer (of the size
//! with which the `Framed` was made, or of one large frame): see `Message::detached`.

use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

use crate::framing::{Front, LENGTH_BYTES_MAX, front};
use crate::{Frame, WireError, decode, encode, split_frame};

/// How much room is made at once for a frame whose length is known, in bytes, before any of it has come.
const RESERVE_BYTES: usize = 64 << 10;

/// Frames over any byte stream, behind the preface.
///
/// After a [`WireError`] from decoding, the stream has lost its place and must be closed. After one from encoding it is
/// as good as before. The read buffer grows with what has come and never because of what is only announced: at most to
/// twice what has come of a frame or by 64 KiB, whichever is more.
#[derive(Debug, Clone)]
pub struct FrameCodec {
    receive_max_bytes: usize,
    send_max_bytes: usize,
}

impl FrameCodec {
    /// A codec that accepts and sends frames of at most `frame_bytes_max` bytes, without their length prefix. Before the
    /// other side is authenticated, that is
    /// [`DEFAULT_HANDSHAKE_FRAME_BYTES_MAX`](waypost_types::DEFAULT_HANDSHAKE_FRAME_BYTES_MAX).
    #[must_use]
    pub const fn new(frame_bytes_max: usize) -> Self {
        Self {
            receive_max_bytes: frame_bytes_max,
            send_max_bytes: frame_bytes_max,
        }
    }

    /// Changes both limits, in bytes without the length prefix; what is already in the read buffer is judged by the new
    /// ones.
    pub const fn set_frame_bytes_max(&mut self, receive: usize, send: usize) {
        self.receive_max_bytes = receive;
        self.send_max_bytes = send;
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = WireError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        if let Some(frame) = split_frame(src, self.receive_max_bytes)? {
            return Ok(Some(decode(frame)?));
        }
        match front(src, self.receive_max_bytes)? {
            Front::LengthIncomplete => src.reserve(LENGTH_BYTES_MAX),
            Front::Frame {
                prefix_len,
                frame_len,
            } => {
                let missing = (prefix_len + frame_len).saturating_sub(src.len());
                src.reserve(missing.min(src.len().max(RESERVE_BYTES)));
            }
        }
        Ok(None)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        if let Some(frame) = self.decode(src)? {
            return Ok(Some(frame));
        }
        if src.is_empty() {
            return Ok(None);
        }
        let need_bytes = match front(src, self.receive_max_bytes)? {
            Front::Frame {
                prefix_len,
                frame_len,
            } => Some(prefix_len + frame_len),
            Front::LengthIncomplete => None,
        };
        Err(WireError::Torn {
            have_bytes: src.len(),
            need_bytes,
        })
    }
}

impl Encoder<&Frame> for FrameCodec {
    type Error = WireError;

    fn encode(&mut self, frame: &Frame, dst: &mut BytesMut) -> Result<(), WireError> {
        Ok(encode(frame, dst, self.send_max_bytes)?)
    }
}

impl Encoder<Frame> for FrameCodec {
    type Error = WireError;

    fn encode(&mut self, frame: Frame, dst: &mut BytesMut) -> Result<(), WireError> {
        Ok(encode(&frame, dst, self.send_max_bytes)?)
    }
}
