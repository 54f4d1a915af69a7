//! What an endpoint holds right now, for tests and for looking at one that misbehaves. Reading it changes nothing.

use super::{Endpoint, Event};

impl<T> Endpoint<T> {
    /// What waits in the shared inbox, oldest first.
    pub fn unread(&self) -> impl Iterator<Item = &Event> {
        self.inbox.events()
    }

    /// What waits in a client's own inbox, oldest first; nothing when it has none.
    pub fn unread_of(&self, address: &str) -> impl Iterator<Item = &Event> {
        let inbox = self.client_inboxes.inboxes.get(address);
        inbox.into_iter().flat_map(|inbox| inbox.events())
    }

    /// Whether it waits for the answer to how its lease stands.
    #[must_use]
    pub const fn asks_for_lease(&self) -> bool {
        self.lease.is_asked()
    }

    /// Shows every queue of messages: its name, the bytes in it and its bound in bytes. A queue takes a message as long as
    /// it is below its bound, so that it may be over it by one message.
    pub fn queues(&self, see: &mut dyn FnMut(&'static str, usize, usize)) {
        let max = self.settings.queue_bytes_max;
        see("a server's messages", self.out.message_bytes(), max);
        see(
            "a server's inbox",
            self.inbox.message_bytes(),
            self.settings.inbox_bytes_max,
        );
        for inbox in self.client_inboxes.inboxes.values() {
            see(
                "a client's inbox",
                inbox.message_bytes(),
                self.settings.client_inbox_bytes_max,
            );
        }
        see("a lapsed lease's", self.lease.waiting_bytes(), max);
        let sum = max.saturating_mul(super::SUM_OF_QUEUES);
        see("acked messages'", self.sends.bytes(), sum);
        see("all claimed clients'", self.claim_held_bytes, sum);
        for client in self.clients.values() {
            if let Some(work) = &client.work {
                see("a claimed client's", work.held_bytes, max);
            }
        }
    }

    /// Shows how much is under way, by name. All of it is nothing once a cluster has been quiet for a while.
    pub fn unfinished(&self, see: &mut dyn FnMut(&'static str, usize)) {
        see("sends without outcome", self.sends.len());
        see("questions", self.questions.len());
        let working = self.clients.values().filter(|client| client.work.is_some());
        see("operations on clients", working.count());
        see("messages under a lapsed lease", self.lease.waiting.len());
    }
}
