//! The systems that are measured, and their processes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use waypost_harness::proc;
use waypost_session_testkit::servers::redis::{RedisOptions, RedisServer};

use crate::control::{Answer, Command};

/// One column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    Raw,
    Nats,
    RedisPubSub,
    Brokerless(Store),
    BrokerTcp(Store),
    BrokerUnix,
}

/// Where Waypost keeps its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Embedded,
    Redis,
}

impl System {
    pub(crate) const ALL: [Self; 8] = [
        Self::Raw,
        Self::Nats,
        Self::RedisPubSub,
        Self::Brokerless(Store::Embedded),
        Self::Brokerless(Store::Redis),
        Self::BrokerTcp(Store::Embedded),
        Self::BrokerTcp(Store::Redis),
        Self::BrokerUnix,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Nats => "nats",
            Self::RedisPubSub => "redis-pubsub",
            Self::Brokerless(Store::Embedded) => "brokerless",
            Self::Brokerless(Store::Redis) => "brokerless-redis",
            Self::BrokerTcp(Store::Embedded) => "broker-tcp",
            Self::BrokerTcp(Store::Redis) => "broker-tcp-redis",
            Self::BrokerUnix => "broker-unix",
        }
    }

    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|system| system.name() == name)
    }

    pub(crate) const fn is_waypost(self) -> bool {
        matches!(self, Self::Brokerless(_) | Self::BrokerTcp(_) | Self::BrokerUnix)
    }

    /// What its processes take for each client, where that is so much that it may not fit, in bytes.
    pub(crate) const fn client_bytes(self) -> u64 {
        match self {
            // `async-nats` keeps a queue of about 6 KB a subscription, in both servers.
            Self::Nats => 14_000,
            _ => 1000,
        }
    }

    /// The program that must be installed for it.
    pub(crate) const fn needs(self) -> Option<&'static str> {
        match self {
            Self::Nats => Some("nats-server"),
            Self::RedisPubSub | Self::Brokerless(Store::Redis) | Self::BrokerTcp(Store::Redis) => {
                Some("redis-server")
            }
            _ => None,
        }
    }
}

type Child = waypost_harness::Child<Command, Answer>;

/// A system that runs: server A, server B and what stands between them.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) system: System,
    pub(crate) a: Child,
    pub(crate) b: Child,
    pub(crate) broker: Option<Child>,
    redis: Option<RedisServer>,
    nats: Option<tokio::process::Child>,
    _dir: TempDir,
}

impl Running {
    pub(crate) async fn start(system: System) -> Result<Self> {
        let dir = TempDir::new()?;
        let mut redis = None;
        let mut nats = None;
        let mut broker = None;
        let (a, b) = match system {
            System::Raw => {
                let b = Child::start(&["raw-server"]).await?;
                (Child::start(&["raw-client", &b.address]).await?, b)
            }
            System::Nats => {
                let (process, url) = start_nats(dir.path()).await?;
                nats = Some(process);
                (
                    Child::start(&["nats-a", &url]).await?,
                    Child::start(&["nats-b", &url]).await?,
                )
            }
            System::RedisPubSub => {
                let server = start_redis().await?;
                let address = format!("127.0.0.1:{}", server.port());
                redis = Some(server);
                (
                    Child::start(&["redis-a", &address]).await?,
                    Child::start(&["redis-b", &address]).await?,
                )
            }
            System::Brokerless(store) => {
                let url = store_url(store, dir.path(), &mut redis).await?;
                (
                    Child::start(&["waypost-a", "mesh", &url]).await?,
                    Child::start(&["waypost-b", "mesh", &url]).await?,
                )
            }
            System::BrokerTcp(_) | System::BrokerUnix => {
                let (store, listen) = match system {
                    System::BrokerTcp(store) => (store, "tcp://127.0.0.1:0".to_owned()),
                    _ => (
                        Store::Embedded,
                        format!("unix:{}", dir.path().join("broker").display()),
                    ),
                };
                let url = store_url(store, dir.path(), &mut redis).await?;
                let child = Child::start(&["broker", &url, &listen]).await?;
                let address = child.address.clone();
                broker = Some(child);
                (
                    Child::start(&["waypost-a", "attached", &address]).await?,
                    Child::start(&["waypost-b", "attached", &address]).await?,
                )
            }
        };
        Ok(Self {
            system,
            a,
            b,
            broker,
            redis,
            nats,
            _dir: dir,
        })
    }

    /// All processes and what they are.
    pub(crate) fn processes(&self) -> Vec<(&'static str, u32)> {
        let mut all = vec![("server A", self.a.pid), ("server B", self.b.pid)];
        all.extend(self.broker.as_ref().map(|broker| ("broker", broker.pid)));
        all.extend(
            self.redis
                .as_ref()
                .and_then(RedisServer::pid)
                .map(|pid| ("redis-server", pid)),
        );
        all.extend(
            self.nats
                .as_ref()
                .and_then(tokio::process::Child::id)
                .map(|pid| ("nats-server", pid)),
        );
        all
    }

    /// CPU time of all of them since their start.
    pub(crate) fn cpu(&self) -> Duration {
        self.processes().iter().map(|(_, pid)| proc::cpu(*pid)).sum()
    }

    /// Whether clients are registered anywhere.
    pub(crate) fn has_registration(&self) -> bool {
        self.system != System::Raw
    }

    /// How many scripts a Redis store has run since its start: at rest these are the renewals of leases.
    pub(crate) async fn store_writes(&self) -> Option<u64> {
        let redis = self.redis.as_ref().filter(|_| self.system.is_waypost())?;
        let lines = redis.command(&["INFO", "commandstats"]).await.ok()?;
        let text = lines.join("\n");
        let calls = text
            .split(['\n', '\r'])
            .filter(|line| line.starts_with("cmdstat_evalsha:") || line.starts_with("cmdstat_eval:"))
            .filter_map(|line| {
                line.split_once("calls=")?
                    .1
                    .split(',')
                    .next()?
                    .parse::<u64>()
                    .ok()
            });
        Some(calls.sum())
    }

    pub(crate) async fn stop(self) {
        self.a.stop(&Command::Quit).await;
        self.b.stop(&Command::Quit).await;
        if let Some(broker) = self.broker {
            broker.stop(&Command::Quit).await;
        }
        if let Some(mut nats) = self.nats {
            // It ends with us in any case.
            let _ = nats.kill().await;
        }
    }
}

/// Redis with room for subscribers that are slow for a moment.
pub(crate) async fn start_redis() -> Result<RedisServer> {
    Ok(RedisOptions::new()
        .directive("client-output-buffer-limit pubsub 1gb 512mb 60")
        .start()
        .await?)
}

async fn store_url(store: Store, dir: &Path, redis: &mut Option<RedisServer>) -> Result<String> {
    Ok(match store {
        Store::Embedded => format!("embedded:{}", dir.join("sessions").display()),
        Store::Redis => redis.insert(start_redis().await?).url(),
    })
}

async fn start_nats(dir: &Path) -> Result<(tokio::process::Child, String)> {
    let mut process =
        tokio::process::Command::new(find("nats-server").context("nats-server is not installed")?)
            .args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"])
            .arg(dir)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
    let ports = dir.join(format!("nats-server_{}.ports", process.id().unwrap_or_default()));
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Ok(text) = std::fs::read_to_string(&ports)
            && let Ok(ports) = serde_json::from_str::<serde_json::Value>(&text)
            && let Some(url) = ports["nats"][0].as_str()
        {
            return Ok((process, url.to_owned()));
        }
        if Instant::now() > deadline || process.try_wait()?.is_some() {
            bail!("nats-server does not come up");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The first program of this name in `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Where packages put servers, which is not in everybody's path.
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}
