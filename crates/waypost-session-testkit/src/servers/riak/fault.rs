//! What may befall a request.

use std::sync::{Mutex, PoisonError};

use crate::Rng;

/// What may befall a request, as real nodes do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RiakFault {
    /// 404 in HTML to every URL: the node has just begun to start.
    NoRoute,
    /// 500 `insufficient_vnodes` or `all_nodes_down` to everything but `/ping`: the node is not ready yet.
    NotReady,
    /// 500 `overload`.
    Overload,
    /// 500 `too_many_siblings` to every PUT, however often the object is read before.
    TooManySiblings,
    /// 503 `request timed out`; a write is applied.
    TimedOut,
    /// 503 `PW-value unsatisfied`.
    NoPrimaries,
    /// 503 `Too Many write failures to satisfy W/DW`, or `R-value unsatisfied`.
    WriteFailures,
    /// 500 with a stack trace in HTML, as a node that is being stopped says.
    Crash,
    /// 200 with a page in HTML to everything, as a proxy in between that has something else to show. Nothing is applied.
    Page,
    /// No answer ever; a write is applied.
    Hang,
    /// The answer breaks off in the middle; a write is applied.
    CutAnswer,
    /// The connection is closed before the request is read.
    HangUp,
}

/// What befalls the requests of one node.
#[derive(Debug)]
pub(super) struct Faults(Mutex<State>);

#[derive(Debug)]
struct State {
    rng: Rng,
    /// In thousandths.
    random: Vec<(RiakFault, usize)>,
    next: Vec<(RiakFault, usize)>,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(State {
            rng: Rng::new(seed),
            random: Vec::new(),
            next: Vec::new(),
        }))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn disturb(&self, fault: RiakFault, probability: f64) {
        let mut state = self.state();
        state.random.retain(|(other, _)| *other != fault);
        let thousandths = (0..1000_u32)
            .filter(|at| f64::from(*at) < probability * 1000.0)
            .count();
        state.random.push((fault, thousandths));
    }

    pub(super) fn disturb_next(&self, fault: RiakFault, count: usize) {
        self.state().next.push((fault, count));
    }

    pub(super) fn calm(&self) {
        let mut state = self.state();
        state.random.clear();
        state.next.clear();
    }

    /// What befalls a request that comes now.
    pub(super) fn draw(&self, is_ping: bool) -> Option<RiakFault> {
        let mut state = self.state();
        if is_ping
            && state
                .next
                .iter()
                .chain(&state.random)
                .any(|(fault, _)| *fault != RiakFault::NoRoute)
        {
            return None;
        }
        while let Some((fault, count)) = state.next.first_mut() {
            if *count > 0 {
                *count -= 1;
                return Some(*fault);
            }
            state.next.remove(0);
        }
        for index in 0..state.random.len() {
            let (fault, thousandths) = state.random[index];
            if state.rng.below(1000) < thousandths {
                return Some(fault);
            }
        }
        None
    }
}
