//! How a peer starts.

use waypost_node::transport::ClusterKey;
use waypost_node::{Node, NodeConfig, Settings, StartError, TlsFiles, Topology};

use crate::{Events, Peer};

/// A peer that has not started. Without [`listen`](Self::listen) a node of the mesh listens on a free port of
/// `127.0.0.1`, where only this machine reaches it.
#[derive(Debug)]
pub struct PeerBuilder {
    pub(crate) topology: Topology,
    pub(crate) listen: Vec<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) cluster_key: Option<ClusterKey>,
    pub(crate) tls: Option<TlsFiles>,
}

impl PeerBuilder {
    pub(crate) fn new(topology: Topology) -> Self {
        Self {
            topology,
            listen: Vec::new(),
            advertise: None,
            settings: Settings::default(),
            cluster_key: None,
            tls: None,
        }
    }

    /// Listens on `url` too (mesh only): `tcp://HOST:PORT` (port 0 takes a free one), `unix:PATH` or, with
    /// [`tls`](Self::tls), `tls://HOST:PORT`.
    #[must_use]
    pub fn listen(mut self, url: &str) -> Self {
        self.listen.push(url.to_owned());
        self
    }

    /// Tells the cluster to reach this node at `url` instead of the first one it listens on.
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

    /// Links only with nodes which prove that they know this key, the same in the whole cluster: at least 32 random bytes.
    /// An empty one is none. It encrypts nothing.
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

    /// Starts it: it listens, or looks for its broker, when this returns. That a broker or the datastore can be reached is
    /// not checked here but by [`Peer::register_identity`].
    ///
    /// # Errors
    /// [`StartError`]; nothing is left behind.
    pub async fn start(self) -> Result<(Peer, Events), StartError> {
        let Self {
            topology,
            listen,
            advertise,
            settings,
            cluster_key,
            tls,
        } = self;
        let node = Node::start(NodeConfig {
            topology,
            listen,
            advertise,
            settings,
            cluster_key,
            tls,
        })
        .await?;
        Ok((Peer::new(node.clone()), Events::new(node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_key_is_in_no_debug() {
        let builder = Peer::attached(&["tcp://broker:1"]).cluster_key(b"hunter2".to_vec());
        let shown = format!("{builder:?}");
        assert!(shown.contains("***") && !shown.contains("104, 117"), "{shown}");
    }

    #[tokio::test]
    async fn an_attached_server_that_is_to_listen_is_refused() {
        let builder = Peer::attached(&["tcp://127.0.0.1:1"]).listen("tcp://127.0.0.1:0");
        let started = builder.start().await;
        assert!(matches!(started, Err(StartError::Setting { name: "listen", .. })));
    }
}
