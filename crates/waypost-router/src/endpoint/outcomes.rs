//! What became of the messages that were sent.

use bytes::Bytes;
use waypost_types::{MonoTime, Outcome};
use waypost_wire::{Failed, Outcomes};

use super::{Completion, Endpoint};

impl<T> Endpoint<T> {
    pub(super) fn on_outcomes(&mut self, now: MonoTime, outcomes: Outcomes) {
        self.note_running(now);
        for id in outcomes.delivered {
            let Some(pending) = self.sends.get_mut(id) else {
                continue;
            };
            pending.delivered = true;
            let (waits, next) = (pending.request, pending.next);
            if !waits {
                self.finish(id, Outcome::Delivered);
            }
            self.send_next(now, next);
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
                let next = pending.next;
                self.finish(id, outcome);
                self.send_next(now, next);
            }
        }
    }

    /// A message has its outcome: sends those after it to the same client again that were refused because it was missing.
    fn send_next(&mut self, now: MonoTime, mut id: u64) {
        while let Some(pending) = self.sends.get_mut(id)
            && pending.is_refused()
        {
            let next = pending.next;
            self.transmit(now, id);
            id = next;
        }
    }

    /// A message was refused because the one before it is missing: send that first, then this. Where that is on its way, this
    /// waits for its outcome.
    pub(super) fn resend_in_order(&mut self, now: MonoTime, id: u64) {
        let to = match self.sends.get_mut(id) {
            Some(pending) if !pending.delivered => pending.message.to().to_owned(),
            _ => return,
        };
        let (woke_at, patience) = (self.runs.woke_at(), self.settings.retransmit_after);
        let before: Vec<u64> = self
            .sends
            .ids()
            .into_iter()
            .take_while(|earlier| *earlier < id)
            .collect();
        let mut arrives_by = None;
        for earlier in before {
            let Some(pending) = self.sends.get_mut(earlier) else {
                continue;
            };
            if pending.message.to() != to || pending.delivered {
                continue;
            }
            match pending.copy_arrives_by(woke_at, patience) {
                Some(by) if now < by => arrives_by = arrives_by.max(Some(by)),
                _ if arrives_by.is_none() => self.transmit(now, earlier),
                _ => {}
            }
        }
        match arrives_by {
            // To send this at once would have it refused again and again until the other one has arrived.
            Some(by) => self.sends.set_due(id, by),
            None => self.transmit_unless_on_its_way(now, id),
        }
    }

    /// While a copy of it may still arrive, or waits to be told of where it has, another one could be delivered at another server,
    /// if its client moves between them.
    pub(super) fn transmit_unless_on_its_way(&mut self, now: MonoTime, id: u64) {
        let (woke_at, patience) = (self.runs.woke_at(), self.settings.retransmit_after);
        let pending = self.sends.get_mut(id);
        match pending.and_then(|pending| pending.copy_arrives_by(woke_at, patience)) {
            Some(by) if now < by => self.sends.set_due(id, by),
            _ => self.transmit(now, id),
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
            && pending.request
            && let Some((token, _)) = self.sends.finish(id)
        {
            self.done.push((token, Completion::Reply(Ok(body))));
        }
    }
}
