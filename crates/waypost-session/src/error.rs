//! What can go wrong with a datastore, and what to do next.

use core::fmt;
use std::error::Error;

/// What kind of failure it was, by what the caller should conclude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The datastore cannot be reached or says that it is not ready.
    Unavailable,
    /// No answer came in time. A write may have been applied.
    Timeout,
    /// This build or this datastore cannot do it.
    Unsupported,
    /// The store's URL or the datastore's set-up is wrong.
    ConfigInvalid,
    /// Credentials are missing, wrong or not allowed to do this.
    PermissionDenied,
    /// Others changed the same record again and again.
    Conflict,
    /// A record cannot be read as what it should be.
    Corrupt,
    /// A bound of the datastore was reached: memory, map size, request size.
    LimitExceeded,
    /// Anything else.
    Unexpected,
}

impl ErrorKind {
    /// The kind as lower-case words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Timeout => "timed out",
            Self::Unsupported => "unsupported",
            Self::ConfigInvalid => "invalid configuration",
            Self::PermissionDenied => "permission denied",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt record",
            Self::LimitExceeded => "limit exceeded",
            Self::Unexpected => "unexpected",
        }
    }
}

/// Whether and how to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryAdvice {
    /// Trying again gives the same error until somebody changes something.
    Never,
    /// Try again after a pause that grows.
    BackOff,
}

/// An error of a session store. `Display` is one line without the source and without any password.
pub struct StoreError {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    may_have_applied: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of `operation`, a verb of the trait or `open`. `message` says what to do next where that is known and
    /// never holds a password.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            operation,
            message: message.into(),
            may_have_applied: matches!(kind, ErrorKind::Timeout),
            source: None,
        }
    }

    /// The same with the error that caused it. Its text must not hold a password.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same, saying whether the write may have been applied all the same.
    #[must_use]
    pub const fn with_may_have_applied(mut self, may_have_applied: bool) -> Self {
        self.may_have_applied = may_have_applied;
        self
    }

    /// What kind of failure it was.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The verb that failed.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        self.operation
    }

    /// Whether a write may have been applied although it failed. A read never is.
    #[must_use]
    pub const fn may_have_applied(&self) -> bool {
        self.may_have_applied
    }

    /// Whether and how to try again.
    #[must_use]
    pub const fn retry_advice(&self) -> RetryAdvice {
        match self.kind {
            ErrorKind::Unsupported
            | ErrorKind::ConfigInvalid
            | ErrorKind::PermissionDenied
            | ErrorKind::Corrupt => RetryAdvice::Never,
            ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Conflict
            | ErrorKind::LimitExceeded
            | ErrorKind::Unexpected => RetryAdvice::BackOff,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "session store: {} {}: {}",
            self.operation,
            self.kind.as_str(),
            self.message
        )
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreError")
            .field("kind", &self.kind)
            .field("operation", &self.operation)
            .field("message", &self.message)
            .field("may_have_applied", &self.may_have_applied)
            .field("source", &self.source)
            .finish()
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
