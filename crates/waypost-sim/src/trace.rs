//! What happened, line by line, when that is wanted.

use core::fmt::Arguments;

/// The run so far.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Keeps the lines from now on. Without this nothing is written at all, which is most of a run's time.
    pub(crate) fn keep(&mut self) {
        self.lines.get_or_insert_default();
    }

    /// Notes one thing that happened.
    pub(crate) fn note(&mut self, what: Arguments<'_>) {
        if let Some(lines) = &mut self.lines {
            lines.push(what.to_string());
        }
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
