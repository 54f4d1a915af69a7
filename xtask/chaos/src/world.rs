//! What all threads share: the oracle behind a lock, and waiting for something to become true of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::Oracle;

/// The oracle, shared by the threads that read what processes print.
#[derive(Debug, Clone, Default)]
pub struct World(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    oracle: Mutex<Oracle>,
    changed: Condvar,
}

impl World {
    /// The oracle. Readers wait while it is held.
    pub fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.0.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the oracle and wakes who waits for that.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Oracle) -> T) -> T {
        let result = change(&mut self.oracle());
        self.0.changed.notify_all();
        result
    }

    /// Waits until `condition` gives a value.
    ///
    /// # Errors
    /// When it does not within `patience`, or when a promise has been broken meanwhile; the error says which.
    pub fn wait<T>(
        &self,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut(&mut Oracle) -> Option<T>,
    ) -> Result<T> {
        let until = Instant::now() + patience;
        let mut oracle = self.oracle();
        loop {
            oracle.verdict()?;
            if let Some(value) = condition(&mut oracle) {
                return Ok(value);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("not so within {patience:?}: {what}");
            }
            oracle = self
                .0
                .changed
                .wait_timeout(oracle, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// Asks again and again until there is a value, with a short pause between.
///
/// # Errors
/// When there is none within `patience`, or when asking fails.
pub fn eventually<T>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        if let Some(value) = ask()? {
            return Ok(value);
        }
        if Instant::now() > until {
            bail!("not so within {patience:?}: {what}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}
