//! Bytes in, batches of frames out.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;
use waypost_wire::{Chunk, Frame, LENGTH_BYTES_MAX, WireError, decode, split_frame};

use super::super::stream::ReadHalf;

/// Smallest and largest read buffer. It doubles when a read fills it, and is small again after some small reads.
const BUFFER_BYTES_MIN: usize = 16 << 10;
const BUFFER_BYTES_MAX: usize = 256 << 10;
/// A read below this is small, and so many in a row make the buffer small again.
const SMALL_READ_BYTES: usize = 4 << 10;
const SMALL_READS: u32 = 8;
/// Buffers that are kept to be used again, while reads are large.
const SPARE_MAX: usize = 3;

/// Reads frames.
///
/// A frame's body is a slice of the read buffer, so a frame that is kept for long keeps a buffer of up to 256 KiB: make a
/// copy of what goes to an inbox that nobody empties (`Message::detached`).
#[derive(Debug)]
pub struct FrameReader<R = ReadHalf> {
    io: R,
    buf: BytesMut,
    frame_bytes_max: usize,
    /// How large the next buffer is made.
    buffer_bytes: usize,
    small_reads: u32,
    /// The buffer is larger than `buffer_bytes` says; it is let go when it is empty.
    oversized: bool,
    /// Large buffers that were handed out, oldest first: memory to use again once nobody keeps it.
    spare: VecDeque<Bytes>,
    /// Comes when the frames before it have been handed out.
    failed: Option<WireError>,
    ended: bool,
    unknown_frames: u64,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `io`, behind what was already read, `buffered`. A frame of more than `frame_bytes_max` bytes, without its
    /// length prefix, is an error.
    #[must_use]
    pub const fn new(io: R, buffered: BytesMut, frame_bytes_max: usize) -> Self {
        Self {
            io,
            buf: buffered,
            frame_bytes_max,
            buffer_bytes: BUFFER_BYTES_MIN,
            small_reads: 0,
            oversized: false,
            spare: VecDeque::new(),
            failed: None,
            ended: false,
            unknown_frames: 0,
        }
    }

    /// Appends the frames that have come to `out`, at most `max` of them (0 counts as 1), and says how many; waits only
    /// while there is none. 0 means that the other side has ended its direction, between two frames. Frames of unknown
    /// kinds are skipped.
    ///
    /// # Errors
    /// [`WireError`], after the frames before it: the link must be closed. After an error it is at its end and gives 0.
    ///
    /// # Cancel safety
    /// Safe: dropping the future loses nothing.
    pub async fn read_batch(&mut self, out: &mut Vec<Frame>, max: usize) -> Result<usize, WireError> {
        let max = max.max(1);
        loop {
            let count = self.take_buffered(out, max);
            if count > 0 {
                return Ok(count);
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if self.ended {
                return Ok(0);
            }
            match self.fill().await {
                Ok(0) => self.end(),
                Ok(_) => {}
                Err(error) => self.fail(error.into()),
            }
        }
    }

    /// Fills `chunk` with the whole frames that have come, and waits only while there is none. False means that the other
    /// side has ended its direction, between two frames.
    ///
    /// # Errors
    /// [`WireError`], and the frames before it are in the chunk: the link must be closed. After an error it is at its end.
    ///
    /// # Cancel safety
    /// Safe: dropping the future loses nothing.
    pub async fn read_chunk(&mut self, chunk: &mut Chunk) -> Result<bool, WireError> {
        chunk.clear();
        loop {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if let Err(error) = chunk.refill(&mut self.buf, self.frame_bytes_max) {
                self.ended = true;
                self.buf = BytesMut::new();
                return Err(error);
            }
            if !chunk.is_empty() {
                if self.buffer_bytes > BUFFER_BYTES_MIN && self.spare.len() < SPARE_MAX {
                    self.spare.push_back(chunk.memory());
                }
                return Ok(true);
            }
            if self.ended {
                return Ok(false);
            }
            match self.fill().await {
                Ok(0) => self.end(),
                Ok(_) => {}
                Err(error) => self.fail(error.into()),
            }
        }
    }

    /// How many frames of unknown kinds were skipped.
    #[must_use]
    pub const fn unknown_frames(&self) -> u64 {
        self.unknown_frames
    }

    /// Reads on, and throws away what comes, until the other side ends its direction or `limit` has passed. Do this after
    /// a last `Close`: closing a socket that has unread bytes can take back what was written last.
    pub async fn linger(mut self, limit: Duration) {
        let drained = async {
            loop {
                self.buf.clear();
                self.buf.reserve(SMALL_READ_BYTES);
                if !matches!(self.io.read_buf(&mut self.buf).await, Ok(1..)) {
                    break;
                }
            }
        };
        if !self.ended {
            let _ = timeout(limit, drained).await;
        }
    }

    fn take_buffered(&mut self, out: &mut Vec<Frame>, max: usize) -> usize {
        let mut count = 0;
        // An error ends the stream; an end does not, as frames may have come before it.
        while count < max && self.failed.is_none() && !self.buf.is_empty() {
            match split_frame(&mut self.buf, self.frame_bytes_max) {
                Ok(None) => break,
                Ok(Some(bytes)) => match decode(bytes) {
                    Ok(Frame::Unknown) => self.unknown_frames += 1,
                    Ok(frame) => {
                        out.push(frame);
                        count += 1;
                    }
                    Err(error) => self.fail(error.into()),
                },
                Err(error) => self.fail(error),
            }
        }
        count
    }

    fn fail(&mut self, error: WireError) {
        self.failed = Some(error);
        self.ended = true;
        self.buf = BytesMut::new();
    }

    fn end(&mut self) {
        self.ended = true;
        if !self.buf.is_empty() {
            let error = WireError::Torn {
                have_bytes: self.buf.len(),
                need_bytes: announced(&self.buf),
            };
            self.fail(error);
        }
    }

    /// Reads once. Called only when the buffer holds no whole frame.
    async fn fill(&mut self) -> io::Result<usize> {
        self.make_room();
        let room = self.buf.capacity() - self.buf.len();
        let count = self.io.read_buf(&mut self.buf).await?;
        if count == room && room >= self.buffer_bytes / 2 {
            self.buffer_bytes = (self.buffer_bytes * 2).min(BUFFER_BYTES_MAX);
        }
        if count >= SMALL_READ_BYTES {
            self.small_reads = 0;
        } else if self.buffer_bytes > BUFFER_BYTES_MIN {
            self.small_reads += 1;
            if self.small_reads >= SMALL_READS {
                self.small_reads = 0;
                self.buffer_bytes = BUFFER_BYTES_MIN;
                self.oversized = true;
                self.spare = VecDeque::new();
            }
        }
        Ok(count)
    }

    /// Sees to it that a read is worth its system call. The buffer grows with what has come, and never because of what is
    /// only announced: to twice a frame's part that is there, or to `buffer_bytes`.
    fn make_room(&mut self) {
        if self.oversized && self.buf.is_empty() {
            self.oversized = false;
            self.buf = BytesMut::new();
        }
        let have = self.buf.len();
        let missing = announced(&self.buf)
            .map_or(1, |need| need.saturating_sub(have))
            .max(1);
        let wanted = missing.min(self.buffer_bytes).max(self.buffer_bytes / 8);
        if self.buf.capacity() - have < wanted {
            let whole = self
                .buffer_bytes
                .max(have + missing.min(have.max(self.buffer_bytes)));
            if !self.use_again(whole) {
                self.buf.reserve(whole - have);
            }
        }
    }

    /// Goes on in a buffer that nobody keeps any more, which spares the allocator large blocks at a high rate. False when
    /// there is none.
    fn use_again(&mut self, bytes: usize) -> bool {
        let Some(spare) = self.spare.pop_front() else {
            return false;
        };
        match spare.try_into_mut() {
            Ok(mut spare) => {
                spare.clear();
                // It may have begun in the middle of its memory, all of which is free now.
                spare.reserve(bytes);
                spare.extend_from_slice(&self.buf);
                self.buf = spare;
                true
            }
            Err(spare) => {
                self.spare.push_front(spare);
                false
            }
        }
    }
}

/// How long the frame at the front of `buf` is with its length prefix, once that has come.
fn announced(buf: &[u8]) -> Option<usize> {
    let mut length = 0_usize;
    for (index, byte) in buf.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7f).checked_shl(7 * u32::try_from(index).ok()?)?;
        if *byte < 0x80 {
            return length.checked_add(index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use waypost_wire::{Message, encode};

    const LIMIT: usize = 1 << 20;

    fn message(len: usize) -> Frame {
        Frame::Message(Message::new("from", "to", Bytes::from(vec![7; len])).unwrap())
    }

    fn bytes(frames: &[Frame]) -> BytesMut {
        let mut out = BytesMut::new();
        for frame in frames {
            encode(frame, &mut out, LIMIT).unwrap();
        }
        out
    }

    #[tokio::test]
    async fn frames_before_a_bad_one_are_handed_out_first() {
        let mut stream = bytes(&[message(1), message(2)]);
        stream.extend_from_slice(&[0xff; 8]);
        let mut reader = FrameReader::new(tokio::io::empty(), stream, LIMIT);
        let mut out = Vec::new();
        assert_eq!(reader.read_batch(&mut out, 100).await.unwrap(), 2);
        assert!(matches!(
            reader.read_batch(&mut out, 100).await,
            Err(WireError::Length { .. })
        ));
        assert_eq!(reader.read_batch(&mut out, 100).await.unwrap(), 0);
        assert_eq!(out, [message(1), message(2)]);
    }

    #[tokio::test]
    async fn a_batch_has_at_most_as_many_frames_as_asked_for() {
        let stream = bytes(&[message(1), message(2), message(3)]);
        let mut reader = FrameReader::new(tokio::io::empty(), stream, LIMIT);
        let mut out = Vec::new();
        assert_eq!(reader.read_batch(&mut out, 2).await.unwrap(), 2);
        assert_eq!(reader.read_batch(&mut out, 2).await.unwrap(), 1);
        assert_eq!(reader.read_batch(&mut out, 2).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_announced_length_alone_takes_no_memory() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let mut reader = FrameReader::new(near, BytesMut::new(), LIMIT);
        far.write_all(&[0x80, 0x80, 0x40, 1, 2, 3]).await.unwrap();
        assert_eq!(reader.fill().await.unwrap(), 6);
        reader.make_room();
        assert!(
            reader.buf.capacity() <= 2 * BUFFER_BYTES_MIN,
            "{}",
            reader.buf.capacity()
        );
    }

    #[tokio::test]
    async fn the_buffer_grows_under_load_and_shrinks_after_it() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let mut reader = FrameReader::new(near, BytesMut::new(), LIMIT);
        let load = bytes(&vec![message(1000); 900]);
        far.write_all(&load).await.unwrap();
        let mut out = Vec::new();
        while out.len() < 900 {
            reader.read_batch(&mut out, 1000).await.unwrap();
        }
        assert!(reader.buffer_bytes > BUFFER_BYTES_MIN);
        for _ in 0..=SMALL_READS {
            far.write_all(&bytes(&[Frame::Ping { token: 1 }])).await.unwrap();
            reader.read_batch(&mut out, 1000).await.unwrap();
        }
        reader.make_room();
        assert!(
            reader.buf.capacity() <= BUFFER_BYTES_MIN,
            "{}",
            reader.buf.capacity()
        );
    }

    #[tokio::test]
    async fn memory_of_large_reads_is_used_again_once_nobody_keeps_it_and_let_go_after_them() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let mut reader = FrameReader::new(near, BytesMut::new(), LIMIT);
        let load = bytes(&vec![message(1000); 300]);
        let mut chunk = Chunk::new();
        while reader.spare.is_empty() {
            far.write_all(&load).await.unwrap();
            let mut left = load.len();
            while left > 0 {
                assert!(reader.read_chunk(&mut chunk).await.unwrap());
                left -= chunk.bytes_len();
            }
        }
        assert!(reader.spare.len() <= SPARE_MAX && reader.buf.is_empty());
        reader.spare = VecDeque::from([chunk.memory()]);
        reader.buf = BytesMut::new();
        assert!(!reader.use_again(1), "the chunk still keeps it");
        let place = chunk.memory().as_ptr();
        chunk.clear();
        assert!(reader.use_again(1));
        assert_eq!(reader.buf.as_ptr(), place);
        reader.spare.push_back(Bytes::new());
        for _ in 0..=SMALL_READS {
            far.write_all(&bytes(&[Frame::Ping { token: 1 }])).await.unwrap();
            assert!(reader.read_chunk(&mut chunk).await.unwrap());
        }
        assert!(reader.spare.is_empty());
    }

    #[tokio::test]
    async fn a_large_frame_comes_whole_and_an_end_within_one_is_torn() {
        let (mut far, near) = tokio::io::duplex(1000);
        let mut reader = FrameReader::new(near, BytesMut::new(), LIMIT);
        let large = bytes(&[message(900_000)]);
        let torn = bytes(&[message(100)]);
        let sent = tokio::spawn(async move {
            far.write_all(&large).await.unwrap();
            far.write_all(&torn[..50]).await.unwrap();
        });
        let mut out = Vec::new();
        assert_eq!(reader.read_batch(&mut out, 10).await.unwrap(), 1);
        assert_eq!(out, [message(900_000)]);
        let error = reader.read_batch(&mut out, 10).await.unwrap_err();
        assert!(
            matches!(error, WireError::Torn { have_bytes: 50, need_bytes: Some(need) } if need > 100),
            "{error:?}"
        );
        sent.await.unwrap();
    }
}
