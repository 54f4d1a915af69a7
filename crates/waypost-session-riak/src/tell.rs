//! Telling servers that they hold what they have lost, where nobody else does: through their leases.

use std::collections::BTreeSet;

use tokio::time::Instant;
use waypost_types::{Owner, Session};

use crate::RiakStore;
use crate::fault::Fault;
use crate::key;
use crate::liveness::Standing;

impl RiakStore {
    /// Makes the owners of these sessions check what they hold, at their next heartbeat. Nothing that was done before depends
    /// on it, so failing is no error of the caller's.
    pub(crate) async fn tell(&self, unaware: &[Session], deadline: Instant) {
        let owners: BTreeSet<&Owner> = unaware.iter().map(|session| &session.owner).collect();
        for owner in owners {
            if self.renewals.has(owner) {
                self.note_loss();
            } else if let Err(fault) = self.mark(owner, deadline).await {
                tracing::warn!(%owner, error = %fault.message, "a server that has lost a client could not be told");
            }
        }
    }

    /// Raises the lease's number of checks, which its owner sees in the answer to its next renewal.
    async fn mark(&self, owner: &Owner, deadline: Instant) -> Result<(), Fault> {
        let read = self.read_lease(&owner.identity, deadline).await?;
        let live = read
            .record
            .filter(|_| matches!(read.standing, Standing::Live | Standing::Stale))
            .filter(|record| record.incarnation == owner.incarnation.0);
        let Some(mut record) = live else {
            // Nobody is left who could believe it.
            return Ok(());
        };
        record.checks = record.checks.saturating_add(1);
        let key = key::lease(&owner.identity);
        self.objects
            .put_blind(&key, read.object.vclock, record.encode()?, deadline)
            .await
    }
}
