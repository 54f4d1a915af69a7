//! The verbs on sessions: claim, release, restore, look-up.

use std::collections::HashMap;

use redis::Value;
use tokio::time::Instant;
use waypost_session::{Claimed, ErrorKind, Released, Restored, StoreError};
use waypost_types::{Address, Owner, Seq, Session};

use crate::RedisStore;
use crate::exec::Call;
use crate::fault::{Fault, Verb};
use crate::keys::{self, LEASES, PARTITIONS};
use crate::reply;
use crate::scripts::{CLAIM, LOOKUP, RELEASE, RESTORE, Script};

/// The greatest seq that servers can count exactly.
const SEQ_MAX: u64 = 1 << 53;

/// How often a look-up in a Cluster asks again whether an owner died or its session moved.
const LOOKUP_ROUNDS: usize = 8;

/// What one call of a script is about.
#[derive(Debug, Default)]
struct Part {
    /// Partitions, and how many entries each has.
    partitions: Vec<(usize, usize)>,
    /// Where the entries stand in the batch, partition by partition.
    positions: Vec<usize>,
}

/// Sorts a batch by partition: a part for each partition in a Cluster, which lets no script touch two of them, and
/// otherwise one part, because a call costs as much as about ten of its addresses.
fn parts<'a>(addresses: impl Iterator<Item = &'a Address>, is_cluster: bool) -> Vec<Part> {
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); PARTITIONS];
    for (position, address) in addresses.enumerate() {
        groups[keys::partition(address)].push(position);
    }
    let mut parts: Vec<Part> = Vec::new();
    for (partition, positions) in groups.into_iter().enumerate() {
        if positions.is_empty() {
            continue;
        }
        if is_cluster || parts.is_empty() {
            parts.push(Part::default());
        }
        if let Some(part) = parts.last_mut() {
            part.partitions.push((partition, positions.len()));
            part.positions.extend(positions);
        }
    }
    parts
}

impl RedisStore {
    fn parts<'a>(&self, addresses: impl Iterator<Item = &'a Address>) -> Vec<Part> {
        parts(addresses, self.topology.is_cluster())
    }

    /// A call of a script with what all of them begin with.
    fn call(&self, part: &Part, script: &'static Script, first: &str) -> Call {
        let place = part.partitions.first().map_or(0, |(partition, _)| *partition);
        let keys: Vec<String> = part.partitions.iter().map(|(p, _)| self.keys.base(*p)).collect();
        Call::script(place, script, &keys)
            .arg(first)
            .args(part.partitions.iter().map(|(_, count)| *count))
    }

    pub(crate) async fn claim_batch(
        &self,
        owner: &Owner,
        addresses: &[Address],
    ) -> Result<Vec<Claimed>, StoreError> {
        let verb = Verb::write("claim");
        let owner = keys::owner_text(owner);
        let parts = self.parts(addresses.iter());
        let calls = parts
            .iter()
            .map(|part| {
                self.call(part, &CLAIM, &owner)
                    .args(part.positions.iter().map(|at| addresses[*at].as_str()))
            })
            .collect();
        let answers = self.topology.run(verb, calls).await?;
        let read = || {
            let mut claimed = vec![
                Claimed {
                    seq: Seq(0),
                    displaced: None
                };
                addresses.len()
            ];
            for (part, answer) in parts.iter().zip(answers) {
                let answer = reply::array(answer)?;
                let seq = Seq(reply::number(answer.first().ok_or_else(reply::strange)?)?);
                for at in &part.positions {
                    claimed[*at].seq = seq;
                }
                if let Some(Value::Array(records)) = answer.get(1) {
                    for (at, record) in part.positions.iter().zip(records) {
                        claimed[*at].displaced = reply::session(record);
                    }
                }
            }
            Ok(claimed)
        };
        read().map_err(|fault: Fault| fault.into_error(verb, true))
    }

    pub(crate) async fn release_batch(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Released>, StoreError> {
        let verb = Verb::write("release");
        let owner = keys::owner_text(owner);
        let parts = self.parts(sessions.iter().map(|(address, _)| address));
        let calls = parts
            .iter()
            .map(|part| {
                self.call(part, &RELEASE, &owner)
                    .args(part.positions.iter().map(|at| sessions[*at].0.as_str()))
                    .args(part.positions.iter().map(|at| sessions[*at].1.0))
            })
            .collect();
        let answers = self.topology.run(verb, calls).await?;
        let read = || {
            let mut released = vec![Released::NotOwner; sessions.len()];
            for (part, answer) in parts.iter().zip(&answers) {
                let answer = reply::text(answer).filter(|text| text.len() == part.positions.len());
                for (at, digit) in part
                    .positions
                    .iter()
                    .zip(answer.ok_or_else(reply::strange)?.bytes())
                {
                    if digit == b'1' {
                        released[*at] = Released::Released;
                    }
                }
            }
            Ok(released)
        };
        read().map_err(|fault: Fault| fault.into_error(verb, true))
    }

    pub(crate) async fn restore_batch(
        &self,
        owner: &Owner,
        sessions: &[(Address, Seq)],
    ) -> Result<Vec<Restored>, StoreError> {
        let verb = Verb::write("restore");
        if sessions.iter().any(|(_, seq)| seq.0 >= SEQ_MAX) {
            let message = "a seq of 2^53 or more, which this store never gave";
            return Err(Fault::new(ErrorKind::LimitExceeded, message).into_error(verb, false));
        }
        let owner = keys::owner_text(owner);
        let parts = self.parts(sessions.iter().map(|(address, _)| address));
        let calls = parts
            .iter()
            .map(|part| {
                self.call(part, &RESTORE, &owner)
                    .args(part.positions.iter().map(|at| sessions[*at].0.as_str()))
                    .args(part.positions.iter().map(|at| sessions[*at].1.0))
            })
            .collect();
        let answers = self.topology.run(verb, calls).await?;
        let read = || {
            let mut restored = vec![Restored::Held; sessions.len()];
            for (part, answer) in parts.iter().zip(answers) {
                for lost in reply::array(answer)?.chunks_exact(2) {
                    let place = usize::try_from(reply::number(&lost[0])?).ok();
                    let at = place.and_then(|place| part.positions.get(place.wrapping_sub(1)));
                    let standing = reply::session(&lost[1]).ok_or_else(reply::strange)?;
                    restored[*at.ok_or_else(reply::strange)?] = Restored::Lost(standing);
                }
            }
            Ok(restored)
        };
        read().map_err(|fault: Fault| fault.into_error(verb, true))
    }

    pub(crate) async fn lookup_batch(
        &self,
        addresses: &[Address],
    ) -> Result<Vec<Option<Session>>, StoreError> {
        let verb = Verb::read("lookup");
        let deadline = Instant::now() + self.topology.timeout();
        let found = if self.topology.is_cluster() {
            self.lookup_in_cluster(addresses, deadline).await
        } else {
            // One server holds the leases too, so its script has already hidden the sessions of dead owners.
            self.records(addresses, &self.keys.lease_prefix(), deadline).await
        };
        found.map_err(|fault| fault.into_error(verb, false))
    }

    /// The records of addresses; those of dead owners too when the leases' prefix is empty.
    async fn records(
        &self,
        addresses: &[Address],
        leases: &str,
        deadline: Instant,
    ) -> Result<Vec<Option<Session>>, Fault> {
        let parts = self.parts(addresses.iter());
        let calls = parts
            .iter()
            .map(|part| {
                self.call(part, &LOOKUP, leases)
                    .args(part.positions.iter().map(|at| addresses[*at].as_str()))
            })
            .collect();
        let mut found = vec![None; addresses.len()];
        let answers = self.topology.run_each(calls, deadline).await;
        for (part, answer) in parts.iter().zip(answers) {
            let records = reply::array(answer?)?;
            if records.len() != part.positions.len() {
                return Err(reply::strange());
            }
            for (at, record) in part.positions.iter().zip(&records) {
                found[*at] = reply::session(record);
            }
        }
        Ok(found)
    }

    /// Leases and records live on different servers, so they are read one after the other.
    ///
    /// A lease that is live after the record was read was live then: it answers. One that is over proves nothing yet,
    /// because the session may have moved between the two reads: only when the record is still the same is there no
    /// session.
    async fn lookup_in_cluster(
        &self,
        addresses: &[Address],
        deadline: Instant,
    ) -> Result<Vec<Option<Session>>, Fault> {
        let mut found = self.records(addresses, "", deadline).await?;
        let mut open: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_some()).collect();
        let mut live: HashMap<Owner, bool> = HashMap::new();
        for _ in 0..LOOKUP_ROUNDS {
            if open.is_empty() {
                return Ok(found);
            }
            let mut owners: Vec<Owner> = Vec::new();
            for session in open.iter().filter_map(|at| found[*at].as_ref()) {
                if !live.contains_key(&session.owner) && !owners.contains(&session.owner) {
                    owners.push(session.owner.clone());
                }
            }
            let answers = self.are_live(&owners, deadline).await?;
            live.extend(owners.into_iter().zip(answers));
            open.retain(|at| {
                found[*at]
                    .as_ref()
                    .is_some_and(|session| live.get(&session.owner) != Some(&true))
            });
            let again: Vec<Address> = open.iter().map(|at| addresses[*at].clone()).collect();
            if again.is_empty() {
                return Ok(found);
            }
            let records = self.records(&again, "", deadline).await?;
            let mut moved = Vec::new();
            for (at, record) in open.into_iter().zip(records) {
                if record.is_none() || record == found[at] {
                    found[at] = None;
                } else {
                    found[at] = record;
                    moved.push(at);
                }
            }
            // Whoever was live a round ago is asked about again: the record is newer than that answer.
            live.retain(|_, is_live| !*is_live);
            open = moved;
        }
        Err(Fault::new(
            ErrorKind::Conflict,
            "the session moved again and again while it was looked up",
        ))
    }

    /// Whether each owner's lease is live.
    pub(crate) async fn are_live(&self, owners: &[Owner], deadline: Instant) -> Result<Vec<bool>, Fault> {
        if owners.is_empty() {
            return Ok(Vec::new());
        }
        let call =
            Call::command(LEASES, "MGET").args(owners.iter().map(|owner| self.keys.lease(&owner.identity)));
        let answer = self
            .topology
            .run_each(vec![call], deadline)
            .await
            .pop()
            .ok_or_else(reply::strange)??;
        let leases = reply::array(answer)?;
        if leases.len() != owners.len() {
            return Err(reply::strange());
        }
        let is_live = |(owner, lease): (&Owner, &Value)| {
            let incarnation = reply::text(lease).and_then(|lease| lease.split(' ').next()?.parse().ok());
            incarnation == Some(owner.incarnation.0)
        };
        Ok(owners.iter().zip(&leases).map(is_live).collect())
    }
}
