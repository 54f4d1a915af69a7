//! The state of one `--stdio` server.

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::task::unconstrained;
use tokio::time::Instant;
use waypost_peer::{Event, Peer, PeerError, RequestToken};
use waypost_session::BATCH_MAX;
use waypost_types::{Address, Identity, Incarnation, Outcome};

use super::super::config::Config;
use super::super::leave::Show;
use super::super::output::Output;
use super::acked::{AckedSends, Sent};
use super::admit::{Admitted, OPS_MAX};
use super::event::Line;
use super::map::{Map, Set};
use super::op::{self, Id, Op};
use super::perform::{self, Connect, Ended, Running};
use super::sequence::{OpId, Sequencer};
use super::{input, perform::outcome};

/// How many batches of connects may be under way; more only wait in the store's own queue.
const CONNECT_BATCHES_MAX: usize = 2;
/// How many requests may await their reply from stdin; the oldest gives way.
const UNANSWERED_MAX: usize = 1 << 16;
/// What has been said is handed on at the latest when it is as long as this.
const WRITE_BYTES: usize = 16 << 10;
/// What an operation may take beyond the send deadline: a connect before it, a look-up.
const GRACE: Duration = Duration::from_secs(2);

pub(super) struct Session<'a> {
    peer: Peer,
    output: &'a Output,
    send_deadline: Duration,
    stdout_is_gone: bool,
    /// Lines that are not on their way to stdout yet.
    said: Vec<u8>,
    incarnation: Incarnation,
    sequencer: Sequencer,
    admitted: Admitted,
    pub(super) acked: AckedSends,
    /// Admitted and not started.
    waiting: Map<OpId, (u64, Op)>,
    /// By when those of them that owe an outcome must have started.
    expiring: BTreeMap<OpId, Instant>,
    /// Started connects that wait for a batch.
    connects: VecDeque<Connect>,
    connect_batches: usize,
    pub(super) running: FuturesUnordered<Running>,
    done: VecDeque<Ended>,
    /// Operations that have ended and whose event has not been shown.
    untold: Map<Address, OpId>,
    /// Clients whose event has been shown before the operation ended.
    told: Set<Address>,
    /// Requests that this server's clients have not answered, by the number they were printed with.
    unanswered: BTreeMap<u64, RequestToken>,
    requests: u64,
    /// The line of a `drain` that waits until everything before it has ended.
    drain_waits: Option<u64>,
    drain_asked: bool,
    drained: bool,
    quits: bool,
}

impl Show for Session<'_> {
    async fn show(&mut self, event: Event) {
        Session::show(self, event).await;
        self.write().await;
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(peer: Peer, output: &'a Output, send_deadline: Duration) -> Self {
        Self {
            acked: AckedSends::new(&peer, OPS_MAX),
            peer,
            output,
            send_deadline,
            stdout_is_gone: false,
            said: Vec::new(),
            incarnation: Incarnation(0),
            sequencer: Sequencer::default(),
            admitted: Admitted::default(),
            waiting: Map::default(),
            expiring: BTreeMap::new(),
            connects: VecDeque::new(),
            connect_batches: 0,
            running: FuturesUnordered::new(),
            done: VecDeque::new(),
            untold: Map::default(),
            told: Set::default(),
            unanswered: BTreeMap::new(),
            requests: 0,
            drain_waits: None,
            drain_asked: false,
            drained: false,
            quits: false,
        }
    }

    /// Whether another line may be read.
    pub(super) fn admits(&self) -> bool {
        self.drain_waits.is_none() && !self.quits && self.admitted.has_room_beside(&self.acked)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.sequencer.len() == 0
            && self.acked.is_empty()
            && self.running.is_empty()
            && self.done.is_empty()
            && self.untold.is_empty()
            && self.drain_waits.is_none()
    }

    pub(super) const fn wants_to_quit(&self) -> bool {
        self.quits
    }

    pub(super) const fn quit(&mut self) {
        self.quits = true;
    }

    pub(super) const fn is_drained(&self) -> bool {
        self.drained
    }

    pub(super) const fn stdout_is_gone(&self) -> bool {
        self.stdout_is_gone
    }

    /// How long what is under way may still take after `quit`.
    pub(super) fn grace(&self, config: &Config) -> Duration {
        let drain = if self.drain_asked || self.drain_waits.is_some() {
            config.drain_deadline
        } else {
            Duration::ZERO
        };
        config.settings.send_deadline + GRACE + drain
    }

    /// Obeys one line of stdin.
    pub(super) async fn obey(&mut self, line: input::Line) {
        let number = line.number;
        let parsed = line
            .text
            .map_or_else(|| Err("the line is too long".to_owned()), |text| op::parse(&text));
        match parsed {
            Ok(op) => self.admit(number, op).await,
            Err(message) => self.complain(number, &message).await,
        }
    }

    async fn admit(&mut self, line: u64, op: Op) {
        if let Op::Send {
            from,
            to,
            body,
            ack,
            id,
        } = &op
            && self.sequencer.is_free(from, to)
        {
            let (names, id) = ([from, to], id.as_ref());
            let is_sent = if *ack {
                self.send_acked_now(line, names, body, id).await
            } else {
                self.send_now(line, names, body, id).await
            };
            if is_sent {
                return;
            }
        }
        let id = match &op {
            Op::Connect { client } => self.sequencer.enter(client),
            Op::Disconnect { client } => {
                for sent in self.acked.touching(client) {
                    self.sequencer.adopt(sent.op, &[&sent.from, &sent.to]);
                }
                self.sequencer.leave(client)
            }
            Op::Send { from, to, .. } => self.sequencer.using(Some(from), &[from, to]),
            Op::Request { id, .. } if !self.admitted.has_room_for_request() => {
                return self.say(outcome(id.as_ref(), Outcome::Overloaded)).await;
            }
            Op::Request { from, to, .. } => self.sequencer.using(Some(from), &[from, to]),
            Op::Broadcast { from, .. } => self.sequencer.using(Some(from), &[from]),
            Op::Locate { client, .. } => self.sequencer.using(None, &[client]),
            Op::Reply { request, body } => {
                let result = match self.unanswered.remove(request) {
                    Some(token) => self
                        .peer
                        .reply(token, body.clone())
                        .map_err(|error| format!("reply: {error}")),
                    None => Err(format!("no request with the id {request} awaits a reply")),
                };
                if let Err(message) = result {
                    self.complain(line, &message).await;
                }
                return;
            }
            Op::Drain => {
                self.drain_waits = Some(line);
                return;
            }
            Op::Quit => return self.quit(),
        };
        self.admitted.insert(id, &op);
        if matches!(op, Op::Send { ack: true, .. } | Op::Request { .. }) && self.sequencer.waits(id) {
            self.expiring.insert(id, Instant::now() + self.send_deadline);
        }
        self.waiting.insert(id, (line, op));
    }

    /// Sends a message without acknowledgement that waits for nothing, as nearly all of them. False: it would have to wait for room,
    /// and nothing was done.
    async fn send_now(
        &mut self,
        line: u64,
        [from, to]: [&Address; 2],
        body: &Bytes,
        id: Option<&Id>,
    ) -> bool {
        let sends = self.peer.send_message(from.as_str(), to.as_str(), body.clone());
        let Some(result) = unconstrained(sends).now_or_never() else {
            return false;
        };
        if let Err(error) = result
            && let Some(text) = perform::unacked(line, from, to, id, error)
        {
            self.say(text).await;
        }
        true
    }

    /// The same for one with acknowledgement.
    async fn send_acked_now(
        &mut self,
        line: u64,
        names: [&Address; 2],
        body: &Bytes,
        id: Option<&Id>,
    ) -> bool {
        let op = self.sequencer.start_aside();
        match self.acked.send_now(op, names, body, id) {
            None => return false,
            Some(Ok(())) => {}
            Some(Err(error)) => self.say(perform::not_sent(line, id, error)).await,
        }
        true
    }

    /// A send has its outcome.
    pub(super) async fn acked_ended(&mut self, sent: Sent, it: Outcome) {
        self.say(outcome(sent.id.as_ref(), it)).await;
        self.sequencer.end(sent.op);
    }

    /// By when the next outcome is due of what has not started.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.expiring.first_key_value().map(|(_, by)| *by)
    }

    /// What waits for others, such as the connect of its client in an outage of the store, has its outcome in time all the same.
    pub(super) async fn expire(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.expiring.first_entry()
            && *entry.get() <= now
        {
            let id = entry.remove_entry().0;
            // It keeps its place in the order until its turn, and its room.
            self.waiting.remove(&id);
            if let Some(name) = self.admitted.settle(id) {
                self.say(outcome(name.as_ref(), Outcome::Expired)).await;
            }
        }
    }

    /// Starts what may start and writes what has ended, until there is neither.
    pub(super) async fn settle(&mut self) {
        loop {
            while let Some((sent, outcome)) = self.acked.try_next() {
                self.acked_ended(sent, outcome).await;
            }
            self.start_ready().await;
            let ended = match self.done.pop_front() {
                Some(ended) => ended,
                None => match self.running.next().now_or_never() {
                    Some(Some(ended)) => ended,
                    _ => return,
                },
            };
            for line in ended.lines {
                self.say(line).await;
            }
            for id in ended.ops {
                self.end(id);
            }
            for (id, client) in ended.told {
                if self.told.remove(&client) {
                    self.end(id);
                } else {
                    self.untold.insert(client, id);
                }
            }
            self.connect_batches -= usize::from(ended.connects);
        }
    }

    fn end(&mut self, id: OpId) {
        self.sequencer.end(id);
        self.admitted.remove(id);
    }

    /// The event about an operation on a client is shown: operations on one client end one by one.
    fn tell(&mut self, client: &Address) {
        match self.untold.remove(client) {
            Some(id) => self.end(id),
            None => {
                self.told.insert(client.clone());
            }
        }
    }

    /// Takes what the caller has got out of `running`.
    pub(super) fn ended(&mut self, ended: Ended) {
        self.done.push_back(ended);
    }

    async fn start_ready(&mut self) {
        while let Some(id) = self.sequencer.start() {
            if !self.expiring.is_empty() {
                self.expiring.remove(&id);
            }
            match self.waiting.remove(&id) {
                Some((line, Op::Connect { client })) if self.drain_asked => self.done.push_back(Ended {
                    ops: vec![id],
                    lines: vec![perform::not_connected(line, &client, PeerError::Draining)],
                    ..Ended::default()
                }),
                Some((line, Op::Connect { client })) => {
                    self.connects.push_back(Connect { op: id, client, line })
                }
                Some((line, op)) => {
                    self.launch(perform::operation(self.peer.clone(), id, line, op))
                        .await
                }
                None => self.done.push_back(Ended {
                    ops: vec![id],
                    ..Ended::default()
                }),
            }
        }
        while self.connect_batches < CONNECT_BATCHES_MAX && !self.connects.is_empty() {
            let batch = self
                .connects
                .drain(..self.connects.len().min(BATCH_MAX))
                .collect();
            self.connect_batches += 1;
            self.launch(perform::connects(self.peer.clone(), batch)).await;
        }
        if let Some(line) = self.drain_waits
            && self.sequencer.len() == 0
            && self.acked.is_empty()
        {
            self.drain_waits = None;
            self.drain_asked = true;
            self.launch(perform::drain(self.peer.clone(), line)).await;
        }
    }

    /// Polls it once, so that operations begin in the order of these calls.
    async fn launch(&mut self, mut running: Running) {
        match poll_fn(|context| Poll::Ready(running.as_mut().poll(context))).await {
            Poll::Ready(ended) => self.done.push_back(ended),
            Poll::Pending => self.running.push(running),
        }
    }

    /// Gives every send that is still under way its outcome: it ends with the program.
    pub(super) async fn give_up(&mut self) {
        let mut owed: Vec<_> = self.admitted.take_owed().chain(self.acked.take_owed()).collect();
        // As they were written.
        owed.sort_unstable_by_key(|(id, _)| *id);
        for (id, name) in owed {
            let certain = self.waiting.contains_key(&id);
            self.say(outcome(
                name.as_ref(),
                if certain {
                    Outcome::Expired
                } else {
                    Outcome::Unknown
                },
            ))
            .await;
        }
        self.running.clear();
    }

    /// Does nothing of what a line asks for, and gives it the outcome that it is owed: it ends with the program.
    pub(super) async fn turn_away(&mut self, line: input::Line) {
        let op = line.text.map(|text| op::parse(&text));
        if let Some(Ok(Op::Send { ack: true, id, .. } | Op::Request { id, .. })) = op {
            self.say(outcome(id.as_ref(), Outcome::Expired)).await;
        }
    }

    pub(super) async fn registered(&mut self, identity: &Identity, incarnation: Incarnation) {
        if self.incarnation != incarnation {
            self.incarnation = incarnation;
            let line = Line::Registered {
                identity: identity.as_str(),
                incarnation: incarnation.0,
            };
            self.say(line.encode()).await;
        }
    }

    /// Writes what the peer tells.
    pub(super) async fn show(&mut self, event: Event) {
        let line = match &event {
            Event::Registered {
                identity,
                incarnation,
            } => return self.registered(identity, *incarnation).await,
            Event::Message(message) => Line::Message {
                from: message.from(),
                to: message.to(),
                body: (&**message.body()).into(),
            },
            Event::Request { message, .. } => Line::Request {
                id: self.requests + 1,
                from: message.from(),
                to: message.to(),
                body: (&**message.body()).into(),
            },
            Event::Broadcast { from, to, body } => Line::Broadcast {
                from: from.as_str(),
                to: to.as_str(),
                body: (&**body).into(),
            },
            Event::Connected { client, seq } => {
                self.tell(client);
                Line::Connected {
                    client: client.as_str(),
                    seq: seq.0,
                }
            }
            Event::GivenUp { client } => {
                self.tell(client);
                Line::Disconnected {
                    client: client.as_str(),
                }
            }
            Event::Displaced { client, by } => Line::Displaced {
                client: client.as_str(),
                by: by.as_str(),
            },
            Event::Fenced { superseded } => {
                tracing::warn!(superseded, "fenced: this incarnation is over");
                Line::Fenced
            }
            Event::Drained => {
                self.drained = true;
                if !self.drain_asked {
                    return;
                }
                Line::Drained
            }
            Event::SendFailed { to, outcome, count } => {
                tracing::warn!(%to, %outcome, count, "sends without acknowledgement failed");
                return;
            }
            Event::Disconnected => {
                tracing::warn!("the link to the broker broke; connects again");
                return;
            }
            other => {
                tracing::debug!(event = ?other, "not shown");
                return;
            }
        };
        let line = line.encode();
        if let Event::Request { token, .. } = event {
            self.requests += 1;
            self.unanswered.insert(self.requests, token);
            if self.unanswered.len() > UNANSWERED_MAX {
                self.unanswered.pop_first();
            }
        }
        self.say(line).await;
    }

    async fn complain(&mut self, line: u64, message: &str) {
        self.say(Line::Error { message, line }.encode()).await;
    }

    async fn say(&mut self, line: Vec<u8>) {
        self.said.extend_from_slice(&line);
        self.said.push(b'\n');
        if self.said.len() >= WRITE_BYTES {
            self.write().await;
        }
    }

    /// Hands on what has been said; waits while stdout's reader is slow. To be called before anything else is waited for: each
    /// piece wakes the thread that writes.
    pub(super) async fn write(&mut self) {
        let said = core::mem::take(&mut self.said);
        if !said.is_empty() && !self.stdout_is_gone && self.output.lines(said).await.is_err() {
            self.stdout_is_gone = true;
        }
    }
}
