//! The processes of a measurement.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::child::{Child, memory_kib};
use crate::control::Command;

/// Clients of each bystander.
pub(crate) const CLIENTS: usize = 1000;
/// Clients in a storm.
pub(crate) const STORM: usize = 50_000;

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
    pub(crate) redis: tokio::process::Child,
    _directory: TempDir,
}

impl Cluster {
    pub(crate) async fn start(topology: &str) -> Result<Self> {
        let directory = TempDir::new()?;
        let (redis, store) = start_redis(&directory).await?;
        let broker = match topology {
            "mesh" => None,
            "broker" => Some(Child::start(&["broker", &store]).await?),
            other => anyhow::bail!("unknown topology '{other}': mesh or broker"),
        };
        let (how, at) = match &broker {
            None => ("mesh", store),
            Some(broker) => ("attached", broker.address.clone()),
        };
        let mut cluster = Self {
            sender: Child::start(&[how, "sender", &at]).await?,
            receiver: Child::start(&[how, "receiver", &at]).await?,
            victim: Child::start(&[how, "victim", &at]).await?,
            rival: Child::start(&[how, "rival", &at]).await?,
            broker,
            redis,
            _directory: directory,
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
    pub(crate) fn pids(&self) -> Vec<Option<u32>> {
        [&self.sender, &self.receiver, &self.victim, &self.rival]
            .into_iter()
            .chain(&self.broker)
            .map(Child::pid)
            .collect()
    }

    /// Memory of each of them, in KiB.
    pub(crate) fn memory_kib(&self) -> Vec<u64> {
        self.pids().into_iter().map(memory_kib).collect()
    }
}

async fn start_redis(directory: &TempDir) -> Result<(tokio::process::Child, String)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let redis = tokio::process::Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .arg("--dir")
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run redis-server")?;
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        ensure!(Instant::now() < until, "redis-server does not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok((redis, format!("redis://127.0.0.1:{port}")))
}
