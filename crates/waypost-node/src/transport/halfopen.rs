//! Who may be here: a bound on connections that have not finished their handshake, and one on all of them.
//!
//! Connections that say nothing must not keep others out. So when there are too many that have not finished, the oldest
//! goes: an honest one needs a round trip or two, and is long through before its turn comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Connections that may be in their handshake at once, when nothing else is said.
pub const DEFAULT_HALF_OPEN_MAX: usize = 512;
/// Connections that are accepted in all, when nothing else is said.
pub const DEFAULT_LINKS_MAX: usize = 16_384;

/// Counts the connections that were accepted. A clone counts with the original: several listeners share one.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    half_open_max: usize,
    links_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By age, oldest first.
    half_open: BTreeMap<u64, oneshot::Sender<()>>,
    next: u64,
    established: usize,
}

/// No room: as many links as allowed are established.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{links_max} links are established, and that is the limit: raise it or add nodes")]
pub struct Full {
    /// The limit.
    pub links_max: usize,
}

/// Pushed out: newer connections came while this one had not finished its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("newer connections came before the handshake was done: dial again")]
pub struct Evicted;

/// The place of one connection that has not finished its handshake; dropping it frees the place.
#[derive(Debug)]
pub struct HalfOpen {
    shared: Arc<Shared>,
    id: u64,
    evicted: oneshot::Receiver<()>,
}

/// The place of one established link; dropping it frees the place. Keep it as long as the link.
#[derive(Debug)]
pub struct LinkPermit(Arc<Shared>);

impl Default for Admission {
    fn default() -> Self {
        Self::new(DEFAULT_HALF_OPEN_MAX, DEFAULT_LINKS_MAX)
    }
}

impl Admission {
    /// At most `half_open_max` connections that have not finished their handshake, and `links_max` in all; 0 counts as 1.
    #[must_use]
    pub fn new(half_open_max: usize, links_max: usize) -> Self {
        Self(Arc::new(Shared {
            half_open_max: half_open_max.max(1),
            links_max: links_max.max(1),
            state: Mutex::default(),
        }))
    }

    /// Takes a connection in, and pushes the oldest half-open one out when that is needed to keep the bounds.
    ///
    /// # Errors
    /// [`Full`] when the established links alone reach the limit.
    pub fn admit(&self) -> Result<HalfOpen, Full> {
        let mut state = self.0.state();
        if state.established >= self.0.links_max {
            return Err(Full {
                links_max: self.0.links_max,
            });
        }
        let room = self.0.half_open_max.min(self.0.links_max - state.established);
        while state.half_open.len() >= room
            && let Some((_, oldest)) = state.half_open.pop_first()
        {
            let _ = oldest.send(());
        }
        let id = state.next;
        state.next += 1;
        let (push_out, evicted) = oneshot::channel();
        state.half_open.insert(id, push_out);
        drop(state);
        Ok(HalfOpen {
            shared: Arc::clone(&self.0),
            id,
            evicted,
        })
    }

    /// How many connections are in their handshake.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.0.state().half_open.len()
    }

    /// How many links are established.
    #[must_use]
    pub fn established(&self) -> usize {
        self.0.state().established
    }
}

impl Shared {
    /// Every change is complete before a panic could leave the lock, so a poisoned one is as good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HalfOpen {
    /// Waits until newer connections push this one out: drop the connection then.
    ///
    /// # Cancel safety
    /// Safe: call it again, and it returns at once if it has happened.
    pub async fn evicted(&mut self) {
        if !self.evicted.is_terminated() {
            // An error means that the place is gone too.
            let _ = (&mut self.evicted).await;
        }
    }

    /// Takes the place of an established link instead.
    ///
    /// # Errors
    /// [`Evicted`] when it was pushed out before.
    pub fn establish(self) -> Result<LinkPermit, Evicted> {
        let mut state = self.shared.state();
        if state.half_open.remove(&self.id).is_none() {
            return Err(Evicted);
        }
        state.established += 1;
        drop(state);
        Ok(LinkPermit(Arc::clone(&self.shared)))
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.shared.state().half_open.remove(&self.id);
    }
}

impl Drop for LinkPermit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.established = state.established.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_half_open_connection_goes_when_there_are_too_many() {
        let admission = Admission::new(2, 100);
        let mut first = admission.admit().unwrap();
        let second = admission.admit().unwrap();
        let third = admission.admit().unwrap();
        first.evicted().await;
        first.evicted().await;
        assert_eq!(first.establish().unwrap_err(), Evicted);
        assert_eq!(admission.half_open(), 2);
        let permits = (second.establish().unwrap(), third.establish().unwrap());
        assert_eq!((admission.half_open(), admission.established()), (0, 2));
        drop(permits);
        assert_eq!(admission.established(), 0);
    }

    #[tokio::test]
    async fn established_links_are_never_pushed_out_and_half_open_ones_count_too() {
        let admission = Admission::new(10, 2);
        let one = admission.admit().unwrap().establish().unwrap();
        let mut silent = admission.admit().unwrap();
        let good = admission.admit().unwrap();
        silent.evicted().await;
        let two = good.establish().unwrap();
        assert_eq!(admission.admit().unwrap_err(), Full { links_max: 2 });
        drop(one);
        assert!(admission.admit().is_ok());
        drop(two);
    }
}
