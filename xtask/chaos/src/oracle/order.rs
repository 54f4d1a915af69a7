//! One sender's messages to one client come in the order sent.
//!
//! What `docs/guarantees.md` leaves open is left open here, and no more: an acked message that ended as `unknown`, or that has
//! been delivered before at a server from which its client has moved, may come behind best-effort ones. Whether it is one of
//! these is known only when its outcome is, and when everything that was printed has been read.

use super::Oracle;
use crate::server::ServerId;

/// The newest messages of one sender to one client that have been delivered somewhere.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Newest {
    acked: u64,
    best_effort: u64,
}

/// An acked message that came behind a best-effort one.
#[derive(Debug)]
pub(super) struct Suspect {
    number: u64,
    before: u64,
}

impl Oracle {
    pub(super) fn check_order(&mut self, at: ServerId, key: (ServerId, String, String), number: u64) {
        let is_acked = self.sent.get(&number).is_some_and(|sent| sent.is_acked);
        let newest = self.processes[at.0].newest.entry(key).or_default();
        let Newest { acked, best_effort } = *newest;
        let own = if is_acked {
            &mut newest.acked
        } else {
            &mut newest.best_effort
        };
        *own = number.max(*own);
        if acked > number || (best_effort > number && !is_acked) {
            self.out_of_order(number, acked.max(best_effort));
        } else if best_effort > number {
            self.suspects.push(Suspect {
                number,
                before: best_effort,
            });
        }
    }

    /// When everything has its outcome and has been read: which of the suspects were out of order after all.
    pub(super) fn judge_suspects(&mut self) {
        for Suspect { number, before } in std::mem::take(&mut self.suspects) {
            let is_stray = self.sent.get(&number).is_some_and(|sent| {
                let ended_as = sent.outcome.as_deref();
                // Of a killed server, what it printed last was not read: it may have had it first.
                matches!(ended_as, None | Some("unknown"))
                    || sent.at.len() > 1
                    || self.lost_inboxes.contains(&sent.to)
            });
            if !is_stray {
                self.out_of_order(number, before);
            }
        }
    }

    fn out_of_order(&mut self, number: u64, before: u64) {
        self.violation(
            &format!("message {number} delivered after {before} of the same sender to the same client"),
            &[
                &format!("m{number}\""),
                &format!("m{number}:"),
                &format!("m{before}\""),
                &format!("m{before}:"),
            ],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{message, outcome, two};

    /// Whether it is a broken promise that the first message, acked or not, came behind the second.
    fn is_wrong(first_acked: bool, second_acked: bool, ends_as: &str) -> bool {
        let (mut oracle, a, b) = two();
        oracle.wrote_send(a, 1, "x", "y", first_acked);
        oracle.wrote_send(a, 2, "x", "y", second_acked);
        oracle.heard(b, &message(2));
        oracle.heard(b, &message(1));
        for (number, acked, ends_as) in [(1, first_acked, ends_as), (2, second_acked, "delivered")] {
            if acked {
                oracle.heard(a, &outcome(number, ends_as));
            }
        }
        oracle.close_accounts().is_err()
    }

    #[test]
    fn only_an_acked_message_of_unknown_outcome_may_come_behind_a_best_effort_one() {
        assert!(is_wrong(true, true, "delivered"));
        assert!(is_wrong(true, true, "unknown"));
        assert!(is_wrong(false, true, ""));
        assert!(is_wrong(false, false, ""));
        assert!(is_wrong(true, false, "delivered"));
        assert!(!is_wrong(true, false, "unknown"));
    }
}
