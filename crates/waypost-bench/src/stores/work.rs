//! The work: callers that claim addresses of their own, look them up and release them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use waypost::{Address, Identity, Location, Owner, Seq, SessionStore};
use waypost_session::{BATCH_MAX, Released};

use super::place::Place;

/// Callers and entries of a call: first what shows the latency, then what shows the throughput.
const LOADS: [Load; 4] = [
    Load { callers: 1, batch: 1 },
    Load {
        callers: 64,
        batch: 1,
    },
    Load {
        callers: 1,
        batch: BATCH_MAX,
    },
    Load {
        callers: 4,
        batch: BATCH_MAX,
    },
];
/// Sessions of one load that are held at the most: a fast store would otherwise fill the memory.
const HELD_MAX: usize = 2_000_000;
/// Longer than any run.
const TERM: Duration = Duration::from_secs(3600);

/// How a store is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Load {
    pub(super) callers: usize,
    pub(super) batch: usize,
}

impl Load {
    pub(super) const SINGLE: [Self; 2] = [LOADS[0], LOADS[1]];
    pub(super) const BATCHED: [Self; 2] = [LOADS[2], LOADS[3]];
}

/// One verb under one load.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Measured {
    pub(super) verb: &'static str,
    pub(super) load: Load,
    /// Of one call.
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) entries_per_second: f64,
}

/// What a caller has claimed by one call.
type Batch = (Vec<Address>, Vec<Seq>);

/// How long the calls of one verb took.
type Calls = Vec<Duration>;

pub(super) async fn measure(place: &Place, window: Duration, into: &mut Vec<Measured>) -> Result<()> {
    let identity = Identity::new("measuring")?;
    let location = Location::new("tcp://127.0.0.1:1")?;
    let incarnation = place.store.register(&identity, &location, TERM).await?;
    let owner = Owner::new(identity, incarnation);
    for (number, load) in LOADS.into_iter().enumerate() {
        let callers = (0..load.callers).map(|caller| Caller {
            store: Arc::clone(&place.store),
            owner: owner.clone(),
            name: format!("{number}/{caller}"),
            batch: load.batch,
        });
        let callers: Vec<Arc<Caller>> = callers.map(Arc::new).collect();
        let calls_max = HELD_MAX / load.batch / load.callers;
        let (claims, held) = all(&callers, |at| {
            let caller = Arc::clone(&callers[at]);
            async move { caller.claim(window, calls_max).await }
        })
        .await
        .context("claim")?;
        into.push(claims.measured("claim", load));
        let held: Vec<Arc<Vec<Batch>>> = held.into_iter().map(Arc::new).collect();
        let (lookups, _) = all(&callers, |at| {
            let (caller, held) = (Arc::clone(&callers[at]), Arc::clone(&held[at]));
            async move { caller.lookup(&held).await }
        })
        .await
        .context("look-up")?;
        into.push(lookups.measured("look-up", load));
        let (releases, _) = all(&callers, |at| {
            let (caller, held) = (Arc::clone(&callers[at]), Arc::clone(&held[at]));
            async move { caller.release(&held).await }
        })
        .await
        .context("release")?;
        into.push(releases.measured("release", load));
    }
    place.store.deregister(&owner).await?;
    place.store.close().await;
    Ok(())
}

/// The calls of all callers, and how long they took together.
struct Took {
    calls: Calls,
    elapsed: Duration,
}

impl Took {
    fn measured(mut self, verb: &'static str, load: Load) -> Measured {
        self.calls.sort_unstable();
        let at = |per_mille: usize| {
            let call = self.calls.get(self.calls.len() * per_mille / 1000);
            call.copied().unwrap_or_default().as_secs_f64() * 1e6
        };
        Measured {
            verb,
            load,
            p50_us: at(500),
            p99_us: at(990),
            entries_per_second: (self.calls.len() * load.batch) as f64 / self.elapsed.as_secs_f64(),
        }
    }
}

/// Runs a verb in all callers at once.
async fn all<T, F>(callers: &[Arc<Caller>], verb: impl Fn(usize) -> F) -> Result<(Took, Vec<T>)>
where
    T: Send + 'static,
    F: Future<Output = Result<(Calls, T)>> + Send + 'static,
{
    let began = Instant::now();
    let tasks: Vec<_> = (0..callers.len()).map(|at| tokio::spawn(verb(at))).collect();
    let (mut calls, mut rest) = (Vec::new(), Vec::new());
    for task in tasks {
        let (took, value) = task.await??;
        calls.extend(took);
        rest.push(value);
    }
    let elapsed = began.elapsed();
    Ok((Took { calls, elapsed }, rest))
}

struct Caller {
    store: Arc<dyn SessionStore>,
    owner: Owner,
    name: String,
    batch: usize,
}

impl Caller {
    async fn claim(&self, window: Duration, calls_max: usize) -> Result<(Calls, Vec<Batch>)> {
        let (mut calls, mut held) = (Vec::new(), Vec::new());
        let began = Instant::now();
        while began.elapsed() < window && held.len() < calls_max.max(1) {
            let addresses = (0..self.batch)
                .map(|at| Address::new(&format!("{}/{:06}/{at:04}", self.name, held.len())))
                .collect::<Result<Vec<_>, _>>()?;
            let asked = Instant::now();
            let claimed = self.store.claim_many(&self.owner, &addresses).await?;
            calls.push(asked.elapsed());
            held.push((addresses, claimed.iter().map(|claimed| claimed.seq).collect()));
        }
        Ok((calls, held))
    }

    async fn lookup(&self, held: &[Batch]) -> Result<(Calls, ())> {
        let mut calls = Vec::new();
        for (addresses, _) in held {
            let asked = Instant::now();
            let found = self.store.lookup_many(addresses).await?;
            calls.push(asked.elapsed());
            if found.iter().any(Option::is_none) {
                bail!("a session that was claimed is not found");
            }
        }
        Ok((calls, ()))
    }

    async fn release(&self, held: &[Batch]) -> Result<(Calls, ())> {
        let mut calls = Vec::new();
        for (addresses, seqs) in held {
            let sessions: Vec<_> = addresses.iter().cloned().zip(seqs.iter().copied()).collect();
            let asked = Instant::now();
            let released = self.store.release_many(&self.owner, &sessions).await?;
            calls.push(asked.elapsed());
            if released.iter().any(|answer| *answer != Released::Released) {
                bail!("a session that was claimed is not released");
            }
        }
        Ok((calls, ()))
    }
}
