//! SIGINT and SIGTERM: the first asks the program to move out, the second ends it at once.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

/// By convention 128 and the signal's number.
const ENDED_BY_INTERRUPT: i32 = 130;
const ENDED_BY_TERMINATE: i32 = 143;

/// Whether a signal has asked the program to end.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    requested: watch::Receiver<Option<Instant>>,
}

impl Signals {
    /// From here on the first signal no longer ends the process by itself.
    pub(crate) fn install() -> Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
        let (request, requested) = watch::channel(None);
        tokio::spawn(async move {
            loop {
                let (name, code) = tokio::select! {
                    _ = interrupt.recv() => ("SIGINT", ENDED_BY_INTERRUPT),
                    _ = terminate.recv() => ("SIGTERM", ENDED_BY_TERMINATE),
                };
                if request.send_replace(Some(Instant::now())).is_some() {
                    tracing::warn!(signal = name, "second signal: ends at once");
                    std::process::exit(code);
                }
                tracing::info!(signal = name, "moves out; a second signal ends at once");
            }
        });
        Ok(Self { requested })
    }

    /// Returns once a signal has come, also when it came before.
    pub(crate) async fn requested(&self) {
        let mut requested = self.requested.clone();
        // The sending task never ends before the process does.
        let _ = requested.wait_for(Option::is_some).await;
    }

    /// When the first signal came, if it has.
    pub(crate) fn requested_at(&self) -> Option<Instant> {
        *self.requested.borrow()
    }
}
