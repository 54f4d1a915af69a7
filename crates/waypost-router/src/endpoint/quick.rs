//! The short way through the endpoint, for messages that need nothing but to be put into the inbox.

use waypost_types::MonoTime;
use waypost_wire::{Batch, CHUNK_AHEAD, Delivery, MessageRef, Numbers, Page};

use super::clients::Client;
use super::{Endpoint, Event, Standing};
use crate::claim::is_stale;
use crate::map::look_up_together;

impl<T> Endpoint<T> {
    /// Whether messages may leave at once.
    pub(crate) fn sends_now(&self) -> bool {
        self.standing == Standing::Attached && self.link_up && self.detaching.is_none()
    }

    /// The numbers of a best-effort message that leaves now.
    #[inline]
    pub(crate) fn numbers_now(&mut self, to: &str) -> Numbers {
        Numbers {
            after: self.newest_to(to),
            ..self.numbers_to_all()
        }
    }

    /// The same but for what depends on the client.
    #[inline]
    pub(crate) fn numbers_to_all(&self) -> Numbers {
        Numbers {
            ttl_ms: u32::try_from(self.settings.send_deadline.as_millis()).unwrap_or(u32::MAX),
            ..Numbers::default()
        }
    }

    /// The message that one to this client comes after, or 0.
    #[inline]
    pub(crate) fn newest_to(&mut self, to: &str) -> u64 {
        self.sends.newest_to(to)
    }

    /// Notes a message whose outcome is waited for and which leaves now; gives the numbers it leaves with, and when it comes due
    /// if nothing is heard of it. `None`: there is no room for another one.
    pub(crate) fn add_acked(
        &mut self,
        now: MonoTime,
        message: Delivery,
        request: bool,
        deadline: MonoTime,
        token: impl FnOnce() -> T,
    ) -> Option<(Numbers, MonoTime)> {
        if !self.sends.has_room() {
            return None;
        }
        self.begin_to_look(now);
        let token = token();
        let id = self.sends.add(now, token, message, request, deadline);
        let due = deadline.min(self.runs.look_by());
        Some((self.sends.numbers(now, id)?, due))
    }

    /// Queues a message for the router across the link; false when it has to go the long way.
    #[inline]
    pub(crate) fn send_now(&mut self, names: [&str; 2], body: &[u8], numbers: &Numbers) -> bool {
        let encode = |page: &mut Page| page.push_message(names, body, numbers);
        let pushed = self.out.push_encoded(numbers.id != 0, encode);
        self.woken |= pushed == Ok(true);
        pushed.is_ok()
    }

    /// Whether nothing waits for the router, so that a message which does not pass through this queue overtakes nothing.
    pub(crate) fn is_queue_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether a best-effort message finds room in the queue to the router.
    pub(crate) const fn has_room_now(&self) -> bool {
        self.out.has_room()
    }

    /// The number here of the server that the router calls `alias`.
    pub(crate) fn heard(&self, alias: u32) -> Option<u32> {
        self.names.heard(alias)
    }

    /// Something has come from the router.
    pub(crate) const fn heard_from_router(&mut self, now: MonoTime) {
        self.lease.heard(now);
    }

    /// Whether messages may be delivered now, none before them waiting for the lease.
    pub(crate) fn delivers_now(&self, now: MonoTime) -> bool {
        self.lease.is_valid(now) && self.lease.waiting.is_empty()
    }

    /// Since which claim this client is held, if messages for it need nothing but to be put into the inbox of all.
    #[inline]
    pub(crate) fn simply_held(&self, to: &str) -> Option<u32> {
        self.clients.get(to)?.simply_held()
    }

    /// The same for several, looked up together.
    #[inline]
    pub(crate) fn all_simply_held<'a>(
        &self,
        clients: impl Iterator<Item = &'a str> + Clone,
    ) -> [Option<u32>; CHUNK_AHEAD] {
        look_up_together(&self.clients, clients, Client::simply_held)
    }

    /// Whether the inbox would not be full with `bytes` more.
    #[inline]
    pub(crate) const fn has_room_beside(&self, bytes: usize) -> bool {
        !self.inbox.has_no_room_beside(bytes)
    }

    /// Appends a message to the batch that goes to the inbox next. False when it has to go the long way: nothing was done.
    /// `since`: what [`simply_held`](Self::simply_held) says, or `None`.
    #[inline]
    pub(crate) fn deliver_now(
        &mut self,
        message: MessageRef<'_>,
        origin: Option<u32>,
        since: Option<u32>,
        batch: &mut Batch,
    ) -> bool {
        let numbers = message.numbers();
        let Numbers {
            id,
            after,
            request,
            claim,
            ..
        } = numbers;
        let Some(since) = since.or_else(|| self.simply_held(message.to())) else {
            return false;
        };
        if is_stale(claim, since) || request || self.inbox.has_no_room_beside(batch.cost()) {
            return false;
        }
        if id != 0 || after != 0 {
            let Some(number) = origin else { return false };
            let Some(owner) = self.origins.get(number as usize) else {
                return false;
            };
            if id == 0 {
                if !self.dedupe.settled(owner, after) {
                    return false;
                }
            } else if self.dedupe.note_next(number, owner, &numbers, message.to()) {
                self.acks_for(number).delivered.push(id);
            } else {
                return false;
            }
        }
        batch.push(message);
        true
    }

    /// Puts messages that [`deliver_now`](Self::deliver_now) let in into the inbox.
    pub(crate) fn put_batch(&mut self, batch: Batch) {
        self.inbox.put(Event::Messages(batch));
    }
}
