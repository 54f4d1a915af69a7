//! The part of each process's driver: carries out what its machines want, and feeds them what comes.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use waypost_router::{Command, Completion, Event, LinkId, Refusal, RequestToken, Whose};
use waypost_types::{DEFAULT_FRAME_BYTES_MAX, Location, MonoTime, Outcome};
use waypost_wire::{Chunk, Hello, Role};

use crate::net::{Conn, ConnId, End, Item, pack, unpack};
use crate::process::{Kind, Pending, ProcessId};
use crate::world::{Happening, World, ticket_of};

/// After how long a dial that nobody answers is given up.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How often sends that wait for room are tried again.
const RETRY: Duration = Duration::from_millis(10);

impl World {
    /// One thing happens to one process.
    pub(crate) fn happen(&mut self, id: ProcessId, happening: Happening) {
        let life = self.processes[id.0].life;
        let alive = self.is_up(id);
        match happening {
            Happening::Wake { life: of, at } => {
                if alive && of == life && self.processes[id.0].wake_at == Some(at) {
                    self.time_out(id);
                }
            }
            Happening::Arrive { conn, to } => self.arrive(conn, to),
            Happening::Reach { life, link, location } => self.reach(id, life, link, &location),
            Happening::Dialled { life: of, link, conn } => {
                if alive && of == life {
                    self.dialled(id, link, conn);
                }
            }
            Happening::Redial { life: of } => {
                if alive && of == life {
                    self.dial_broker(id);
                }
            }
            Happening::Closed { conn, at } => self.end_of_link(conn, at),
            Happening::Apply {
                life,
                token,
                op,
                fails,
                answer_at,
            } => {
                let reply = self.store.apply(self.now, &op);
                self.note(id, format_args!("store {op:?} = {reply:?}"));
                if !fails {
                    self.schedule(answer_at, id, Happening::Answer { life, token, reply });
                }
            }
            Happening::Answer {
                life: of,
                token,
                reply,
            } => {
                if alive && of == life {
                    self.note(id, format_args!("store answers {token}, ok {}", reply.is_ok()));
                    self.with_router(id, |router, now| router.store_done(now, token, reply));
                    self.drive(id);
                }
            }
        }
    }

    pub(crate) fn with_router(
        &mut self,
        id: ProcessId,
        call: impl FnOnce(&mut waypost_router::Router, MonoTime),
    ) {
        let process = &mut self.processes[id.0];
        let now = process.local(self.now);
        if let Some(router) = process.core.as_mut().and_then(|core| core.router.as_mut()) {
            call(router, now);
        }
    }

    /// The process's clock has come to where it wanted to be woken.
    pub(crate) fn time_out(&mut self, id: ProcessId) {
        let process = &mut self.processes[id.0];
        process.wake_at = None;
        let now = process.local(self.now);
        if let Some(core) = &mut process.core {
            core.handle_timeout(now);
        }
        self.drive(id);
    }

    // ---- what comes out

    /// Carries out everything that the process's machines want.
    pub(crate) fn drive(&mut self, id: ProcessId) {
        if self.processes[id.0].paused || !self.is_up(id) {
            return;
        }
        self.take_in(id);
        let process = &mut self.processes[id.0];
        let now = process.local(self.now);
        if let Some(core) = &mut process.core {
            core.pump(now);
        }
        self.carry_out(id);
        self.write(id);
        self.tell_program(id);
        let process = &mut self.processes[id.0];
        let wants = process
            .core
            .as_mut()
            .and_then(|core| core.endpoint.as_mut())
            .is_some_and(waypost_router::Endpoint::wants_link_closed);
        if wants && let Some((conn, at)) = self.net.find(id, self.processes[id.0].life, None) {
            self.hang_up(conn, at);
            self.schedule(self.now, id, Happening::Closed { conn, at });
        }
        self.set_timer(id);
    }

    fn set_timer(&mut self, id: ProcessId) {
        let process = &mut self.processes[id.0];
        let wanted = process.core.as_mut().and_then(waypost_router::Core::next_timeout);
        let wanted = wanted.map(|at| at - process.clock_ahead);
        let wanted = match (wanted, process.pending.is_empty()) {
            (wanted, true) => wanted,
            (wanted, false) => Some(wanted.map_or(self.now + RETRY, |at| at.min(self.now + RETRY))),
        };
        let Some(at) = wanted.map(|at| at.max(self.now)) else {
            process.wake_at = None;
            return;
        };
        if process.wake_at != Some(at) {
            process.wake_at = Some(at);
            let life = process.life;
            self.schedule(at, id, Happening::Wake { life, at });
        }
    }

    /// Hands sends to the endpoint as far as there is room, those to one address in their order.
    fn take_in(&mut self, id: ProcessId) {
        let process = &mut self.processes[id.0];
        let now = process.local(self.now);
        let Some(core) = &mut process.core else { return };
        let mut blocked: Vec<String> = Vec::new();
        let mut ended = Vec::new();
        for _ in 0..process.pending.len() {
            let Some(pending) = process.pending.pop_front() else {
                break;
            };
            let to = pending.message.to().to_owned();
            if blocked.contains(&to) {
                blocked.push(to);
                process.pending.push_back(pending);
                continue;
            }
            let Pending {
                ticket,
                message,
                acked,
                deadline,
            } = pending;
            let mut message = Some(message);
            let refusal = match acked {
                None if message
                    .as_ref()
                    .is_some_and(|m| core.send_now(m.to(), m.from(), &m.body)) =>
                {
                    None
                }
                None => core.send(now, &mut message).err(),
                Some(request) => core
                    .send_acked(now, &mut message, request, deadline, || ticket)
                    .err(),
            };
            match refusal {
                None => {}
                Some(Refusal::Full) if deadline > now => {
                    blocked.push(to);
                    let Some(message) = message else { continue };
                    process.pending.push_back(Pending {
                        ticket,
                        message,
                        acked,
                        deadline,
                    });
                }
                Some(Refusal::Full) => ended.push((ticket, acked, Outcome::Overloaded)),
                Some(_) => ended.push((ticket, acked, Outcome::Expired)),
            }
        }
        for (ticket, acked, outcome) in ended {
            if acked.is_some() {
                self.finished(id, ticket, Completion::Outcome(outcome));
            }
        }
    }

    fn carry_out(&mut self, id: ProcessId) {
        let life = self.processes[id.0].life;
        while let Some(command) = self.processes[id.0]
            .core
            .as_mut()
            .and_then(|core| core.router.as_mut())
            .and_then(waypost_router::Router::poll_command)
        {
            match command {
                Command::Store { token, op } => {
                    let plan = self.store.plan(&mut self.rng);
                    let answer_at = self.now + plan.answered_after;
                    self.note(id, format_args!("asks store {token}: {op:?}"));
                    if plan.fails {
                        let reply = Err(waypost_router::StoreFailure);
                        self.schedule(answer_at, id, Happening::Answer { life, token, reply });
                    }
                    if let Some(after) = plan.applied_after {
                        let fails = plan.fails;
                        let apply = Happening::Apply {
                            life,
                            token,
                            op,
                            fails,
                            answer_at,
                        };
                        self.schedule(self.now + after, id, apply);
                    }
                }
                Command::Dial { link, location } => self.dial(id, Some(link), location),
                Command::Close { link, code, text } => {
                    self.note(id, format_args!("closes {link:?}: {code:?} {text}"));
                    if let Some((conn, at)) = self.net.find(id, life, Some(link)) {
                        self.write_link(id, conn, at);
                        self.hang_up(conn, at);
                        self.schedule(self.now, id, Happening::Closed { conn, at });
                    }
                }
                other => panic!("a command that the simulator does not know: {other:?}"),
            }
        }
    }

    /// Writes what is queued for the process's links.
    fn write(&mut self, id: ProcessId) {
        for (conn, at) in self.ends_of(id) {
            self.write_link(id, conn, at);
        }
    }

    fn write_link(&mut self, id: ProcessId, conn: ConnId, at: usize) {
        let Some(open) = self.net.conns.get(&conn) else {
            return;
        };
        if !open.ends[at].known || self.net.stuck.contains(&open.ends[1 - at].process) {
            return;
        }
        let link = open.ends[at].link;
        let mut frames = Vec::new();
        let Some(core) = &mut self.processes[id.0].core else {
            return;
        };
        loop {
            let before = frames.len();
            match (link, &mut core.router, &mut core.endpoint) {
                (Some(link), Some(router), _) => router.take_frames(link, &mut frames, 1 << 16),
                (None, _, Some(endpoint)) => {
                    endpoint.take_frames(&mut frames, 1 << 16);
                }
                _ => {}
            }
            if frames.len() == before {
                break;
            }
        }
        for frame in frames {
            self.note(id, format_args!("-> {} {frame:?}", conn.0));
            self.send_item(conn, 1 - at, Item::Frame(pack(&frame)));
        }
    }

    /// Tells the program what has ended and what has come.
    fn tell_program(&mut self, id: ProcessId) {
        let process = &mut self.processes[id.0];
        let Some(endpoint) = process.core.as_mut().and_then(|core| core.endpoint.as_mut()) else {
            return;
        };
        let (mut done, mut events) = (Vec::new(), VecDeque::new());
        endpoint.take_done(&mut done);
        if process.reads {
            let mut taken = VecDeque::new();
            endpoint.take_events(&mut taken, usize::MAX);
            for event in taken {
                match event {
                    Event::Messages(batch) => events.extend(batch.map(Event::Message)),
                    event => events.push_back(event),
                }
            }
        }
        for (ticket, completion) in &done {
            if let Some(address) = self.processes[id.0].connects.remove(ticket)
                && matches!(completion, Completion::Connected(Ok(_)))
            {
                self.processes[id.0].held.insert(address);
            }
        }
        let replies = self.take_events(id, events);
        for (ticket, completion) in done {
            self.finished(id, ticket, completion);
        }
        for token in replies {
            self.call(id, |endpoint, _| {
                endpoint.reply(&token, Bytes::from_static(b"reply"))
            });
        }
    }

    /// Looks at what has come, and says which requests the program answers at once.
    fn take_events(&mut self, id: ProcessId, events: VecDeque<Event>) -> Vec<RequestToken> {
        let (mut owner, mut replies) = (None, Vec::new());
        for event in events {
            self.note(id, format_args!("event {event:?}"));
            let process = &mut self.processes[id.0];
            let Some(endpoint) = process.core.as_mut().and_then(|core| core.endpoint.as_mut()) else {
                return replies;
            };
            match &event {
                Event::Registered {
                    identity,
                    incarnation,
                } => {
                    owner = Some(waypost_types::Owner::new(identity.clone(), *incarnation));
                }
                Event::Message(message) | Event::Request { message, .. } => {
                    let holds = endpoint.holds(message.to()).is_some() || process.held.contains(message.to());
                    let owner = owner.clone().or_else(|| process.owner.clone());
                    if let (Some(owner), Some(ticket)) = (owner, ticket_of(&message.body)) {
                        self.oracle.delivered(ticket, message.to(), &owner, holds);
                    }
                }
                Event::Displaced { client, .. } if endpoint.holds(client.as_str()).is_none() => {
                    process.held.remove(client);
                }
                Event::Fenced { superseded: true } => process.held.clear(),
                _ => {}
            }
            let process = &mut self.processes[id.0];
            if owner.is_some() {
                process.owner.clone_from(&owner);
            }
            if let Event::Request { token, .. } = &event {
                if process.replies {
                    replies.push(token.clone());
                } else {
                    process.requests.push(token.clone());
                }
            }
            self.processes[id.0].events.push(event);
        }
        replies
    }

    fn finished(&mut self, id: ProcessId, ticket: crate::Ticket, completion: Completion) {
        self.note(id, format_args!("{ticket:?} ends: {completion:?}"));
        self.oracle.ended(ticket, &completion);
        if matches!(completion, Completion::Registered(_)) {
            self.processes[id.0].registering = false;
        }
        self.processes[id.0].done.insert(ticket, completion);
    }

    // ---- links

    pub(crate) fn ends_of(&self, id: ProcessId) -> Vec<(ConnId, usize)> {
        let conns = self.net.conns.iter();
        conns
            .flat_map(|(conn, c)| c.ends.iter().enumerate().map(|(at, end)| (*conn, at, end)))
            .filter(|(_, _, end)| end.process == id && end.known && end.life == self.processes[id.0].life)
            .map(|(conn, at, _)| (conn, at))
            .collect()
    }

    fn latency(&mut self) -> Duration {
        self.rng.between(self.net.latency.0, self.net.latency.1)
    }

    /// Puts something on its way; behind everything that is on its way already.
    pub(crate) fn send_item(&mut self, conn: ConnId, to: usize, item: Item) {
        let at = self.now + self.latency();
        let Some(open) = self.net.conns.get_mut(&conn) else {
            return;
        };
        if open.closing && matches!(item, Item::Frame(_)) {
            return;
        }
        let at = at.max(open.newest[to]);
        open.newest[to] = at;
        open.queues[to].push_back(item);
        let process = open.ends[to].process;
        self.schedule(at, process, Happening::Arrive { conn, to });
    }

    fn arrive(&mut self, conn: ConnId, to: usize) {
        let Some(open) = self.net.conns.get_mut(&conn) else {
            return;
        };
        let (end, from) = (open.ends[to], open.ends[1 - to].process);
        if self.net.cut.contains(&crate::net::pair(end.process, from)) {
            open.held_back[to] += 1;
            return;
        }
        let process = &mut self.processes[end.process.0];
        match open.queues[to].pop_front() {
            None => {}
            Some(Item::End) => self.end_of_link(conn, to),
            Some(Item::Frame(bytes)) => {
                if !end.known || process.life != end.life {
                    return;
                }
                self.note(end.process, format_args!("<- {} {:?}", conn.0, unpack(&bytes)));
                if self.feed(end, &bytes) {
                    self.drive(end.process);
                } else {
                    self.wait_for_room(conn, to, bytes);
                }
            }
        }
    }

    /// Gives a process what has come to it; false when it has to wait for room.
    fn feed(&mut self, end: End, bytes: &[u8]) -> bool {
        let process = &mut self.processes[end.process.0];
        let now = process.local(self.now);
        let Some(core) = &mut process.core else {
            return true;
        };
        let (mut chunk, whose) = (Chunk::new(), end.link.map_or(Whose::Endpoint, Whose::Router));
        let read = chunk.refill(&mut BytesMut::from(bytes), DEFAULT_FRAME_BYTES_MAX);
        let taken = core.handle_chunk(now, whose, &mut chunk);
        assert!(
            read.is_ok() && taken.is_ok(),
            "nothing malformed is sent: {read:?}, {taken:?}"
        );
        taken == Ok(true)
    }

    fn wait_for_room(&mut self, conn: ConnId, to: usize, bytes: Bytes) {
        if let Some(open) = self.net.conns.get_mut(&conn) {
            open.queues[to].push_front(Item::Frame(bytes));
            let process = open.ends[to].process;
            self.schedule(self.now + RETRY, process, Happening::Arrive { conn, to });
        }
    }

    /// What was held back arrives now, if nothing holds it any more.
    pub(crate) fn release_held_back(&mut self) {
        let conns: Vec<ConnId> = self.net.conns.keys().copied().collect();
        for (conn, to) in conns.into_iter().flat_map(|conn| [(conn, 0), (conn, 1)]) {
            let Some(open) = self.net.conns.get_mut(&conn) else {
                continue;
            };
            let [a, b] = [open.ends[0].process, open.ends[1].process];
            if self.net.cut.contains(&crate::net::pair(a, b)) {
                continue;
            }
            let (process, count) = (open.ends[to].process, core::mem::take(&mut open.held_back[to]));
            for _ in 0..count {
                self.schedule(self.now, process, Happening::Arrive { conn, to });
            }
        }
    }

    /// One end closes; the other hears of it behind everything that is on its way to it.
    pub(crate) fn hang_up(&mut self, conn: ConnId, at: usize) {
        if let Some(open) = self.net.conns.get_mut(&conn)
            && !core::mem::replace(&mut open.closing, true)
        {
            self.send_item(conn, 1 - at, Item::End);
        }
    }

    /// The link is closed as far as this end is concerned, and its process is told.
    fn end_of_link(&mut self, conn: ConnId, at: usize) {
        let Some(open) = self.net.conns.get_mut(&conn) else {
            return;
        };
        open.closing = true;
        let end = open.ends[at];
        if !core::mem::replace(&mut open.ends[at].known, false) {
            return;
        }
        let other = open.ends[1 - at];
        if !other.known {
            self.net.conns.remove(&conn);
        } else if open.queues[1 - at].iter().all(|item| !matches!(item, Item::End)) {
            self.send_item(conn, 1 - at, Item::End);
        }
        let process = &mut self.processes[end.process.0];
        if process.life != end.life || !process.is_up() {
            return;
        }
        let now = process.local(self.now);
        let Some(core) = &mut process.core else { return };
        match (end.link, &mut core.router, &mut core.endpoint) {
            (Some(link), Some(router), _) => router.link_closed(now, link),
            (None, _, Some(endpoint)) => {
                endpoint.link_down(now);
                let life = end.life;
                let soon = self.now + self.rng.between(Duration::ZERO, Duration::from_millis(50));
                self.schedule(soon, end.process, Happening::Redial { life });
            }
            _ => {}
        }
        self.note(end.process, format_args!("link {} is closed", conn.0));
        self.drive(end.process);
    }

    /// An attached server without link dials its next broker.
    pub(crate) fn dial_broker(&mut self, id: ProcessId) {
        let process = &self.processes[id.0];
        let Kind::Attached(brokers) = &process.kind else {
            return;
        };
        if process.dialling || self.net.find(id, process.life, None).is_some() {
            return;
        }
        let Some(broker) = brokers.get(process.next_broker % brokers.len().max(1)) else {
            return;
        };
        let location = self.processes[broker.0].location.clone();
        self.processes[id.0].dialling = true;

        self.dial(id, None, location);
    }

    fn dial(&mut self, id: ProcessId, link: Option<LinkId>, location: Location) {
        let life = self.processes[id.0].life;
        let at = self.now + self.latency();
        self.note(id, format_args!("dials {location}"));
        self.schedule(at, id, Happening::Reach { life, link, location });
    }

    /// A dial comes to where the other side listens, or not.
    fn reach(&mut self, id: ProcessId, life: u64, link: Option<LinkId>, location: &Location) {
        let target = self
            .processes
            .iter()
            .position(|process| process.location == *location)
            .map(ProcessId);
        let refused = Happening::Dialled {
            life,
            link,
            conn: None,
        };
        let later = self.now + DIAL_TIMEOUT;
        let Some(target) = target else {
            return self.schedule(later, id, refused);
        };
        if self.net.is_cut(id, target) || self.processes[target.0].paused {
            return self.schedule(later, id, refused);
        }
        if !self.is_up(target) || self.processes[id.0].life != life {
            let soon = self.now + self.latency();
            return self.schedule(soon, id, refused);
        }
        let hello = Hello {
            role: if link.is_some() { Role::Node } else { Role::Peer },
            location: link.map(|_| self.processes[id.0].location.clone()),
            nonce: [0; 16],
            software: String::new(),
        };
        let conn = self.net.new_id();
        let mut theirs = LinkId::LOCAL;
        self.with_router(target, |router, now| {
            theirs = router.new_link_id();
            router.link_accepted(now, theirs, &hello);
        });
        let target_life = self.processes[target.0].life;
        let end = |process, life, link, known| End {
            process,
            life,
            link,
            known,
        };
        let open = Conn {
            ends: [
                end(id, life, link, false),
                end(target, target_life, Some(theirs), true),
            ],
            queues: [VecDeque::new(), VecDeque::new()],
            held_back: [0, 0],
            newest: [MonoTime::ZERO; 2],
            closing: false,
        };
        self.net.conns.insert(conn, open);
        let at = self.now + self.latency();
        if let Some(open) = self.conn(conn) {
            // Nothing arrives before the dialling side knows that the link is open.
            open.newest[0] = at;
        }
        self.schedule(
            at,
            id,
            Happening::Dialled {
                life,
                link,
                conn: Some(conn),
            },
        );
        self.drive(target);
    }

    fn dialled(&mut self, id: ProcessId, link: Option<LinkId>, conn: Option<ConnId>) {
        let process = &mut self.processes[id.0];
        let now = process.local(self.now);
        let open = conn.and_then(|conn| self.net.conns.get_mut(&conn));
        let opened = open.map(|open| open.ends[0].known = true).is_some();
        self.note(id, format_args!("dialled {link:?}: {opened}"));
        let process = &mut self.processes[id.0];
        let Some(core) = &mut process.core else { return };
        match (link, &mut core.router, &mut core.endpoint) {
            (Some(link), Some(router), _) if opened => router.link_dialled(now, link),
            (Some(link), Some(router), _) => router.dial_failed(now, link),
            (None, _, Some(endpoint)) => {
                process.dialling = false;
                if opened {
                    endpoint.link_up(now);
                    process.failed_dials = 0;
                } else {
                    process.next_broker += 1;
                    process.failed_dials += 1;
                    let pause = Duration::from_millis(50) * process.failed_dials.min(10);
                    let (life, at) = (process.life, self.now + pause);
                    self.schedule(at, id, Happening::Redial { life });
                }
            }
            _ => {}
        }
        self.drive(id);
    }
}
