//! Stdin as lines: by one thread, bounded, an overlong line skipped without being kept.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::mpsc;

/// How many pieces of input may wait.
const BATCHES_MAX: usize = 4;
/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// How often it is tried to find the thread not reading. A read takes no time, since something is there.
const TRIES_MAX: usize = 1000;

/// A line of stdin.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1 on.
    pub(super) number: u64,
    /// Without its newline; none when the line was too long to keep.
    pub(super) text: Option<Vec<u8>>,
}

/// The lines that ended in a piece of stdin.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) lines: Vec<Line>,
    /// How many bytes of stdin there were up to the end of this piece.
    pub(super) bytes: u64,
}

/// Stdin, read by a thread of its own.
#[derive(Debug)]
pub(super) struct Input {
    batches: mpsc::Receiver<Batch>,
    /// How many bytes have been read; locked while more are.
    count: Arc<Mutex<u64>>,
}

impl Input {
    pub(super) fn stdin(line_bytes_max: usize) -> Result<Self> {
        let (sender, batches) = mpsc::channel(BATCHES_MAX);
        let count = Arc::new(Mutex::new(0));
        let counted = count.clone();
        thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                let result = read(
                    |chunk| read_counted(chunk, &counted),
                    line_bytes_max,
                    |batch| sender.blocking_send(batch).is_ok(),
                );
                if let Err(error) = result {
                    tracing::error!(%error, "cannot read stdin: takes it as ended");
                }
            })
            .context("cannot start the thread that reads stdin")?;
        Ok(Self { batches, count })
    }

    /// The next piece; none at the end of stdin.
    pub(super) async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }

    /// How many bytes have been written to stdin until now, as far as that can be told.
    pub(super) fn bytes_written(&self) -> u64 {
        for _ in 0..TRIES_MAX {
            if let Ok(read) = self.count.try_lock() {
                let unread = rustix::io::ioctl_fionread(rustix::stdio::stdin()).unwrap_or(0);
                return read.saturating_add(unread);
            }
            thread::yield_now();
        }
        0
    }

    /// Reads no more.
    pub(super) fn close(&mut self) {
        self.batches.close();
    }
}

/// Waits until there is something to read, so that nobody who wants to know how much has been read has to wait for that.
fn read_counted(chunk: &mut [u8], count: &Mutex<u64>) -> io::Result<usize> {
    let stdin = rustix::stdio::stdin();
    poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None)?;
    let mut count = count
        .lock()
        .map_err(|_| io::Error::other("a thread has panicked"))?;
    let bytes = rustix::io::read(stdin, chunk)?;
    *count = count.saturating_add(bytes as u64);
    Ok(bytes)
}

/// Gives lines to `take` until the input ends or `take` says no.
fn read(
    mut input: impl FnMut(&mut [u8]) -> io::Result<usize>,
    line_bytes_max: usize,
    mut take: impl FnMut(Batch) -> bool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut splitter = Splitter::new(line_bytes_max);
    let mut bytes = 0;
    loop {
        let count = match input(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let lines = splitter.push(&chunk[..count]);
        bytes += count as u64;
        // Also without a line: who waits for what has been written learns that it has been read.
        if !take(Batch { lines, bytes }) {
            return Ok(());
        }
    }
    if let Some(line) = splitter.finish() {
        let lines = vec![line];
        take(Batch { lines, bytes });
    }
    Ok(())
}

/// Cuts bytes into lines.
struct Splitter {
    line_bytes_max: usize,
    number: u64,
    partial: Vec<u8>,
    too_long: bool,
}

impl Splitter {
    const fn new(line_bytes_max: usize) -> Self {
        Self {
            line_bytes_max,
            number: 1,
            partial: Vec::new(),
            too_long: false,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut pieces = bytes.split(|&byte| byte == b'\n');
        // `split` gives at least one piece, and the last one has no newline after it.
        let Some(mut piece) = pieces.next() else {
            return lines;
        };
        for next in pieces {
            self.keep(piece);
            lines.extend(self.end());
            piece = next;
        }
        self.keep(piece);
        lines
    }

    /// The line that has no newline, when the input has ended.
    fn finish(&mut self) -> Option<Line> {
        self.end()
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.partial.len() + piece.len() > self.line_bytes_max {
            self.too_long = true;
            self.partial = Vec::new();
        }
        if !self.too_long {
            self.partial.extend_from_slice(piece);
        }
    }

    /// Ends the line. Blank lines count and are not given out.
    fn end(&mut self) -> Option<Line> {
        let number = self.number;
        self.number += 1;
        let text = core::mem::take(&mut self.partial);
        if core::mem::take(&mut self.too_long) {
            return Some(Line { number, text: None });
        }
        (!text.trim_ascii().is_empty()).then_some(Line {
            number,
            text: Some(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of one size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> usize {
            let count = self.1.min(self.0.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            count
        }
    }

    fn lines(input: &[u8], piece: usize) -> Vec<(u64, Option<String>)> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        let mut pieces = Pieces(input, piece);
        let take = |batch: Batch| {
            all.extend(batch.lines);
            bytes = batch.bytes;
            true
        };
        read(|into| Ok(pieces.read(into)), 10, take).unwrap();
        assert_eq!(bytes, input.len() as u64);
        all.into_iter()
            .map(|line| {
                (
                    line.number,
                    line.text.map(|text| String::from_utf8(text).unwrap()),
                )
            })
            .collect()
    }

    #[test]
    fn lines_are_the_same_however_the_input_comes() {
        let input = b"one\n\n  \n0123456789\n01234567890\r\nlonger still than that\nlast";
        let expected = [
            (1, Some("one".to_owned())),
            (4, Some("0123456789".to_owned())),
            (5, None),
            (6, None),
            (7, Some("last".to_owned())),
        ];
        for piece in 1..=input.len() {
            assert_eq!(lines(input, piece), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn an_overlong_line_is_not_kept() {
        let mut splitter = Splitter::new(10);
        for _ in 0..1000 {
            splitter.push(&[b'x'; 1000]);
            assert!(splitter.partial.capacity() <= 10);
        }
    }
}
