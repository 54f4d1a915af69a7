//! What a model is of: servers with programs, replicas between them, and what may be wrong on purpose.

use std::collections::HashMap;

use waypost_types::{Identity, Incarnation, Owner, Seq, Session};

use super::object::{Object, Value};
use crate::record::{Record, View};
use crate::stamp::Stamps;

/// What a server does, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Claim,
    /// Releases the last claim.
    Release,
    /// Releases the first claim although another came after it: a late disconnect.
    ReleaseFirst,
    /// Looks the address up, as those do who send to it.
    Look,
}

/// A rule that is broken on purpose, so that the model shows what it would find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// The bucket keeps the newest write instead of siblings.
    LastWriteWins,
    /// Of siblings the first one is taken, and the others are overwritten.
    FirstSibling,
    /// Writes do not say what their writer has read.
    NoVclock,
    /// A release deletes the object.
    ReleaseDeletes,
    /// A release frees the address of whatever the same server holds.
    ReleaseIgnoresSeq,
    /// Nobody tells those who are not told by the winner's answer.
    TellNobody,
}

/// How requests reach replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replication {
    /// Two replicas, each answers alone, and they exchange what they have at any time or never.
    Apart,
    /// Three replicas of which two answer, each at its own time; a write reaches the third at any time or never.
    Quorum,
}

impl Replication {
    pub(super) const fn replicas(self) -> usize {
        match self {
            Self::Apart => 2,
            Self::Quorum => 3,
        }
    }
}

/// What is searched.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) replication: Replication,
    /// Each server asks the replica of its own number first.
    pub(super) programs: Vec<Vec<Op>>,
    /// What the servers' wall clocks show, in milliseconds.
    pub(super) clocks: Vec<u64>,
    /// How many answers to writes may be lost, after which the same write goes to another replica.
    pub(super) lost_answers: u8,
    pub(super) flaw: Flaw,
}

impl Setup {
    pub(super) fn new(replication: Replication, programs: &[&[Op]]) -> Self {
        Self {
            replication,
            programs: programs.iter().map(|ops| ops.to_vec()).collect(),
            clocks: vec![1_000_000; programs.len()],
            lost_answers: 0,
            flaw: Flaw::None,
        }
    }

    pub(super) fn home(&self, server: usize) -> usize {
        server % self.replication.replicas()
    }
}

/// All records that were ever written, and who the servers are.
pub(super) struct World {
    pub(super) setup: Setup,
    owners: Vec<Owner>,
    stamps: Vec<Stamps>,
    records: Vec<Record>,
    numbers: HashMap<Record, u16>,
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let count = setup.programs.len();
        let owner = |index: usize| {
            let identity = Identity::new(&format!("server-{index}")).unwrap();
            Owner::new(identity, Incarnation(1))
        };
        Self {
            owners: (0..count).map(owner).collect(),
            stamps: (0..count as u64).map(|index| Stamps::new(index + 1)).collect(),
            setup,
            records: Vec::new(),
            numbers: HashMap::new(),
        }
    }

    pub(super) fn session(&self, server: usize, seq: u64) -> Session {
        Session::new(self.owners[server].clone(), Seq(seq))
    }

    pub(super) fn server_of(&self, session: &Session) -> usize {
        self.owners
            .iter()
            .position(|owner| *owner == session.owner)
            .unwrap()
    }

    /// The seq of a claim by a server that has read this.
    pub(super) fn next_seq(&self, server: usize, before: &View) -> u64 {
        let seen = before.sessions().map(|session| session.seq.0).max().unwrap_or(0);
        let now = crate::stamp::from_millis(self.setup.clocks[server]);
        self.stamps[server].next_at(now, seen).unwrap()
    }

    /// The number of a record, which is given where it has none.
    pub(super) fn number(&mut self, record: Record) -> Value {
        let next = u16::try_from(self.records.len()).unwrap();
        let number = *self.numbers.entry(record.clone()).or_insert(next);
        if number == next {
            self.records.push(record);
        }
        Some(number)
    }

    /// What a client makes of an object.
    pub(super) fn view(&self, object: &Object) -> View {
        let values = object.siblings.iter().filter_map(|sibling| sibling.value);
        let mut records: Vec<Record> = values
            .map(|number| self.records[usize::from(number)].clone())
            .collect();
        if self.setup.flaw == Flaw::FirstSibling {
            records.truncate(1);
        }
        View::new(records)
    }
}
