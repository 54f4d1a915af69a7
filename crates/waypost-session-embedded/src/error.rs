//! What LMDB's errors mean to the caller of a session store.

use std::io;

use heed::MdbError;
use waypost_session::{ErrorKind, StoreError};

use crate::codec::Corrupt;

/// Why a step inside a transaction failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The transaction can only be abandoned, and everything in it with it.
    Transaction(heed::Error),
    /// This operation failed and wrote nothing half; the transaction is sound.
    Operation(ErrorKind, String),
}

impl From<heed::Error> for Failure {
    fn from(error: heed::Error) -> Self {
        Self::Transaction(error)
    }
}

impl From<Corrupt> for Failure {
    fn from(corrupt: Corrupt) -> Self {
        Self::Operation(
            ErrorKind::Corrupt,
            format!("{corrupt}: another program or another version wrote it, or the disk lost it"),
        )
    }
}

impl Failure {
    /// The error of `operation`, of which nothing was applied when it was the transaction that failed.
    pub(crate) fn into_error(self, operation: &'static str) -> StoreError {
        match self {
            Self::Transaction(error) => from_heed(operation, error).with_may_have_applied(false),
            // Entries of the batch before the failed one stay.
            Self::Operation(kind, message) => {
                StoreError::new(kind, operation, message).with_may_have_applied(kind == ErrorKind::Corrupt)
            }
        }
    }
}

/// Translates an error of LMDB or of the file system below it.
pub(crate) fn from_heed(operation: &'static str, error: heed::Error) -> StoreError {
    let (kind, message) = match &error {
        heed::Error::Mdb(MdbError::MapFull) => (
            ErrorKind::LimitExceeded,
            "the data file is full: open it with a larger map_size in every process",
        ),
        heed::Error::Mdb(MdbError::MapResized) => (
            ErrorKind::LimitExceeded,
            "another process opened it with a larger map_size: open it with the same one here",
        ),
        heed::Error::Mdb(MdbError::ReadersFull) => (
            ErrorKind::LimitExceeded,
            "too many reads at once: open it with a larger max_readers",
        ),
        heed::Error::Mdb(MdbError::TxnFull) => (
            ErrorKind::LimitExceeded,
            "too much was changed at once: send smaller batches",
        ),
        heed::Error::Mdb(
            MdbError::Corrupted | MdbError::PageNotFound | MdbError::Invalid | MdbError::VersionMismatch,
        ) => (
            ErrorKind::Corrupt,
            "the data file cannot be read: stop every process that uses it and remove its directory",
        ),
        heed::Error::Mdb(MdbError::Panic) => (
            ErrorKind::Unavailable,
            "an earlier write failed on the disk: close the store in this process and open it again",
        ),
        heed::Error::EnvAlreadyOpened => (
            ErrorKind::Unavailable,
            "this process is still closing it: try again in a moment",
        ),
        heed::Error::Io(source) => {
            return from_io(operation, "the file system refused", error_copy(source), error);
        }
        _ => (ErrorKind::Unexpected, "LMDB failed in a way that is not expected"),
    };
    StoreError::new(kind, operation, message).with_source(error)
}

/// Translates an error of the file system.
pub(crate) fn from_file(operation: &'static str, message: &str, error: io::Error) -> StoreError {
    let class = error_copy(&error);
    from_io(operation, message, class, error)
}

fn error_copy(error: &io::Error) -> io::ErrorKind {
    error.kind()
}

fn from_io(
    operation: &'static str,
    message: &str,
    class: io::ErrorKind,
    source: impl Into<Box<dyn core::error::Error + Send + Sync>>,
) -> StoreError {
    let (kind, hint) = match class {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::PermissionDenied,
            "all processes must run as a user who may write there",
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::LimitExceeded, "the file system has no room left")
        }
        io::ErrorKind::OutOfMemory => (
            ErrorKind::LimitExceeded,
            "no address space is left for the map: give a smaller map_size or raise the process's limit",
        ),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists | io::ErrorKind::InvalidInput => {
            (ErrorKind::ConfigInvalid, "the path must be a directory")
        }
        _ => (ErrorKind::Unavailable, "see the cause"),
    };
    StoreError::new(kind, operation, format!("{message}: {hint}")).with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_names_the_setting() {
        let error = from_heed("claim", heed::Error::Mdb(MdbError::MapFull));
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert!(error.to_string().contains("map_size"), "{error}");
        let full = from_heed(
            "claim",
            heed::Error::Io(io::Error::from(io::ErrorKind::StorageFull)),
        );
        assert_eq!(full.kind(), ErrorKind::LimitExceeded);
    }
}
