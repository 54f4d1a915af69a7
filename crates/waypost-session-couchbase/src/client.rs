//! The open client, and what is done when it has fallen behind its cluster.
//!
//! The SDK asks one node after the other for the cluster's configuration and waits for each without a limit: while a node is
//! down it never learns that the node was failed over, unless a server pushes the news. So when a call was late, a node that
//! can be reached is asked here, and when it knows a newer configuration than was known at opening, the SDK starts anew.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use waypost_session::Host;

use crate::door;
use crate::fault::Fault;
use crate::sdk::Docs;
use crate::settings::Settings;
use crate::view::ClusterView;

/// Opening takes several round trips on connections that first have to be made.
const OPEN_TIMEOUT_MIN: Duration = Duration::from_secs(5);
/// Nodes are asked no more often than this.
const ASK_PAUSE: Duration = Duration::from_secs(1);
/// Where no node can be asked (by TLS with the public authorities), the SDK starts anew after this much trouble.
const BLIND_PAUSE: Duration = Duration::from_secs(60);

/// The open client.
#[derive(Debug)]
pub(crate) struct Client {
    settings: Settings,
    /// The key of some document.
    probe: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` when it is closed.
    docs: Option<Arc<Docs>>,
    /// What a node said of the cluster at opening.
    view: Option<ClusterView>,
    opened: Instant,
    /// When nodes were asked last.
    asked: Instant,
    is_asking: bool,
}

impl Client {
    pub(crate) async fn connect(settings: Settings, probe: String) -> Result<Arc<Self>, Fault> {
        let hosts = settings.hosts.clone();
        let (docs, view) = Self::open(settings.clone(), &probe, hosts).await?;
        let now = Instant::now();
        Ok(Arc::new(Self {
            settings,
            probe,
            state: Mutex::new(State {
                docs: Some(docs),
                view,
                opened: now,
                asked: now,
                is_asking: false,
            }),
        }))
    }

    async fn open(
        mut settings: Settings,
        probe: &str,
        hosts: Vec<Host>,
    ) -> Result<(Arc<Docs>, Option<ClusterView>), Fault> {
        settings.hosts = hosts;
        let patience = settings.timeout.max(OPEN_TIMEOUT_MIN);
        let view = door::check(&settings, Instant::now() + patience).await?;
        let docs = Docs::open(&settings, probe, Instant::now() + patience).await?;
        Ok((Arc::new(docs), view))
    }

    /// The open collection; `None` when it is closed.
    pub(crate) fn docs(&self) -> Option<Arc<Docs>> {
        self.state().docs.clone()
    }

    /// Calls under way keep the connections until they end.
    pub(crate) fn close(&self) {
        let docs = self.state().docs.take();
        drop(docs);
    }

    /// A call was late: has the client fallen behind?
    pub(crate) fn was_late(self: &Arc<Self>) {
        {
            let mut state = self.state();
            if state.docs.is_none() || state.is_asking || state.asked.elapsed() < ASK_PAUSE {
                return;
            }
            state.is_asking = true;
        }
        let client = Arc::clone(self);
        tokio::spawn(async move {
            let anew = client.look_again().await;
            let mut state = client.state();
            (state.is_asking, state.asked) = (false, Instant::now());
            if let Some((docs, view)) = anew
                && state.docs.is_some()
            {
                tracing::info!("the couchbase cluster has changed while some of it was down: connected anew");
                state.opened = Instant::now();
                state.view = view;
                state.docs = Some(docs);
            }
        });
    }

    /// A client that knows what the nodes know now, if this one does not.
    async fn look_again(&self) -> Option<(Arc<Docs>, Option<ClusterView>)> {
        let (known, opened) = {
            let state = self.state();
            (state.view.clone(), state.opened)
        };
        // Those of the URL may all be gone by now.
        let mut hosts = self.settings.hosts.clone();
        let nodes = known.iter().flat_map(|known| known.nodes.iter().cloned());
        for node in nodes {
            if !hosts.contains(&node) {
                hosts.push(node);
            }
        }
        let mut settings = self.settings.clone();
        settings.hosts.clone_from(&hosts);
        let deadline = Instant::now() + settings.timeout.max(OPEN_TIMEOUT_MIN);
        let seen = door::check(&settings, deadline).await.ok()?;
        let behind = match (&seen, &known) {
            (Some(seen), Some(known)) => seen.supersedes(known),
            (Some(_), None) => true,
            (None, _) => opened.elapsed() > BLIND_PAUSE,
        };
        if !behind {
            return None;
        }
        Self::open(self.settings.clone(), &self.probe, hosts).await.ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
