//! The verbs on leases: register, renew, drain, deregister, peers.

use core::time::Duration;

use redis::Value;
use waypost_session::{ErrorKind, Renewal, Renewed, StoreError};
use waypost_types::{Identity, Incarnation, Lease, LeaseState, Location, Owner};

use crate::RedisStore;
use crate::exec::Call;
use crate::fault::{Fault, Verb};
use crate::keys::LEASES;
use crate::reply;
use crate::scripts::{DEREGISTER, DRAIN, PEERS, REGISTER, RENEW};

const TERM_MIN: Duration = Duration::from_millis(100);
/// What an expiry can count in milliseconds without overflow; a hundred years and more.
const TERM_MAX: Duration = Duration::from_secs(1 << 32);

impl RedisStore {
    pub(crate) async fn register_one(
        &self,
        identity: &Identity,
        location: &Location,
        term: Duration,
    ) -> Result<Incarnation, StoreError> {
        let verb = Verb::write("register");
        if !(TERM_MIN..=TERM_MAX).contains(&term) {
            let message = format!(
                "a lease term is {} ms to {} s",
                TERM_MIN.as_millis(),
                TERM_MAX.as_secs()
            );
            return Err(Fault::new(ErrorKind::ConfigInvalid, message).into_error(verb, false));
        }
        let keys = [
            self.keys.counter(LEASES),
            self.keys.members(),
            self.keys.lease(identity),
        ];
        let call = Call::script(LEASES, &REGISTER, &keys)
            .arg(identity.as_str())
            .arg(location.as_str())
            .arg(term.as_millis().to_string());
        let answer = self.topology.run_one(verb, call).await?;
        reply::number(&answer)
            .map(Incarnation)
            .map_err(|fault| fault.into_error(verb, true))
    }

    pub(crate) async fn renew_batch(
        &self,
        owners: &[Owner],
        location: &Location,
    ) -> Result<Renewed, StoreError> {
        let verb = Verb::write("renew");
        if owners.is_empty() {
            // Nothing is asked; whoever holds nothing has lost nothing.
            return Ok(Renewed {
                renewals: Vec::new(),
                generation: self.evidence.generation(),
            });
        }
        let keys: Vec<_> = owners
            .iter()
            .map(|owner| self.keys.lease(&owner.identity))
            .collect();
        let call = Call::script(LEASES, &RENEW, &keys)
            .arg(location.as_str())
            .args(owners.iter().map(|owner| owner.incarnation.0));
        let (answer, generation) = self.run_with_evidence(verb, call).await?;
        let read = || {
            let answers = reply::array(answer)?;
            if answers.len() != owners.len() {
                return Err(reply::strange());
            }
            answers.iter().map(renewal).collect::<Result<_, _>>()
        };
        let renewals = read().map_err(|fault: Fault| fault.into_error(verb, true))?;
        Ok(Renewed { renewals, generation })
    }

    pub(crate) async fn drain_one(&self, owner: &Owner) -> Result<Renewal, StoreError> {
        let verb = Verb::write("drain");
        let call = Call::script(LEASES, &DRAIN, &[self.keys.lease(&owner.identity)]).arg(owner.incarnation.0);
        let answer = self.topology.run_one(verb, call).await?;
        renewal(&answer).map_err(|fault| fault.into_error(verb, true))
    }

    pub(crate) async fn deregister_one(&self, owner: &Owner) -> Result<(), StoreError> {
        let keys = [self.keys.lease(&owner.identity), self.keys.members()];
        let call = Call::script(LEASES, &DEREGISTER, &keys)
            .arg(owner.incarnation.0)
            .arg(owner.identity.as_str());
        self.topology.run_one(Verb::write("deregister"), call).await?;
        Ok(())
    }

    pub(crate) async fn live_leases(&self) -> Result<Vec<Lease>, StoreError> {
        let verb = Verb::read("peers");
        let call = Call::script(LEASES, &PEERS, &[self.keys.members()]).arg(self.keys.lease_prefix());
        let answer = self.topology.run_one(verb, call).await?;
        let read = || {
            let flat = reply::array(answer)?;
            let leases = flat
                .chunks_exact(2)
                .filter_map(|pair| reply::readable("a lease", lease(&pair[0], &pair[1])));
            Ok(leases.collect())
        };
        read().map_err(|fault: Fault| fault.into_error(verb, false))
    }
}

/// `1` renewed, empty gone, else the newer incarnation.
fn renewal(value: &Value) -> Result<Renewal, Fault> {
    match reply::text(value) {
        Some("1") => Ok(Renewal::Renewed),
        Some("") => Ok(Renewal::Gone),
        _ => reply::number(value).map(|newer| Renewal::Superseded(Incarnation(newer))),
    }
}

/// A lease's record, `INCARNATION COUNTER STATE TERM LOCATION`.
fn lease(identity: &Value, record: &Value) -> Option<Lease> {
    let identity = Identity::new(reply::text(identity)?).ok()?;
    let mut parts = reply::text(record)?.splitn(5, ' ');
    let incarnation = Incarnation(parts.next()?.parse().ok()?);
    let counter = parts.next()?.parse().ok()?;
    let state = match parts.next()? {
        "l" => LeaseState::Live,
        "d" => LeaseState::Draining,
        _ => return None,
    };
    let term = Duration::from_millis(parts.next()?.parse().ok()?);
    let location = Location::new(parts.next()?).ok()?;
    Some(Lease {
        owner: Owner::new(identity, incarnation),
        location,
        counter,
        state,
        term,
    })
}
