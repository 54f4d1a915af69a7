//! Changes of one document by one handle queue up, so that they do not undo each other's work: where compare-and-swap alone
//! decides, who has lost often waits longest and loses again.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Gate, OwnedMutexGuard};
use tokio::time::timeout;

/// A change does not wait longer for others: they may be stuck, and compare-and-swap keeps things right without.
const WAIT: Duration = Duration::from_millis(250);

/// A queue for each document that is being changed.
#[derive(Default)]
pub(crate) struct Gates(Mutex<HashMap<String, Arc<Gate<()>>>>);

/// The right to change a document until it is dropped, or a try without it.
pub(crate) struct Pass<'a> {
    gates: &'a Gates,
    key: &'a str,
    guard: Option<OwnedMutexGuard<()>>,
    /// Whether others were there first: what was read before is out of date.
    pub(crate) waited: bool,
}

impl Gates {
    /// Waits for those who change the document already, within bounds.
    pub(crate) async fn pass<'a>(&'a self, key: &'a str) -> Pass<'a> {
        let gate = Arc::clone(self.all().entry(key.to_owned()).or_default());
        // Made first, so that the gate goes with it even when this is dropped while it waits.
        let mut pass = Pass {
            gates: self,
            key,
            guard: None,
            waited: false,
        };
        match Arc::clone(&gate).try_lock_owned() {
            Ok(guard) => pass.guard = Some(guard),
            Err(_) => {
                pass.waited = true;
                pass.guard = timeout(WAIT, gate.lock_owned()).await.ok();
            }
        }
        pass
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Gate<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut all = self.gates.all();
        // The last one closes it: others would hold it too.
        if all.get(self.key).is_some_and(|gate| Arc::strong_count(gate) == 1) {
            all.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn changes_of_one_document_queue_up_but_not_for_ever() {
        let gates = Gates::default();
        let first = gates.pass("a").await;
        assert!(!first.waited);
        // The first is stuck.
        assert!(gates.pass("a").await.waited);
        let second = async {
            let pass = gates.pass("a").await;
            assert!(pass.waited && pass.guard.is_some());
        };
        tokio::join!(second, async { drop(first) });
        assert!(!gates.pass("a").await.waited);
        assert!(gates.all().is_empty(), "nothing is left");
    }
}
