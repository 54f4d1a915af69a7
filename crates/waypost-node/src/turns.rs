//! Senders that wait for room take turns, so that messages to one address keep the order in which they were sent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The queues of waiting senders, one an address. Empty, and then nearly free, while nobody waits.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    waiting: AtomicUsize,
    queues: Mutex<HashMap<Box<str>, Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: usize,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A place in an address's queue, given up when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    turns: &'a Turns,
    to: &'a str,
    /// Locked in the order of the calls: tokio's mutex is fair.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Turns {
    /// Whether any sender waits.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Whether senders to this address wait already.
    pub(crate) fn is_queued(&self, to: &str) -> bool {
        self.is_any() && self.queues().contains_key(to)
    }

    /// Joins the queue of an address.
    pub(crate) fn join<'a>(&'a self, to: &'a str) -> Place<'a> {
        let mut queues = self.queues();
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let queue = queues.entry(to.into()).or_default();
        queue.waiting += 1;
        Place {
            turns: self,
            to,
            turn: Arc::clone(&queue.turn),
        }
    }

    fn queues(&self) -> std::sync::MutexGuard<'_, HashMap<Box<str>, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.turns.queues();
        self.turns.waiting.fetch_sub(1, Ordering::AcqRel);
        if let Some(queue) = queues.get_mut(self.to) {
            queue.waiting -= 1;
            if queue.waiting == 0 {
                queues.remove(self.to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_the_order_of_joining_and_leave_nothing_behind() {
        let turns = Turns::default();
        assert!(!turns.is_queued("x"));
        let (first, second) = (turns.join("x"), turns.join("x"));
        assert!(turns.is_queued("x") && !turns.is_queued("y"));
        let held = first.turn.lock().await;
        assert!(second.turn.try_lock().is_err(), "one at a time");
        drop(held);
        drop(first);
        let _mine = second.turn.lock().await;
        assert!(turns.is_queued("x"));
        drop(_mine);
        drop(second);
        assert!(!turns.is_queued("x"));
        assert!(turns.queues().is_empty());
    }
}
