//! The part of each process's driver: carries out what its machines want, and feeds them what comes.

use core::time::Duration;

use waypost_router::{Command, Refusal, StoreFailure, StoreOp};
use waypost_types::{MonoTime, Outcome};
use waypost_wire::Frame;

use crate::net::{ConnId, Item, pack};
use crate::oracle::{Held, Oracle};
use crate::process::{Pending, ProcessId};
use crate::world::{Asked, Happening, World, ticket_of};

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
                asked,
                fails,
                answer_at,
            } => {
                let reply = self.apply(id, &asked.op);
                if !fails {
                    self.schedule(answer_at, id, Happening::Answer { asked, reply });
                }
            }
            Happening::ApplyRest { op } => self.apply_rest(id, &op),
            Happening::Answer { asked, reply } => {
                if alive && asked.life == life {
                    let Asked { token, op, at, .. } = asked;
                    self.processes[id.0].renews.take_if(|renews| *renews == token);
                    self.note(id, format_args!("store answers {token}, ok {}", reply.is_ok()));
                    let term = self.processes[id.0].settings.lease_term;
                    let told = reply.as_ref().ok();
                    self.oracle.store_answered(self.now, at, &op, told, term);
                    self.with_router(id, |router, now| router.store_done(now, token, reply));
                    self.drive(id);
                }
            }
        }
    }

    /// The store carries an operation out.
    fn apply(&mut self, id: ProcessId, op: &StoreOp) -> Result<waypost_router::StoreReply, StoreFailure> {
        let before = self.store.live_sessions(self.now);
        let reply = self.store.apply(self.now, op, &mut self.rng);
        self.note(id, format_args!("store {op:?} = {reply:?}"));
        self.check_records(op, &before);
        if self.store.deletes_later() && matches!(op, StoreOp::Release(..)) {
            let at = self.now + self.rng.between(Duration::ZERO, Duration::from_millis(20));
            self.schedule(at, id, Happening::ApplyRest { op: op.clone() });
        }
        reply
    }

    /// The second half of an operation of a store that is not atomic.
    fn apply_rest(&mut self, id: ProcessId, op: &StoreOp) {
        let before = self.store.live_sessions(self.now);
        self.store.delete_checked();
        self.note(id, format_args!("store deletes what it has found"));
        self.check_records(op, &before);
    }

    fn check_records(&self, op: &StoreOp, before: &[(waypost_types::Address, waypost_types::Session)]) {
        let held = |address: &waypost_types::Address| {
            let holds = |process: &crate::process::Process| {
                let endpoint = process.core.as_ref()?.endpoint.as_ref()?;
                Some(Held {
                    owner: endpoint.owner()?,
                    seq: endpoint.holds(address.as_str())?,
                })
            };
            self.processes.iter().filter_map(holds).collect()
        };
        Oracle::check_records(op, before, |address| self.store.record(address), held);
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
        self.check_queues(id);
        self.set_timer(id);
    }

    /// Every queue is within its bound, but for the one message that may go over it.
    fn check_queues(&self, id: ProcessId) {
        let one_more = self.largest;
        let now = self.now;
        let mut see = |what: &'static str, bytes: usize, max: usize| {
            assert!(
                bytes <= max.saturating_add(one_more),
                "at {now} {what} queue of {id:?} holds {bytes} bytes, and its bound is {max}"
            );
        };
        let process = &self.processes[id.0];
        self.oracle
            .check_in_flight((id, process.life), process.settings.in_flight_max);
        if let Some(core) = &process.core {
            if let Some(router) = &core.router {
                router.queues(&mut see);
            }
            if let Some(endpoint) = &core.endpoint {
                endpoint.queues(&mut see);
            }
        }
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
                Some(request)
                    if message.as_ref().is_some_and(|m| {
                        let names = [m.to(), m.from()];
                        core.send_acked_now(now, names, &m.body, request, deadline, || ticket)
                            .is_some()
                    }) =>
                {
                    None
                }
                Some(request) => core
                    .send_acked(now, &mut message, request, deadline, || ticket)
                    .err(),
            };
            match refusal {
                None => self.oracle.taken_in(self.now, ticket),
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
                self.refused(id, ticket, outcome);
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
                Command::Store { token, op } => self.ask_store(id, token, op),
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

    /// An operation goes to the store, which carries it out or not, and answers or not.
    fn ask_store(&mut self, id: ProcessId, token: u64, op: StoreOp) {
        let plan = self.store.plan(&mut self.rng);
        let answer_at = self.now + plan.answered_after;
        self.note(id, format_args!("asks store {token}: {op:?}"));
        let process = &self.processes[id.0];
        self.oracle.store_asked(self.now, id, &op, &process.settings);
        let (life, at) = (process.life, self.now);
        if matches!(op, StoreOp::Renew { .. }) {
            self.processes[id.0].renews = Some(token);
        }
        let asked = Asked { life, token, op, at };
        if plan.fails {
            let (reply, asked) = (Err(StoreFailure), asked.clone());
            self.schedule(answer_at, id, Happening::Answer { asked, reply });
        }
        if let Some(after) = plan.applied_after {
            let fails = plan.fails;
            let apply = Happening::Apply {
                asked,
                fails,
                answer_at,
            };
            self.schedule(self.now + after, id, apply);
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
        let process = &mut self.processes[id.0];
        let now = process.local(self.now);
        let Some(core) = &mut process.core else {
            return;
        };
        loop {
            let before = frames.len();
            match (link, &mut core.router, &mut core.endpoint) {
                (Some(link), Some(router), _) => router.take_frames(link, &mut frames, 1 << 16),
                (None, _, Some(endpoint)) => {
                    endpoint.take_frames(now, &mut frames, 1 << 16);
                }
                _ => {}
            }
            if frames.len() == before {
                break;
            }
        }
        for frame in frames {
            if let Frame::Message(message) | Frame::Bounce(message) = &frame
                && let Some(ticket) = ticket_of(&message.body)
            {
                self.oracle.transmitted(ticket);
            }
            self.note(id, format_args!("-> {} {frame:?}", conn.0));
            self.send_item(conn, 1 - at, Item::Frame(pack(&frame)));
        }
    }
}
