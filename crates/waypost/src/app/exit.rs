//! Exit codes, and errors on their way to one.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::anyhow;
use waypost_node::transport::ListenError;
use waypost_peer::{PeerError, StartError};
use waypost_session::{ErrorKind, StoreError};

use super::Program;

/// Something failed that none of the other codes stands for.
pub(crate) const FAILED: u8 = 1;
/// Bad usage or configuration (`EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// The session store, or the broker, cannot be reached at start (`EX_UNAVAILABLE`).
pub(crate) const UNAVAILABLE: u8 = 69;

/// Why the program ends, and the code it ends with.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self {
            code: USAGE,
            error: error.into(),
        }
    }

    /// A store that could not be opened.
    pub(crate) fn store(error: StoreError) -> Self {
        Self {
            code: store_code(&error),
            error: error.into(),
        }
    }

    /// A node or a peer that did not start.
    pub(crate) fn start(error: StartError) -> Self {
        let code = match &error {
            StartError::Setting { .. }
            | StartError::Endpoint { .. }
            | StartError::Listen {
                source: ListenError::NotHere { .. } | ListenError::TlsNotSet { .. },
                ..
            } => USAGE,
            #[cfg(feature = "tls")]
            StartError::Tls(_) => USAGE,
            _ => FAILED,
        };
        Self {
            code,
            error: error.into(),
        }
    }

    /// A server that could not register. `with` says what it had to reach.
    pub(crate) fn register(error: PeerError, with: &str) -> Self {
        let code = match &error {
            PeerError::Name(_) => USAGE,
            PeerError::StoreUnavailable | PeerError::TimedOut => UNAVAILABLE,
            _ => FAILED,
        };
        Self {
            code,
            error: anyhow::Error::from(error).context(format!("cannot register with {with}")),
        }
    }

    /// Prints the whole chain, once, and returns the code.
    pub(crate) fn report(&self, program: Program) -> ExitCode {
        // Nobody is left to be told when stderr is closed.
        let _ = writeln!(std::io::stderr(), "{}: {:#}", program.name(), self.error);
        ExitCode::from(self.code)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: FAILED, error }
    }
}

/// A store that refuses its URL or our credentials stays as it is until somebody changes the configuration; one that
/// does not answer may come back.
fn store_code(error: &StoreError) -> u8 {
    match error.kind() {
        ErrorKind::ConfigInvalid | ErrorKind::Unsupported | ErrorKind::PermissionDenied => USAGE,
        ErrorKind::Unavailable | ErrorKind::Timeout => UNAVAILABLE,
        _ => FAILED,
    }
}

/// A usage error from words alone.
pub(crate) fn usage(message: impl core::fmt::Display) -> Failure {
    Failure::usage(anyhow!("{message}"))
}
