//! How a peer starts.

use waypost_node::{Node, NodeConfig, Settings, StartError, TlsFiles, Topology};

use crate::{Events, Peer};

/// A peer that has not started.
#[derive(Debug)]
pub struct PeerBuilder {
    pub(crate) topology: Topology,
    pub(crate) listen: Vec<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) cluster_key: Vec<u8>,
    pub(crate) tls: Option<TlsFiles>,
}

impl PeerBuilder {
    pub(crate) fn new(topology: Topology) -> Self {
        Self {
            topology,
            listen: Vec::new(),
            advertise: None,
            settings: Settings::default(),
            cluster_key: Vec::new(),
            tls: None,
        }
    }

    /// Listens on `url` too (mesh only): `tcp://HOST:PORT` (port 0 takes a free one) or `unix:PATH`.
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

    /// Links only with nodes which prove that they know this key, the same in the whole cluster.
    #[must_use]
    pub fn cluster_key(mut self, key: Vec<u8>) -> Self {
        self.cluster_key = key;
        self
    }

    /// Secures `tls://` links by these files; needs the feature `tls`.
    #[must_use]
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// Starts it: it listens, or looks for its broker, when this returns.
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
