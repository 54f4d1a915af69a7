//! The session store of a simulated cluster, with its faults.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use waypost_router::{StoreFailure, StoreOp, StoreReply};
use waypost_session::{Claimed, MemoryState, Released, Renewal, Renewed, Restored};
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

/// A store that breaks its contract, to see that the oracle notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFlaw {
    /// A release looks first and deletes later, whatever is there by then.
    GetThenDelete,
    /// A release deletes the record of another claim too.
    ReleaseIgnoresSeq,
    /// A restore overwrites a newer claim.
    RestoreOverwrites,
    /// A renewal of a superseded incarnation succeeds.
    RenewalNotFenced,
    /// A claim does not say whom it displaced.
    DisplacedNotTold,
}

impl StoreFlaw {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::GetThenDelete,
        Self::ReleaseIgnoresSeq,
        Self::RestoreOverwrites,
        Self::RenewalNotFenced,
        Self::DisplacedNotTold,
    ];
}

/// After how long an operation without answer is given up.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How old a stale answer may be.
const STALE: Duration = Duration::from_millis(500);

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
    /// How many look-ups and readings of the leases of a hundred are answered from up to half a second ago.
    pub stale_percent: usize,
    /// How the store breaks its contract.
    pub flaw: Option<StoreFlaw>,
    /// How things stood a moment ago, while stale answers are wanted.
    history: VecDeque<(MonoTime, MemoryState)>,
    /// What a store that looks first has found and will delete.
    found: VecDeque<(Address, bool)>,
    /// How many operations have been applied, by kind.
    pub applied: BTreeMap<&'static str, u64>,
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
            stale_percent: 0,
            flaw: None,
            history: VecDeque::new(),
            found: VecDeque::new(),
            applied: BTreeMap::new(),
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

    pub(crate) fn apply(
        &mut self,
        now: MonoTime,
        op: &StoreOp,
        rng: &mut Rng,
    ) -> Result<StoreReply, StoreFailure> {
        let kind = match op {
            StoreOp::Register { .. } => "register",
            StoreOp::Renew { .. } => "renew",
            StoreOp::Peers => "peers",
            StoreOp::Claim(..) => "claim",
            StoreOp::Release(..) => "release",
            StoreOp::Restore(..) => "restore",
            StoreOp::Lookup(_) => "lookup",
            StoreOp::Reclaim(_) => "reclaim",
            _ => "other",
        };
        *self.applied.entry(kind).or_insert(0) += 1;
        if let StoreOp::Peers | StoreOp::Lookup(_) = op {
            let stale = rng.chance(self.stale_percent) && !self.history.is_empty();
            let at = rng.below(self.history.len());
            let state = self.history.get(at).filter(|_| stale);
            return Ok(Self::read(now, op, state.map_or(&self.state, |(_, state)| state)));
        }
        self.remember(now);
        let (flaw, generation) = (self.flaw, self.generation);
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
                    .map(|owner| match state.renew(now, owner, location) {
                        Renewal::Superseded(_) if flaw == Some(StoreFlaw::RenewalNotFenced) => {
                            Renewal::Renewed
                        }
                        renewal => renewal,
                    })
                    .collect(),
                generation,
            }),
            StoreOp::Drain(owner) => StoreReply::Drained(state.drain(now, owner)),
            StoreOp::Deregister(owner) => {
                state.deregister(owner);
                StoreReply::Deregistered
            }
            StoreOp::Claim(owner, addresses) => {
                let claim = |address| -> Result<Claimed, StoreFailure> {
                    let mut claimed = state.claim(owner, address).map_err(|_| StoreFailure)?;
                    if flaw == Some(StoreFlaw::DisplacedNotTold) {
                        claimed.displaced = None;
                    }
                    Ok(claimed)
                };
                StoreReply::Claimed(addresses.iter().map(claim).collect::<Result<_, _>>()?)
            }
            StoreOp::Release(owner, sessions) => StoreReply::Released(
                sessions
                    .iter()
                    .map(|(address, seq)| self.release(owner, address, *seq))
                    .collect(),
            ),
            StoreOp::Restore(owner, sessions) => StoreReply::Restored(
                sessions
                    .iter()
                    .map(|(address, seq)| self.restore(owner, address, *seq))
                    .collect(),
            ),
            StoreOp::Reclaim(budget) => StoreReply::Reclaimed(state.reclaim(now, *budget)),
            _ => return Err(StoreFailure),
        })
    }

    fn read(now: MonoTime, op: &StoreOp, state: &MemoryState) -> StoreReply {
        match op {
            StoreOp::Lookup(addresses) => {
                let look_up = |address| state.lookup(now, address);
                StoreReply::Found(addresses.iter().map(look_up).collect())
            }
            _ => StoreReply::Peers(state.peers(now)),
        }
    }

    fn release(&mut self, owner: &Owner, address: &Address, seq: Seq) -> Released {
        let standing = self.record(address);
        match (self.flaw, standing) {
            (Some(StoreFlaw::GetThenDelete), standing) => {
                let is_own = standing.is_some_and(|s| s.owner == *owner && s.seq == seq);
                self.found.push_back((address.clone(), is_own));
                if is_own {
                    Released::Released
                } else {
                    Released::NotOwner
                }
            }
            (Some(StoreFlaw::ReleaseIgnoresSeq), Some(standing)) => {
                self.state.release(&standing.owner, address, standing.seq)
            }
            _ => self.state.release(owner, address, seq),
        }
    }

    fn restore(&mut self, owner: &Owner, address: &Address, seq: Seq) -> Restored {
        if self.flaw == Some(StoreFlaw::RestoreOverwrites)
            && let Some(standing) = self.record(address)
        {
            self.state.release(&standing.owner, address, standing.seq);
        }
        self.state.restore(owner, address, seq)
    }

    /// Whether a release takes effect in two steps.
    pub(crate) fn deletes_later(&self) -> bool {
        self.flaw == Some(StoreFlaw::GetThenDelete)
    }

    /// The second step.
    pub(crate) fn delete_checked(&mut self) {
        for (address, is_own) in core::mem::take(&mut self.found) {
            if is_own && let Some(standing) = self.record(&address) {
                self.state.release(&standing.owner, &address, standing.seq);
            }
        }
    }

    /// Keeps how things stand, for stale answers.
    fn remember(&mut self, now: MonoTime) {
        if self.stale_percent == 0 {
            return self.history.clear();
        }
        self.history.push_back((now, self.state.clone()));
        while self.history.front().is_some_and(|(at, _)| *at + STALE < now) || self.history.len() > 64 {
            self.history.pop_front();
        }
    }

    /// The record of an address, whether its owner lives or not.
    pub(crate) fn record(&self, address: &Address) -> Option<Session> {
        let mut sessions = self.state.sessions();
        sessions
            .find(|(at, _)| *at == address)
            .map(|(_, session)| session.clone())
    }

    /// All sessions whose owners live.
    pub(crate) fn live_sessions(&self, now: MonoTime) -> Vec<(Address, Session)> {
        let sessions = self.state.sessions();
        sessions
            .filter(|(address, _)| self.state.lookup(now, address).is_some())
            .map(|(address, session)| (address.clone(), session.clone()))
            .collect()
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
    pub(crate) fn lose_all(&mut self, now: MonoTime) {
        self.state = MemoryState::new();
        self.history.clear();
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
    pub(crate) fn lose_session(&mut self, now: MonoTime, address: &Address) {
        self.generation += 1;
        self.lose_unnoticed(now, address);
    }

    /// Forgets who holds this address, and says nothing.
    pub fn lose_unnoticed(&mut self, now: MonoTime, address: &Address) {
        if let Some(session) = self.state.lookup(now, address) {
            self.state.release(&session.owner, address, session.seq);
        }
    }
}
