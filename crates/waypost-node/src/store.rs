//! Carries the router's questions to the session store.

use std::time::Duration;

use waypost_router::{StoreFailure, StoreOp, StoreReply};
use waypost_session::{SessionStore, StoreError};

/// A store ends every call in bounded time by itself; this is for one that breaks its contract.
const DEADLINE: Duration = Duration::from_secs(10);

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

/// An error with all that caused it, on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
