//! What the endpoint knows of its own lease: it delivers nothing while that has lapsed by its own clock.

use core::time::Duration;
use std::collections::VecDeque;

use waypost_types::{Incarnation, MonoTime, Outcome};
use waypost_wire::{Frame, Message};

use super::{Completion, Endpoint, Event, Refusal, Standing};
use crate::outbox::unpinned;
use crate::settings::{Settings, WhenStoreIsLost};
use crate::wake::Wake;

/// The lease as seen from here, and the messages that wait until it is known to be valid.
#[derive(Debug)]
pub(crate) struct LeaseView {
    valid_until: MonoTime,
    ping: Option<(u64, MonoTime)>,
    next_ping: MonoTime,
    heard_at: MonoTime,
    pub(crate) wake: Wake,
    pub(crate) waiting: VecDeque<Message>,
    waiting_bytes: usize,
    waiting_bytes_max: usize,
}

impl LeaseView {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            valid_until: MonoTime::ZERO,
            ping: None,
            next_ping: MonoTime::ZERO,
            heard_at: MonoTime::ZERO,
            wake: Wake::new(settings.lease_gap_max()),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            waiting_bytes_max: settings.queue_bytes_max,
        }
    }

    pub(crate) fn attached(&mut self, sent_at: MonoTime, lease_ms: u64) {
        self.valid_until = sent_at + Duration::from_millis(lease_ms);
        self.ping = None;
        self.next_ping = sent_at;
        self.heard_at = sent_at;
    }

    pub(crate) fn link_down(&mut self) {
        self.ping = None;
    }

    pub(crate) const fn is_asked(&self) -> bool {
        self.ping.is_some()
    }

    pub(crate) const fn heard(&mut self, now: MonoTime) {
        self.heard_at = now;
    }

    pub(crate) fn is_valid(&self, now: MonoTime) -> bool {
        now < self.valid_until
    }

    /// Keeps a message until the lease is known to be valid; gives it back when too many wait.
    pub(crate) fn hold(&mut self, message: Message) -> Result<(), Message> {
        if self.waiting_bytes >= self.waiting_bytes_max {
            return Err(message);
        }
        self.waiting_bytes += message.cost();
        self.waiting.push_back(unpinned(message));
        Ok(())
    }

    /// Keeps messages that came before those that wait already; gives back the last ones when too many wait.
    pub(crate) fn hold_first(&mut self, messages: VecDeque<Message>) -> VecDeque<Message> {
        let later = core::mem::replace(&mut self.waiting, messages);
        self.waiting.extend(later);
        self.waiting_bytes = 0;
        let mut fit = 0;
        while self.waiting_bytes < self.waiting_bytes_max
            && let Some(message) = self.waiting.get(fit)
        {
            self.waiting_bytes += message.cost();
            fit += 1;
        }
        self.waiting.split_off(fit)
    }

    pub(crate) const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(crate) fn take_waiting(&mut self) -> VecDeque<Message> {
        self.waiting_bytes = 0;
        core::mem::take(&mut self.waiting)
    }

    pub(crate) fn next_timeout(&self, settings: &Settings) -> Option<MonoTime> {
        match self.ping {
            Some((_, sent_at)) => {
                let patience = sent_at.max(self.heard_at) + settings.lease_term;
                Some(patience.min(self.wake.look_by()))
            }
            None => Some(self.next_ping),
        }
    }
}

impl<T> Endpoint<T> {
    /// Asks the router how the lease stands, at every heartbeat.
    pub(super) fn heartbeat(&mut self, now: MonoTime) {
        match self.lease.ping {
            None if self.lease.next_ping <= now => self.ping(now),
            Some((_, sent_at)) if now.since(sent_at.max(self.lease.heard_at)) >= self.settings.lease_term => {
                self.close_link = true;
                self.lease.ping = None;
                self.lease.next_ping = now + self.settings.heartbeat;
            }
            _ => {}
        }
    }

    /// Asks now, because a message waits for it.
    pub(super) fn ask_for_lease(&mut self, now: MonoTime) {
        if self
            .lease
            .ping
            .is_none_or(|(_, sent_at)| sent_at < self.lease.valid_until)
        {
            self.ping(now);
        }
    }

    fn ping(&mut self, now: MonoTime) {
        self.next_token += 1;
        self.lease.ping = Some((self.next_token, now));
        self.lease.next_ping = now + self.settings.heartbeat;
        self.push(Frame::Ping {
            token: self.next_token,
        });
    }

    pub(super) fn on_pong(&mut self, now: MonoTime, token: u64, lease_ms: u64, store_unavailable: bool) {
        self.lease.wake.see(now);
        let Some((_, sent_at)) = self.lease.ping.take_if(|(asked, _)| *asked == token) else {
            return;
        };
        if self.standing != Standing::Attached {
            return;
        }
        if lease_ms > 0 {
            self.lease.valid_until = self
                .lease
                .valid_until
                .max(sent_at + Duration::from_millis(lease_ms));
            if !store_unavailable {
                self.doubts.heartbeat();
                self.announce_sample();
            }
        }
        if store_unavailable {
            self.lease.next_ping = now + self.settings.heartbeat.min(Duration::from_millis(500));
            if self.lease.wake.is_from_before(sent_at) {
                // It may have lain here for as long as this process slept.
                self.ping(now);
            } else if self.settings.when_store_is_lost == WhenStoreIsLost::Serve {
                self.lease.valid_until = self.lease.valid_until.max(now + self.settings.heartbeat);
            }
        }
        if self.lease.is_valid(now) {
            for message in self.lease.take_waiting() {
                self.on_message(now, message);
            }
        }
    }

    /// The lease is over: what was sent under it can no longer be followed, and the clients are announced under a new
    /// incarnation, unless a newer process has the identity.
    pub(super) fn on_lease_over(&mut self, now: MonoTime, incarnation: Incarnation, superseded: bool) {
        if self.incarnation.is_none_or(|current| current > incarnation)
            || matches!(self.standing, Standing::Idle | Standing::Superseded)
        {
            return;
        }
        self.inbox.put(Event::Fenced { superseded });
        for message in self.lease.take_waiting() {
            self.bounce(message);
        }
        for id in self.sends.ids() {
            if self
                .sends
                .get_mut(id)
                .is_some_and(|pending| pending.attempts > 0 || superseded)
            {
                let (attempts, delivered) = self
                    .sends
                    .get_mut(id)
                    .map_or((0, false), |pending| (pending.attempts, pending.delivered));
                let outcome = match (attempts, delivered) {
                    (0, _) => Outcome::Unreachable,
                    (_, true) => Outcome::Delivered,
                    (_, false) => Outcome::Unknown,
                };
                self.finish(id, outcome);
            }
        }
        self.incarnation = None;
        let detaching = self.detaching.take();
        if superseded {
            self.standing = Standing::Superseded;
            self.drop_clients();
            for waiter in core::mem::take(&mut self.registering) {
                self.done
                    .push((waiter, Completion::Registered(Err(Refusal::Fenced))));
            }
            if let Some(Some(token)) = self.draining.take() {
                self.inbox.put(Event::Drained);
                self.done.push((token, Completion::Drained));
            }
        } else if let Some((_, drained)) = detaching {
            // It was to be ended, and now it is.
            self.finish_detach(drained);
        } else {
            self.standing = Standing::Attaching { sent_at: None };
            if self.link_up {
                self.attach(now);
            }
        }
    }
}
