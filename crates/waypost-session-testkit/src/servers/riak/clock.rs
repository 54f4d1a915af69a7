//! Version vectors.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One event: the writer's name and its count.
pub(super) type Dot = (String, u64);

/// How much of every writer has been seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Clock(BTreeMap<String, u64>);

impl Clock {
    pub(super) fn covers(&self, (actor, count): &Dot) -> bool {
        self.0.get(actor).is_some_and(|seen| seen >= count)
    }

    pub(super) fn descends(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|(actor, count)| self.covers(&(actor.clone(), *count)))
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (actor, count) in &other.0 {
            let seen = self.0.entry(actor.clone()).or_default();
            *seen = (*seen).max(*count);
        }
    }

    /// The writer's next event, which is then seen.
    pub(super) fn next(&mut self, actor: &str) -> Dot {
        let seen = self.0.entry(actor.to_owned()).or_default();
        *seen += 1;
        (actor.to_owned(), *seen)
    }

    /// As it stands in a header.
    pub(super) fn encode(&self) -> String {
        let mut text = String::from("a85h");
        for (actor, count) in &self.0 {
            for byte in format!("{actor}:{count};").bytes() {
                let _ = write!(text, "{byte:02x}");
            }
        }
        text
    }

    /// `None` for what no node has sent.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("a85h")?;
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
            .collect::<Option<_>>()?;
        let text = String::from_utf8(bytes).ok()?;
        let entries = text.split_terminator(';').map(|entry| {
            let (actor, count) = entry.split_once(':')?;
            Some((actor.to_owned(), count.parse().ok()?))
        });
        Some(Self(entries.collect::<Option<_>>()?))
    }
}
