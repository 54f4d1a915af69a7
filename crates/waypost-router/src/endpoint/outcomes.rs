//! What became of the messages that were sent.

use bytes::Bytes;
use waypost_types::{MonoTime, Outcome};
use waypost_wire::{Failed, Outcomes};

use super::{Completion, Endpoint};

impl<T> Endpoint<T> {
    pub(super) fn on_outcomes(&mut self, now: MonoTime, outcomes: Outcomes) {
        for id in outcomes.delivered {
            let waits = self.sends.get_mut(id).map(|pending| {
                pending.delivered = true;
                pending.message.request
            });
            if waits == Some(false) {
                self.finish(id, Outcome::Delivered);
            }
        }
        for Failed {
            id,
            outcome,
            to,
            count,
            out_of_order,
        } in outcomes.failed
        {
            if id == 0 {
                self.inbox.failed(&to, outcome, u64::from(count.max(1)));
                continue;
            }
            if out_of_order {
                if let Some(pending) = self.sends.get_mut(id) {
                    pending.failed += 1;
                }
                self.resend_in_order(now, id);
                continue;
            }
            let Some(pending) = self.sends.get_mut(id) else {
                continue;
            };
            if pending.delivered {
                continue;
            }
            pending.failed += 1;
            pending.failure = Some(outcome);
            // Another copy may have arrived, or may still: its answer is waited for until this one would be sent again.
            if pending.failed >= pending.attempts {
                self.finish(id, outcome);
            }
        }
    }

    /// A message was refused because the one before it is missing: send that first, then this.
    pub(super) fn resend_in_order(&mut self, now: MonoTime, id: u64) {
        let to = match self.sends.get_mut(id) {
            Some(pending) if !pending.delivered => pending.message.to().to_owned(),
            _ => return,
        };
        let pause = core::time::Duration::from_millis(20);
        let before: Vec<u64> = self
            .sends
            .ids()
            .into_iter()
            .take_while(|earlier| *earlier < id)
            .collect();
        let mut on_its_way = false;
        for earlier in before {
            let Some(pending) = self.sends.get_mut(earlier) else {
                continue;
            };
            if pending.message.to() != to || pending.delivered {
                continue;
            }
            if pending.sent_at.is_some_and(|sent_at| now.since(sent_at) < pause) {
                on_its_way = true;
            } else {
                self.transmit(now, earlier);
            }
        }
        if on_its_way {
            // To send this at once would have it refused again and again until the other one has arrived.
            self.sends.set_due(id, now + pause);
        } else {
            self.transmit(now, id);
        }
    }

    pub(super) fn finish(&mut self, id: u64, outcome: Outcome) {
        let Some((token, request)) = self.sends.finish(id) else {
            return;
        };
        let completion = if request {
            Completion::Reply(Err(outcome))
        } else {
            Completion::Outcome(outcome)
        };
        self.done.push((token, completion));
    }

    pub(super) fn on_reply(&mut self, id: u64, body: Bytes) {
        if let Some(pending) = self.sends.get_mut(id)
            && pending.message.request
            && let Some((token, _)) = self.sends.finish(id)
        {
            self.done.push((token, Completion::Reply(Ok(body))));
        }
    }
}
