//! The session store of a simulated cluster, with its faults.

use core::time::Duration;

use waypost_router::{StoreFailure, StoreOp, StoreReply};
use waypost_session::{MemoryState, Renewed};
use waypost_types::{Address, Identity, Incarnation, MonoTime, Owner, Seq, Session};

use crate::rng::Rng;

/// How the store behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// Answers.
    Up,
    /// Refuses at once; nothing is applied.
    Down,
    /// Applies everything, and every answer is lost.
    AnswersLost,
    /// Does not answer; what was asked is applied when it has long been given up, or never.
    Stalled,
}

/// After how long an operation without answer is given up.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The store, its faults and its figures.
#[derive(Debug)]
pub struct Store {
    state: MemoryState,
    generation: u64,
    /// How the store behaves from now on.
    pub mode: StoreMode,
    /// Shortest and longest time that an operation takes.
    pub latency: (Duration, Duration),
    /// How many operations of a hundred fail, half of them after they have been applied.
    pub fail_percent: usize,
}

/// When an operation is applied, if ever, and when it is answered, and whether that answer is a failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) applied_after: Option<Duration>,
    pub(crate) answered_after: Duration,
    pub(crate) fails: bool,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            state: MemoryState::new(),
            generation: 1,
            mode: StoreMode::Up,
            latency: (Duration::from_micros(200), Duration::from_millis(3)),
            fail_percent: 0,
        }
    }

    pub(crate) fn plan(&self, rng: &mut Rng) -> Plan {
        let latency = rng.between(self.latency.0, self.latency.1);
        let fails = self.mode != StoreMode::Up || rng.chance(self.fail_percent);
        let applied = match self.mode {
            StoreMode::Up => !fails || rng.chance(50),
            StoreMode::Down => false,
            StoreMode::AnswersLost => true,
            StoreMode::Stalled => rng.chance(50),
        };
        let stalled = self.mode == StoreMode::Stalled;
        Plan {
            applied_after: applied.then(|| if stalled { latency + TIMEOUT } else { latency / 2 }),
            answered_after: match self.mode {
                StoreMode::Up | StoreMode::Down => latency,
                StoreMode::AnswersLost | StoreMode::Stalled => TIMEOUT,
            },
            fails,
        }
    }

    pub(crate) fn apply(&mut self, now: MonoTime, op: &StoreOp) -> Result<StoreReply, StoreFailure> {
        let state = &mut self.state;
        Ok(match op {
            StoreOp::Register {
                identity,
                location,
                term,
            } => StoreReply::Registered(
                state
                    .register(now, identity, location, *term)
                    .map_err(|_| StoreFailure)?,
            ),
            StoreOp::Renew { owners, location } => StoreReply::Renewed(Renewed {
                renewals: owners
                    .iter()
                    .map(|owner| state.renew(now, owner, location))
                    .collect(),
                generation: self.generation,
            }),
            StoreOp::Drain(owner) => StoreReply::Drained(state.drain(now, owner)),
            StoreOp::Deregister(owner) => {
                state.deregister(owner);
                StoreReply::Deregistered
            }
            StoreOp::Peers => StoreReply::Peers(state.peers(now)),
            StoreOp::Claim(owner, addresses) => StoreReply::Claimed(
                addresses
                    .iter()
                    .map(|address| state.claim(owner, address))
                    .collect::<Result<_, _>>()
                    .map_err(|_| StoreFailure)?,
            ),
            StoreOp::Release(owner, sessions) => StoreReply::Released(
                sessions
                    .iter()
                    .map(|(a, seq)| state.release(owner, a, *seq))
                    .collect(),
            ),
            StoreOp::Restore(owner, sessions) => StoreReply::Restored(
                sessions
                    .iter()
                    .map(|(a, seq)| state.restore(owner, a, *seq))
                    .collect(),
            ),
            StoreOp::Lookup(addresses) => StoreReply::Found(
                addresses
                    .iter()
                    .map(|address| state.lookup(now, address))
                    .collect(),
            ),
            StoreOp::Reclaim(budget) => StoreReply::Reclaimed(state.reclaim(now, *budget)),
            _ => return Err(StoreFailure),
        })
    }

    /// Who holds the address, as the store answers now.
    #[must_use]
    pub fn lookup(&self, now: MonoTime, address: &Address) -> Option<Session> {
        self.state.lookup(now, address)
    }

    /// Which life of the identity is alive, as the store answers now.
    #[must_use]
    pub fn incarnation(&self, now: MonoTime, identity: &str) -> Option<Incarnation> {
        let leases = self.state.peers(now);
        leases
            .iter()
            .find(|lease| lease.owner.identity.as_str() == identity)
            .map(|lease| lease.owner.incarnation)
    }

    /// How many session records there are, visible or not.
    #[must_use]
    pub fn records(&self) -> usize {
        self.state.records()
    }

    /// Forgets everything, as a datastore that comes back empty; numbers go on growing, because it takes them from a
    /// clock.
    pub fn lose_all(&mut self, now: MonoTime) {
        self.state = MemoryState::new();
        self.generation += 1;
        let (Ok(nobody), Ok(address)) = (Identity::new("nobody"), Address::new("nothing")) else {
            return;
        };
        let owner = Owner::new(nobody, Incarnation(1));
        let seq = Seq(1_000_000 * self.generation + now.as_micros());
        self.state.restore(&owner, &address, seq);
        self.state.release(&owner, &address, seq);
    }

    /// Forgets who holds this address, and says that something may have been lost.
    pub fn lose_session(&mut self, now: MonoTime, address: &Address) {
        self.generation += 1;
        if let Some(session) = self.state.lookup(now, address) {
            self.state.release(&session.owner, address, session.seq);
        }
    }
}
