//! What can be made to go wrong.

use core::time::Duration;
use std::sync::{Mutex, PoisonError};

/// Something that goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The answer is "temporary failure", and nothing is done.
    TemporaryFailure,
    /// The answer is "not my vbucket", and nothing is done.
    NotMyVbucket,
    /// The answer is this status, and nothing is done.
    Status(u16),
    /// The connection is cut, and nothing is done.
    CutBefore,
    /// It is done, and then the connection is cut without an answer.
    CutAfter,
    /// It is done at once and answered after this time; requests after it are answered meanwhile.
    Late(Duration),
    /// It is done at once, and never answered.
    Unanswered,
}

/// Which requests go wrong.
#[derive(Debug, Clone, Default)]
pub struct When {
    names: Vec<&'static str>,
    key: String,
}

impl When {
    /// Any request for a document.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests of these names, such as `get` or `replace`.
    #[must_use]
    pub fn named(names: &[&'static str]) -> Self {
        Self {
            names: names.to_vec(),
            ..Self::default()
        }
    }

    /// Requests that write.
    #[must_use]
    pub fn writing() -> Self {
        Self::named(&["set", "add", "replace", "delete", "append", "prepend"])
    }

    /// Of these, only requests whose keys contain `part`.
    #[must_use]
    pub fn on(mut self, part: &str) -> Self {
        part.clone_into(&mut self.key);
        self
    }

    fn fits(&self, name: &str, key: &[u8]) -> bool {
        (self.names.is_empty() || self.names.contains(&name))
            && String::from_utf8_lossy(key).contains(&self.key)
    }
}

#[derive(Debug, Default)]
pub(super) struct Troubles {
    waiting: Mutex<Vec<(When, usize, Trouble)>>,
}

impl Troubles {
    pub(super) fn add(&self, when: When, times: usize, trouble: Trouble) {
        if times > 0 {
            self.lock().push((when, times, trouble));
        }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// What goes wrong with this request, if anything; it is used up by that.
    pub(super) fn take(&self, name: &str, key: &[u8]) -> Option<Trouble> {
        let mut waiting = self.lock();
        let at = waiting.iter().position(|(when, ..)| when.fits(name, key))?;
        let (_, times, trouble) = &mut waiting[at];
        let trouble = *trouble;
        *times -= 1;
        if *times == 0 {
            waiting.remove(at);
        }
        Some(trouble)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(When, usize, Trouble)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
