//! Inboxes of single clients, for programs that serve each client by a task of its own.

use std::collections::VecDeque;

use waypost_types::Address;

use super::inbox::Inbox;
use super::{Endpoint, Event};
use crate::map::{Map, map};

/// The inboxes, and which of their readers have something to read.
#[derive(Debug)]
pub(super) struct ClientInboxes {
    pub(super) inboxes: Map<Address, Inbox>,
    pub(super) woken: Vec<Address>,
}

impl ClientInboxes {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            inboxes: map(seed),
            woken: Vec::new(),
        }
    }

    /// Puts a message into a client's inbox; false when that is full.
    pub(super) fn offer(&mut self, address: &str, event: Event) -> bool {
        let Some((address, inbox)) = self.inboxes.get_key_value_mut(address) else {
            return false;
        };
        let is_in = inbox.offer(event);
        if inbox.wakes_reader() {
            self.woken.push(address.clone());
        }
        is_in
    }
}

impl<T> Endpoint<T> {
    /// Gives a client that is held an inbox of its own, bounded by the settings; an earlier one of the same client ends.
    /// False when the client is not held here.
    pub fn open_client_inbox(&mut self, address: &Address) -> bool {
        let Some(client) = self.clients.get_mut(address).filter(|client| client.is_held()) else {
            return false;
        };
        client.has_inbox = true;
        let inbox = Inbox::new(self.settings.client_inbox_bytes_max, self.settings.stall);
        self.client_inboxes.inboxes.insert(address.clone(), inbox);
        true
    }

    /// Moves up to `max` events out of a client's own inbox. False when it is empty and has ended, because the client is
    /// not held any more: the client is no longer known here then.
    pub fn take_client_events(&mut self, address: &str, into: &mut VecDeque<Event>, max: usize) -> bool {
        let Some(inbox) = self.client_inboxes.inboxes.get_mut(address) else {
            return false;
        };
        inbox.take(into, max);
        if into.is_empty() && inbox.is_closed() {
            self.client_inboxes.inboxes.remove(address);
            return false;
        }
        true
    }

    /// Ends a client's own inbox from the program's side: what comes from now on goes to the shared one.
    pub fn close_client_inbox(&mut self, address: &str) {
        self.client_inboxes.inboxes.remove(address);
        if let Some(client) = self.clients.get_mut(address) {
            client.has_inbox = false;
        }
    }

    /// The client is not held any more: its inbox ends once it has been read.
    pub(super) fn end_client_inbox(&mut self, address: &Address) {
        if let Some(inbox) = self.client_inboxes.inboxes.get_mut(address) {
            inbox.close();
            self.client_inboxes.woken.push(address.clone());
        }
    }

    /// Clients whose readers waited and have something to learn now.
    pub fn take_woken_clients(&mut self, into: &mut Vec<Address>) {
        into.append(&mut self.client_inboxes.woken);
    }
}
