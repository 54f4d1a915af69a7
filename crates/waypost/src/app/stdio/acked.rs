//! Acked sends that had to wait for nothing, as nearly all of them: they are on their way, and what is kept of one is what its
//! end needs.

use core::mem::take;
use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::task::unconstrained;
use waypost_peer::{AckedSender, Peer, PeerError};
use waypost_types::{Address, Outcome};

use super::op::Id;
use super::sequence::OpId;

/// One that has no outcome yet.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) op: OpId,
    pub(super) from: Address,
    pub(super) to: Address,
    /// What its outcome is said with.
    pub(super) id: Option<Id>,
    bytes: usize,
}

impl Sent {
    fn touches(&self, client: &Address) -> bool {
        self.from == *client || self.to == *client
    }
}

/// So many times as many as may be under way are kept in a row: behind one whose outcome is long in coming, those that have theirs
/// keep their places.
const PLACES: usize = 4;

/// All of them, in the order in which they were sent.
#[derive(Debug)]
pub(super) struct AckedSends {
    sender: AckedSender,
    places_max: usize,
    /// By ticket, from `first` on; tickets are given one after the other.
    sent: VecDeque<Option<Sent>>,
    first: u64,
    under_way: usize,
    bytes: usize,
}

impl AckedSends {
    pub(super) fn new(peer: &Peer, under_way_max: usize) -> Self {
        Self {
            sender: peer.acked_sender(under_way_max),
            places_max: under_way_max.saturating_mul(PLACES),
            sent: VecDeque::new(),
            first: 1,
            under_way: 0,
            bytes: 0,
        }
    }

    /// How many lack their outcome.
    pub(super) const fn len(&self) -> usize {
        self.under_way
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.under_way == 0
    }

    /// Bytes of their bodies.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sends one if it can go out at once. `None`: it would have to wait for room, or there is no place for it here, and nothing was
    /// done.
    pub(super) fn send_now(
        &mut self,
        op: OpId,
        [from, to]: [&Address; 2],
        body: &Bytes,
        id: Option<&Id>,
    ) -> Option<Result<(), PeerError>> {
        if self.sender.is_full() || self.sent.len() >= self.places_max {
            return None;
        }
        let send = self.sender.send(from.as_str(), to.as_str(), body.clone());
        let ticket = match unconstrained(send).now_or_never()? {
            Ok(ticket) => ticket,
            Err(error) => return Some(Err(error)),
        };
        debug_assert_eq!(ticket, self.first + self.sent.len() as u64, "one after the other");
        self.sent.push_back(Some(Sent {
            op,
            from: from.clone(),
            to: to.clone(),
            id: id.cloned(),
            bytes: body.len(),
        }));
        self.under_way += 1;
        self.bytes += body.len();
        Some(Ok(()))
    }

    /// The next one that has its outcome; for ever pending while none is under way. An outcome that can't be known any more is
    /// `Unknown`.
    ///
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> (Sent, Outcome) {
        loop {
            match self.sender.next_outcome().await {
                Ok(Some((ticket, outcome))) => {
                    if let Some(sent) = self.end(ticket) {
                        return (sent, outcome);
                    }
                }
                Ok(None) => core::future::pending().await,
                Err(_) => match self.end(self.first) {
                    Some(sent) => return (sent, Outcome::Unknown),
                    None => core::future::pending().await,
                },
            }
        }
    }

    /// The same if there is one by now.
    pub(super) fn try_next(&mut self) -> Option<(Sent, Outcome)> {
        if self.is_empty() {
            return None;
        }
        let (ticket, outcome) = self.sender.try_next_outcome()?;
        Some((self.end(ticket)?, outcome))
    }

    fn end(&mut self, ticket: u64) -> Option<Sent> {
        let at = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        let sent = self.sent.get_mut(at)?.take()?;
        while let Some(None) = self.sent.front() {
            self.sent.pop_front();
            self.first += 1;
        }
        self.under_way -= 1;
        self.bytes -= sent.bytes;
        Some(sent)
    }

    /// Those that send from this client or to it.
    pub(super) fn touching(&self, client: &Address) -> impl Iterator<Item = &Sent> {
        let all = self.sent.iter().flatten();
        all.filter(move |sent| sent.touches(client))
    }

    /// Takes all that lack their outcome.
    pub(super) fn take_owed(&mut self) -> impl Iterator<Item = (OpId, Option<Id>)> + use<> {
        (self.under_way, self.bytes) = (0, 0);
        self.first += self.sent.len() as u64;
        let all = take(&mut self.sent).into_iter().flatten();
        all.map(|sent| (sent.op, sent.id))
    }
}
