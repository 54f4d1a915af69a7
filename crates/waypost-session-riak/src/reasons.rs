//! Why servers should check what they hold: what the `generation` of a renewal is made of.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Counts reasons.
#[derive(Debug)]
pub(crate) struct Reasons {
    /// This handle's own claims that have lost.
    losses: AtomicU64,
    /// Others that have found that somebody here holds what it has lost.
    marks: AtomicU64,
    echo: Mutex<Echo>,
    /// After this long nothing that was written before is under way any more.
    later: Duration,
}

/// What was learnt from others, or when replicas met, is looked at once more a while later: the first look may have asked replicas
/// that had not heard of it yet.
#[derive(Debug, Default)]
struct Echo {
    seen: u64,
    due: Option<Instant>,
    echoes: u64,
}

impl Reasons {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            losses: AtomicU64::new(0),
            marks: AtomicU64::new(0),
            echo: Mutex::default(),
            later: timeout * 5,
        }
    }

    /// A claim of ours has lost against one that was made at the same time, and its owner does not know.
    pub(crate) fn note_loss(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
    }

    /// An owner whose lease this handle renews holds what it has lost.
    pub(crate) fn note_mark(&self) {
        self.marks.fetch_add(1, Ordering::Relaxed);
    }

    /// How many reasons there were until `now`; `met` is how often replicas or servers were there again.
    pub(crate) fn count(&self, met: u64, now: Instant) -> u64 {
        let learnt = self.marks.load(Ordering::Relaxed).wrapping_add(met);
        let mut echo = self.echo.lock().unwrap_or_else(PoisonError::into_inner);
        if echo.seen != learnt {
            echo.seen = learnt;
            echo.due = Some(now + self.later);
        } else if echo.due.take_if(|due| *due <= now).is_some() {
            echo.echoes += 1;
        }
        self.losses
            .load(Ordering::Relaxed)
            .wrapping_add(learnt)
            .wrapping_add(echo.echoes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_learnt_is_a_reason_once_more_a_while_later_and_an_own_loss_is_not() {
        let (reasons, start) = (Reasons::new(Duration::from_secs(2)), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(reasons.count(0, at(0)), 0);
        reasons.note_loss();
        assert_eq!(reasons.count(0, at(1)), 1);
        assert_eq!(reasons.count(0, at(100)), 1);
        reasons.note_mark();
        assert_eq!(reasons.count(0, at(100)), 2);
        assert_eq!(reasons.count(0, at(109)), 2);
        assert_eq!(reasons.count(1, at(109)), 3, "a node is back, so the echo waits");
        assert_eq!(reasons.count(1, at(111)), 3);
        assert_eq!(reasons.count(1, at(119)), 4);
        assert_eq!(reasons.count(1, at(500)), 4);
    }
}
