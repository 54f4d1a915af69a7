//! A store with at most one flaw.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use waypost_session::{
    BATCH_MAX, Capabilities, Claimed, ErrorKind, MemoryStore, Reclaimed, Released, Renewal, Renewed,
    Restored, SessionStore, StoreError,
};
use waypost_session_testkit::{Datastore, Outage, StartError, StoreBuilder};
use waypost_types::{Address, Identity, Incarnation, Lease, LeaseState, Location, Owner, Seq, Session};

pub(crate) const PASSWORD: &str = "hunter2";

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    GetThenDelete,
    GetThenSet,
    ReleaseIgnoresSeq,
    ReleaseIgnoresIdentity,
    ReleaseIgnoresIncarnation,
    LosesWrites,
    ReusesSeqs,
    HidesDisplaced,
    LookupIgnoresIncarnation,
    LookupIgnoresLeases,
    RenewalResurrects,
    FencesNothing,
    NeverExpires,
    ExpiresWhatIsRenewed,
    GenerationWanders,
    LosesEverythingInSilence,
    RenewalEndsDraining,
    RestoreOverwrites,
    RestoreGivesBackToTheOlder,
    RestoreForgetsSeqs,
    RestoreWritesNothing,
    ReclaimTakesTheLiving,
    ReclaimIgnoresItsBudget,
    ReclaimDoesNothing,
    AnswersBackwards,
    TakesAnyBatch,
    TrimsAddresses,
    CutsAddresses,
    SharesNothing,
    AnswersWhenClosed,
    PrintsThePassword,
    AnswersWhileGone,
    Panics,
}

pub(crate) struct FlawedBuilder(pub(crate) Flaw);

#[async_trait]
impl StoreBuilder for FlawedBuilder {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        Ok(Box::new(FlawedDatastore {
            flaw: self.0,
            shared: Arc::default(),
        }))
    }
}

struct FlawedDatastore {
    flaw: Flaw,
    shared: Arc<Shared>,
}

#[async_trait]
impl Datastore for FlawedDatastore {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        let shared = if self.flaw == Flaw::SharesNothing {
            Arc::default()
        } else {
            Arc::clone(&self.shared)
        };
        let leases = shared.leases.clone();
        Ok(Arc::new(FlawedStore {
            flaw: self.flaw,
            shared,
            leases,
            closed: AtomicBool::new(false),
        }))
    }

    fn secret(&self) -> Option<&str> {
        Some(PASSWORD)
    }

    fn outage(&self) -> Option<&dyn Outage> {
        Some(&*self.shared)
    }
}

#[derive(Default)]
struct Shared {
    leases: MemoryStore,
    sessions: Mutex<BTreeMap<Address, Session>>,
    renewed: Mutex<BTreeSet<Owner>>,
    last_seq: AtomicU64,
    gone: AtomicBool,
}

#[async_trait]
impl Outage for Shared {
    async fn stop(&self) -> Result<(), StartError> {
        self.gone.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn start(&self) -> Result<(), StartError> {
        self.gone.store(false, Ordering::SeqCst);
        Ok(())
    }
}

struct FlawedStore {
    flaw: Flaw,
    shared: Arc<Shared>,
    leases: MemoryStore,
    closed: AtomicBool,
}

impl fmt::Debug for FlawedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = if self.flaw == Flaw::PrintsThePassword {
            PASSWORD
        } else {
            "***"
        };
        f.debug_struct("FlawedStore")
            .field("password", &password)
            .finish_non_exhaustive()
    }
}

impl FlawedStore {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn ready(&self, operation: &'static str) -> Result<(), StoreError> {
        let unavailable = |message| Err(StoreError::new(ErrorKind::Unavailable, operation, message));
        if self.closed.load(Ordering::SeqCst) && !self.has(Flaw::AnswersWhenClosed) {
            return unavailable("closed");
        }
        let is_read = ["lookup", "peers"].contains(&operation);
        if self.shared.gone.load(Ordering::SeqCst) && !(is_read && self.has(Flaw::AnswersWhileGone)) {
            if self.has(Flaw::LosesEverythingInSilence) {
                self.shared.sessions.lock().unwrap().clear();
            }
            return unavailable("gone");
        }
        Ok(())
    }

    fn ready_for(&self, operation: &'static str, entries: usize) -> Result<(), StoreError> {
        if entries > BATCH_MAX && !self.has(Flaw::TakesAnyBatch) {
            return Err(StoreError::new(ErrorKind::LimitExceeded, operation, "too many"));
        }
        self.ready(operation)
    }

    fn key(&self, address: &Address) -> Address {
        match self.flaw {
            Flaw::TrimsAddresses => Address::new(address.as_str().trim_end()).unwrap(),
            Flaw::CutsAddresses => {
                Address::new(&address.as_str().chars().take(200).collect::<String>()).unwrap()
            }
            _ => address.clone(),
        }
    }

    async fn live(&self) -> Result<BTreeSet<Owner>, StoreError> {
        Ok(self
            .leases
            .peers()
            .await?
            .into_iter()
            .map(|lease| lease.owner)
            .collect())
    }

    fn is_visible(&self, live: &BTreeSet<Owner>, owner: &Owner) -> bool {
        match self.flaw {
            Flaw::LookupIgnoresLeases => true,
            Flaw::LookupIgnoresIncarnation => live.iter().any(|other| other.identity == owner.identity),
            _ => live.contains(owner),
        }
    }

    fn may_release(&self, standing: &Session, owner: &Owner, seq: Seq) -> bool {
        (standing.seq == seq || self.has(Flaw::ReleaseIgnoresSeq))
            && (standing.owner.identity == owner.identity || self.has(Flaw::ReleaseIgnoresIdentity))
            && (standing.owner.incarnation == owner.incarnation
                || self.has(Flaw::ReleaseIgnoresIncarnation)
                || self.has(Flaw::ReleaseIgnoresIdentity))
    }

    async fn claim_one(&self, owner: &Owner, address: &Address) -> Claimed {
        let key = self.key(address);
        let mut seq = Seq(self.shared.last_seq.fetch_add(1, Ordering::SeqCst) + 1);
        let torn = self
            .has(Flaw::GetThenSet)
            .then(|| self.shared.sessions.lock().unwrap().get(&key).cloned());
        if torn.is_some() {
            tokio::task::yield_now().await;
        }
        let mut sessions = self.shared.sessions.lock().unwrap();
        let standing = torn.unwrap_or_else(|| sessions.get(&key).cloned());
        if self.has(Flaw::ReusesSeqs) {
            seq = Seq(standing.as_ref().map_or(0, |session| session.seq.0) + 1);
        } else if torn_order(&standing, seq) && !self.has(Flaw::GetThenSet) {
            // Another claim took a later seq and came first: take one later still.
            seq = Seq(self.shared.last_seq.fetch_add(1, Ordering::SeqCst) + 1);
        }
        if !(self.has(Flaw::LosesWrites) && seq.0 % 8 == 5) {
            sessions.insert(key, Session::new(owner.clone(), seq));
        }
        Claimed {
            seq,
            displaced: standing.filter(|_| !self.has(Flaw::HidesDisplaced)),
        }
    }

    async fn release_one(&self, owner: &Owner, address: &Address, seq: Seq) -> Released {
        let key = self.key(address);
        if self.has(Flaw::GetThenDelete) {
            let standing = self.shared.sessions.lock().unwrap().get(&key).cloned();
            if standing.is_none_or(|standing| !self.may_release(&standing, owner, seq)) {
                return Released::NotOwner;
            }
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            self.shared.sessions.lock().unwrap().remove(&key);
            return Released::Released;
        }
        let mut sessions = self.shared.sessions.lock().unwrap();
        if sessions
            .get(&key)
            .is_some_and(|standing| self.may_release(standing, owner, seq))
        {
            sessions.remove(&key);
            Released::Released
        } else {
            Released::NotOwner
        }
    }

    fn restore_one(&self, owner: &Owner, address: &Address, seq: Seq) -> Restored {
        let mut sessions = self.shared.sessions.lock().unwrap();
        if !self.has(Flaw::RestoreForgetsSeqs) {
            self.shared.last_seq.fetch_max(seq.0, Ordering::SeqCst);
        }
        let key = self.key(address);
        match sessions.get(&key) {
            Some(standing) if standing.seq > seq && !self.has(Flaw::RestoreOverwrites) => {
                Restored::Lost(standing.clone())
            }
            Some(standing)
                if standing.seq == seq
                    && standing.owner > *owner
                    && !self.has(Flaw::RestoreGivesBackToTheOlder)
                    && !self.has(Flaw::RestoreOverwrites) =>
            {
                Restored::Lost(standing.clone())
            }
            _ => {
                if !self.has(Flaw::RestoreWritesNothing) {
                    sessions.insert(key, Session::new(owner.clone(), seq));
                }
                Restored::Held
            }
        }
    }

    fn in_order<T>(&self, mut answers: Vec<T>) -> Vec<T> {
        if self.has(Flaw::AnswersBackwards) {
            answers.reverse();
        }
        answers
    }
}

fn torn_order(standing: &Option<Session>, seq: Seq) -> bool {
    standing.as_ref().is_some_and(|session| session.seq >= seq)
}

#[async_trait]
impl SessionStore for FlawedStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL.with_durable(!self.has(Flaw::LosesEverythingInSilence))
    }

    async fn register(
        &self,
        identity: &Identity,
        location: &Location,
        term: Duration,
    ) -> Result<Incarnation, StoreError> {
        self.ready("register")?;
        let term = if self.has(Flaw::NeverExpires) {
            term * 1000
        } else {
            term
        };
        self.leases.register(identity, location, term).await
    }

    async fn renew(&self, owners: &[Owner], location: &Location) -> Result<Renewed, StoreError> {
        self.ready("renew")?;
        if self.has(Flaw::ExpiresWhatIsRenewed) {
            return Ok(Renewed {
                renewals: vec![Renewal::Renewed; owners.len()],
                generation: 0,
            });
        }
        let mut renewed = self.leases.renew(owners, location).await?;
        if self.has(Flaw::GenerationWanders) {
            renewed.generation = self.shared.last_seq.load(Ordering::SeqCst);
        }
        self.shared.renewed.lock().unwrap().extend(owners.iter().cloned());
        for renewal in &mut renewed.renewals {
            match renewal {
                Renewal::Gone if self.has(Flaw::RenewalResurrects) => *renewal = Renewal::Renewed,
                Renewal::Superseded(_) if self.has(Flaw::FencesNothing) => *renewal = Renewal::Renewed,
                _ => {}
            }
        }
        Ok(renewed)
    }

    async fn drain(&self, owner: &Owner) -> Result<Renewal, StoreError> {
        self.ready("drain")?;
        self.shared.renewed.lock().unwrap().remove(owner);
        self.leases.drain(owner).await
    }

    async fn deregister(&self, owner: &Owner) -> Result<(), StoreError> {
        self.ready("deregister")?;
        self.leases.deregister(owner).await
    }

    async fn peers(&self) -> Result<Vec<Lease>, StoreError> {
        self.ready("peers")?;
        let mut peers = self.leases.peers().await?;
        if self.has(Flaw::RenewalEndsDraining) {
            let renewed = self.shared.renewed.lock().unwrap();
            for lease in peers.iter_mut().filter(|lease| renewed.contains(&lease.owner)) {
                lease.state = LeaseState::Live;
            }
        }
        Ok(peers)
    }

    async fn claim_many(&self, owner: &Owner, addresses: &[Address]) -> Result<Vec<Claimed>, StoreError> {
        self.ready_for("claim", addresses.len())?;
        let mut answers = Vec::new();
        for address in addresses {
            answers.push(self.claim_one(owner, address).await);
        }
        Ok(self.in_order(answers))
    }

    async fn release_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Released>, StoreError> {
        self.ready_for("release", sessions.len())?;
        let mut answers = Vec::new();
        for (address, seq) in sessions {
            answers.push(self.release_one(owner, address, *seq).await);
        }
        Ok(self.in_order(answers))
    }

    async fn restore_many(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Restored>, StoreError> {
        self.ready_for("restore", sessions.len())?;
        Ok(self.in_order(
            sessions
                .iter()
                .map(|(address, seq)| self.restore_one(owner, address, *seq))
                .collect(),
        ))
    }

    async fn lookup_many(&self, addresses: &[Address]) -> Result<Vec<Option<Session>>, StoreError> {
        self.ready_for("lookup", addresses.len())?;
        assert!(!self.has(Flaw::Panics), "a store that panics");
        let live = self.live().await?;
        let sessions = self.shared.sessions.lock().unwrap();
        let visible = |address| {
            sessions
                .get(&self.key(address))
                .filter(|session| self.is_visible(&live, &session.owner))
                .cloned()
        };
        Ok(self.in_order(addresses.iter().map(visible).collect()))
    }

    async fn reclaim(&self, budget: usize) -> Result<Reclaimed, StoreError> {
        self.ready("reclaim")?;
        if self.has(Flaw::ReclaimDoesNothing) {
            return Ok(Reclaimed::default());
        }
        let live = self.live().await?;
        let mut sessions = self.shared.sessions.lock().unwrap();
        let is_dead = |owner: &Owner| !live.contains(owner) || self.has(Flaw::ReclaimTakesTheLiving);
        let dead: Vec<_> = sessions
            .iter()
            .filter(|(_, session)| is_dead(&session.owner))
            .map(|(address, _)| address.clone())
            .collect();
        let budget = if self.has(Flaw::ReclaimIgnoresItsBudget) {
            dead.len()
        } else {
            budget
        };
        let removed = dead
            .iter()
            .take(budget)
            .filter(|address| sessions.remove(*address).is_some())
            .count();
        Ok(Reclaimed {
            removed,
            more: dead.len() > removed,
        })
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}
