//! The short way through a process's machines: for messages whose route is known, and many of them at once.
//!
//! What is done here is what the long way ([`Router::handle_frame`](crate::Router::handle_frame), [`Endpoint::handle_frame`](crate::Endpoint)) would
//! have done, in the same order; a message that needs more than that takes the long way, and all that came before it has
//! gone in by then.

use bytes::Bytes;
use waypost_types::{ADDRESS_BYTES_MAX, DEFAULT_HANDSHAKE_FRAME_BYTES_MAX, HOPS_MAX, MonoTime};
use waypost_wire::{Batch, CHUNK_AHEAD, Chunk, DecodeError, Delivery, Frame, Item, MessageRef, Numbers};

use crate::assembly::Core;
use crate::claim::is_stale;
use crate::endpoint::Endpoint;
use crate::gate::Room;
use crate::node::{Holder, LinkId, Taken, Way};

/// A message with a body of so many bytes fits into a frame that every link takes, whatever its names and numbers are.
const BODY_BYTES_MAX: usize = DEFAULT_HANDSHAKE_FRAME_BYTES_MAX - 2 * ADDRESS_BYTES_MAX - 128;

/// Which machine a link belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The router: a link to a node or to an attached server.
    Router(LinkId),
    /// The endpoint: the link of an attached server to its broker.
    Endpoint,
}

/// What has been found out about a message before its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Hint {
    #[default]
    None,
    /// Its client is held here, since this claim, and needs nothing but delivery.
    Simple(u32),
    /// Its client is at this server.
    At(Holder),
}

impl Hint {
    const fn holder(self) -> Option<Holder> {
        match self {
            Self::At(holder) => Some(holder),
            _ => None,
        }
    }

    /// Since which claim its client is held here, if that is all there is to know.
    const fn since(self) -> Option<u32> {
        match self {
            Self::Simple(since) => Some(since),
            _ => None,
        }
    }
}

/// What is to be done with a message that has come.
enum Step {
    /// Nothing more.
    Taken,
    /// What came before it waits for the endpoint, and goes first; then it is tried again.
    QueueFirst,
    /// It needs more than the short way does.
    LongWay,
}

/// Looks up the clients of the next few messages at once. In a large table each look-up waits for memory; those that do
/// not depend on each other wait together.
#[derive(Debug, Default)]
struct Ahead {
    hints: [Hint; CHUNK_AHEAD],
    at: usize,
    len: usize,
}

impl Ahead {
    const fn is_empty(&self) -> bool {
        self.at == self.len
    }

    /// What is known of the next message of the chunk, which is what has been taken in last.
    #[inline]
    fn next<T>(&mut self, core: &Core<T>, whose: Whose, chunk: &Chunk) -> Hint {
        if self.is_empty() {
            self.at = 0;
            self.len = core.hints(whose, chunk, &mut self.hints);
        }
        let hint = self.hints.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        hint
    }
}

/// The messages among the frames that have been looked over.
#[inline]
fn messages(chunk: &Chunk) -> impl Iterator<Item = MessageRef<'_>> + Clone {
    chunk.ahead().filter_map(|item| match item {
        Item::Message(message) => Some(message),
        Item::Other(_) => None,
    })
}

impl<T> Core<T> {
    /// What can be found out about the messages that come next in a chunk; how many these are.
    #[inline]
    fn hints(&self, whose: Whose, chunk: &Chunk, hints: &mut [Hint; CHUNK_AHEAD]) -> usize {
        let clients = chunk.ahead().map_while(|item| match item {
            Item::Message(message) => Some(message.to()),
            Item::Other(_) => None,
        });
        match (whose, &self.router, &self.endpoint) {
            (Whose::Router(id), Some(router), _) if router.is_peer(id) => {
                let owners = router.owners_of(clients.clone());
                for (hint, owner) in hints.iter_mut().zip(owners) {
                    *hint = owner.map_or(Hint::None, Hint::At);
                }
            }
            (_, _, Some(endpoint)) => {
                let since = endpoint.all_simply_held(clients.clone());
                for (hint, since) in hints.iter_mut().zip(since) {
                    *hint = since.map_or(Hint::None, Hint::Simple);
                }
            }
            _ => *hints = [Hint::None; CHUNK_AHEAD],
        }
        clients.count()
    }

    /// Sends a best-effort message if its way is known and free. False: nothing was done, and
    /// [`send`](Self::send) does it or says why not. `to` and `from` must be addresses.
    #[inline]
    pub fn send_now(&mut self, to: &str, from: &str, body: &[u8]) -> bool {
        self.send_to_holder(self.holder(to), [to, from], body)
    }

    /// The same for many, each of a sender, a client and a body: how many were sent, which are the first ones. For the one
    /// behind them nothing was done.
    pub fn send_many_now(&mut self, messages: &[(&str, &str, &Bytes)]) -> usize {
        let Some(numbers) = self.endpoint.as_ref().map(Endpoint::numbers_to_all) else {
            return 0;
        };
        let mut sent = 0;
        for next in messages.chunks(CHUNK_AHEAD) {
            let holders = self.holders(next);
            let mut at = 0;
            while let (Some(messages @ [(from, to, body), ..]), Some(holders @ [holder, ..])) =
                (next.get(at..), holders.get(at..))
            {
                let number = |endpoint: &mut Endpoint<T>, (_, to, _): (&str, &str, &Bytes)| {
                    let after = endpoint.newest_to(to);
                    Some(Numbers { after, ..numbers })
                };
                let count = match self.router {
                    Some(_) => self.send_alike(messages, holders, number),
                    None => usize::from(self.send_to_holder(*holder, [to, from], body)),
                };
                if count == 0 {
                    return sent + at;
                }
                at += count;
            }
            sent += at;
        }
        sent
    }

    /// Sends as many of these messages, from the first one on, as have clients at the same server, of which each is held so; how
    /// many were sent. Without a router none is.
    #[inline]
    fn send_alike<'a>(
        &mut self,
        messages: &[(&'a str, &'a str, &'a Bytes)],
        holders: &[Option<Holder>],
        mut number: impl FnMut(&mut Endpoint<T>, (&'a str, &'a str, &'a Bytes)) -> Option<Numbers>,
    ) -> usize {
        let (Some((_, _, body)), Some(Some(holder))) = (messages.first(), holders.first()) else {
            return 0;
        };
        let way = self.way_now(Some(*holder), body.len()).flatten();
        let (Some(way), Some(router), Some(endpoint)) = (way, &mut self.router, &mut self.endpoint) else {
            return 0;
        };
        let alike = messages.iter().zip(holders).map_while(|(message, held)| {
            let held = held.filter(|held| held.is_where(holder) && message.2.len() <= BODY_BYTES_MAX)?;
            Some((*message, held))
        });
        router.send_alike(&way, alike, |message| number(endpoint, message))
    }

    /// The servers that hold the clients of these messages, of which there are no more than that.
    #[inline]
    fn holders(&self, messages: &[(&str, &str, &Bytes)]) -> [Option<Holder>; CHUNK_AHEAD] {
        let clients = messages.iter().map(|(_, to, _)| *to);
        let holders = self.router.as_ref().map(|router| router.owners_of(clients));
        holders.unwrap_or_default()
    }

    /// The server that holds a client, if that is for this process to know and is settled.
    #[inline]
    fn holder(&self, to: &str) -> Option<Holder> {
        self.router.as_ref()?.owner_of(to)
    }

    #[inline]
    fn send_to_holder(&mut self, holder: Option<Holder>, [to, from]: [&str; 2], body: &[u8]) -> bool {
        let Some(way) = self.way_now(holder, body.len()) else {
            return false;
        };
        let Some(endpoint) = &mut self.endpoint else {
            return false;
        };
        let numbers = endpoint.numbers_now(to);
        match (way, &mut self.router) {
            (Some(way), Some(router)) => router.send_now(&way, [to, from], body, numbers),
            _ => endpoint.send_now([to, from], body, &numbers),
        }
    }

    /// Sends a message whose outcome or reply comes with a token, by `deadline` at the latest, if its way is known and
    /// free. `None`: nothing was done, and [`send_acked`](Self::send_acked) does it or says why not. Otherwise the time at
    /// which [`handle_timeout`](Self::handle_timeout) wants to be called because of it.
    pub fn send_acked_now(
        &mut self,
        now: MonoTime,
        [to, from]: [&str; 2],
        body: &Bytes,
        request: bool,
        deadline: MonoTime,
        token: impl FnOnce() -> T,
    ) -> Option<MonoTime> {
        self.send_acked_to_holder(now, self.holder(to), (from, to, body), request, deadline, token)
    }

    /// The same for many, each of a sender, a client and a body: how many were sent, which are the first ones, and the time. The
    /// tokens are asked for by their places.
    pub fn send_many_acked_now(
        &mut self,
        now: MonoTime,
        messages: &[(&str, &str, &Bytes)],
        deadline: MonoTime,
        token: impl Fn(usize) -> T,
    ) -> (usize, Option<MonoTime>) {
        let (mut sent, mut first_due) = (0, None);
        for next in messages.chunks(CHUNK_AHEAD) {
            let holders = self.holders(next);
            let mut at = 0;
            while let (Some(messages @ [message, ..]), Some(holders @ [holder, ..])) =
                (next.get(at..), holders.get(at..))
            {
                let (mut number_at, mut due) = (sent, None);
                let count = if self.router.is_some() {
                    self.send_alike(messages, holders, |endpoint, (from, to, body)| {
                        let message = Delivery::new(from, to, body.clone()).ok()?;
                        let noted = endpoint.add_acked(now, message, false, deadline, || token(number_at))?;
                        number_at += 1;
                        due = Some(noted.1);
                        Some(noted.0)
                    })
                } else {
                    let token = || token(sent);
                    due = self.send_acked_to_holder(now, *holder, *message, false, deadline, token);
                    usize::from(due.is_some())
                };
                // All sent now come due at once.
                first_due = first_due.or(due);
                if count == 0 {
                    return (sent, first_due);
                }
                sent += count;
                at += count;
            }
        }
        (sent, first_due)
    }

    #[inline]
    fn send_acked_to_holder(
        &mut self,
        now: MonoTime,
        holder: Option<Holder>,
        (from, to, body): (&str, &str, &Bytes),
        request: bool,
        deadline: MonoTime,
        token: impl FnOnce() -> T,
    ) -> Option<MonoTime> {
        let way = self.way_now(holder, body.len())?;
        let has_room = match (&way, &self.router) {
            (Some(way), Some(router)) => router.has_room(way),
            _ => true,
        };
        let endpoint = self.endpoint.as_mut().filter(|_| has_room)?;
        let message = Delivery::new(from, to, body.clone()).ok()?;
        let (numbers, due) = endpoint.add_acked(now, message, request, deadline, token)?;
        // There was room a moment ago. Were it not sent, it would be before long, as one that got lost.
        let _ = match (way, &mut self.router) {
            (Some(way), Some(router)) => router.send_now(&way, [to, from], body, numbers),
            _ => endpoint.send_now([to, from], body, &numbers),
        };
        Some(due)
    }

    /// Where a message of the program's for a client of this server may go at once: `Some(None)` is the link to the broker.
    #[inline]
    fn way_now(&mut self, holder: Option<Holder>, body_len: usize) -> Option<Option<Way>> {
        let endpoint = self.endpoint.as_ref().filter(|endpoint| endpoint.sends_now())?;
        if body_len > BODY_BYTES_MAX {
            return None;
        }
        match &mut self.router {
            Some(router) => endpoint
                .is_queue_empty()
                .then(|| router.way_now(holder?))
                .flatten()
                .map(Some),
            None => endpoint.has_room_now().then_some(None),
        }
    }

    /// Takes in frames that have come by one link, as many as there is room for now; false when one that has to wait for
    /// room is next: the link should not be read for a moment. Call [`pump`](Self::pump) afterwards.
    ///
    /// # Errors
    /// [`DecodeError`]: the next frame is none, and the link must be closed. Those before it have been taken in.
    pub fn handle_chunk(
        &mut self,
        now: MonoTime,
        whose: Whose,
        chunk: &mut Chunk,
    ) -> Result<bool, DecodeError> {
        let is_heard = match (whose, &mut self.router, &mut self.endpoint) {
            (Whose::Router(id), Some(router), _) => router.heard_from(now, id),
            (Whose::Endpoint, _, Some(endpoint)) => {
                endpoint.heard_from_router(now);
                true
            }
            _ => false,
        };
        if !is_heard {
            chunk.clear();
            return Ok(true);
        }
        let (mut batch, mut ahead) = (chunk.batch(), Ahead::default());
        loop {
            if ahead.is_empty() && self.take_alike(now, whose, chunk, &mut batch) {
                continue;
            }
            let Some(item) = chunk.front() else { break };
            if let Item::Message(message) = item {
                let hint = ahead.next(self, whose, chunk);
                match self.take_now(now, whose, message, hint, &mut batch) {
                    Step::Taken => {
                        chunk.advance();
                        continue;
                    }
                    Step::QueueFirst => {
                        self.deliver(&mut batch, chunk);
                        self.pump(now);
                        ahead = Ahead::default();
                        continue;
                    }
                    Step::LongWay => {}
                }
            }
            self.deliver(&mut batch, chunk);
            let frame = item.decode()?;
            if let Frame::Message(message) = &frame
                && self.must_wait(now, whose, message.to())
            {
                return Ok(false);
            }
            chunk.advance();
            self.handle_frame(now, whose, frame);
            ahead = Ahead::default();
        }
        self.deliver(&mut batch, chunk);
        Ok(true)
    }

    /// Takes in all frames that have been looked over, if they are what nearly all are on a busy link: best-effort messages from
    /// one server, for clients that are simply held here. Otherwise, and when there is none, nothing is done.
    #[inline]
    fn take_alike(&mut self, now: MonoTime, whose: Whose, chunk: &mut Chunk, batch: &mut Batch) -> bool {
        let Some(endpoint) = &self.endpoint else {
            return false;
        };
        let servers = match (whose, &self.router) {
            (Whose::Router(id), Some(router)) => router.heard_here(id),
            (Whose::Router(_), None) => None,
            (Whose::Endpoint, _) => match chunk.front() {
                Some(Item::Message(first)) => {
                    let Numbers { origin, owner, .. } = first.numbers();
                    endpoint.heard(origin).map(|_| (origin, owner))
                }
                _ => None,
            },
        };
        let Some((origin, owner)) = servers else {
            return false;
        };
        let (mut count, mut cost) = (0, batch.cost());
        for item in chunk.ahead() {
            match item {
                Item::Message(message) if message.is_plain(origin, owner, HOPS_MAX) => {
                    cost += message.cost();
                    count += 1;
                }
                _ => return false,
            }
        }
        if count == 0 || !endpoint.delivers_now(now) || !endpoint.has_room_beside(cost) {
            return false;
        }
        let since = endpoint.all_simply_held(messages(chunk).map(|message| message.to()));
        let is_held = |(message, since): (MessageRef<'_>, Option<u32>)| {
            since.is_some_and(|since| !is_stale(message.claim(), since))
        };
        if !messages(chunk).zip(since).all(is_held) {
            return false;
        }
        messages(chunk).for_each(|message| batch.push(message));
        if let Some(router) = &mut self.router {
            router.count_forwarded(count);
        }
        chunk.pass_over_ahead();
        true
    }

    #[inline]
    fn take_now(
        &mut self,
        now: MonoTime,
        whose: Whose,
        message: MessageRef<'_>,
        hint: Hint,
        batch: &mut Batch,
    ) -> Step {
        let origin = match (whose, &mut self.router) {
            (Whose::Router(id), Some(router)) => match router.take_now(id, message, hint.holder()) {
                Taken::No => return Step::LongWay,
                Taken::Passed => return Step::Taken,
                Taken::ForHere {
                    origin,
                    is_next: true,
                } => origin,
                // Only for what would then take the short way is it worth it.
                Taken::ForHere { .. } if hint.since().is_some() && !message.numbers().request => {
                    return Step::QueueFirst;
                }
                Taken::ForHere { .. } => return Step::LongWay,
            },
            (Whose::Router(_), None) => return Step::LongWay,
            (Whose::Endpoint, _) => Some(message.numbers().origin),
        };
        let Some(endpoint) = self
            .endpoint
            .as_mut()
            .filter(|endpoint| endpoint.delivers_now(now))
        else {
            return Step::LongWay;
        };
        let origin = origin.and_then(|alias| endpoint.heard(alias));
        if whose == Whose::Endpoint && origin.is_none() {
            return Step::LongWay;
        }
        if !endpoint.deliver_now(message, origin, hint.since(), batch) {
            return Step::LongWay;
        }
        if let Some(router) = &mut self.router {
            router.count_forwarded(1);
        }
        Step::Taken
    }

    fn deliver(&mut self, batch: &mut Batch, chunk: &Chunk) {
        if let Some(endpoint) = &mut self.endpoint
            && !batch.is_empty()
        {
            endpoint.put_batch(core::mem::replace(batch, chunk.batch()));
        }
    }

    fn must_wait(&mut self, now: MonoTime, whose: Whose, to: &str) -> bool {
        if self.room_for(now, whose, to) != Room::Wait {
            return false;
        }
        self.pump(now);
        self.room_for(now, whose, to) == Room::Wait
    }

    fn room_for(&mut self, now: MonoTime, whose: Whose, to: &str) -> Room {
        match (whose, &mut self.endpoint) {
            (Whose::Endpoint, Some(endpoint)) => endpoint.inbox_room(now, to),
            _ => self.room_to_take(now, to),
        }
    }

    /// One frame that has come by a link. Call [`pump`](Self::pump) after a batch of them.
    pub fn handle_frame(&mut self, now: MonoTime, whose: Whose, frame: Frame) {
        match (whose, &mut self.router, &mut self.endpoint) {
            (Whose::Router(id), Some(router), _) => router.handle_frame(now, id, frame),
            (Whose::Endpoint, _, Some(endpoint)) => endpoint.handle_frame(now, frame),
            _ => {}
        }
    }
}
