//! Messages between nodes: each takes a while, and those to a node that is suspended wait until it goes on.

use core::fmt;
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::Rng;

type Message = Box<dyn FnOnce() + Send>;

/// What is under way between the nodes.
pub(super) struct Network {
    /// Each message takes up to that long, at random.
    longest: Duration,
    state: Mutex<State>,
    idle: Notify,
}

struct State {
    rng: Rng,
    under_way: usize,
    suspended: Vec<bool>,
    waiting: Vec<(usize, Message)>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("longest", &self.longest).finish()
    }
}

impl Network {
    pub(super) fn new(nodes: usize, longest: Duration, seed: u64) -> Self {
        Self {
            longest,
            state: Mutex::new(State {
                rng: Rng::new(seed),
                under_way: 0,
                suspended: vec![false; nodes],
                waiting: Vec::new(),
            }),
            idle: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `what` at a node, after a while.
    pub(super) fn send(self: &Arc<Self>, node: usize, what: impl FnOnce() + Send + 'static) {
        let pause = {
            let mut state = self.state();
            state.under_way += 1;
            let micros = usize::try_from(self.longest.as_micros()).unwrap_or(usize::MAX);
            Duration::from_micros(state.rng.below(micros) as u64)
        };
        if pause.is_zero() {
            return self.arrive(node, Box::new(what));
        }
        let network = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            network.arrive(node, Box::new(what));
        });
    }

    fn arrive(&self, node: usize, message: Message) {
        {
            let mut state = self.state();
            if state.suspended[node] {
                return state.waiting.push((node, message));
            }
        }
        message();
        let mut state = self.state();
        state.under_way -= 1;
        if state.under_way == 0 {
            self.idle.notify_waiters();
        }
    }

    /// Messages to the node wait from now on, or arrive again, those that have waited first.
    pub(super) fn suspend(&self, node: usize, suspended: bool) {
        let waiting = {
            let mut state = self.state();
            state.suspended[node] = suspended;
            if suspended {
                return;
            }
            let (here, elsewhere) = core::mem::take(&mut state.waiting)
                .into_iter()
                .partition(|(to, _)| *to == node);
            state.waiting = elsewhere;
            let here: Vec<(usize, Message)> = here;
            here
        };
        for (node, message) in waiting {
            self.arrive(node, message);
        }
    }

    /// Waits until no message is under way.
    pub(super) async fn settled(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.state().under_way == 0 {
                return;
            }
            idle.await;
        }
    }
}
