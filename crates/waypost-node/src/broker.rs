//! The broker: a node whose peers are remote.

use core::time::Duration;
use std::sync::Arc;

use waypost_router::Counters;
use waypost_session::SessionStore;

use crate::node::{Node, NodeConfig, Topology};
use crate::transport::ClusterKey;
use crate::{Settings, StartError, TlsFiles};

/// A running broker. Dropping it ends nothing: it runs until [`shutdown`](Self::shutdown) or the end of the runtime.
#[derive(Debug)]
pub struct Broker {
    node: Node,
}

impl Broker {
    /// Begins a broker that keeps its sessions in `store`.
    #[must_use]
    pub fn builder(store: Arc<dyn SessionStore>) -> BrokerBuilder {
        BrokerBuilder {
            store,
            listen: Vec::new(),
            advertise: None,
            settings: Settings::default(),
            cluster_key: None,
            tls: None,
        }
    }

    /// Where it is reached, with the ports that it really got.
    #[must_use]
    pub fn listen_urls(&self) -> Vec<String> {
        self.node.listen_urls().to_vec()
    }

    /// What it has counted since its start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.node.counters().unwrap_or_default()
    }

    /// Moves out: takes no new peers, tells those it has to go elsewhere, and returns when they have gone or `deadline`
    /// has passed. Dropping the future leaves it draining.
    pub async fn drain(&self, deadline: Duration) {
        self.node.go_away(deadline).await;
    }

    /// Ends links, tasks and sockets. A second call does nothing.
    pub async fn shutdown(&self) {
        self.node.end().await;
    }
}

/// A broker that has not started.
#[derive(Debug)]
pub struct BrokerBuilder {
    store: Arc<dyn SessionStore>,
    listen: Vec<String>,
    advertise: Option<String>,
    settings: Settings,
    cluster_key: Option<ClusterKey>,
    tls: Option<TlsFiles>,
}

impl BrokerBuilder {
    /// Listens on `url` too: `tcp://HOST:PORT` (port 0 takes a free one), `unix:PATH` or, with
    /// [`tls`](Self::tls), `tls://HOST:PORT`. Without any it listens on a free port of `127.0.0.1`.
    #[must_use]
    pub fn listen(mut self, url: &str) -> Self {
        self.listen.push(url.to_owned());
        self
    }

    /// Where the others reach it, when that is not the first URL it listens on.
    #[must_use]
    pub fn advertise(mut self, url: &str) -> Self {
        self.advertise = Some(url.to_owned());
        self
    }

    /// Uses these settings instead of the defaults.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Accepts only links which prove that they know this key, the same in the whole cluster: at least 32 random bytes. An
    /// empty one is none. It encrypts nothing.
    #[must_use]
    pub fn cluster_key(mut self, key: Vec<u8>) -> Self {
        self.cluster_key = ClusterKey::new(&key).ok();
        self
    }

    /// Secures `tls://` links by these files; needs the feature `tls`.
    #[must_use]
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// Starts it: it listens when this returns.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left behind.
    pub async fn start(self) -> Result<Broker, StartError> {
        let Self {
            store,
            listen,
            advertise,
            settings,
            cluster_key,
            tls,
        } = self;
        let topology = Topology::Broker(store);
        let node = Node::start(NodeConfig {
            topology,
            listen,
            advertise,
            settings,
            cluster_key,
            tls,
        })
        .await?;
        Ok(Broker { node })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_session::MemoryStore;

    #[tokio::test]
    async fn a_drain_without_end_ends_when_nobody_is_attached() {
        let broker = Broker::builder(Arc::new(MemoryStore::new()))
            .start()
            .await
            .unwrap();
        broker.drain(Duration::MAX).await;
        broker.shutdown().await;
    }

    #[test]
    fn the_cluster_key_is_in_no_debug() {
        let builder = Broker::builder(Arc::new(MemoryStore::new())).cluster_key(b"hunter2".to_vec());
        let shown = format!("{builder:?}");
        assert!(shown.contains("***") && !shown.contains("104, 117"), "{shown}");
    }

    #[tokio::test]
    async fn an_endpoint_that_is_none_is_told_with_its_reason_and_without_a_password() {
        for (url, reason) in [
            ("tcp://me:hunter2@host:1", "no password"),
            ("http://me:hunter2@host:1", "use tcp://"),
            ("tcp://host", "port is missing"),
        ] {
            let started = Broker::builder(Arc::new(MemoryStore::new())).listen(url).start();
            let error = started.await.unwrap_err();
            let shown = format!("{} {error:?}", crate::error::Chain(&error));
            assert!(shown.contains("host") && shown.contains(reason), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
