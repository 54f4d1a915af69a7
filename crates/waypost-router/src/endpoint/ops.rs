//! Connecting and disconnecting clients.

use waypost_types::{Address, MonoTime, Seq};
use waypost_wire::{BATCH_ENTRIES_MAX, Displaced, Frame};

use super::clients::{Client, Op, Work};
use super::{Completion, Endpoint, Event, Refusal, Standing};
use crate::claim::claim_of;
use crate::map::address_map;

/// How many clients are checked against the store without a reason, and at every how many heartbeats.
const SAMPLE: usize = 16;
const SAMPLE_EVERY: u32 = 3;

/// Bound of the claims that the router has and has not answered. The others wait here, where they are in nobody's way.
const CLAIMS_SENT_MAX: usize = 8192;

impl<T> Endpoint<T> {
    /// From now on [`Event::Connected`] and [`Event::GivenUp`] tell where, among the other events, the connects and
    /// disconnects of this server's own take effect.
    pub const fn tell_operations(&mut self) {
        self.inbox.tell_operations();
    }

    fn tell_given_up(&mut self, address: &Address) {
        self.inbox.tell(|| Event::GivenUp {
            client: address.clone(),
        });
    }

    /// Claims a client for this server, whoever held it before. Claiming one that it holds already makes the older
    /// connection's claim void: a late disconnect of that one changes nothing.
    pub fn connect(&mut self, now: MonoTime, address: &Address, deadline: MonoTime, token: T) {
        let refusal = self
            .refusal()
            .or_else(|| self.draining.is_some().then_some(Refusal::Draining));
        if let Some(refusal) = refusal {
            return self.done.push((token, Completion::Connected(Err(refusal))));
        }
        if self.connecting.len() >= self.settings.connects_max {
            return self.done.push((token, Completion::Connected(Err(Refusal::Full))));
        }
        self.next_token += 1;
        let number = self.next_token;
        self.connecting.insert((deadline, number), address.clone());
        self.begin(
            now,
            address,
            Op::Connect {
                token: Some(token),
                deadline,
                number,
            },
        );
    }

    /// Gives a client up. Nothing is delivered to it any more from now on.
    pub fn disconnect(&mut self, now: MonoTime, address: &Address, token: T) {
        if self.clients.contains_key(address) {
            self.begin(now, address, Op::Disconnect { token: Some(token) });
        } else {
            self.tell_given_up(address);
            self.done.push((token, Completion::Disconnected(false)));
        }
    }

    pub(super) fn begin(&mut self, now: MonoTime, address: &Address, op: Op<T>) {
        let client = match self.clients.get_mut(address) {
            Some(client) => client,
            None => self.clients.entry(address.clone()).or_insert_with(Client::new),
        };
        client
            .work
            .get_or_insert_with(|| Box::new(Work::new()))
            .ops
            .push_back(op);
        self.advance(now, address);
    }

    /// Starts the first operation of a client if it has not been started.
    fn advance(&mut self, now: MonoTime, address: &Address) {
        loop {
            let Some(client) = self.clients.get_mut(address) else {
                return;
            };
            let Some(work) = client.work.as_mut() else { break };
            if work.started {
                return;
            }
            match work.ops.front_mut() {
                None => {
                    client.work = None;
                    break;
                }
                Some(Op::Connect { token: None, .. }) => {
                    // Nobody waits for it any more, and it has not been begun.
                    work.ops.pop_front();
                }
                Some(Op::Connect { .. }) => {
                    work.started = true;
                    self.batches.claims.push_back(address.clone());
                    return;
                }
                Some(Op::Disconnect { token }) => {
                    let seq = core::mem::take(&mut client.seq);
                    if seq.0 == 0 {
                        let token = token.take();
                        work.ops.pop_front();
                        if let Some(token) = token {
                            self.tell_given_up(address);
                            self.done.push((token, Completion::Disconnected(false)));
                        }
                        continue;
                    }
                    work.started = true;
                    work.releasing = seq;
                    let is_awaited = token.is_some();
                    let had_inbox = core::mem::take(&mut client.has_inbox);
                    self.late_acks.hurry();
                    self.batches.releases.push_back((address.clone(), seq));
                    if had_inbox {
                        self.end_client_inbox(address);
                    }
                    if is_awaited {
                        self.tell_given_up(address);
                    }
                    return;
                }
            }
        }
        if self.clients.get(address).is_some_and(Client::is_idle) {
            self.clients.remove(address);
        }
        let _ = now;
    }

    pub(super) fn on_claimed(&mut self, now: MonoTime, address: &Address, seq: Option<Seq>) {
        if seq.is_none() {
            self.doubts.add(address);
        }
        let client = self.clients.get_mut(address);
        if client.as_ref().is_none_or(|client| !client.is_claim_started()) {
            return self.on_unasked_claim(address, seq);
        }
        let Some(client) = client else { return };
        let Some(work) = client.work.as_mut() else { return };
        let Some(Op::Connect {
            token,
            deadline,
            number,
        }) = work.ops.front_mut()
        else {
            return;
        };
        self.connecting.remove(&(*deadline, *number));
        let token = token.take();
        work.ops.pop_front();
        work.started = false;
        if core::mem::take(&mut work.is_sent) {
            self.batches.claims_sent -= 1;
        }
        let held = core::mem::take(&mut work.held);
        let was_held = client.seq.0 != 0;
        self.claim_held_bytes -= core::mem::take(&mut work.held_bytes);
        let displaced = work.displaced.take();
        match (seq, token) {
            (None, Some(token)) => {
                // The claim may have been applied all the same: the router looks after that.
                self.done
                    .push((token, Completion::Connected(Err(Refusal::StoreUnavailable))));
            }
            (None, None) => {}
            (Some(seq), token) => {
                match token {
                    Some(token) => {
                        self.done.push((token, Completion::Connected(Ok(seq))));
                        self.inbox.tell(|| Event::Connected {
                            client: address.clone(),
                            seq,
                        });
                    }
                    // Nobody waits for it any more: it is given back, unless an older connection goes on by it.
                    None if was_held => {}
                    None => work.ops.push_front(Op::Disconnect { token: None }),
                }
                if !was_held {
                    client.since = claim_of(seq);
                }
                client.seq = seq;
                if let Some((newer, by)) = displaced.filter(|(newer, _)| *newer > seq) {
                    self.lose(address, newer, by);
                }
            }
        }
        // What comes next may be that the client is given up, and then nothing is delivered to it.
        self.advance(now, address);
        self.take_up(now, held);
    }

    /// The answer to a claim that has been asked for twice, before a link broke and after, and was answered already.
    fn on_unasked_claim(&mut self, address: &Address, seq: Option<Seq>) {
        let Some(seq) = seq else { return };
        match self.clients.get_mut(address).filter(|client| client.is_held()) {
            // The newer one stands in the store.
            Some(client) => client.seq = client.seq.max(seq),
            None => self.batches.releases.push_back((address.clone(), seq)),
        }
    }

    pub(super) fn on_released(&mut self, now: MonoTime, address: &Address) {
        let Some(client) = self.clients.get_mut(address) else {
            return;
        };
        let Some(work) = client.work.as_mut().filter(|work| work.started) else {
            return;
        };
        let Some(Op::Disconnect { token }) = work.ops.front_mut() else {
            return;
        };
        let token = token.take();
        work.ops.pop_front();
        work.started = false;
        work.releasing = Seq(0);
        if let Some(token) = token {
            self.done.push((token, Completion::Disconnected(true)));
        }
        self.advance(now, address);
    }

    pub(super) fn on_displaced(&mut self, displaced: &Displaced) {
        if self.incarnation != Some(displaced.owner.incarnation) {
            return;
        }
        if displaced.seq.0 == 0 {
            // Only a question: the router has it from the store alone that this client is held here. It goes before the
            // answer, which says no if nothing did.
            if let Some(seq) = self.holds(displaced.address.as_str()) {
                self.push(Frame::Announce(vec![(displaced.address.clone(), seq)]));
            }
            return;
        }
        let mut is_lost = false;
        if let Some(client) = self.clients.get_mut(&displaced.address)
            && client.is_claiming()
            && client.seq < displaced.seq
            && let Some(work) = client.work.as_mut()
        {
            if work
                .displaced
                .as_ref()
                .is_none_or(|(seq, _)| *seq < displaced.seq)
            {
                work.displaced = Some((displaced.seq, displaced.by.clone()));
            }
            is_lost = true;
        }
        self.lose(&displaced.address, displaced.seq, displaced.by.clone());
        // The answer says that all that came before is dealt with: what waited for the claim under way may not come behind
        // what the winner delivers now.
        if is_lost {
            self.send_back_held_before(&displaced.address, displaced.seq);
        }
    }

    fn lose(&mut self, address: &Address, seq: Seq, by: waypost_types::Identity) {
        let Some(client) = self
            .clients
            .get_mut(address)
            .filter(|client| client.is_held() && client.seq < seq)
        else {
            return;
        };
        client.seq = Seq(0);
        let had_inbox = core::mem::take(&mut client.has_inbox);
        if client.is_idle() {
            self.clients.remove(address);
        }
        self.late_acks.hurry();
        if had_inbox {
            self.end_client_inbox(address);
        }
        self.inbox.put(Event::Displaced {
            client: address.clone(),
            by,
        });
    }

    /// After a reconnection: says again what is held and what was under way.
    pub(super) fn resume_clients(&mut self, now: MonoTime) {
        self.batches.claims.clear();
        self.batches.claims_sent = 0;
        self.batches.releases.clear();
        self.batches.announces.clear();
        self.batches.announce_at = now;
        for (address, client) in &mut self.clients {
            if client.is_held() {
                self.batches.announces.push_back(address.clone());
            }
            if let Some(work) = client.work.as_mut().filter(|work| work.started) {
                work.is_sent = false;
                match work.ops.front() {
                    Some(Op::Connect { .. }) => self.batches.claims.push_back(address.clone()),
                    Some(Op::Disconnect { .. }) => {
                        self.batches.releases.push_back((address.clone(), work.releasing));
                    }
                    None => {}
                }
            }
        }
    }

    pub(super) fn has_announces(&self) -> bool {
        !self.batches.announces.is_empty() || self.batches.check_at.is_some()
    }

    /// Up to `most` clients that are held, from this place of the table on, and where to go on.
    fn held_from(&self, from: usize, most: usize) -> (Vec<(Address, Seq)>, Option<usize>) {
        let (mut held, mut next) = (Vec::new(), from);
        for (address, client) in self.clients.iter().skip(from) {
            next += 1;
            if client.is_held() {
                held.push((address.clone(), client.seq));
            }
            if held.len() == most {
                break;
            }
        }
        (held, (next < self.clients.len()).then_some(next))
    }

    /// Every few heartbeats some clients are checked against the store. That finds, sooner or later, what nobody has
    /// noticed; more often would be a load on the store that grows with the servers at rest.
    pub(super) fn announce_sample(&mut self) {
        self.batches.sample_in = self.batches.sample_in.saturating_sub(1);
        if self.batches.sample_in > 0 || self.has_announces() {
            return;
        }
        self.batches.sample_in = SAMPLE_EVERY;
        let (sample, next) = self.held_from(self.batches.sample_at, SAMPLE);
        self.batches.sample_at = next.unwrap_or(0);
        if !sample.is_empty() {
            self.push(Frame::Announce(sample));
        }
    }

    pub(super) fn drop_clients(&mut self) {
        for (address, client) in core::mem::replace(&mut self.clients, address_map(self.settings.seed)) {
            let is_told = client.work.as_ref().is_some_and(|work| work.started);
            for (i, op) in client.work.into_iter().flat_map(|work| work.ops).enumerate() {
                match op {
                    Op::Connect {
                        token: Some(token), ..
                    } => {
                        self.done
                            .push((token, Completion::Connected(Err(Refusal::Fenced))));
                    }
                    Op::Disconnect { token: Some(token) } => {
                        if i > 0 || !is_told {
                            self.tell_given_up(&address);
                        }
                        self.done.push((token, Completion::Disconnected(true)));
                    }
                    _ => {}
                }
            }
        }
        self.late_acks.hurry();
        self.claim_held_bytes = 0;
        for (address, inbox) in &mut self.client_inboxes.inboxes {
            inbox.close();
            self.client_inboxes.woken.push(address.clone());
        }
        self.connecting.clear();
        self.batches = super::Batches::default();
    }

    /// Connections whose callers have waited long enough: they are told, and the claim is given back once it is made.
    pub(super) fn expire_connects(&mut self, now: MonoTime) {
        while let Some(entry) = self.connecting.first_entry()
            && entry.key().0 <= now
        {
            let ((_, due), address) = entry.remove_entry();
            let Some(work) = self
                .clients
                .get_mut(&address)
                .and_then(|client| client.work.as_mut())
            else {
                continue;
            };
            for op in &mut work.ops {
                if let Op::Connect { token, number, .. } = op
                    && *number == due
                    && let Some(token) = token.take()
                {
                    self.done
                        .push((token, Completion::Connected(Err(Refusal::TimedOut))));
                }
            }
            self.give_up_claim(now, &address);
        }
    }

    /// A claim that waits for its turn and for which nobody waits is not made.
    fn give_up_claim(&mut self, now: MonoTime, address: &Address) {
        let Some(work) = self
            .clients
            .get_mut(address)
            .and_then(|client| client.work.as_mut())
        else {
            return;
        };
        if !work.started || work.is_sent || !matches!(work.ops.front(), Some(Op::Connect { token: None, .. }))
        {
            return;
        }
        work.started = false;
        let held = core::mem::take(&mut work.held);
        self.claim_held_bytes -= core::mem::take(&mut work.held_bytes);
        self.advance(now, address);
        self.take_up(now, held);
    }

    pub(super) fn flush_batches(&mut self, now: MonoTime) {
        if self.standing != Standing::Attached {
            return;
        }
        self.flush_claims();
        self.flush_releases();
        self.flush_announces(now);
        self.flush_doubts();
    }

    /// Releases as far as the link has room.
    pub(super) fn flush_releases(&mut self) {
        while !self.batches.releases.is_empty()
            && self.standing == Standing::Attached
            && self.out.bytes() < self.settings.queue_bytes_max
        {
            let count = self.batches.releases.len().min(BATCH_ENTRIES_MAX);
            let batch = self.batches.releases.drain(..count).collect();
            self.push(Frame::Release(batch));
        }
    }

    /// Claims as far as the link has room and the router has answered earlier ones. The others follow.
    pub(super) fn flush_claims(&mut self) {
        while self.standing == Standing::Attached && self.out.bytes() < self.settings.queue_bytes_max {
            let room = CLAIMS_SENT_MAX.saturating_sub(self.batches.claims_sent);
            let mut batch = Vec::new();
            while batch.len() < room.min(BATCH_ENTRIES_MAX)
                && let Some(address) = self.batches.claims.pop_front()
            {
                // It may have been answered, or given up by its caller, while it waited here.
                if let Some(client) = self.clients.get_mut(&address)
                    && client.is_claim_started()
                    && let Some(work) = client.work.as_mut()
                    && !core::mem::replace(&mut work.is_sent, true)
                {
                    batch.push(address);
                }
            }
            if batch.is_empty() {
                return;
            }
            self.batches.claims_sent += batch.len();
            self.push(Frame::Claim(batch));
        }
    }

    fn flush_announces(&mut self, now: MonoTime) {
        if self.has_announces()
            && self.batches.announce_at <= now
            && self.out.bytes() >= self.settings.queue_bytes_max
        {
            // The link is not read: it has time.
            self.batches.announce_at = now + self.settings.stall;
        }
        while !self.batches.announces.is_empty() && self.batches.announce_at <= now {
            let count = self.batches.announces.len().min(BATCH_ENTRIES_MAX);
            let batch: Vec<_> = self
                .batches
                .announces
                .drain(..count)
                .filter_map(|address| {
                    let seq = self.clients.get(&address)?.seq;
                    (seq.0 != 0).then_some((address, seq))
                })
                .collect();
            let pause = core::time::Duration::from_secs(1) * u32::try_from(count).unwrap_or(1)
                / self.settings.announce_per_second.max(1);
            self.batches.announce_at = now + pause;
            if !batch.is_empty() {
                self.push(Frame::Announce(batch));
            }
        }
        while let Some(at) = self.batches.check_at
            && self.batches.announces.is_empty()
            && self.batches.announce_at <= now
        {
            // What moves within the table meanwhile may be missed; it is new there, or samples find it.
            let (batch, next) = self.held_from(at, BATCH_ENTRIES_MAX);
            self.batches.check_at = next;
            // A tenth of the pace: it is not urgent.
            let pause = core::time::Duration::from_secs(10) * u32::try_from(batch.len()).unwrap_or(1)
                / self.settings.announce_per_second.max(1);
            self.batches.announce_at = now + pause;
            if !batch.is_empty() {
                self.push(Frame::Announce(batch));
            }
        }
    }
}
