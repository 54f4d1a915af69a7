//! Noticing that servers may have lost acknowledged writes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures_util::future::join_all;
use redis::Value;
use tokio::time::Instant;
use waypost_session::StoreError;

use crate::RedisStore;
use crate::exec::Call;
use crate::fault::{Fault, Verb};
use crate::keys::{FNV_START, LEASES, fnv};
use crate::reply;
use crate::scripts::EVIDENCE;

/// What each master last said: its run id, and since when it has not been emptied.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// By the place that stands for the master.
    seen: Mutex<BTreeMap<usize, String>>,
}

impl Evidence {
    /// A number that changes when any master's evidence does. The same for every handle.
    pub(crate) fn generation(&self) -> u64 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().fold(FNV_START, |hash, (place, said)| {
            fnv(fnv(hash, &place.to_le_bytes()), said.as_bytes())
        })
    }

    /// Takes what some masters said. The others, by their places, keep what they said last; the rest is forgotten.
    fn update(&self, witnesses: &[usize], said: Vec<(usize, String)>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|place, _| witnesses.contains(place));
        seen.extend(said);
    }
}

impl RedisStore {
    /// Runs a call on the leases and asks all masters for evidence at the same time: one round trip.
    pub(crate) async fn run_with_evidence(&self, verb: Verb, call: Call) -> Result<(Value, u64), StoreError> {
        let timeout = self.topology.timeout();
        let deadline = Instant::now() + timeout;
        let witnesses = self
            .witnesses(deadline)
            .await
            .map_err(|fault| fault.into_error(verb, false))?;
        let ask = |place: usize| Call::script(place, &EVIDENCE, &[self.keys.marker(place)]);
        // The leases' master answers in the same pipeline; the others must not delay or fail the renewal.
        let others = witnesses.iter().copied().filter(|place| *place != LEASES);
        let others = others.map(|place| async move {
            let soon = Instant::now() + timeout / 4;
            let said = self.topology.run_each(vec![ask(place)], soon).await.pop()?.ok()?;
            Some((place, evidence(said)?))
        });
        let (mut answers, others) = tokio::join!(
            self.topology.run_each(vec![call, ask(LEASES)], deadline),
            join_all(others)
        );
        let own = answers.pop();
        let answer = answers.pop().ok_or_else(reply::strange).and_then(|answer| answer);
        let answer = answer.map_err(|fault: Fault| fault.into_error(verb, false))?;
        let own = own
            .and_then(Result::ok)
            .and_then(evidence)
            .map(|said| (LEASES, said));
        self.evidence
            .update(&witnesses, others.into_iter().flatten().chain(own).collect());
        Ok((answer, self.evidence.generation()))
    }

    /// One place for each master: that of the leases, and the first partition of each of the others.
    async fn witnesses(&self, deadline: Instant) -> Result<Vec<usize>, Fault> {
        let view = self.topology.view(deadline).await?;
        let of_leases = view.holders[LEASES];
        let others = (0..view.nodes.len())
            .filter(|node| Some(*node) != of_leases)
            .filter_map(|node| view.holders.iter().position(|holder| *holder == Some(node)));
        Ok(core::iter::once(LEASES).chain(others).collect())
    }
}

/// Run id and marker as one text.
fn evidence(value: Value) -> Option<String> {
    let parts = reply::array(value).ok()?;
    let [run_id, marker] = parts.as_slice() else {
        return None;
    };
    Some([reply::text(run_id)?, " ", reply::text(marker)?].concat())
}
