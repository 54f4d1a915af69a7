//! The server's side of a link to its router: holds the clients, delivers to them, and knows what became of every send.
//!
//! The router is in the same process (mesh) or across a link (broker); the frames are the same.

mod client_inbox;
mod clients;
mod dedupe;
mod deliver;
mod doubts;
mod inbox;
mod late_acks;
mod lease;
mod load;
mod ops;
mod outcomes;
mod program;
mod quick;
mod sends;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use waypost_types::{Address, Identity, Incarnation, MonoTime, Outcome, Owner, Seq};
use waypost_wire::{Attached, BATCH_ENTRIES_MAX, Frame, Outcomes};

use crate::gate::Room;
use crate::map::{AddressMap, Map, address_map, map};
use crate::names::Names;
use crate::outbox::{Outbox, Outgoing};
use crate::settings::Settings;
use crate::wake::Wake;

use client_inbox::ClientInboxes;
use clients::{Batches, Client};
use dedupe::Dedupe;
use doubts::Doubts;
use inbox::Inbox;
pub use inbox::{Event, RequestToken};
use late_acks::LateAcks;
use lease::LeaseView;
use sends::{Sends, at_deadline};

/// Bound of what is kept in many queues or messages together: as many times that of one queue.
const SUM_OF_QUEUES: usize = 16;

/// As many ids of delivered messages go into one frame.
const DELIVERED_A_FRAME: usize = 8192;

/// For so long a process that was stopped reads what its sockets have for it before it judges what it has heard nothing of.
const READS_FIRST: core::time::Duration = core::time::Duration::from_millis(100);

/// How an operation that the program asked for ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Completion {
    /// The identity is registered or not.
    Registered(Result<Incarnation, Refusal>),
    /// The client is connected or not.
    Connected(Result<Seq, Refusal>),
    /// The client is not connected any more; whether it was.
    Disconnected(bool),
    /// What became of an acked send.
    Outcome(Outcome),
    /// The reply to a request, or what became of it instead. `Err(Delivered)`: delivered and not answered in time.
    Reply(Result<Bytes, Outcome>),
    /// Whom a broadcast reached. `Err(TimedOut)`: it went out, and whom it reached is not known.
    Broadcast(Result<BroadcastOutcome, Refusal>),
    /// Who holds a client.
    Located(Result<Option<Identity>, Refusal>),
    /// Everything has moved out.
    Drained,
}

/// Whom a broadcast reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BroadcastOutcome {
    /// Servers whose clients have it, this one among them.
    pub servers: u64,
    /// Clients that have it in their inboxes.
    pub clients: u64,
    /// Servers that were not reached in time.
    pub unreached: Vec<Identity>,
}

/// Why an operation was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The datastore did not answer.
    StoreUnavailable,
    /// No answer came in time.
    TimedOut,
    /// The server is moving out.
    Draining,
    /// A newer process has this server's identity.
    Fenced,
    /// No identity has been registered.
    NotRegistered,
    /// There is no link to a broker now, or the server is registering anew.
    NotAttached,
    /// A bounded queue is full; worth waiting for.
    Full,
}

/// Where the endpoint stands with its router.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// No identity yet, or none any more.
    Idle,
    /// `Attach` is to be sent or has been.
    Attaching { sent_at: Option<MonoTime> },
    /// Registered and attached.
    Attached,
    /// A newer process has the identity.
    Superseded,
}

/// The pure machine of one server. `T` stands for a waiting caller and comes back with its [`Completion`].
///
/// Feed it with the `handle_*`, `link_*` and operation methods, each with the time, which never goes back; after a
/// batch of them call [`flush`](Self::flush), then take frames, completions and events out.
#[derive(Debug)]
pub struct Endpoint<T> {
    settings: Settings,
    identity: Option<Identity>,
    incarnation: Option<Incarnation>,
    standing: Standing,
    link_up: bool,
    /// Whether the router has admitted this server since the program has registered it. From then on it attaches again, and
    /// registers anew when it was fenced, without being told to.
    was_attached: bool,
    attach_again_at: Option<MonoTime>,
    /// How often it has asked to be attached.
    attachments: u32,
    registering: Vec<T>,
    draining: Option<Option<T>>,
    detaching: Option<(u64, bool)>,
    out: Outbox,
    woken: bool,
    names: Names<u32>,
    origins: Vec<Owner>,
    origin_index: Map<Owner, u32>,
    acks: Vec<Outcomes>,
    late_acks: LateAcks,
    clients: AddressMap<Client<T>>,
    /// Bytes of all messages that wait for claims to be answered.
    claim_held_bytes: usize,
    batches: Batches,
    doubts: Doubts,
    sends: Sends<T>,
    /// Whether the process runs, while messages lack their outcome.
    runs: Wake,
    dedupe: Dedupe,
    inbox: Inbox,
    client_inboxes: ClientInboxes,
    lease: LeaseView,
    questions: Map<u64, (T, MonoTime, Question)>,
    /// The clients of connects under way, by when these time out and by their numbers.
    connecting: BTreeMap<(MonoTime, u64), Address>,
    next_token: u64,
    done: Vec<(T, Completion)>,
    close_link: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    Broadcast,
    Locate(Address),
}

impl<T> Endpoint<T> {
    /// An endpoint without identity and without link.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let seed = settings.seed;
        Self {
            identity: None,
            incarnation: None,
            standing: Standing::Idle,
            link_up: false,
            was_attached: false,
            attach_again_at: None,
            attachments: 0,
            registering: Vec::new(),
            draining: None,
            detaching: None,
            out: Outbox::new(settings.queue_bytes_max, settings.stall),
            woken: false,
            names: Names::new(seed),
            origins: Vec::new(),
            origin_index: map(seed),
            acks: Vec::new(),
            late_acks: LateAcks::default(),
            clients: address_map(seed),
            claim_held_bytes: 0,
            batches: Batches::default(),
            doubts: Doubts::default(),
            sends: Sends::new(
                seed,
                settings.in_flight_max,
                settings.queue_bytes_max.saturating_mul(SUM_OF_QUEUES),
                settings.retransmit_after,
            ),
            runs: Wake::new(settings.retransmit_after / 4),
            dedupe: Dedupe::new(seed, settings.in_flight_max),
            inbox: Inbox::new(settings.inbox_bytes_max, settings.stall * 10),
            client_inboxes: ClientInboxes::new(seed),
            lease: LeaseView::new(&settings),
            questions: map(seed),
            connecting: BTreeMap::new(),
            next_token: 0,
            done: Vec::new(),
            close_link: false,
            settings,
        }
    }

    // ---- getters

    /// The registered identity and incarnation, while the server is not fenced.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        match self.standing {
            Standing::Superseded | Standing::Idle => None,
            _ => Some(Owner::new(self.identity.clone()?, self.incarnation?)),
        }
    }

    /// Whether the router has admitted this server.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.standing == Standing::Attached
    }

    /// The claim by which this server holds the client.
    #[must_use]
    pub fn holds(&self, address: &str) -> Option<Seq> {
        self.clients
            .get(address)
            .filter(|client| client.is_held())
            .map(|client| client.seq)
    }

    /// How many acked sends and requests lack their outcome.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.sends.len()
    }

    /// Whether a message from the router can be taken in now. `Wait`: the shared inbox is full, and the link should not be
    /// read for a moment. A full inbox of a client's own refuses at once, so that it holds nobody else up.
    pub fn inbox_room(&mut self, now: MonoTime, to: &str) -> Room {
        match self.clients.get(to) {
            Some(client) if client.is_held() && !client.has_inbox => self.inbox.room(now),
            _ => Room::Yes,
        }
    }

    /// Drops all that wait for an outcome, when nothing comes any more.
    pub fn abandon_sends(&mut self) {
        for id in self.sends.ids() {
            drop(self.sends.finish(id));
        }
    }

    /// Whether the endpoint wants its link closed, because the other side is silent or broke the contract.
    pub const fn wants_link_closed(&mut self) -> bool {
        core::mem::replace(&mut self.close_link, false)
    }

    /// Whether a best-effort message may be sent now.
    pub fn room(&mut self, now: MonoTime) -> Room {
        if self.standing != Standing::Attached {
            Room::Wait
        } else {
            self.out.room(now)
        }
    }

    // ---- the link

    /// The link to the router is open.
    pub fn link_up(&mut self, now: MonoTime) {
        self.link_up = true;
        self.out = Outbox::new(self.settings.queue_bytes_max, self.settings.stall);
        self.names = Names::new(self.settings.seed);
        if matches!(self.standing, Standing::Attached | Standing::Attaching { .. }) {
            self.attach(now);
        }
    }

    /// The link to the router is gone.
    pub fn link_down(&mut self, _now: MonoTime) {
        if !core::mem::replace(&mut self.link_up, false) {
            return;
        }
        for (address, client) in &self.clients {
            if client.work.as_ref().is_some_and(|work| work.is_sent) {
                self.doubts.add(address);
            }
        }
        self.acks.clear();
        self.attach_again_at = None;
        self.lease.link_down();
        if self.standing == Standing::Attached {
            self.standing = Standing::Attaching { sent_at: None };
            self.inbox.put(Event::Disconnected);
        }
        if let Some((_, drained)) = self.detaching.take() {
            self.finish_detach(drained);
        }
    }

    fn attach(&mut self, now: MonoTime) {
        let Some(identity) = self.identity.clone() else {
            return;
        };
        self.attach_again_at = None;
        self.standing = Standing::Attaching { sent_at: Some(now) };
        self.attachments = self.attachments.saturating_add(1);
        self.push(Frame::Attach {
            identity,
            resume: self.incarnation,
            attachment: self.attachments,
        });
    }

    fn push(&mut self, frame: Frame) {
        if self.link_up && self.out.takes(&frame) {
            self.woken |= self.out.push(frame);
            self.close_link |= self.out.is_given_up();
        }
    }

    /// Whether room came free since the last call for an acked message that may wait for it.
    pub const fn take_room_freed(&mut self) -> bool {
        self.sends.take_room_freed()
    }

    /// Whether the link's writer was idle and has something to write now.
    pub const fn take_woken(&mut self) -> bool {
        core::mem::replace(&mut self.woken, false)
    }

    /// Whether so much waits for the link that whoever has put it there may as well write it.
    #[must_use]
    pub const fn is_worth_a_write(&self) -> bool {
        self.out.is_worth_a_write()
    }

    /// Moves what is to be written to the router out, about `bytes_max` bytes of it; what was taken before counts as
    /// written. Returns true when room came free.
    pub fn take_outgoing(&mut self, now: MonoTime, into: &mut Vec<Outgoing>, bytes_max: usize) -> bool {
        let freed = self.out.take(into, bytes_max);
        self.fill(now);
        freed
    }

    /// The same as frames, for a driver that carries frames and not bytes.
    pub fn take_frames(&mut self, now: MonoTime, into: &mut Vec<Frame>, bytes_max: usize) -> bool {
        let freed = self.out.take_frames(into, bytes_max);
        self.fill(now);
        freed
    }

    /// Puts what waits for room in the link's queue into it.
    fn fill(&mut self, now: MonoTime) {
        self.transmit_again(now);
        self.flush_releases();
        self.flush_claims();
    }

    /// Moves up to `max` events for the program out. Returns true when room came free in the inbox.
    pub fn take_events(&mut self, into: &mut VecDeque<Event>, max: usize) -> bool {
        self.inbox.take(into, max)
    }

    /// Whether a program that found the inbox empty has something to read now. True once for each time it went idle.
    pub fn wakes_program(&mut self) -> bool {
        self.inbox.wakes_reader()
    }

    /// Operations that have ended since the last call.
    pub fn take_done(&mut self, into: &mut Vec<(T, Completion)>) {
        into.append(&mut self.done);
    }

    /// One frame from the router.
    pub fn handle_frame(&mut self, now: MonoTime, frame: Frame) {
        self.lease.heard(now);
        match frame {
            Frame::Message(mut message) => match self.names.heard(message.origin) {
                Some(origin) => {
                    // It may be kept for longer than this link lives, and with it the link's names.
                    message.origin = origin;
                    self.on_message(now, message);
                }
                None => self.close_link = true,
            },
            Frame::Outcomes(outcomes) => self.on_outcomes(now, outcomes),
            Frame::Bounce(_) => {}
            Frame::Name { alias, owner, .. } => {
                let origin = self.intern(owner);
                if !self.names.hear(alias, origin, 0) {
                    self.close_link = true;
                }
            }
            Frame::Attached(attached) => self.on_attached(now, attached),
            Frame::LeaseOver {
                incarnation,
                superseded,
            } => self.on_lease_over(now, incarnation, superseded),
            Frame::Pong {
                token,
                lease_ms,
                store_unavailable,
            } => {
                self.on_pong(now, token, lease_ms, store_unavailable);
            }
            Frame::Ping { token } => {
                self.push(Frame::Pong {
                    token,
                    lease_ms: 0,
                    store_unavailable: false,
                });
            }
            Frame::Claimed(entries) => {
                for (address, seq) in entries {
                    self.on_claimed(now, &address, seq);
                }
            }
            Frame::Released(entries) => {
                for (address, seq) in entries {
                    if seq.0 == 0 {
                        // The store could not be asked, and the router does it later.
                        self.doubts.add(&address);
                    }
                    self.on_released(now, &address);
                }
            }
            Frame::Displaced(displaced) => {
                self.on_displaced(&displaced);
                // What it has delivered is told before others deliver.
                self.flush_acks(now);
                self.push(Frame::Echo {
                    token: displaced.token,
                });
            }
            Frame::Reply { id, body, .. } => self.on_reply(id, body),
            Frame::Barrier { token, address, .. } => {
                if let Some(address) = address {
                    self.send_back_held(&address);
                }
                self.late_acks.hurry();
                self.flush_acks(now);
                self.push(Frame::Echo { token });
            }
            Frame::Broadcast(broadcast) => self.on_broadcast(now, broadcast),
            Frame::BroadcastDone {
                token,
                reached,
                unreached,
            } => {
                if let Some((waiter, _, _)) = self.questions.remove(&token) {
                    let outcome = BroadcastOutcome {
                        servers: reached.len() as u64,
                        clients: reached.iter().map(|(_, clients)| clients).sum(),
                        unreached,
                    };
                    self.done.push((waiter, Completion::Broadcast(Ok(outcome))));
                }
            }
            Frame::Located { token, result } => {
                if let Some((waiter, _, _)) = self.questions.remove(&token) {
                    let result = result.map_err(|_| Refusal::StoreUnavailable);
                    self.done.push((waiter, Completion::Located(result)));
                }
            }
            Frame::Echo { token } => {
                if let Some((_, drained)) = self.detaching.take_if(|(asked, _)| *asked == token) {
                    self.finish_detach(drained);
                }
            }
            // The records of some servers' clients may be lost or wrong.
            Frame::Announced { count: 0 } => self.batches.check_at = Some(0),
            Frame::Close(_) => self.close_link = true,
            _ => {}
        }
    }

    fn intern(&mut self, owner: Owner) -> u32 {
        if let Some(index) = self.origin_index.get(&owner) {
            return *index;
        }
        let index = u32::try_from(self.origins.len()).unwrap_or(u32::MAX);
        self.origins.push(owner.clone());
        self.origin_index.insert(owner, index);
        index
    }

    fn on_attached(&mut self, now: MonoTime, attached: Attached) {
        let Standing::Attaching {
            sent_at: Some(sent_at),
        } = self.standing
        else {
            return;
        };
        match attached {
            Attached::Attached {
                incarnation,
                lease_ms,
                ..
            } => {
                self.lease.attached(sent_at, lease_ms);
                self.standing = Standing::Attached;
                let anew = self.incarnation.replace(incarnation) != Some(incarnation);
                if anew {
                    if let Some(identity) = self.identity.clone() {
                        self.inbox.put(Event::Registered {
                            identity,
                            incarnation,
                        });
                    }
                } else if self.was_attached {
                    self.inbox.put(Event::Reconnected);
                }
                // What a link that is gone has brought may have been followed there by word that its client has moved: the
                // router finds out anew.
                for message in self.lease.take_waiting() {
                    self.bounce(message);
                }
                self.was_attached = true;
                for waiter in core::mem::take(&mut self.registering) {
                    self.done.push((waiter, Completion::Registered(Ok(incarnation))));
                }
                if anew {
                    self.doubts.clear();
                }
                self.doubts.begin_anew();
                self.resume_clients(now);
                self.locate_again();
                self.sends.begin_again(now);
                self.transmit_again(now);
                // Best-effort messages have waited for this.
                self.sends.note_room();
                if self.draining.is_some() {
                    self.push(Frame::Drain);
                }
            }
            Attached::Superseded => self.on_lease_over(now, self.incarnation.unwrap_or_default(), true),
            Attached::Gone => self.on_lease_over(now, self.incarnation.unwrap_or_default(), false),
            Attached::StoreUnavailable => {
                self.standing = Standing::Attaching { sent_at: None };
                self.attach_again_at = Some(
                    now + self
                        .settings
                        .heartbeat
                        .min(core::time::Duration::from_millis(500)),
                );
                for waiter in core::mem::take(&mut self.registering) {
                    self.done
                        .push((waiter, Completion::Registered(Err(Refusal::StoreUnavailable))));
                }
                if !self.was_attached {
                    // Nobody waits for the registration any more: the caller asks again.
                    self.standing = Standing::Idle;
                    self.attach_again_at = None;
                }
            }
        }
    }

    // ---- time

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn next_timeout(&mut self) -> Option<MonoTime> {
        let questions = self.questions.values().map(|(_, deadline, _)| *deadline).min();
        let connecting = self.connecting.first_key_value().map(|((due, _), _)| *due);
        let announce =
            (self.has_announces() && self.standing == Standing::Attached).then_some(self.batches.announce_at);
        let lease = if self.standing == Standing::Attached {
            self.lease.next_timeout(&self.settings)
        } else {
            None
        };
        let reads_until = self.reads_until();
        let sends = self.sends.next_timeout().map(|due| due.max(reads_until));
        let look = (!self.sends.is_empty()).then(|| self.runs.look_by());
        [
            sends,
            look,
            self.late_acks.next_timeout(),
            questions,
            connecting,
            announce,
            lease,
            self.attach_again_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what has come due.
    pub fn handle_timeout(&mut self, now: MonoTime) {
        self.lease.wake.see(now);
        self.note_running(now);
        while self.reads_until() <= now
            && let Some(id) = self.sends.due(now)
        {
            let Some(pending) = self.sends.get_mut(id) else {
                continue;
            };
            if pending.deadline <= now {
                let outcome = at_deadline(pending.attempts - pending.failed, pending.delivered);
                self.finish(id, outcome);
            } else if pending.failure.is_some() {
                self.finish(id, Outcome::Unknown);
            } else if self.out.room(now) != Room::Yes {
                // Behind a full queue another copy helps nobody.
            } else {
                self.transmit_unless_on_its_way(now, id);
            }
        }
        if self.attach_again_at.is_some_and(|due| due <= now) && self.link_up {
            self.attach(now);
        }
        self.expire_questions(now);
        self.expire_connects(now);
        if self.standing == Standing::Attached {
            self.heartbeat(now);
        }
    }

    /// While messages lack their outcome it is noticed that the process was stopped.
    fn note_running(&mut self, now: MonoTime) {
        if !self.sends.is_empty() {
            self.runs.see(now);
        }
    }

    /// What became of messages while it was stopped is not judged before.
    fn reads_until(&self) -> MonoTime {
        self.runs.woke_at() + READS_FIRST
    }

    fn expire_questions(&mut self, now: MonoTime) {
        let mut due: Vec<u64> = self
            .questions
            .iter()
            .filter(|(_, (_, deadline, _))| *deadline <= now)
            .map(|(token, _)| *token)
            .collect();
        due.sort_unstable();
        for token in due {
            if let Some((waiter, _, kind)) = self.questions.remove(&token) {
                let completion = match kind {
                    Question::Broadcast => Completion::Broadcast(Err(Refusal::TimedOut)),
                    Question::Locate(_) => Completion::Located(Err(Refusal::TimedOut)),
                };
                self.done.push((waiter, completion));
            }
        }
    }

    /// Turns what has gathered since the last call into frames.
    pub fn flush(&mut self, now: MonoTime) {
        self.flush_acks(now);
        self.flush_batches(now);
        self.drain_step();
    }

    fn flush_acks(&mut self, now: MonoTime) {
        // With others, or before this server leaves, they go at once.
        let late = if self.acks.is_empty() && self.draining.is_none() {
            self.late_acks.take_due(now)
        } else {
            self.late_acks.take_all()
        };
        for (origin, id) in late {
            self.acks_for(origin).delivered.push(id);
        }
        if self.acks.is_empty() {
            return;
        }
        for Outcomes {
            origin,
            mut delivered,
            mut failed,
        } in core::mem::take(&mut self.acks)
        {
            let Some(origin) = self.alias(origin) else {
                continue;
            };
            // Nearly always one frame.
            while !(delivered.is_empty() && failed.is_empty()) {
                let more_delivered = delivered.split_off(delivered.len().min(DELIVERED_A_FRAME));
                let more_failed = failed.split_off(failed.len().min(BATCH_ENTRIES_MAX));
                self.push(Frame::Outcomes(Outcomes {
                    origin,
                    delivered,
                    failed,
                }));
                (delivered, failed) = (more_delivered, more_failed);
            }
        }
    }

    /// The outcomes that gather for this origin.
    fn acks_for(&mut self, origin: u32) -> &mut Outcomes {
        let at = match self.acks.iter().position(|acks| acks.origin == origin) {
            Some(at) => at,
            None => {
                self.acks.push(Outcomes {
                    origin,
                    ..Outcomes::default()
                });
                self.acks.len() - 1
            }
        };
        &mut self.acks[at]
    }
}
