//! Carries the router's questions to the session store.

use std::time::Duration;

use waypost_router::{StoreFailure, StoreOp, StoreReply};
use waypost_session::{SessionStore, StoreError};

use crate::error::Chain;

/// A store ends every call in bounded time by itself; this is for one that breaks its contract. So it is longer than any call
/// of ours takes with the longest `timeout` that a URL can give, twice 60 s: a slow datastore that works is not cut off.
const DEADLINE: Duration = Duration::from_secs(150);

/// Asks the store; what failed is logged here.
pub(crate) async fn call(store: &dyn SessionStore, op: StoreOp) -> Result<StoreReply, StoreFailure> {
    match tokio::time::timeout(DEADLINE, ask(store, op)).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => {
            tracing::warn!(error = %Chain(&error), "the session store failed");
            Err(StoreFailure)
        }
        Err(_) => {
            tracing::error!("the session store did not answer within {} s", DEADLINE.as_secs());
            Err(StoreFailure)
        }
    }
}

async fn ask(store: &dyn SessionStore, op: StoreOp) -> Result<StoreReply, StoreError> {
    Ok(match op {
        StoreOp::Register {
            identity,
            location,
            term,
        } => StoreReply::Registered(store.register(&identity, &location, term).await?),
        StoreOp::Renew { owners, location } => StoreReply::Renewed(store.renew(&owners, &location).await?),
        StoreOp::Drain(owner) => StoreReply::Drained(store.drain(&owner).await?),
        StoreOp::Deregister(owner) => {
            store.deregister(&owner).await?;
            StoreReply::Deregistered
        }
        StoreOp::Peers => StoreReply::Peers(store.peers().await?),
        StoreOp::Claim(owner, addresses) => StoreReply::Claimed(store.claim_many(&owner, &addresses).await?),
        StoreOp::Release(owner, sessions) => {
            StoreReply::Released(store.release_many(&owner, &sessions).await?)
        }
        StoreOp::Restore(owner, sessions) => {
            StoreReply::Restored(store.restore_many(&owner, &sessions).await?)
        }
        StoreOp::Lookup(addresses) => StoreReply::Found(store.lookup_many(&addresses).await?),
        StoreOp::Reclaim(budget) => StoreReply::Reclaimed(store.reclaim(budget).await?),
        op => {
            tracing::error!(?op, "this node does not know the operation");
            return Err(StoreError::new(
                waypost_session::ErrorKind::Unsupported,
                "call",
                "unknown operation",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use waypost_session::MemoryStore;
    use waypost_session_testkit::decorators::{Fault, FaultStore, Verb};

    use super::*;

    /// A batch of 1024 entries at a slow datastore, a `renew` and a `peers` with a `timeout` of a minute.
    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_slow_and_within_its_own_time_is_waited_for() {
        let (store, faults) = FaultStore::new(Arc::new(MemoryStore::new()));
        for slow in [15, 73, 121] {
            faults.always(Verb::Peers, Fault::Delay(Duration::from_secs(slow)));
            let answer = call(&store, StoreOp::Peers).await;
            assert!(matches!(answer, Ok(StoreReply::Peers(_))), "{slow} s: {answer:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answers_is_given_up() {
        let (store, faults) = FaultStore::new(Arc::new(MemoryStore::new()));
        faults.always(Verb::Peers, Fault::Hang);
        assert!(call(&store, StoreOp::Peers).await.is_err());
    }
}
