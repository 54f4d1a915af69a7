//! How an environment is opened.

use core::time::Duration;

use waypost_session::{ErrorKind, StoreError};

/// Map sizes are rounded up to a multiple of this: a multiple of every page size in use.
const MAP_GRAIN_BYTES: usize = 64 << 10;
/// Smallest map that is accepted.
const MAP_BYTES_MIN: usize = 16 << 20;
/// Most readers that are accepted: each takes a slot of 64 bytes in the lock file, and opening scans them all.
const READERS_MAX: u32 = 1 << 16;

/// How an [`EmbeddedStore`](crate::EmbeddedStore) opens its environment.
///
/// All processes that share a path should use the same options. Handles of one process on one path must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedOptions {
    pub(crate) map_size_bytes: usize,
    pub(crate) max_readers: u32,
    pub(crate) sync: bool,
    pub(crate) timeout: Duration,
}

impl EmbeddedOptions {
    /// Largest size of the data file, in bytes; rounded up to a multiple of 64 KiB. Default: 4 GiB (1 GiB where pointers
    /// have 32 bits). It reserves address space and neither memory nor disk, so be generous: a session takes about 250
    /// bytes with short names. At least 16 MiB. When seven eighths are used, claims
    /// fail with kind `LimitExceeded`; the rest is kept for releases, renewals and reclaiming.
    #[must_use]
    pub const fn map_size_bytes(mut self, bytes: usize) -> Self {
        self.map_size_bytes = bytes;
        self
    }

    /// How many reads of all processes together may be under way at one moment. Default: 1024. Set by whichever process
    /// opens the environment while no other has it open.
    #[must_use]
    pub const fn max_readers(mut self, readers: u32) -> Self {
        self.max_readers = readers;
        self
    }

    /// Whether a write is answered only once the disk has it. Default: no. See the crate's documentation for what each
    /// choice promises.
    #[must_use]
    pub const fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// How long a call may take before it fails with kind `Timeout`. Default: 2 s. Reached only when another process
    /// holds the writer lock for that long (stopped in the middle of a write) or the disk hangs.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with the map size rounded, or why they cannot be used.
    pub(crate) fn checked(mut self) -> Result<Self, StoreError> {
        let invalid = |message: String| Err(StoreError::new(ErrorKind::ConfigInvalid, "open", message));
        if self.map_size_bytes < MAP_BYTES_MIN {
            return invalid(format!(
                "map_size is {} bytes: give at least {MAP_BYTES_MIN}",
                self.map_size_bytes
            ));
        }
        let Some(rounded) = self.map_size_bytes.checked_next_multiple_of(MAP_GRAIN_BYTES) else {
            return invalid(format!("map_size is {} bytes: give less", self.map_size_bytes));
        };
        self.map_size_bytes = rounded;
        if self.max_readers == 0 || self.max_readers > READERS_MAX {
            return invalid(format!(
                "max_readers is {}: give 1 to {READERS_MAX}",
                self.max_readers
            ));
        }
        Ok(self)
    }
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            map_size_bytes: if cfg!(target_pointer_width = "64") {
                4 << 30
            } else {
                1 << 30
            },
            max_readers: 1024,
            sync: false,
            timeout: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_and_checked() {
        let rounded = EmbeddedOptions::default()
            .map_size_bytes((16 << 20) + 1)
            .checked()
            .unwrap();
        assert_eq!(rounded.map_size_bytes, (16 << 20) + (64 << 10));
        for wrong in [
            EmbeddedOptions::default().map_size_bytes(0),
            EmbeddedOptions::default().map_size_bytes(usize::MAX),
            EmbeddedOptions::default().max_readers(0),
            EmbeddedOptions::default().max_readers(u32::MAX),
        ] {
            assert_eq!(wrong.checked().unwrap_err().kind(), ErrorKind::ConfigInvalid);
        }
    }
}
