//! The processes of a measurement.

use anyhow::Result;
use waypost::Settings;
use waypost_harness::proc;
use waypost_session_testkit::servers::redis::RedisServer;

use crate::control::{Answer, Command};

/// Clients of each bystander.
pub(crate) const CLIENTS: usize = 1000;
/// Clients in a storm.
pub(crate) const STORM: usize = 50_000;
/// Bound of the inbox of a client with a stream of its own, in bytes.
const CLIENT_INBOX: usize = 1 << 20;
/// What a client may take in its server, and its route in a node, with what is under way for it, in bytes.
const CLIENT: usize = 512;

pub(crate) type Child = waypost_harness::Child<Command, Answer>;

/// Two bystanders, a server in trouble, one that makes it, and a datastore.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) sender: Child,
    pub(crate) receiver: Child,
    /// The server that something happens to.
    pub(crate) victim: Child,
    /// The server that sends to it.
    pub(crate) rival: Child,
    broker: Option<Child>,
    pub(crate) redis: RedisServer,
    settings: Settings,
}

impl Cluster {
    pub(crate) async fn start(topology: &str, settings: &Settings) -> Result<Self> {
        let redis = RedisServer::start().await?;
        let (store, queue) = (redis.url(), settings.queue_bytes_max.to_string());
        let broker = match topology {
            "mesh" => None,
            "broker" => Some(Child::start(&["broker", &queue, &store]).await?),
            other => anyhow::bail!("unknown topology '{other}': mesh or broker"),
        };
        let (how, at) = match &broker {
            None => ("mesh", store),
            Some(broker) => ("attached", broker.address.clone()),
        };
        let mut cluster = Self {
            sender: Child::start(&[how, &queue, "sender", &at]).await?,
            receiver: Child::start(&[how, &queue, "receiver", &at]).await?,
            victim: Child::start(&[how, &queue, "victim", &at]).await?,
            rival: Child::start(&[how, &queue, "rival", &at]).await?,
            broker,
            redis,
            settings: settings.clone(),
        };
        let connect = |prefix: &str, count| Command::Connect {
            prefix: prefix.to_owned(),
            count,
        };
        cluster.receiver.ask(&connect("receiver", CLIENTS)).await?;
        cluster.receiver.ask(&connect("full", 1)).await?;
        cluster
            .receiver
            .ask(&Command::Ignore {
                client: "full0".to_owned(),
            })
            .await?;
        cluster.victim.ask(&connect("victim", CLIENTS)).await?;
        cluster.rival.ask(&connect("storm", STORM)).await?;
        Ok(cluster)
    }

    /// The processes that are ours.
    pub(crate) fn pids(&self) -> Vec<u32> {
        [&self.sender, &self.receiver, &self.victim, &self.rival]
            .into_iter()
            .chain(&self.broker)
            .map(|child| child.pid)
            .collect()
    }

    /// Memory of each of them, in KiB.
    pub(crate) fn memory_kib(&self) -> Vec<u64> {
        self.pids().into_iter().map(memory_kib).collect()
    }

    /// What the queues of each of them may hold by its settings, and its tables for the clients there are, in KiB.
    pub(crate) fn bounds_kib(&self) -> Vec<u64> {
        let queue = self.settings.queue_bytes_max;
        let tables = (STORM + 2 * CLIENTS) * CLIENT;
        // Its link and what waits for its lease; its inboxes; acked messages, and messages to clients that are claimed.
        let server = 2 * queue + self.settings.inbox_bytes_max + CLIENT_INBOX + 2 * 16 * queue + tables;
        // Its links; messages whose way is being found, and those whose server is away.
        let node = |links: usize| links * queue + 2 * 16 * queue + tables;
        let servers = match self.broker {
            Some(_) => [server; 4],
            None => [server + node(3); 4],
        };
        let broker = self.broker.as_ref().map(|_| node(4));
        servers
            .into_iter()
            .chain(broker)
            .map(|bytes| u64::try_from(bytes / 1024).unwrap_or(u64::MAX))
            .collect()
    }
}

/// Memory of its own that is resident now, without mapped files, in KiB.
pub(crate) fn memory_kib(pid: u32) -> u64 {
    proc::anonymous_bytes(pid) / 1024
}
