//! From a listener to open links: each connection has its own task, its deadline and its place among the half-open ones.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};
use waypost_wire::CloseCode;

use super::halfopen::{Admission, HalfOpen, LinkPermit};
use super::handshake::{Established, HandshakeSettings, handshake, refuse};
use super::handshake_error::HandshakeError;
use super::listener::{Incoming, Listener};
use super::proof::Side;
use super::stream::{RemoteAddr, Stream};
use crate::deadline::after;
use crate::error::Chain;

/// How many connections are told at once that there is no room; the others are just closed.
const REFUSALS_MAX: usize = 64;
/// How long that may take.
const REFUSAL: Duration = Duration::from_secs(1);

/// A link that somebody dialled and that is open.
#[derive(Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// The link.
    pub link: Established<Stream>,
    /// Its place: keep it as long as the link.
    pub permit: LinkPermit,
    /// Who dialled.
    pub remote_addr: RemoteAddr,
}

/// Accepts connections and does their handshakes. A clone shares the bounds.
#[derive(Debug, Clone)]
pub struct Acceptor {
    admission: Admission,
    settings: Arc<HandshakeSettings>,
    refusals: Arc<Semaphore>,
}

impl Acceptor {
    /// Several listeners may share one.
    #[must_use]
    pub fn new(admission: Admission, settings: HandshakeSettings) -> Self {
        Self {
            admission,
            settings: Arc::new(settings),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        }
    }

    /// Accepts from `listener` and gives each open link to `links`, until the receiver of `links` is dropped. A
    /// connection whose handshake fails is logged and closed, and concerns nobody else.
    ///
    /// When it returns, the listener is closed and all handshakes have ended.
    ///
    /// # Cancel safety
    /// Dropping the future closes the listener, and the handshakes that are not done end soon after.
    pub async fn run(&self, listener: Listener, links: mpsc::Sender<Accepted>) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                incoming = listener.accept() => match self.admission.admit() {
                    Ok(place) => {
                        let (settings, links) = (Arc::clone(&self.settings), links.clone());
                        tasks.spawn(open(incoming, place, settings, links));
                    }
                    Err(full) => self.turn_away(incoming, full.to_string(), &mut tasks),
                },
                Some(_) = tasks.join_next() => {}
                () = links.closed() => break,
            }
        }
        drop(listener);
        tasks.shutdown().await;
    }

    fn turn_away(&self, incoming: Incoming, text: String, tasks: &mut JoinSet<()>) {
        tracing::warn!(remote = %incoming.remote_addr(), reason = %text, "connection refused");
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else {
            return;
        };
        let settings = Arc::clone(&self.settings);
        tasks.spawn(async move {
            let told = async {
                if let Ok(stream) = incoming.secure().await {
                    refuse(stream, &settings, CloseCode::Overloaded, &text).await;
                }
            };
            // Best effort: the connection is closed in any case.
            let _ = timeout(REFUSAL, told).await;
            drop(permit);
        });
    }
}

async fn open(
    incoming: Incoming,
    mut place: HalfOpen,
    settings: Arc<HandshakeSettings>,
    links: mpsc::Sender<Accepted>,
) {
    let remote_addr = incoming.remote_addr();
    let opened = tokio::select! {
        biased;
        () = place.evicted() => None,
        result = secure_and_shake(incoming, &settings) => Some(result),
    };
    match opened {
        None => {
            tracing::debug!(remote = %remote_addr, "connection closed: too many others are in their handshake")
        }
        Some(Err(error)) => {
            tracing::warn!(remote = %remote_addr, error = %Chain(&error), "connection closed: no link was opened");
        }
        Some(Ok(link)) => match place.establish() {
            // Without a receiver the node is closing, and so is the link.
            Ok(permit) => drop(
                links
                    .send(Accepted {
                        link,
                        permit,
                        remote_addr,
                    })
                    .await,
            ),
            Err(evicted) => tracing::debug!(remote = %remote_addr, %evicted, "connection closed"),
        },
    }
}

/// Over TLS, its handshake and the link's share one deadline.
async fn secure_and_shake(
    incoming: Incoming,
    settings: &HandshakeSettings,
) -> Result<Established<Stream>, HandshakeError> {
    let deadline = after(settings.deadline);
    let stream = timeout_at(deadline, incoming.secure())
        .await
        .map_err(|_| HandshakeError::TimedOut {
            after: settings.deadline,
        })??;
    handshake(stream, Side::Listening, settings).await
}
