//! What happened, as one number and, when wanted, as lines.

use core::fmt::Arguments;

/// The run so far.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
    buf: String,
}

impl Trace {
    /// Keeps the lines from now on.
    pub(crate) fn keep(&mut self) {
        self.lines.get_or_insert_default();
    }

    /// Notes one thing that happened.
    pub(crate) fn note(&mut self, what: Arguments<'_>) {
        use core::fmt::Write as _;
        self.buf.clear();
        // Writing to a string does not fail.
        let _ = self.buf.write_fmt(what);
        for byte in self.buf.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(self.buf.clone());
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
