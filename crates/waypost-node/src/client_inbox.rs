//! Reading the inbox of a single client.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Notify;
use waypost_router::Event;
use waypost_types::Address;

use crate::driver::Driver;

/// How many events are moved out of the inbox at once.
const AHEAD: usize = 16;

/// The reading end of a client's own inbox. Dropping it sends what comes from then on to the stream of all clients.
#[derive(Debug)]
pub struct ClientInbox {
    pub(crate) driver: Arc<Driver>,
    pub(crate) client: Address,
    pub(crate) reader: Arc<Notify>,
    pub(crate) ahead: VecDeque<Event>,
}

impl ClientInbox {
    /// The client whose inbox it is.
    #[must_use]
    pub const fn client(&self) -> &Address {
        &self.client
    }

    /// The next event for this client; `None` when the client is not connected here any more, or its inbox was opened
    /// anew, and everything has been read.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ahead.pop_front() {
                return Some(event);
            }
            let goes_on = self
                .driver
                .take_client_events(&self.client, &self.reader, &mut self.ahead, AHEAD);
            if !self.ahead.is_empty() {
                continue;
            }
            if !goes_on {
                return None;
            }
            tokio::select! {
                () = self.reader.notified() => {}
                () = self.driver.ended.cancelled() => return None,
            }
        }
    }
}

impl Drop for ClientInbox {
    fn drop(&mut self) {
        self.driver.close_client_inbox(&self.client, &self.reader);
    }
}
