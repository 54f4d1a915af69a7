//! The whole contract as plain data and functions: the readable specification of the trait.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use waypost_types::{
    Address, Identity, Incarnation, Lease, LeaseState, Location, MonoTime, Owner, Seq, Session,
};

use crate::{Claimed, ErrorKind, Reclaimed, Released, Renewal, Restored, StoreError};

/// Shortest lease term that is accepted.
const TERM_MIN: Duration = Duration::from_millis(100);

/// What an in-memory store knows. It is told what time it is and does no IO, so that a simulator can drive it directly;
/// [`MemoryStore`](crate::MemoryStore) wraps it for everybody else.
///
/// Incarnations and seqs come from one counter that never repeats, so both also grow across releases and deregistrations.
#[derive(Debug, Clone, Default)]
pub struct MemoryState {
    last_number: u64,
    leases: BTreeMap<Identity, LeaseRecord>,
    sessions: BTreeMap<Address, Session>,
    /// The addresses of `sessions` by owner, so that reclaiming visits dead owners only.
    held: BTreeMap<Owner, BTreeSet<Address>>,
}

#[derive(Debug, Clone)]
struct LeaseRecord {
    lease: Lease,
    good_until: MonoTime,
}

impl LeaseRecord {
    fn is_live(&self, now: MonoTime) -> bool {
        now <= self.good_until
    }
}

impl MemoryState {
    /// A store that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`SessionStore::register`](crate::SessionStore::register).
    ///
    /// # Errors
    /// `ConfigInvalid` for a term below 100 ms, `LimitExceeded` when the counter is used up.
    pub fn register(
        &mut self,
        now: MonoTime,
        identity: &Identity,
        location: &Location,
        term: Duration,
    ) -> Result<Incarnation, StoreError> {
        if term < TERM_MIN {
            let message = format!("a lease term is at least {} ms", TERM_MIN.as_millis());
            return Err(StoreError::new(ErrorKind::ConfigInvalid, "register", message));
        }
        let incarnation = Incarnation(self.next_number("register")?);
        let lease = Lease {
            owner: Owner::new(identity.clone(), incarnation),
            location: location.clone(),
            counter: 1,
            state: LeaseState::Live,
            term,
        };
        self.leases.insert(
            identity.clone(),
            LeaseRecord {
                lease,
                good_until: now + term,
            },
        );
        Ok(incarnation)
    }

    /// See [`SessionStore::renew`](crate::SessionStore::renew).
    pub fn renew(&mut self, now: MonoTime, owner: &Owner, location: &Location) -> Renewal {
        match self.live_lease(now, owner) {
            Err(renewal) => renewal,
            Ok(record) => {
                record.lease.counter += 1;
                record.lease.location = location.clone();
                record.good_until = now + record.lease.term;
                Renewal::Renewed
            }
        }
    }

    /// See [`SessionStore::drain`](crate::SessionStore::drain).
    pub fn drain(&mut self, now: MonoTime, owner: &Owner) -> Renewal {
        match self.live_lease(now, owner) {
            Err(renewal) => renewal,
            Ok(record) => {
                record.lease.state = LeaseState::Draining;
                Renewal::Renewed
            }
        }
    }

    /// See [`SessionStore::deregister`](crate::SessionStore::deregister).
    pub fn deregister(&mut self, owner: &Owner) {
        if self
            .leases
            .get(&owner.identity)
            .is_some_and(|record| record.lease.owner == *owner)
        {
            self.leases.remove(&owner.identity);
        }
    }

    /// See [`SessionStore::peers`](crate::SessionStore::peers).
    #[must_use]
    pub fn peers(&self, now: MonoTime) -> Vec<Lease> {
        self.leases
            .values()
            .filter(|record| record.is_live(now))
            .map(|record| record.lease.clone())
            .collect()
    }

    /// See [`SessionStore::claim`](crate::SessionStore::claim).
    ///
    /// # Errors
    /// `LimitExceeded` when the counter is used up.
    pub fn claim(&mut self, owner: &Owner, address: &Address) -> Result<Claimed, StoreError> {
        let seq = Seq(self.next_number("claim")?);
        let displaced = self.put(address, Session::new(owner.clone(), seq));
        Ok(Claimed { seq, displaced })
    }

    /// See [`SessionStore::release`](crate::SessionStore::release).
    pub fn release(&mut self, owner: &Owner, address: &Address, seq: Seq) -> Released {
        let is_this = |session: &Session| session.owner == *owner && session.seq == seq;
        if self.sessions.get(address).is_some_and(is_this) {
            self.take(address);
            Released::Released
        } else {
            Released::NotOwner
        }
    }

    /// See [`SessionStore::restore_many`](crate::SessionStore::restore_many).
    pub fn restore(&mut self, owner: &Owner, address: &Address, seq: Seq) -> Restored {
        // Seqs given before this store lost them: never give them again.
        self.last_number = self.last_number.max(seq.0);
        match self.sessions.get(address) {
            Some(standing) if standing.owner == *owner && standing.seq == seq => Restored::Held,
            Some(standing)
                if standing.owner.identity == owner.identity
                    && standing.owner.incarnation < owner.incarnation
                    && standing.seq == seq =>
            {
                self.put(address, Session::new(owner.clone(), seq));
                Restored::Held
            }
            // An equal seq of another owner was given after the loss: that claim is the newer one.
            Some(standing) if standing.seq >= seq => Restored::Lost(standing.clone()),
            _ => {
                self.put(address, Session::new(owner.clone(), seq));
                Restored::Held
            }
        }
    }

    /// See [`SessionStore::lookup`](crate::SessionStore::lookup).
    #[must_use]
    pub fn lookup(&self, now: MonoTime, address: &Address) -> Option<Session> {
        self.sessions
            .get(address)
            .filter(|session| self.is_live(now, &session.owner))
            .cloned()
    }

    /// See [`SessionStore::reclaim`](crate::SessionStore::reclaim).
    pub fn reclaim(&mut self, now: MonoTime, budget: usize) -> Reclaimed {
        self.leases.retain(|_, record| record.is_live(now));
        let is_dead = |state: &Self, owner: &Owner| !state.is_live(now, owner);
        let mut doomed: Vec<Address> = self
            .held
            .iter()
            .filter(|(owner, _)| is_dead(self, owner))
            .flat_map(|(_, addresses)| addresses)
            .take(budget.saturating_add(1))
            .cloned()
            .collect();
        let more = doomed.len() > budget;
        doomed.truncate(budget);
        for address in &doomed {
            self.take(address);
        }
        Reclaimed {
            removed: doomed.len(),
            more,
        }
    }

    /// All session records, visible or not, by address.
    pub fn sessions(&self) -> impl Iterator<Item = (&Address, &Session)> {
        self.sessions.iter()
    }

    /// How many session records there are, visible or not.
    #[must_use]
    pub fn records(&self) -> usize {
        self.sessions.len()
    }

    fn next_number(&mut self, operation: &'static str) -> Result<u64, StoreError> {
        self.last_number = self.last_number.checked_add(1).ok_or_else(|| {
            StoreError::new(
                ErrorKind::LimitExceeded,
                operation,
                "the store's 64-bit counter is used up",
            )
        })?;
        Ok(self.last_number)
    }

    fn is_live(&self, now: MonoTime, owner: &Owner) -> bool {
        self.leases
            .get(&owner.identity)
            .is_some_and(|record| record.lease.owner == *owner && record.is_live(now))
    }

    /// The owner's own live lease, or what a renewal answers instead.
    fn live_lease(&mut self, now: MonoTime, owner: &Owner) -> Result<&mut LeaseRecord, Renewal> {
        match self.leases.get_mut(&owner.identity) {
            Some(record) if record.is_live(now) => {
                let holder = record.lease.owner.incarnation;
                if holder == owner.incarnation {
                    Ok(record)
                } else if holder > owner.incarnation {
                    Err(Renewal::Superseded(holder))
                } else {
                    Err(Renewal::Gone)
                }
            }
            _ => Err(Renewal::Gone),
        }
    }

    fn put(&mut self, address: &Address, session: Session) -> Option<Session> {
        let displaced = self.take(address);
        self.held
            .entry(session.owner.clone())
            .or_default()
            .insert(address.clone());
        self.sessions.insert(address.clone(), session);
        displaced
    }

    fn take(&mut self, address: &Address) -> Option<Session> {
        let session = self.sessions.remove(address)?;
        if let Some(addresses) = self.held.get_mut(&session.owner) {
            addresses.remove(address);
            if addresses.is_empty() {
                self.held.remove(&session.owner);
            }
        }
        Some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(10);

    fn at(secs: u64) -> MonoTime {
        MonoTime::from_micros(secs * 1_000_000)
    }

    fn names() -> (Identity, Location, Address) {
        (
            Identity::new("s").unwrap(),
            Location::new("tcp://s:1").unwrap(),
            Address::new("a").unwrap(),
        )
    }

    #[test]
    fn a_lease_is_good_for_its_term_and_a_lapsed_one_does_not_come_back() {
        let (identity, location, address) = names();
        let mut state = MemoryState::new();
        let incarnation = state.register(at(0), &identity, &location, TERM).unwrap();
        let owner = Owner::new(identity, incarnation);
        state.claim(&owner, &address).unwrap();
        assert_eq!(state.renew(at(10), &owner, &location), Renewal::Renewed);
        assert!(state.lookup(at(20), &address).is_some());
        assert_eq!(state.lookup(at(21), &address), None);
        assert_eq!(state.peers(at(21)), []);
        assert_eq!(state.renew(at(21), &owner, &location), Renewal::Gone);
        assert_eq!(state.lookup(at(21), &address), None);
    }

    #[test]
    fn reclaiming_leaves_nothing_of_the_dead_behind() {
        let (identity, location, _) = names();
        let mut state = MemoryState::new();
        let incarnation = state.register(at(0), &identity, &location, TERM).unwrap();
        let owner = Owner::new(identity, incarnation);
        for index in 0..5 {
            state
                .claim(&owner, &Address::new(&format!("a{index}")).unwrap())
                .unwrap();
        }
        assert_eq!(
            state.reclaim(at(5), 9),
            Reclaimed {
                removed: 0,
                more: false
            }
        );
        assert_eq!(
            state.reclaim(at(11), 3),
            Reclaimed {
                removed: 3,
                more: true
            }
        );
        assert_eq!(
            state.reclaim(at(11), 2),
            Reclaimed {
                removed: 2,
                more: false
            }
        );
        assert!(state.sessions.is_empty() && state.held.is_empty() && state.leases.is_empty());
    }

    #[test]
    fn a_used_up_counter_is_an_error_and_never_wraps() {
        let (identity, location, address) = names();
        let mut state = MemoryState::new();
        let owner = Owner::new(identity.clone(), Incarnation(1));
        state.restore(&owner, &address, Seq(u64::MAX));
        assert_eq!(
            state.claim(&owner, &address).unwrap_err().kind(),
            ErrorKind::LimitExceeded
        );
        let error = state.register(at(0), &identity, &location, TERM).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }

    #[test]
    fn a_term_that_is_too_short_is_refused() {
        let (identity, location, _) = names();
        let error = MemoryState::new()
            .register(at(0), &identity, &location, Duration::from_millis(99))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
    }
}
