//! Which node to ask: those that fail are left out until `/ping` answers again.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Before a node that has failed is probed for the first time; the pause doubles with every failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One node.
#[derive(Debug)]
pub(crate) struct Host {
    /// `http://name:port`, for requests.
    pub(crate) base: String,
    /// `name:port`, for messages.
    pub(crate) shown: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ejected: bool,
    /// Failures since a request last succeeded.
    failures: u32,
    failed_at: Option<Instant>,
    probing: bool,
    /// Replicas may have been apart since a request last succeeded.
    apart: bool,
}

impl Host {
    pub(crate) fn new(base: String, shown: String) -> Self {
        Self {
            base,
            shown,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has been answered properly. Returns whether replicas may have been apart before.
    pub(crate) fn succeeded(&self) -> bool {
        let mut state = self.state();
        (state.ejected, state.failures, state.failed_at) = (false, 0, None);
        core::mem::take(&mut state.apart)
    }

    /// A request has failed in a way that tells of replicas which are apart.
    pub(crate) fn came_apart(&self) {
        self.state().apart = true;
    }

    /// A request has failed for a reason that lies with the node. Returns how long to wait before probing it, unless somebody
    /// is doing so.
    pub(crate) fn failed(&self) -> Option<Duration> {
        let mut state = self.state();
        state.ejected = true;
        state.failures = state.failures.saturating_add(1);
        state.failed_at = Some(Instant::now());
        if core::mem::replace(&mut state.probing, true) {
            return None;
        }
        Some(
            FIRST_PAUSE
                .saturating_mul(1 << state.failures.min(6))
                .min(LONGEST_PAUSE),
        )
    }

    /// The node answers `/ping` again: it is asked again, and ejected again at once if it is not ready after all.
    pub(crate) fn answers(&self) {
        let mut state = self.state();
        (state.ejected, state.probing) = (false, false);
    }
}

/// All nodes of the URL.
#[derive(Debug)]
pub(crate) struct Hosts {
    all: Vec<Arc<Host>>,
    turn: AtomicUsize,
}

impl Hosts {
    pub(crate) fn new(all: Vec<Arc<Host>>, turn: usize) -> Self {
        Self {
            all,
            turn: AtomicUsize::new(turn),
        }
    }

    pub(crate) fn all(&self) -> &[Arc<Host>] {
        &self.all
    }

    /// The next node in turn, those that are well and have not been `tried` first; when all are ejected, the one whose failure
    /// is longest ago. `None` without nodes.
    pub(crate) fn pick(&self, tried: &[usize]) -> Option<(usize, Arc<Host>)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let rank = |index: usize| {
            let state = self.all[index].state();
            (tried.contains(&index), state.ejected.then_some(state.failed_at))
        };
        let place = |offset: usize| turn.wrapping_add(offset) % self.all.len();
        let best = (0..self.all.len()).map(place).min_by_key(|index| rank(*index))?;
        Some((best, Arc::clone(&self.all[best])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(count: usize) -> Hosts {
        let host = |n| Arc::new(Host::new(format!("http://h{n}"), format!("h{n}")));
        Hosts::new((0..count).map(host).collect(), 0)
    }

    #[tokio::test]
    async fn an_ejected_node_is_not_asked_until_it_answers() {
        let hosts = hosts(3);
        assert!(hosts.all()[1].failed().is_some());
        assert!(hosts.all()[1].failed().is_none(), "it is being probed");
        for _ in 0..9 {
            assert_ne!(hosts.pick(&[]).unwrap().0, 1);
        }
        assert_eq!(hosts.pick(&[0, 2]).unwrap().0, 1, "the only one not tried");
        hosts.all()[1].answers();
        assert!((0..9).any(|_| hosts.pick(&[]).unwrap().0 == 1));
    }

    #[tokio::test]
    async fn when_all_are_ejected_the_oldest_failure_is_tried() {
        let hosts = hosts(2);
        hosts.all()[1].failed();
        tokio::time::sleep(Duration::from_millis(2)).await;
        hosts.all()[0].failed();
        assert_eq!(hosts.pick(&[]).unwrap().0, 1);
        hosts.all()[0].succeeded();
        assert_eq!(hosts.pick(&[]).unwrap().0, 0);
    }
}
