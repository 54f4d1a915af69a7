//! Those who wait for what becomes of an operation: one for one, or one for the outcomes of many messages.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use waypost_router::Completion;
use waypost_types::Outcome;

/// A caller that waits for its operation.
#[derive(Debug)]
pub enum Waiter {
    /// For this operation alone.
    One(oneshot::Sender<Completion>),
    /// For this message's outcome among others.
    Ticket(Arc<Tickets>, u64),
}

impl Waiter {
    /// One for one operation, and where its end comes out.
    pub(crate) fn one() -> (Self, oneshot::Receiver<Completion>) {
        let (sender, receiver) = oneshot::channel();
        (Self::One(sender), receiver)
    }
}

/// The outcomes of one sender's messages that it has not read yet. The sender bounds them by what it sends.
#[derive(Debug, Default)]
pub struct Tickets {
    outcomes: Mutex<VecDeque<(u64, Outcome)>>,
    ready: Notify,
}

impl Tickets {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Outcome)>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what is there into `into`, which must be empty.
    pub fn take(&self, into: &mut VecDeque<(u64, Outcome)>) {
        std::mem::swap(&mut *self.lock(), into);
    }

    /// Waits until something may be there.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }
}

/// Tells all who waited. Whoever waits for many outcomes is woken once, after the last of those that came together: woken at
/// the first, it would work on them on another core while the rest are still being put there.
pub(crate) fn tell(done: Vec<(Waiter, Completion)>) {
    let mut group: Option<Arc<Tickets>> = None;
    let mut done = done.into_iter().peekable();
    while let Some((waiter, completion)) = done.next() {
        match (waiter, completion) {
            (Waiter::One(waiter), completion) => {
                // Whoever asked may have stopped waiting.
                let _ = waiter.send(completion);
            }
            (Waiter::Ticket(tickets, ticket), Completion::Outcome(outcome)) => {
                let mut outcomes = tickets.lock();
                outcomes.push_back((ticket, outcome));
                while let Some((Waiter::Ticket(_, ticket), Completion::Outcome(outcome))) = done.next_if(
                    |(next, _)| matches!(next, Waiter::Ticket(other, _) if Arc::ptr_eq(other, &tickets)),
                ) {
                    outcomes.push_back((ticket, outcome));
                }
                drop(outcomes);
                if let Some(earlier) = group.replace(tickets) {
                    earlier.ready.notify_one();
                }
            }
            (Waiter::Ticket(..), _) => {}
        }
    }
    if let Some(last) = group {
        last.ready.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn outcomes_come_to_those_who_sent_in_the_order_in_which_they_came() {
        let (a, b) = (Arc::new(Tickets::default()), Arc::new(Tickets::default()));
        let (one, answer) = Waiter::one();
        let ticket = |of: &Arc<Tickets>, number, outcome| {
            (
                Waiter::Ticket(Arc::clone(of), number),
                Completion::Outcome(outcome),
            )
        };
        tell(vec![
            ticket(&a, 1, Outcome::Delivered),
            ticket(&a, 3, Outcome::Expired),
            (one, Completion::Drained),
            ticket(&b, 1, Outcome::NotConnected),
            ticket(&a, 2, Outcome::Delivered),
        ]);
        assert_eq!(answer.await, Ok(Completion::Drained));
        let mut taken = VecDeque::new();
        a.ready().await;
        a.take(&mut taken);
        assert_eq!(
            taken,
            [
                (1, Outcome::Delivered),
                (3, Outcome::Expired),
                (2, Outcome::Delivered)
            ]
        );
        taken.clear();
        b.ready().await;
        b.take(&mut taken);
        assert_eq!(taken, [(1, Outcome::NotConnected)]);
    }
}
