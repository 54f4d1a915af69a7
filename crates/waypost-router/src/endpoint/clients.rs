//! The table of clients that this server holds, and the operations on them.

use std::collections::VecDeque;

use waypost_types::{Address, MonoTime, Seq};
use waypost_wire::Message;

/// One operation on a client. Those on one client take effect in the order in which they were asked for.
#[derive(Debug)]
pub(crate) enum Op<T> {
    Connect {
        token: Option<T>,
        deadline: MonoTime,
        /// Unlike any other connect's of this process.
        number: u64,
    },
    Disconnect {
        token: Option<T>,
    },
}

/// One client. Small, because a server holds up to a million of them.
#[derive(Debug)]
pub(crate) struct Client<T> {
    /// The claim by which it is held; 0: not held.
    pub(crate) seq: Seq,
    /// The claim since which it has been held without a break, as messages name it.
    pub(crate) since: u32,
    /// What is under way, if anything.
    pub(crate) work: Option<Box<Work<T>>>,
    /// It has an inbox of its own.
    pub(crate) has_inbox: bool,
}

/// Operations under way on one client.
#[derive(Debug)]
pub(crate) struct Work<T> {
    pub(crate) ops: VecDeque<Op<T>>,
    /// Whether the first of them has been handed to the router.
    pub(crate) started: bool,
    /// It is a claim that the router has and has not answered; one that has only been started may wait for its turn.
    pub(crate) is_sent: bool,
    /// The seq that is being released.
    pub(crate) releasing: Seq,
    /// Messages that came before the claim's answer.
    pub(crate) held: VecDeque<Message>,
    pub(crate) held_bytes: usize,
    /// The newest claim by another server that was heard of meanwhile.
    pub(crate) displaced: Option<(Seq, waypost_types::Identity)>,
}

impl<T> Work<T> {
    pub(crate) const fn new() -> Self {
        Self {
            ops: VecDeque::new(),
            started: false,
            is_sent: false,
            releasing: Seq(0),
            held: VecDeque::new(),
            held_bytes: 0,
            displaced: None,
        }
    }
}

impl<T> Client<T> {
    pub(crate) const fn new() -> Self {
        Self {
            seq: Seq(0),
            since: 0,
            work: None,
            has_inbox: false,
        }
    }

    pub(crate) const fn is_held(&self) -> bool {
        self.seq.0 != 0
    }

    /// Since which claim it is held, if messages for it need nothing but to be put into the inbox of all.
    #[inline]
    pub(crate) fn simply_held(&self) -> Option<u32> {
        (self.is_held() && self.work.is_none() && !self.has_inbox).then_some(self.since)
    }

    pub(crate) const fn is_idle(&self) -> bool {
        !self.is_held() && self.work.is_none()
    }

    /// Whether an answer to a claim of it can come.
    pub(crate) fn is_claim_started(&self) -> bool {
        self.is_claiming() && self.work.as_ref().is_some_and(|work| work.started)
    }

    /// Whether a claim of it is under way.
    pub(crate) fn is_claiming(&self) -> bool {
        self.work
            .as_ref()
            .is_some_and(|work| matches!(work.ops.front(), Some(Op::Connect { .. })))
    }
}

/// What waits to be sent about clients, gathered into batch frames.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    pub(crate) claims: VecDeque<Address>,
    /// How many the router has and has not answered.
    pub(crate) claims_sent: usize,
    pub(crate) releases: VecDeque<(Address, Seq)>,
    pub(crate) announces: VecDeque<Address>,
    /// Where in the table of clients the check of all that are held goes on, while there is one.
    pub(crate) check_at: Option<usize>,
    /// Where the next sample begins, and after how many heartbeats.
    pub(crate) sample_at: usize,
    pub(crate) sample_in: u32,
    /// When the next batch of announcements may go.
    pub(crate) announce_at: MonoTime,
}
