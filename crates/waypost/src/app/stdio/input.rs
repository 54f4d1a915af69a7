//! Stdin as lines: by one thread, bounded, an overlong line skipped without being kept.

use std::io::{self, Read};
use std::thread;

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;

/// How many pieces of input may wait.
const BATCHES_MAX: usize = 4;
/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// A line of stdin.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1 on.
    pub(super) number: u64,
    /// Without its newline; none when the line was too long to keep.
    pub(super) text: Option<Vec<u8>>,
}

/// The lines of stdin; the channel ends with stdin.
pub(super) fn stdin(line_bytes_max: usize) -> Result<mpsc::Receiver<Vec<Line>>> {
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            if let Err(error) = read(io::stdin().lock(), line_bytes_max, |batch| {
                sender.blocking_send(batch).is_ok()
            }) {
                tracing::error!(%error, "cannot read stdin: takes it as ended");
            }
        })
        .context("cannot start the thread that reads stdin")?;
    Ok(receiver)
}

/// Gives lines to `take` until the input ends or `take` says no.
fn read(
    mut input: impl Read,
    line_bytes_max: usize,
    mut take: impl FnMut(Vec<Line>) -> bool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut splitter = Splitter::new(line_bytes_max);
    loop {
        let count = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let lines = splitter.push(&chunk[..count]);
        if !lines.is_empty() && !take(lines) {
            return Ok(());
        }
    }
    if let Some(line) = splitter.finish() {
        take(vec![line]);
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

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn lines(input: &[u8], piece: usize) -> Vec<(u64, Option<String>)> {
        let mut all = Vec::new();
        read(Pieces(input, piece), 10, |batch| {
            all.extend(batch);
            true
        })
        .unwrap();
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
