//! How a server leaves the cluster: moves out, then ends, and shows what still arrives meanwhile.

use core::pin::pin;

use tokio::time::{Instant, sleep_until};
use waypost_peer::{Event, Events, Peer};

/// Who shows what arrives. In place of a closure, whose future could not be known to be `Send`.
pub(crate) trait Show {
    /// Shows one event.
    fn show(&mut self, event: Event) -> impl Future<Output = ()>;
}

/// Moves out (unless that has been done), shuts the peer down and has `shows` show every event that comes until then.
/// Returns not much later than `until`.
pub(crate) async fn leave(
    peer: &Peer,
    events: &mut Events,
    drained: bool,
    until: Instant,
    shows: &mut impl Show,
) {
    if !drained {
        let mut drain = pin!(peer.drain());
        loop {
            tokio::select! {
                result = &mut drain => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "did not move out");
                    }
                    break;
                }
                event = events.recv() => match event {
                    Some(event) => shows.show(event).await,
                    None => return,
                },
                () = sleep_until(until) => {
                    tracing::warn!("did not move out in time: ends all the same");
                    break;
                }
            }
        }
    }
    let mut shutdown = pin!(peer.shutdown());
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            event = events.recv() => match event {
                Some(event) => shows.show(event).await,
                // Still to come: the end of links and tasks.
                None => {
                    let _ = tokio::time::timeout_at(until, &mut shutdown).await;
                    return;
                }
            },
            () = sleep_until(until) => {
                tracing::warn!("could not end everything in time");
                break;
            }
        }
    }
    // What was in the inbox counts as delivered.
    while let Some(event) = events.try_recv() {
        shows.show(event).await;
    }
}
