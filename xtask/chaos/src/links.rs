//! What lies between the processes of a cluster, and how it is cut.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Result, bail};

use crate::namespaces::{self, Namespaces};
use crate::switchboard::Switchboard;

/// What lies between processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Nothing: they dial one another.
    Direct,
    /// A proxy between every two. What one sends to another is held back while that way is cut.
    Proxies,
    /// A network namespace for each, on one bridge. Packets from one to another are lost while that way is cut.
    Namespaces,
}

impl Network {
    /// Why this process may not have [`Namespaces`](Self::Namespaces); `None` when it may.
    #[must_use]
    pub fn namespaces_refused() -> Option<&'static str> {
        static REFUSAL: OnceLock<Option<String>> = OnceLock::new();
        REFUSAL.get_or_init(namespaces::refusal).as_deref()
    }
}

/// One process of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The server of that index.
    Server(usize),
    /// The broker of that index.
    Broker(usize),
    /// The datastore.
    Store,
}

/// The network of a running cluster.
#[derive(Debug)]
pub(crate) enum Links {
    Direct,
    Proxies(Switchboard),
    Namespaces { them: Namespaces, servers: usize },
}

impl Links {
    pub(crate) fn start(network: Network, servers: usize, brokers: usize) -> Result<Self> {
        Ok(match network {
            Network::Direct => Self::Direct,
            Network::Proxies => Self::Proxies(Switchboard::default()),
            Network::Namespaces => Self::Namespaces {
                them: Namespaces::start(1 + servers + brokers)?,
                servers,
            },
        })
    }

    /// The store's comes first, then the servers', then the brokers'.
    const fn room(servers: usize, place: Place) -> usize {
        match place {
            Place::Store => 0,
            Place::Server(index) => 1 + index,
            Place::Broker(index) => 1 + servers + index,
        }
    }

    /// Runs a program where `place` is.
    pub(crate) fn command(&self, place: Place, program: &Path) -> Command {
        match self {
            Self::Direct | Self::Proxies(_) => Command::new(program),
            Self::Namespaces { them, servers } => them.command(Self::room(*servers, place), program),
        }
    }

    /// The host that a process binds to.
    pub(crate) fn host(&self, place: Place) -> String {
        match self {
            Self::Direct | Self::Proxies(_) => "127.0.0.1".to_owned(),
            Self::Namespaces { servers, .. } => namespaces::address(Self::room(*servers, place)),
        }
    }

    /// Where `place` is to listen and, if that is another one, where the others find it.
    pub(crate) fn listen(&mut self, place: Place) -> Result<(String, Option<String>)> {
        if let Self::Proxies(board) = self {
            let (endpoint, location) = board.listen(place)?;
            return Ok((endpoint, Some(location)));
        }
        Ok((format!("tcp://{}:0", self.host(place)), None))
    }

    /// Where `from` is to dial `to`, which listens at `endpoint`, when it is told beforehand.
    pub(crate) fn way(&mut self, from: Place, to: Place, endpoint: &str) -> Result<String> {
        match self {
            Self::Direct | Self::Namespaces { .. } => Ok(endpoint.to_owned()),
            Self::Proxies(board) => board.way(Some(from), to, endpoint),
        }
    }

    pub(crate) fn cut(&self, from: Place, to: Place) -> Result<()> {
        match self {
            Self::Direct => bail!("these processes have nothing between them that could be cut"),
            Self::Proxies(board) => board.cut(from, to),
            Self::Namespaces { them, servers } => {
                them.cut(Self::room(*servers, from), Self::room(*servers, to))?;
            }
        }
        Ok(())
    }

    /// Breaks all links to `to`, and has none taken.
    pub(crate) fn break_links(&self, to: Place) -> Result<()> {
        match self {
            Self::Proxies(board) => board.break_links(to),
            Self::Direct | Self::Namespaces { .. } => {
                bail!("these links have no proxies that could break them")
            }
        }
        Ok(())
    }

    /// Passes nothing on over any link to `to`, and keeps them open.
    pub(crate) fn hold_links(&self, to: Place) -> Result<()> {
        match self {
            Self::Proxies(board) => board.hold_links(to),
            Self::Direct | Self::Namespaces { .. } => {
                bail!("these links have no proxies that could hold them")
            }
        }
        Ok(())
    }

    pub(crate) fn mend_links(&self, to: Place) {
        if let Self::Proxies(board) = self {
            board.mend_links(to);
        }
    }

    pub(crate) fn mend(&self, from: Place, to: Place) -> Result<()> {
        match self {
            Self::Direct => {}
            Self::Proxies(board) => board.mend(from, to),
            Self::Namespaces { them, servers } => {
                them.mend(Self::room(*servers, from), Self::room(*servers, to))?;
            }
        }
        Ok(())
    }
}
