//! What a router holds right now, for tests and for looking at one that misbehaves. Reading it changes nothing.

use super::away::Away;
use super::{Route, Router};

impl Router {
    /// Shows every queue of messages: its name, the bytes in it and its bound in bytes. A queue takes a message as long as
    /// it is below its bound, so that it may be over it by one message.
    pub fn queues(&self, see: &mut dyn FnMut(&'static str, usize, usize)) {
        let max = self.settings.queue_bytes_max;
        for link in self.links.values() {
            see("a link's messages", link.out.message_bytes(), max);
        }
        for route in self.routes.values() {
            if let Route::Waiting(waiting) = route {
                see("an address's hold-back", waiting.fresh_bytes(), max);
            }
        }
        see("all hold-backs", self.queues.held_bytes, max.saturating_mul(16));
        for entry in &self.owners {
            see("a detached server's", entry.parked_bytes, max);
            // Below its bound it takes what one address had.
            let away = entry.away.as_ref().map_or(0, Away::bytes);
            see("a server's that is away", away, max.saturating_mul(2));
        }
        see(
            "all servers' that are away",
            self.away.bytes(),
            max.saturating_mul(17),
        );
    }

    /// Shows how much is under way, by name. All of it is nothing once a cluster has been quiet for a while.
    pub fn unfinished(&self, see: &mut dyn FnMut(&'static str, usize)) {
        let is_waiting = |route: &&Route| matches!(route, Route::Waiting(_));
        see(
            "unsettled routes",
            self.routes.values().filter(is_waiting).count(),
        );
        see("claims that wait", self.queues.claims.len());
        see("look-ups after a pause", self.again.len());
        see("stranded addresses", self.stranded.len());
        see("takeovers", self.takeovers.len());
        see("untold displacements", self.untold.len());
        see("owed echoes", self.relays.len());
        see("broadcasts", self.broadcasts.open());
        see("held bytes", self.queues.held_bytes);
        let parked: usize = self.owners.iter().map(|entry| entry.parked.len()).sum();
        see("parked messages", parked);
    }
}
