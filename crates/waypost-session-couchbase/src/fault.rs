//! What went wrong below the verbs, and what it means to them.

use waypost_session::{ErrorKind, StoreError};

/// Says of a document that it is not what it should be. Then it counts as missing, and whoever has something to write there writes
/// over it: nobody could mend what it was, and an address must not stay unreachable for it.
pub(crate) fn unreadable(what: &str) {
    tracing::warn!(
        "{what} cannot be read and counts as missing: has something else written to keys of this prefix?"
    );
}

/// The verb on whose behalf something is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verb {
    name: &'static str,
    /// Whether it changes what others read.
    writes: bool,
}

impl Verb {
    pub(crate) const fn read(name: &'static str) -> Self {
        Self { name, writes: false }
    }

    pub(crate) const fn write(name: &'static str) -> Self {
        Self { name, writes: true }
    }
}

/// One failure. Its message never holds a password.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    /// Whether a write was sent that may have been or may yet be applied.
    pub(crate) sent: bool,
}

impl Fault {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            sent: false,
        }
    }

    /// No answer in time.
    pub(crate) fn late() -> Self {
        Self::new(
            ErrorKind::Timeout,
            "no answer in time: is the server reachable and are all of its nodes up?",
        )
    }

    /// The handle was closed.
    pub(crate) fn closed() -> Self {
        Self::new(ErrorKind::Unavailable, "the handle is closed")
    }

    /// Others changed the same document again and again.
    pub(crate) fn conflict() -> Self {
        Self::new(
            ErrorKind::Conflict,
            "others changed the same record again and again: try again after a pause",
        )
    }

    pub(crate) const fn sent(mut self) -> Self {
        self.sent = true;
        self
    }

    /// The same, sent or not as given or as before.
    pub(crate) const fn sent_if(mut self, sent: bool) -> Self {
        self.sent |= sent;
        self
    }

    /// The verb's error. `applied` says that another part of its batch may have been applied.
    pub(crate) fn into_error(self, verb: Verb, applied: bool) -> StoreError {
        StoreError::new(self.kind, verb.name, self.message)
            .with_may_have_applied(verb.writes && (self.sent || applied))
    }
}
