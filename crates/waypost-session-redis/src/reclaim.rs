//! Removing the records of owners whose leases are over.
//!
//! Each partition keeps a set of the owners that have an index there, so nothing has to be searched for: an owner in
//! such a set without a live lease is dead, for good, because a lease that is over never comes back.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use waypost_session::{Reclaimed, StoreError};
use waypost_types::Owner;

use crate::RedisStore;
use crate::exec::Call;
use crate::fault::{Fault, Verb};
use crate::keys::{PARTITIONS, owner_text};
use crate::reply;
use crate::scripts::RECLAIM;

/// Most records that one script call removes: a few hundred microseconds of the server.
const STEP_MAX: usize = 500;
/// Most that one `reclaim` removes, whatever its budget.
const BUDGET_MAX: usize = 10_000;

/// Dead owners found and not yet cleared away, by partition.
#[derive(Debug, Default)]
pub(crate) struct Graveyard {
    todo: Mutex<VecDeque<(usize, Owner)>>,
}

impl Graveyard {
    fn todo(&self) -> std::sync::MutexGuard<'_, VecDeque<(usize, Owner)>> {
        self.todo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, most: usize) -> Vec<(usize, Owner)> {
        let mut todo = self.todo();
        let most = most.min(todo.len());
        todo.drain(..most).collect()
    }
}

impl RedisStore {
    pub(crate) async fn reclaim_some(&self, budget: usize) -> Result<Reclaimed, StoreError> {
        let verb = Verb::write("reclaim");
        let deadline = Instant::now() + self.topology.timeout();
        let mut removed = 0;
        let budget = budget.min(BUDGET_MAX);
        let rest = !self.graveyard.todo().is_empty();
        if !rest {
            let found = self
                .find_dead(deadline)
                .await
                .map_err(|fault| fault.into_error(verb, false))?;
            *self.graveyard.todo() = found.into();
        }
        while removed < budget {
            let batch = self.graveyard.take((budget - removed).min(PARTITIONS));
            if batch.is_empty() {
                break;
            }
            let step = ((budget - removed) / batch.len()).clamp(1, STEP_MAX);
            removed += self
                .clear(batch, step, deadline)
                .await
                .map_err(|fault| fault.into_error(verb, removed > 0))?;
        }
        // Who worked off an earlier search has not looked for those who have died since.
        Ok(Reclaimed {
            removed,
            more: rest || !self.graveyard.todo().is_empty(),
        })
    }

    /// All pairs of a partition and a dead owner that has records there.
    async fn find_dead(&self, deadline: Instant) -> Result<Vec<(usize, Owner)>, Fault> {
        let calls = (0..PARTITIONS)
            .map(|p| Call::command(p, "SMEMBERS").arg(self.keys.owners(p)))
            .collect();
        let mut owners: HashMap<Owner, Vec<usize>> = HashMap::new();
        for (partition, answer) in self
            .topology
            .run_each(calls, deadline)
            .await
            .into_iter()
            .enumerate()
        {
            for owner in reply::array(answer?)? {
                let owner = reply::text(&owner).and_then(reply::owner);
                if let Some(owner) = reply::readable("an owner", owner) {
                    owners.entry(owner).or_default().push(partition);
                }
            }
        }
        // Leases after owners: whoever has claimed had registered before.
        let owners: Vec<(Owner, Vec<usize>)> = owners.into_iter().collect();
        let mut dead = Vec::new();
        for some in owners.chunks(1000) {
            let names: Vec<Owner> = some.iter().map(|(owner, _)| owner.clone()).collect();
            let live = self.are_live(&names, deadline).await?;
            for ((owner, partitions), _) in some.iter().zip(live).filter(|(_, live)| !live) {
                dead.extend(partitions.iter().map(|partition| (*partition, owner.clone())));
            }
        }
        Ok(dead)
    }

    /// Removes at most `step` records of each; those that are not finished wait again.
    async fn clear(
        &self,
        batch: Vec<(usize, Owner)>,
        step: usize,
        deadline: Instant,
    ) -> Result<usize, Fault> {
        let calls = batch
            .iter()
            .map(|(p, owner)| {
                let owner = owner_text(owner);
                let keys = [
                    self.keys.sessions(*p),
                    self.keys.index(*p, &owner),
                    self.keys.owners(*p),
                ];
                Call::script(*p, &RECLAIM, &keys).arg(owner).arg(step)
            })
            .collect();
        let answers = self.topology.run_each(calls, deadline).await;
        let mut removed = 0;
        let mut failed = None;
        for (entry, answer) in batch.into_iter().zip(answers) {
            let read = || {
                let answer = reply::array(answer?)?;
                let [gone, left] = answer.as_slice() else {
                    return Err(reply::strange());
                };
                Ok((reply::number(gone)?, reply::number(left)?))
            };
            match read() {
                Ok((gone, left)) => {
                    removed += usize::try_from(gone).unwrap_or(usize::MAX);
                    if left > 0 {
                        self.graveyard.todo().push_back(entry);
                    }
                }
                Err(fault) => {
                    self.graveyard.todo().push_back(entry);
                    failed = Some(if removed > 0 { fault.sent() } else { fault });
                }
            }
        }
        failed.map_or(Ok(removed), Err)
    }
}
