//! The short way through the endpoint, for messages that need nothing but to be put into the inbox.

use waypost_types::MonoTime;
use waypost_wire::{Batch, Chunk, EncodeError, MessageAt, Numbers};

use super::dedupe::Seen;
use super::{Endpoint, Event, Standing};

impl<T> Endpoint<T> {
    /// The numbers of a best-effort message that may leave at once; `None` when it must wait or be refused.
    #[inline]
    pub(crate) fn numbers_now(&mut self, to: &str) -> Option<Numbers> {
        if self.standing != Standing::Attached || !self.link_up {
            return None;
        }
        Some(Numbers {
            after: self.sends.newest_to(to),
            ttl_ms: u32::try_from(self.settings.send_deadline.as_millis()).unwrap_or(u32::MAX),
            ..Numbers::default()
        })
    }

    /// Queues a message for the router across the link; `Err` when it has to go the long way.
    #[inline]
    pub(crate) fn send_now(
        &mut self,
        names: [&str; 2],
        body: &[u8],
        numbers: &Numbers,
        frame_bytes_max: usize,
    ) -> Result<(), EncodeError> {
        self.woken |= self
            .out
            .push_encoded(|out| waypost_wire::encode_message(names, body, numbers, out, frame_bytes_max))?;
        Ok(())
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

    /// Appends a message to the batch that goes to the inbox next. False when it has to go the long way: nothing was done.
    #[inline]
    pub(crate) fn deliver_now(
        &mut self,
        chunk: &Chunk,
        message: &MessageAt,
        origin: Option<u32>,
        batch: &mut Batch,
    ) -> bool {
        let Numbers {
            id,
            floor,
            after,
            request,
            ..
        } = message.numbers;
        let is_simple = match self.clients.get(chunk.to(message)) {
            Some(client) => client.is_held() && client.work.is_none() && !client.has_inbox,
            None => false,
        };
        if !is_simple || request || self.inbox.has_no_room_beside(batch.cost()) {
            return false;
        }
        if id != 0 || after != 0 {
            let Some(owner) = origin.and_then(|origin| self.origins.get(origin as usize)) else {
                return false;
            };
            if id != 0 && self.dedupe.check(owner, id, floor) != Ok(None) {
                return false;
            }
            if after != 0 && !self.dedupe.settled(owner, after) {
                return false;
            }
            if id != 0 {
                self.dedupe.note(owner, id, Seen::Delivered);
                self.acks_for(origin.unwrap_or_default()).delivered.push(id);
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
