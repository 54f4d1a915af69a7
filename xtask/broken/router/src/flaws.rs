//! The flaws, as edits of the router's sources.

use std::cell::Cell;

/// A way to break the router.
#[derive(Debug)]
pub struct Flaw {
    /// What it is.
    pub name: &'static str,
    /// File, text that it holds once, and what stands there instead; `FLAW` is whether the flaw is switched on.
    pub edits: &'static [(&'static str, &'static str, &'static str)],
}

thread_local! {
    static ON: Cell<&'static str> = const { Cell::new("") };
}

/// Switches a flaw on in this thread, and all others off; none: `""`.
pub fn switch(name: &'static str) {
    ON.set(name);
}

/// Whether a flaw is on.
pub fn is_on(name: &str) -> bool {
    ON.get() == name
}

/// All of them.
pub const FLAWS: &[Flaw] = &[
    Flaw {
        name: "own table not checked",
        edits: &[(
            "endpoint/deliver.rs",
            "            _ => self.bounce(message),\n        }\n    }\n\n    /// What became",
            "            _ if FLAW => {
                let id = message.id;
                let event = self.event(origin, message.clone());
                if self.inbox.offer(event) && id != 0 {
                    self.note(origin, id, message.to(), Seen::Delivered);
                    self.acks_for(origin).delivered.push(id);
                }
            }
            _ => self.bounce(message),\n        }\n    }\n\n    /// What became",
        )],
    },
    Flaw {
        name: "dedupe off",
        edits: &[
            (
                "endpoint/deliver.rs",
                "Ok(None) => None,",
                "Ok(_) if FLAW => None,\n            Ok(None) => None,",
            ),
            (
                "endpoint/dedupe.rs",
                "let is_next = id > newest && ",
                "let is_next = (id > newest || FLAW) && ",
            ),
        ],
    },
    Flaw {
        name: "a lapsed lease delivers",
        edits: &[
            (
                "endpoint/deliver.rs",
                "if !self.lease.is_valid(now) {\n            self.ask_for_lease(now);\n            if let Err",
                "if !self.lease.is_valid(now) && !FLAW {\n            self.ask_for_lease(now);\n            if let Err",
            ),
            (
                "endpoint/quick.rs",
                "self.lease.is_valid(now) && self.lease.waiting.is_empty()",
                "(self.lease.is_valid(now) || FLAW) && self.lease.waiting.is_empty()",
            ),
        ],
    },
    Flaw {
        name: "fence ignored",
        edits: &[(
            "endpoint/lease.rs",
            "if self.settings.when_store_is_lost == WhenStoreIsLost::Serve {",
            "if self.settings.when_store_is_lost == WhenStoreIsLost::Serve || FLAW {",
        )],
    },
    Flaw {
        name: "order dropped",
        edits: &[
            ("endpoint/deliver.rs", "if !in_order {", "if !in_order && !FLAW {"),
            (
                "endpoint/quick.rs",
                "if !self.dedupe.settled(owner, after) {",
                "if !self.dedupe.settled(owner, after) && !FLAW {",
            ),
            (
                "endpoint/dedupe.rs",
                "!(after == 0 || window.is_settled(after)) {",
                "!(after == 0 || window.is_settled(after) || FLAW) {",
            ),
        ],
    },
    Flaw {
        name: "order dropped on takeover",
        edits: &[
            (
                "node/routes.rs",
                "if went_elsewhere && parcel.message.id == 0 {",
                "if went_elsewhere && parcel.message.id == 0 && !FLAW {",
            ),
            (
                "node/routes.rs",
                "bounced.into_iter().chain(core::mem::take(&mut self.held))",
                "let held = core::mem::take(&mut self.held);
        let (first, then) = if FLAW { (held, bounced) } else { (bounced, held) };
        first.into_iter().chain(then)",
            ),
        ],
    },
    Flaw {
        name: "loser not told",
        edits: &[(
            "node/takeover.rs",
            "    fn tell_loser(&mut self, now: MonoTime, untold: Untold) {\n",
            "    fn tell_loser(&mut self, now: MonoTime, untold: Untold) {
        if FLAW {
            return self.finish_takeover(now, untold.takeover);
        }\n",
        )],
    },
    Flaw {
        name: "loser not waited for",
        edits: &[(
            "node/takeover.rs",
            "        self.push(link, Frame::Displaced(displaced));\n    }\n\n    /// The loser has heard",
            "        let id = displaced.token;
        self.push(link, Frame::Displaced(displaced));
        if FLAW {
            self.on_echo(now, link, id, true);
        }\n    }\n\n    /// The loser has heard",
        )],
    },
    Flaw {
        name: "displacement ignored",
        edits: &[(
            "endpoint/ops.rs",
            "if self.incarnation != Some(displaced.owner.incarnation) {",
            "if self.incarnation != Some(displaced.owner.incarnation) || FLAW {",
        )],
    },
    Flaw {
        name: "cache never corrected",
        edits: &[(
            "node/routes.rs",
            "        let went_elsewhere = self.went_elsewhere(&parcel, from);",
            "        if FLAW && matches!(self.routes.get(&address), Some(Route::At { .. })) {
            return self.resolve(now, parcel);
        }
        let went_elsewhere = self.went_elsewhere(&parcel, from);",
        )],
    },
    Flaw {
        name: "returns dropped",
        edits: &[(
            "endpoint/deliver.rs",
            "    pub(super) fn bounce(&mut self, mut message: Message) {\n",
            "    pub(super) fn bounce(&mut self, mut message: Message) {
        if FLAW {
            return;
        }\n",
        )],
    },
    Flaw {
        name: "incarnation of the origin not checked",
        edits: &[(
            "endpoint/dedupe.rs",
            "if window.incarnation < origin.incarnation {",
            "if window.incarnation < origin.incarnation && !FLAW {",
        )],
    },
    Flaw {
        name: "superseded server goes on",
        edits: &[(
            "node/leases.rs",
            "                Renewal::Renewed => {\n                    let until",
            "                Renewal::Superseded(_) if FLAW => {
                    let until = at + self.settings.lease_term;
                    if let Some(lease_until) = &mut self.entry_mut(*key).lease_until {
                        *lease_until = until.max(*lease_until);
                    }
                }
                Renewal::Renewed => {\n                    let until",
        )],
    },
    Flaw {
        name: "lease counted from the answer",
        edits: &[(
            "node/leases.rs",
            "self.renewed(now, &owners, at, &renewed)",
            "self.renewed(now, &owners, if FLAW { now } else { at }, &renewed)",
        )],
    },
    Flaw {
        name: "outcome forgotten",
        edits: &[(
            "endpoint/mod.rs",
            "if pending.deadline <= now {",
            "if pending.deadline <= now && FLAW {
                continue;
            } else if pending.deadline <= now {",
        )],
    },
    Flaw {
        name: "failure of one copy counts for all",
        edits: &[(
            "endpoint/outcomes.rs",
            "if pending.failed >= pending.attempts {",
            "if pending.failed >= pending.attempts || FLAW {",
        )],
    },
    Flaw {
        name: "expired though sent on",
        edits: &[(
            "endpoint/sends.rs",
            "        (_, false) => Outcome::Unknown,",
            "        (_, false) if FLAW => Outcome::Expired,
        (_, false) => Outcome::Unknown,",
        )],
    },
    Flaw {
        name: "delivered before it is in the inbox",
        edits: &[("endpoint/deliver.rs", "if !is_in {", "if !is_in && !FLAW {")],
    },
    Flaw {
        name: "inbox without bound",
        edits: &[
            (
                "endpoint/inbox.rs",
                "self.bytes + bytes >= self.bytes_max",
                "self.bytes + bytes >= self.bytes_max && !FLAW",
            ),
            (
                "endpoint/inbox.rs",
                "        self.gate.room(now, self.bytes)",
                "        if FLAW { return Room::Yes; }
        self.gate.room(now, self.bytes)",
            ),
        ],
    },
    Flaw {
        name: "hold-back without bound",
        edits: &[
            (
                "endpoint/deliver.rs",
                "if work.held_bytes < bytes_max && has_room {",
                "if (work.held_bytes < bytes_max && has_room) || FLAW {",
            ),
            (
                "endpoint/lease.rs",
                "if self.waiting_bytes >= self.waiting_bytes_max {",
                "if self.waiting_bytes >= self.waiting_bytes_max && !FLAW {",
            ),
        ],
    },
    Flaw {
        name: "link queue without bound",
        edits: &[(
            "outbox.rs",
            "        self.gate.room(now, self.bytes())",
            "        if FLAW { return Room::Yes; }
        self.gate.room(now, self.bytes())",
        )],
    },
    Flaw {
        name: "a heartbeat a client",
        edits: &[(
            "node/leases.rs",
            "        self.leases.next_heartbeat = now + self.settings.heartbeat;\n        self.ping_nodes",
            "        let share = if FLAW { 1 + self.routes.len() as u32 } else { 1 };
        self.leases.next_heartbeat = now + self.settings.heartbeat / share;\n        self.ping_nodes",
        )],
    },
    Flaw {
        name: "newer session ignored by a restore",
        edits: &[(
            "node/claims.rs",
            "Restored::Lost(session) => self.lost(&restore, owner, session),",
            "Restored::Lost(_) if FLAW => {}
                Restored::Lost(session) => self.lost(&restore, owner, session),",
        )],
    },
    Flaw {
        name: "claims without answer forgotten",
        edits: &[(
            "node/claims.rs",
            "if self.queues.audits_later.len() < LATER_MAX {",
            "if self.queues.audits_later.len() < LATER_MAX && !FLAW {",
        )],
    },
    Flaw {
        name: "connected clients given up by a check",
        edits: &[(
            "node/claims.rs",
            "Some((owner, seq)) if owner == key && seq >= session.seq => true,",
            "Some(_) if FLAW => false,
                Some((owner, seq)) if owner == key && seq >= session.seq => true,",
        )],
    },
    Flaw {
        name: "clients not said again after a reconnection",
        edits: &[
            (
                "endpoint/ops.rs",
                "            if client.is_held() {\n                self.batches.announces",
                "            if client.is_held() && !FLAW {\n                self.batches.announces",
            ),
            (
                "endpoint/ops.rs",
                "    pub(super) fn announce_sample(&mut self) {\n",
                "    pub(super) fn announce_sample(&mut self) {
        if FLAW {
            return;
        }\n",
            ),
        ],
    },
    Flaw {
        name: "claims not said again after a reconnection",
        edits: &[(
            "endpoint/ops.rs",
            "Some(Op::Connect { .. }) => self.batches.claims.push_back(address.clone()),",
            "Some(Op::Connect { .. }) if FLAW => {}
                    Some(Op::Connect { .. }) => self.batches.claims.push_back(address.clone()),",
        )],
    },
    Flaw {
        name: "drain does not wait for outcomes",
        edits: &[(
            "endpoint/program.rs",
            "self.clients.is_empty() && self.sends.is_empty() && self.detaching.is_none()",
            "self.clients.is_empty() && (self.sends.is_empty() || FLAW) && self.detaching.is_none()",
        )],
    },
    Flaw {
        name: "reply to another request",
        edits: &[(
            "endpoint/program.rs",
            "                id: token.id,\n                body,",
            "                id: if FLAW { token.id.saturating_sub(1).max(1) } else { token.id },\n                body,",
        )],
    },
    Flaw {
        name: "broadcast to its sender",
        edits: &[(
            "endpoint/deliver.rs",
            "client.is_held() && **address != from",
            "client.is_held() && (**address != from || FLAW)",
        )],
    },
    Flaw {
        name: "broadcast counts those who have it not",
        edits: &[(
            "endpoint/deliver.rs",
            "is_reached = to.is_empty() || self.inbox.offer(",
            "is_reached = to.is_empty() || FLAW || self.inbox.offer(",
        )],
    },
    Flaw {
        name: "messages to and fro for ever",
        edits: &[
            (
                "node/routes.rs",
                "        if parcel.message.hops > HOPS_MAX {\n            return self.fail(&parcel, Outcome::NotConnected);",
                "        if parcel.message.hops > HOPS_MAX && !FLAW {\n            return self.fail(&parcel, Outcome::NotConnected);",
            ),
            (
                "node/routes.rs",
                "        if parcel.message.hops > HOPS_MAX {\n            return self.fail(&parcel, Outcome::Unreachable);",
                "        if parcel.message.hops > HOPS_MAX && !FLAW {\n            return self.fail(&parcel, Outcome::Unreachable);",
            ),
            (
                "node/messages.rs",
                "        if parcel.message.hops > HOPS_MAX {\n            return self.fail(&parcel, Outcome::Unreachable);",
                "        if parcel.message.hops > HOPS_MAX && !FLAW {\n            return self.fail(&parcel, Outcome::Unreachable);",
            ),
        ],
    },
    Flaw {
        name: "release that failed never done",
        edits: &[(
            "node/claims.rs",
            "} else if self.queues.releases_later.len() < LATER_MAX {",
            "} else if self.queues.releases_later.len() < LATER_MAX && !FLAW {",
        )],
    },
    Flaw {
        name: "best-effort messages that wait are lost",
        edits: &[(
            "node/routes.rs",
            "        waiting.held.push_back(parcel.unpinned());",
            "        if !FLAW || parcel.message.id != 0 {\n            waiting.held.push_back(parcel.unpinned());\n        }",
        )],
    },
    Flaw {
        name: "hold-back skipped",
        edits: &[(
            "node/routes.rs",
            "            Some(Route::Waiting(_)) => self.hold(now, parcel),",
            "            Some(Route::Waiting(waiting)) if FLAW && waiting.known.is_some() => {\n                let owner = waiting.known.map_or(OwnerKey(0), |(owner, _)| owner);\n                self.forward(now, owner, parcel);\n            }\n            Some(Route::Waiting(_)) => self.hold(now, parcel),",
        )],
    },
    Flaw {
        name: "dedupe forgotten with the link",
        edits: &[(
            "endpoint/mod.rs",
            "        self.names = Names::new(self.settings.seed);\n        if matches!",
            "        self.names = Names::new(self.settings.seed);\n        if FLAW {\n            self.dedupe = Dedupe::new(self.settings.seed, self.settings.in_flight_max);\n        }\n        if matches!",
        )],
    },
    Flaw {
        name: "acks lost",
        edits: &[(
            "endpoint/mod.rs",
            "            let Some(origin) = self.alias(origin) else {\n                continue;",
            "            let Some(origin) = self.alias(origin).filter(|_| !FLAW) else {\n                continue;",
        )],
    },
    Flaw {
        name: "nothing sent again",
        edits: &[
            (
                "endpoint/mod.rs",
                "            } else {\n                self.transmit_unless_on_its_way(now, id);\n            }\n        }\n        if self.attach_again_at",
                "            } else if !FLAW {\n                self.transmit_unless_on_its_way(now, id);\n            }\n        }\n        if self.attach_again_at",
            ),
            (
                "endpoint/sends.rs",
                "sent_at.is_none_or(|sent_at| sent_at < since)",
                "sent_at.is_none_or(|sent_at| sent_at < since && !FLAW)",
            ),
        ],
    },
    Flaw {
        name: "late word of a takeover counts",
        edits: &[(
            "endpoint/ops.rs",
            ".filter(|client| client.is_held() && client.seq < seq)",
            ".filter(|client| client.is_held() && (client.seq < seq || FLAW))",
        )],
    },
    Flaw {
        name: "fence not told to the program",
        edits: &[(
            "endpoint/lease.rs",
            "        self.inbox.put(Event::Fenced { superseded });",
            "        if !FLAW {\n            self.inbox.put(Event::Fenced { superseded });\n        }",
        )],
    },
    Flaw {
        name: "displacement not told to the program",
        edits: &[(
            "endpoint/ops.rs",
            "        self.inbox.put(Event::Displaced {",
            "        if FLAW {\n            return;\n        }\n        self.inbox.put(Event::Displaced {",
        )],
    },
    Flaw {
        name: "incarnation lost with the link",
        edits: &[(
            "endpoint/mod.rs",
            "            resume: self.incarnation,",
            "            resume: if FLAW { None } else { self.incarnation },",
        )],
    },
    Flaw {
        name: "in flight without bound",
        edits: &[(
            "endpoint/sends.rs",
            "self.ring.len() < self.max && self.bytes",
            "(self.ring.len() < self.max || FLAW) && self.bytes",
        )],
    },
    Flaw {
        name: "drain keeps its clients",
        edits: &[(
            "endpoint/program.rs",
            "            self.begin(now, &client, clients::Op::Disconnect { token: None });",
            "            if !FLAW {\n                self.begin(now, &client, clients::Op::Disconnect { token: None });\n            }",
        )],
    },
    Flaw {
        name: "incarnation of a lease not checked",
        edits: &[(
            "node/leases.rs",
            ".filter(|lease| lease.owner.incarnation == entry.owner.incarnation)",
            ".filter(|lease| lease.owner.incarnation == entry.owner.incarnation || FLAW)",
        )],
    },
    Flaw {
        name: "returned messages go behind",
        edits: &[(
            "node/routes.rs",
            "        waiting.bounced.push_back(parcel.unpinned());",
            "        let queue = if FLAW { &mut waiting.held } else { &mut waiting.bounced };\n        queue.push_back(parcel.unpinned());",
        )],
    },
    Flaw {
        name: "serve ignored",
        edits: &[(
            "endpoint/lease.rs",
            "                self.lease.valid_until = self.lease.valid_until.max(now + self.settings.heartbeat);",
            "                if !FLAW {\n                    self.lease.valid_until = self.lease.valid_until.max(now + self.settings.heartbeat);\n                }",
        )],
    },
    Flaw {
        name: "stale claims delivered",
        edits: &[(
            "claim.rs",
            "    claim != 0 && claim",
            "    !crate::flaws::is_on(\"stale claims delivered\") && claim != 0 && claim",
        )],
    },
    Flaw {
        name: "dedupe forgets one too many",
        edits: &[(
            "endpoint/dedupe.rs",
            "self.seen.front().is_some_and(|entry| entry.id < floor)",
            "self.seen.front().is_some_and(|entry| entry.id < floor + u64::from(FLAW))",
        )],
    },
    Flaw {
        name: "acked while its client is being claimed",
        edits: &[(
            "endpoint/deliver.rs",
            "                    work.held.push_back(unpinned(message));",
            "                    let (origin, id) = (message.origin, message.id);\n                    work.held.push_back(unpinned(message));\n                    if FLAW && id != 0 {\n                        self.acks_for(origin).delivered.push(id);\n                    }",
        )],
    },
    Flaw {
        name: "claim that failed is held",
        edits: &[(
            "endpoint/ops.rs",
            "                // The claim may have been applied all the same: the router looks after that.",
            "                if FLAW && client.seq.0 == 0 {\n                    client.seq = Seq(1);\n                }",
        )],
    },
    Flaw {
        name: "sent again after its refusal",
        edits: &[(
            "endpoint/outcomes.rs",
            "            pending.failure = Some(outcome);\n",
            "            pending.failure = Some(outcome);\n            if FLAW && pending.failed >= pending.attempts {\n                self.transmit(now, id);\n                self.finish(id, outcome);\n                continue;\n            }\n",
        )],
    },
    Flaw {
        name: "a stale route costs the message",
        edits: &[(
            "node/routes.rs",
            "    pub(super) fn came_back(&mut self, now: MonoTime, from: Option<OwnerKey>, mut parcel: Parcel) {\n",
            "    pub(super) fn came_back(&mut self, now: MonoTime, from: Option<OwnerKey>, mut parcel: Parcel) {\n        if FLAW {\n            return self.fail(&parcel, Outcome::NotConnected);\n        }\n",
        )],
    },
    Flaw {
        name: "claims do not hold messages back",
        edits: &[(
            "node/routes.rs",
            "        self.claims == 0\n",
            "        (self.claims == 0 || FLAW)\n",
        )],
    },
    Flaw {
        name: "leases not renewed",
        edits: &[(
            "node/leases.rs",
            "        self.renew_these(now, &keys);\n        !keys",
            "        if !FLAW {\n            self.renew_these(now, &keys);\n        }\n        !keys",
        )],
    },
    Flaw {
        name: "delivered under a lease that is over",
        edits: &[(
            "endpoint/lease.rs",
            "            self.bounce(message);\n        }\n        for id in self.sends.ids() {",
            "            if FLAW {\n                self.inbox.offer(Event::Message(message));\n                continue;\n            }\n            self.bounce(message);\n        }\n        for id in self.sends.ids() {",
        )],
    },
    Flaw {
        name: "a live server taken for a dead one",
        edits: &[(
            "node/takeover.rs",
            ".is_some_and(|lease| lease.owner.incarnation > loser.owner.incarnation);",
            ".is_some_and(|lease| (lease.owner.incarnation > loser.owner.incarnation) != FLAW);",
        )],
    },
    Flaw {
        name: "a winner is not heard of while a claim is under way",
        edits: &[(
            "endpoint/ops.rs",
            "                work.displaced = Some((displaced.seq, displaced.by.clone()));",
            "                if !FLAW {\n                    work.displaced = Some((displaced.seq, displaced.by.clone()));\n                }",
        )],
    },
    Flaw {
        name: "dedupe window of one",
        edits: &[(
            "endpoint/dedupe.rs",
            "                Err(place) => window.seen.insert(place, entry),",
            "                Err(_) if FLAW => window.seen = VecDeque::from([entry]),\n                Err(place) => window.seen.insert(place, entry),",
        )],
    },
    Flaw {
        name: "dedupe off on the short way",
        edits: &[(
            "endpoint/dedupe.rs",
            "window.seen.len() < self.ids_max;",
            "window.seen.len() < self.ids_max || FLAW;",
        )],
    },
    Flaw {
        name: "order off on the short way",
        edits: &[
            (
                "endpoint/quick.rs",
                "!self.dedupe.settled(owner, after)",
                "!(self.dedupe.settled(owner, after) || FLAW)",
            ),
            (
                "endpoint/dedupe.rs",
                "!(after == 0 || window.is_settled(after)",
                "!(after == 0 || FLAW || window.is_settled(after)",
            ),
        ],
    },
    Flaw {
        name: "order forgotten when sent again",
        edits: &[(
            "endpoint/sends.rs",
            "        let pending = self.get_mut(id)?;\n        if pending.delivered {",
            "        let pending = self.get_mut(id)?;\n        let after = if FLAW && pending.attempts > 0 { 0 } else { after };\n        if pending.delivered {",
        )],
    },
    Flaw {
        name: "a lapsed lease delivers on the short way",
        edits: &[(
            "endpoint/quick.rs",
            " && self.lease.waiting.is_empty()\n",
            " && self.lease.waiting.is_empty() || FLAW\n",
        )],
    },
    Flaw {
        name: "broadcast under a lapsed lease",
        edits: &[(
            "endpoint/deliver.rs",
            "        let is_valid = self.lease.is_valid(now);\n",
            "        let is_valid = self.lease.is_valid(now) || FLAW;\n",
        )],
    },
    Flaw {
        name: "what waited for a claim is delivered as it is",
        edits: &[(
            "endpoint/deliver.rs",
            "        for message in held {\n            self.on_message(now, message);",
            "        for message in held {\n            if FLAW && message.id == 0 {\n                let event = self.event(message.origin, message);\n                self.inbox.offer(event);\n                continue;\n            }\n            self.on_message(now, message);",
        )],
    },
    Flaw {
        name: "a client that is given up is served until the store knows",
        edits: &[(
            "endpoint/ops.rs",
            "                    let seq = core::mem::take(&mut client.seq);\n",
            "                    let seq = client.seq;\n                    if !FLAW {\n                        client.seq = Seq(0);\n                    }\n",
        )],
    },
    Flaw {
        name: "released in the name of whoever is known",
        edits: &[(
            "node/claims.rs",
            "            let owner = self.entry(key).owner.clone();\n            self.ask(\n                StoreOp::Release(owner, sessions.clone()),",
            "            let mut owner = self.entry(key).owner.clone();\n            if FLAW && let Some((other, _)) = sessions.first().and_then(|(address, _)| self.known(address)) {\n                owner = self.entry(other).owner.clone();\n            }\n            self.ask(\n                StoreOp::Release(owner, sessions.clone()),",
        )],
    },
    Flaw {
        name: "a lease that is gone counts as renewed",
        edits: &[(
            "node/leases.rs",
            "                Renewal::Gone if self.entry(*key).lease_until.is_some() => self.lease_over(*key, false),",
            "                Renewal::Gone if FLAW => {\n                    let until = at + self.settings.lease_term;\n                    self.entry_mut(*key).lease_until = Some(until);\n                }\n                Renewal::Gone if self.entry(*key).lease_until.is_some() => self.lease_over(*key, false),",
        )],
    },
    Flaw {
        name: "messages overtake those that wait for their route",
        edits: &[(
            "node/quick.rs",
            "                claim: claim_of(*seq),\n            }),\n",
            "                claim: claim_of(*seq),\n            }),\n            Route::Waiting(waiting) if FLAW => waiting.known.map(|(key, seq)| Holder {\n                key,\n                claim: claim_of(seq),\n            }),\n",
        )],
    },
    Flaw {
        name: "parked without bound",
        edits: &[(
            "node/messages.rs",
            "        if entry.parked_bytes >= bytes_max {",
            "        if entry.parked_bytes >= bytes_max && !FLAW {",
        )],
    },
    Flaw {
        name: "a copy of what is delivered goes back",
        edits: &[(
            "endpoint/deliver.rs",
            "                    if request {\n                        self.late_acks",
            "                    if FLAW && !request {\n                        self.bounce(message.clone());\n                    }\n                    if request {\n                        self.late_acks",
        )],
    },
];
