//! Stand-in nodes of Riak, in this process, that can be stopped and started again.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;
use waypost_session_testkit::servers::riak::{RiakOptions, RiakStandIn};

/// Nodes whose replicas take up to two milliseconds, and who take one to three themselves to answer, as real ones do.
#[derive(Debug)]
pub struct RiakNodes {
    runtime: Runtime,
    nodes: RiakStandIn,
}

impl RiakNodes {
    /// Starts so many on free ports.
    ///
    /// # Errors
    /// From the system.
    pub fn start(count: usize) -> Result<Self> {
        let runtime = Runtime::new().context("no runtime for the stand-in nodes")?;
        let options = RiakOptions::new()
            .nodes(count)
            .delay(Duration::from_millis(2))
            .latency(Duration::from_millis(1), Duration::from_millis(3));
        let nodes = runtime.block_on(options.start()).context("no stand-in nodes")?;
        Ok(Self { runtime, nodes })
    }

    /// The URL of all.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.url()
    }

    /// Stops a node: it refuses, and fallbacks that know nothing stand in for its replicas.
    pub fn stop(&self, node: usize) {
        self.runtime.block_on(self.nodes.stop(node));
    }

    /// Starts it again; the fallbacks hand over what they have.
    ///
    /// # Errors
    /// From the system.
    pub fn start_again(&self, node: usize) -> io::Result<()> {
        self.runtime.block_on(self.nodes.start_again(node))
    }
}
