//! Starters of real `redis-server` processes: single, Cluster and Sentinel, on free ports, each in a directory of its own.
//!
//! The executable is `redis-server`, or what the environment variable `WAYPOST_TEST_REDIS_SERVER` names (such as
//! `valkey-server`). Where it is missing, starting fails and says how to get it.

mod admin;
mod cluster;
mod sentinel;
mod server;
mod tls;

pub use cluster::RedisCluster;
pub use sentinel::RedisSentinel;
pub use server::{RedisOptions, RedisServer};

use core::time::Duration;
use std::io;

/// How long a server may take to do what it is told on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waiting for something, not for ever.
struct Wait {
    what: &'static str,
    deadline: tokio::time::Instant,
}

impl Wait {
    fn until(what: &'static str) -> Self {
        Self {
            what,
            deadline: tokio::time::Instant::now() + PATIENCE,
        }
    }

    /// A short pause, or an error when it has taken too long.
    async fn pause(&self) -> io::Result<()> {
        if tokio::time::Instant::now() > self.deadline {
            let message = format!("{}: not so after {} s", self.what, PATIENCE.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(())
    }
}
