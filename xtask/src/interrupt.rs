//! SIGINT, SIGTERM and SIGHUP as a request that is asked for, not something that happens to us.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// A second signal counts as impatience only after this long: a terminal and a wrapper such as `timeout` may each
/// deliver the same one.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// Whether the user has asked us to stop, and whether they have asked again.
#[derive(Debug)]
pub(crate) struct Interrupt {
    signalled: Arc<AtomicBool>,
    first: Cell<Option<Instant>>,
    again: Cell<bool>,
}

impl Interrupt {
    /// From here on the signals no longer end this process by themselves.
    pub(crate) fn install() -> Result<Self> {
        let signalled = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&signalled))
                .with_context(|| format!("cannot handle signal {signal}"))?;
        }
        Ok(Self {
            signalled,
            first: Cell::new(None),
            again: Cell::new(false),
        })
    }

    /// Whether any signal has come.
    pub(crate) fn requested(&self) -> bool {
        self.observe(Instant::now());
        self.first.get().is_some()
    }

    /// Whether another came a while after the first: do not wait any longer.
    pub(crate) fn insisted(&self) -> bool {
        self.observe(Instant::now());
        self.again.get()
    }

    fn observe(&self, now: Instant) {
        if !self.signalled.swap(false, Ordering::Relaxed) {
            return;
        }
        match self.first.get() {
            None => self.first.set(Some(now)),
            Some(first) if now.duration_since(first) >= IMPATIENCE => self.again.set(true),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_signal_at_once_is_one_request_and_a_later_one_is_impatience() {
        let interrupt = Interrupt {
            signalled: Arc::new(AtomicBool::new(true)),
            first: Cell::new(None),
            again: Cell::new(false),
        };
        let start = Instant::now();
        interrupt.observe(start);
        assert!(interrupt.first.get().is_some());
        interrupt.signalled.store(true, Ordering::Relaxed);
        interrupt.observe(start + Duration::from_millis(10));
        assert!(!interrupt.again.get());
        interrupt.signalled.store(true, Ordering::Relaxed);
        interrupt.observe(start + IMPATIENCE);
        assert!(interrupt.again.get());
    }
}
