//! Why a case ended early.

use core::fmt;
use std::error::Error;

use waypost_session::StoreError;
use waypost_types::NameError;

/// Why a case ended early. Its `Display` is the whole story, sources included: it is for the person who reads the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The store broke the contract; the text says how.
    Failed(String),
    /// The store or its builder does not promise what the case is about; the text says what is missing.
    NotApplicable(String),
}

impl Stop {
    /// A failure with what went wrong.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed(what.into())
    }

    /// What is missing for the case to make sense.
    pub fn not_applicable(what: impl Into<String>) -> Self {
        Self::NotApplicable(what.into())
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(what) => f.write_str(what),
            Self::NotApplicable(what) => write!(f, "not applicable: {what}"),
        }
    }
}

impl Error for Stop {}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(chain(&error))
    }
}

impl From<NameError> for Stop {
    fn from(error: NameError) -> Self {
        Self::Failed(chain(&error))
    }
}

impl From<tokio::task::JoinError> for Stop {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Failed(chain(&error))
    }
}

/// The error with all of its sources on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Ends the case as failed unless the condition holds.
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Stop::failed(format!($($message)+)));
        }
    };
}

/// Ends the case as failed unless both sides are equal.
macro_rules! check_eq {
    ($left:expr, $right:expr, $($message:tt)+) => {{
        let (left, right) = (&$left, &$right);
        if *left != *right {
            let what = format!($($message)+);
            return Err($crate::Stop::failed(format!("{what}: got {left:?}, expected {right:?}")));
        }
    }};
}

pub(crate) use {check, check_eq};
