//! A Redis Cluster of masters alone.

use std::io;

use super::{RedisOptions, RedisServer, Wait};
use crate::servers::ReservedPort;

const SLOTS: u32 = 16_384;

/// A running Cluster whose masters hold equal shares of the slots. Its drop kills all of them.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    /// Where the nodes talk to each other.
    buses: Vec<ReservedPort>,
}

impl RedisCluster {
    /// Starts that many masters, 1 to 16, and joins them; returns when each says that the cluster is well.
    ///
    /// # Errors
    /// When `redis-server` is missing, or the cluster does not come up.
    pub async fn start(masters: u8) -> io::Result<Self> {
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..masters.clamp(1, 16) {
            // Named, because the default is the port plus 10,000, which may not exist.
            let bus = ReservedPort::new()?;
            let options = RedisOptions::new()
                .directive("cluster-enabled yes")
                .directive("cluster-node-timeout 2000")
                .directive(format!("cluster-port {}", bus.number()));
            nodes.push(options.start().await?);
            buses.push(bus);
        }
        let cluster = Self { nodes, buses };
        cluster.join().await?;
        Ok(cluster)
    }

    async fn join(&self) -> io::Result<()> {
        let count = u32::try_from(self.nodes.len()).map_err(io::Error::other)?;
        for (number, (node, bus)) in (0u32..).zip(self.nodes.iter().zip(&self.buses)) {
            let from = (number * SLOTS / count).to_string();
            let to = ((number + 1) * SLOTS / count - 1).to_string();
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]).await?;
            if number > 0 {
                let (port, bus) = (node.port().to_string(), bus.number().to_string());
                self.nodes[0]
                    .command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus])
                    .await?;
            }
        }
        let known = format!("cluster_known_nodes:{count}");
        let sized = format!("cluster_size:{count}");
        for node in &self.nodes {
            let wait = Wait::until("the cluster is well");
            loop {
                let info = node.command(&["CLUSTER", "INFO"]).await.unwrap_or_default();
                if ["cluster_state:ok", &known, &sized]
                    .iter()
                    .all(|want| info.iter().any(|line| line == want))
                {
                    break;
                }
                wait.pause().await?;
            }
        }
        Ok(())
    }

    /// The store URL, which names all masters.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()))
            .collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The masters, in the order of their slots.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }
}
