//! Acknowledgements of requests, which the reply most often makes needless.
//!
//! A reply says that the request was delivered. So that it does not cost a second frame and a second wake-up of the other
//! server, the acknowledgement waits a moment for it. It goes with others to be sent meanwhile, when the reply does not come
//! soon, and when a client leaves this server or the server is about to leave: a sender that knows nothing of the delivery
//! would send the request again to where the client is then.

use core::time::Duration;
use std::collections::VecDeque;

use waypost_types::MonoTime;

/// How long an acknowledgement waits for the reply: far less than until the request would be sent again.
const WAIT: Duration = Duration::from_millis(20);
/// So many may wait; one more and none does.
const WAITING_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct LateAcks {
    /// In the order in which they come due, each with the endpoint's number of the sending server and the request's id.
    waiting: VecDeque<(MonoTime, u32, u64)>,
    hurry: bool,
}

impl LateAcks {
    pub(super) fn wait(&mut self, now: MonoTime, origin: u32, id: u64) {
        self.waiting.push_back((now + WAIT, origin, id));
    }

    /// The reply is on its way.
    pub(super) fn replied(&mut self, origin: u32, id: u64) {
        let at = self
            .waiting
            .iter()
            .position(|(_, of, acked)| (*of, *acked) == (origin, id));
        if let Some(at) = at {
            self.waiting.remove(at);
        }
    }

    /// None of those that wait now waits any longer.
    pub(super) const fn hurry(&mut self) {
        self.hurry = true;
    }

    pub(super) fn next_timeout(&self) -> Option<MonoTime> {
        self.waiting.front().map(|(due, ..)| *due)
    }

    /// Those that wait no longer.
    pub(super) fn take_due(&mut self, now: MonoTime) -> Vec<(u32, u64)> {
        if core::mem::take(&mut self.hurry) || self.waiting.len() > WAITING_MAX {
            return self.take_all();
        }
        let count = self.waiting.iter().take_while(|(due, ..)| *due <= now).count();
        self.waiting
            .drain(..count)
            .map(|(_, origin, id)| (origin, id))
            .collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<(u32, u64)> {
        self.waiting
            .drain(..)
            .map(|(_, origin, id)| (origin, id))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> MonoTime = |ms| MonoTime::from_micros(ms * 1000);

    #[test]
    fn what_is_not_replied_to_in_time_is_due_and_what_is_replied_to_is_not() {
        let mut acks = LateAcks::default();
        acks.wait(MS(0), 1, 10);
        acks.wait(MS(1), 2, 10);
        acks.wait(MS(2), 1, 11);
        assert_eq!(acks.next_timeout(), Some(MS(20)));
        acks.replied(1, 10);
        assert_eq!(acks.next_timeout(), Some(MS(21)));
        assert!(acks.take_due(MS(20)).is_empty());
        assert_eq!(acks.take_due(MS(21)), [(2, 10)]);
        assert_eq!(acks.take_all(), [(1, 11)]);
        assert_eq!(acks.next_timeout(), None);
    }

    #[test]
    fn none_waits_any_longer_when_there_is_hurry_and_later_ones_do() {
        let mut acks = LateAcks::default();
        acks.wait(MS(0), 1, 10);
        acks.hurry();
        assert_eq!(acks.take_due(MS(0)), [(1, 10)]);
        acks.wait(MS(0), 1, 11);
        assert!(acks.take_due(MS(0)).is_empty());
    }

    #[test]
    fn no_more_than_the_bound_wait() {
        let mut acks = LateAcks::default();
        for id in 0..=WAITING_MAX as u64 {
            acks.wait(MS(0), 1, id);
        }
        assert_eq!(acks.take_due(MS(0)).len(), WAITING_MAX + 1);
    }
}
