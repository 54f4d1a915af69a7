//! Frames in, few large writes out.

use core::borrow::Borrow;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Sleep, sleep, timeout};
use waypost_wire::{Close, EncodeError, Frame, OutBuf};

use super::super::stream::WriteHalf;
use crate::deadline::after;

/// How long a write may make no progress when nothing else is said.
pub const DEFAULT_WRITE_STALL: Duration = Duration::from_secs(30);

/// How much is encoded before it is written, in bytes. With one more frame that is copied it stays within what the
/// `OutBuf` keeps from round to round.
const WRITE_BYTES: usize = 56 << 10;
/// Slices of one write.
const SLICES: usize = 64;
/// How long a goodbye may take.
const CLOSE: Duration = Duration::from_secs(1);

/// Why frames could not be written. The link is over: what the other side has got of them is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The other side reads nothing.
    #[error("the other side has read nothing for {} ms: connect again", after.as_millis())]
    Stalled {
        /// For how long.
        after: Duration,
    },
    /// The connection failed.
    #[error("the connection failed: connect again")]
    Io(#[from] io::Error),
}

/// What became of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "frames may have been refused"]
#[non_exhaustive]
pub struct Written {
    /// How many frames were written.
    pub frames: usize,
    /// Frames that cannot be sent on this link, each by its place in the batch. Nothing of them was written.
    pub refused: Vec<(usize, EncodeError)>,
}

/// Writes frames.
#[derive(Debug)]
pub struct FrameWriter<W = WriteHalf> {
    io: W,
    out: OutBuf,
    frame_bytes_max: usize,
    stall: Duration,
    /// Something may be left in `io`, which the next flush has to see to.
    unflushed: bool,
    /// Made at the first write that has to wait, and then used again.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes to `io` frames of at most `frame_bytes_max` bytes, without their length prefix. When a write makes no
    /// progress for `stall`, the link is over.
    #[must_use]
    pub const fn new(io: W, frame_bytes_max: usize, stall: Duration) -> Self {
        Self {
            io,
            out: OutBuf::new(),
            frame_bytes_max,
            stall,
            unflushed: false,
            timer: None,
        }
    }

    /// Writes all of `frames`, together, and waits until the operating system has them.
    ///
    /// # Errors
    /// [`WriteError`]: the link is over.
    ///
    /// # Cancel safety
    /// Dropping the future loses the frames that were not encoded yet. Those that were are written by the next call: the
    /// stream stays whole.
    pub async fn write_batch<I>(&mut self, frames: I) -> Result<Written, WriteError>
    where
        I: IntoIterator,
        I::Item: Borrow<Frame>,
    {
        let mut written = Written::default();
        for (index, frame) in frames.into_iter().enumerate() {
            match self.push(frame.borrow()) {
                Ok(()) => written.frames += 1,
                Err(error) => written.refused.push((index, error)),
            }
            if self.is_full() {
                self.flush().await?;
            }
        }
        self.flush().await?;
        Ok(written)
    }

    /// Encodes one frame; [`flush`](Self::flush) writes it. Call that when [`is_full`](Self::is_full) says so.
    ///
    /// # Errors
    /// [`EncodeError`]: the frame cannot be sent on this link, and nothing of it was encoded.
    pub fn push(&mut self, frame: &Frame) -> Result<(), EncodeError> {
        self.out.push(frame, self.frame_bytes_max)
    }

    /// Takes frames that are encoded already, none of them too large for this link; [`flush`](Self::flush) writes them.
    pub fn push_encoded(&mut self, frames: Bytes) {
        self.out.push_encoded(frames);
    }

    /// Enough is encoded for one write.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.out.len() >= WRITE_BYTES
    }

    /// How many encoded bytes are not written.
    #[must_use]
    pub const fn pending_bytes(&self) -> usize {
        self.out.len()
    }

    /// Whether the operating system has all that was pushed, so that nobody waits for this writer.
    #[must_use]
    pub const fn is_flushed(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    /// Largest frame that the other side accepts, in bytes without its length prefix.
    #[must_use]
    pub const fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max
    }

    /// Writes all that is encoded, and waits until the operating system has it.
    ///
    /// # Errors
    /// [`WriteError`]: the link is over.
    ///
    /// # Cancel safety
    /// Safe: what was not written is written by the next call.
    pub async fn flush(&mut self) -> Result<(), WriteError> {
        let mut waiting = false;
        poll_fn(|cx| self.poll_flush(cx, &mut waiting)).await
    }

    /// [`flush`](Self::flush) for those who cannot keep the writer while they wait. `waiting` is false at the first call,
    /// and then theirs to keep.
    ///
    /// # Errors
    /// [`WriteError`]: the link is over.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, waiting: &mut bool) -> Poll<Result<(), WriteError>> {
        match self.poll_through(cx, waiting) {
            Poll::Ready(result) => Poll::Ready(result.map_err(WriteError::Io)),
            Poll::Pending => poll_stalled(&mut self.timer, self.stall, waiting, cx),
        }
    }

    /// Writes what is encoded as far as the operating system takes it at once; true when it has taken all. What is left,
    /// also after an error, is for [`flush`](Self::flush). Works outside a runtime too.
    pub fn flush_now(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(self.poll_through(&mut cx, &mut false), Poll::Ready(Ok(())))
    }

    fn poll_through(&mut self, cx: &mut Context<'_>, waiting: &mut bool) -> Poll<io::Result<()>> {
        self.unflushed = true;
        while self.out.has_remaining() {
            ready!(poll_write(&mut self.io, &mut self.out, cx))?;
            *waiting = false;
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Writes what is encoded and then `close`, if any, and ends this direction. Best effort, for a second at most. The
    /// reader of the link can then [`linger`](super::FrameReader::linger) until the other side has ended its own.
    pub async fn close(mut self, close: Option<Close>) {
        if let Some(close) = close {
            // A `Close` fits any link.
            let _ = self.push(&Frame::Close(close));
        }
        let goodbye = async {
            if self.flush().await.is_ok() {
                let _ = self.io.shutdown().await;
            }
        };
        let _ = timeout(CLOSE, goodbye).await;
    }
}

fn poll_write<W: AsyncWrite + Unpin>(
    io: &mut W,
    out: &mut OutBuf,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let io = Pin::new(io);
    let count = if io.is_write_vectored() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = out.chunks_vectored(&mut slices);
        let slices = slices.get(..filled).unwrap_or_default();
        ready!(io.poll_write_vectored(cx, slices))?
    } else {
        ready!(io.poll_write(cx, out.chunk()))?
    };
    if count == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    out.advance(count);
    Poll::Ready(Ok(()))
}

/// Ready, with the error, when it has been waited for `stall` since `waiting` became true.
fn poll_stalled(
    timer: &mut Option<Pin<Box<Sleep>>>,
    stall: Duration,
    waiting: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Result<(), WriteError>> {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep(stall)));
    if !*waiting {
        *waiting = true;
        timer.as_mut().reset(after(stall));
    }
    ready!(timer.as_mut().poll(cx));
    Poll::Ready(Err(WriteError::Stalled { after: stall }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use tokio::io::AsyncReadExt as _;
    use tokio::time::Instant;
    use waypost_wire::{Message, encode};

    fn message(len: usize) -> Frame {
        Frame::Message(Message::new("from", "to", Bytes::from(vec![7; len])).unwrap())
    }

    #[tokio::test]
    async fn a_frame_that_is_too_large_is_refused_and_the_others_are_written() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut writer = FrameWriter::new(near, 5000, DEFAULT_WRITE_STALL);
        let written = writer
            .write_batch([message(10), message(6000), message(20)])
            .await
            .unwrap();
        assert_eq!(written.frames, 2);
        assert!(matches!(
            written.refused[..],
            [(1, EncodeError::TooLarge { max_bytes: 5000, .. })]
        ));
        drop(writer);
        let mut expected = BytesMut::new();
        encode(&message(10), &mut expected, 5000).unwrap();
        encode(&message(20), &mut expected, 5000).unwrap();
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn progress_puts_the_stall_off_and_standing_still_does_not() {
        let (near, mut far) = tokio::io::duplex(1000);
        let stall = Duration::from_secs(30);
        let mut writer = FrameWriter::new(near, 1 << 20, stall);
        let start = Instant::now();
        let reads = async {
            let mut buf = [0; 1000];
            for _ in 0..5 {
                sleep(Duration::from_secs(20)).await;
                far.read_exact(&mut buf).await.unwrap();
            }
            core::future::pending::<()>().await;
        };
        tokio::select! {
            result = writer.write_batch([message(100_000)]) => {
                assert!(matches!(result, Err(WriteError::Stalled { after }) if after == stall), "{result:?}");
            }
            () = reads => {}
        }
        assert_eq!(start.elapsed().as_secs(), 130);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_write_leaves_the_stream_whole() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut writer = FrameWriter::new(near, 1 << 20, DEFAULT_WRITE_STALL);
        let cancelled = timeout(Duration::from_secs(1), writer.write_batch([message(3000)])).await;
        assert!(cancelled.is_err() && writer.pending_bytes() > 0);
        let rest = tokio::spawn(async move {
            let _ = writer.write_batch([message(5)]).await.unwrap();
        });
        let mut expected = BytesMut::new();
        encode(&message(3000), &mut expected, 5000).unwrap();
        encode(&message(5), &mut expected, 5000).unwrap();
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, expected);
        rest.await.unwrap();
    }

    /// Takes everything, and is done with it only later, as TLS is.
    #[derive(Debug, Default)]
    struct Slow {
        flushed: bool,
    }

    impl AsyncWrite for Slow {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.flushed {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_the_connection_has_taken_and_not_passed_on_is_not_flushed() {
        let mut writer = FrameWriter::new(Slow::default(), 5000, DEFAULT_WRITE_STALL);
        assert!(writer.is_flushed());
        writer.push(&message(10)).unwrap();
        assert!(!writer.is_flushed());
        assert!(!writer.flush_now());
        assert_eq!(writer.pending_bytes(), 0);
        assert!(!writer.is_flushed(), "somebody waits for the rest");
        writer.io.flushed = true;
        assert!(writer.flush_now() && writer.is_flushed());
    }
}
