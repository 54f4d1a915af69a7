//! Following the files that the processes write to.
//!
//! The processes write to files and never to a pipe of ours: whatever becomes of this program, they go on.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result};

/// So much of one file is taken at a time, so that no process keeps the others from being shown.
const TURN_BYTES: u64 = 64 * 1024;
/// A line longer than this is shown in parts.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// The lines of a growing file, from its beginning.
#[derive(Debug)]
pub(crate) struct Tail {
    file: File,
    partial: Vec<u8>,
}

impl Tail {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            file,
            partial: Vec::new(),
        })
    }

    /// The complete lines written since the last call.
    pub(crate) fn lines(&mut self) -> Result<Vec<String>> {
        let mut read = Vec::new();
        (&mut self.file).take(TURN_BYTES).read_to_end(&mut read)?;
        let mut lines = Vec::new();
        for byte in read {
            if byte == b'\n' || self.partial.len() >= LINE_BYTES_MAX {
                lines.push(self.take_partial());
            }
            if byte != b'\n' {
                self.partial.push(byte);
            }
        }
        Ok(lines)
    }

    /// All that is left, also a last line without its end.
    pub(crate) fn rest(&mut self) -> Result<Vec<String>> {
        let mut rest = Vec::new();
        loop {
            let before = self.file.stream_position()?;
            rest.extend(self.lines()?);
            if self.file.stream_position()? == before {
                break;
            }
        }
        if !self.partial.is_empty() {
            rest.push(self.take_partial());
        }
        Ok(rest)
    }

    fn take_partial(&mut self) -> String {
        let bytes = std::mem::take(&mut self.partial);
        String::from_utf8_lossy(&bytes).trim_end_matches('\r').to_owned()
    }
}

/// The last `count` lines of a file; none where it cannot be read.
pub(crate) fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TURN_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_line_is_shown_when_it_is_complete() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut tail = Tail::open(file.path()).unwrap();
        write!(file, "one\ntw").unwrap();
        assert_eq!(tail.lines().unwrap(), ["one"]);
        assert!(tail.lines().unwrap().is_empty());
        write!(file, "o\r\nthree").unwrap();
        assert_eq!(tail.lines().unwrap(), ["two"]);
        assert_eq!(tail.rest().unwrap(), ["three"]);
        assert!(tail.rest().unwrap().is_empty());
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![b'x'; LINE_BYTES_MAX * 2 + 5]).unwrap();
        let mut tail = Tail::open(file.path()).unwrap();
        let lengths: Vec<usize> = tail.rest().unwrap().iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_BYTES_MAX, LINE_BYTES_MAX, 5]);
    }

    #[test]
    fn last_lines_are_the_last() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "a\nb\nc\n").unwrap();
        assert_eq!(last_lines(file.path(), 2), ["b", "c"]);
        assert_eq!(last_lines(file.path(), 9), ["a", "b", "c"]);
        assert!(last_lines(Path::new("/nonexistent"), 3).is_empty());
    }
}
