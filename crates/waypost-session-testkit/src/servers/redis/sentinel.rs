//! A master, a replica and sentinels that watch them.

use std::io;

use super::{RedisOptions, RedisServer, Wait};

const MASTER: &str = "waypost";

/// A running master with one replica and its sentinels. Its drop kills all of them.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: [RedisServer; 2],
    sentinels: Vec<RedisServer>,
}

impl RedisSentinel {
    /// Starts a master, a replica and that many sentinels, 1 to 5, a majority of which decides; returns when all know of
    /// each other.
    ///
    /// # Errors
    /// When `redis-server` is missing, or they do not find each other.
    pub async fn start(sentinels: u8) -> io::Result<Self> {
        let sentinels = sentinels.clamp(1, 5);
        let data = || RedisOptions::new().directive("repl-diskless-sync-delay 0");
        let master = data().start().await?;
        let replica = data()
            .directive(format!("replicaof 127.0.0.1 {}", master.port()))
            .start()
            .await?;
        let wait = Wait::until("the replica follows");
        loop {
            let info = replica
                .command(&["INFO", "replication"])
                .await
                .unwrap_or_default();
            if info.iter().any(|line| line == "master_link_status:up") {
                break;
            }
            wait.pause().await?;
        }
        let quorum = sentinels / 2 + 1;
        let mut watchers = Vec::new();
        for _ in 0..sentinels {
            let options = RedisOptions::sentinel()
                .directive(format!(
                    "sentinel monitor {MASTER} 127.0.0.1 {} {quorum}",
                    master.port()
                ))
                .directive(format!("sentinel down-after-milliseconds {MASTER} 500"))
                .directive(format!("sentinel failover-timeout {MASTER} 5000"));
            watchers.push(options.start().await?);
        }
        let set = Self {
            servers: [master, replica],
            sentinels: watchers,
        };
        let others = (sentinels - 1).to_string();
        for sentinel in &set.sentinels {
            let wait = Wait::until("the sentinel knows the others and the replica");
            loop {
                let state = sentinel
                    .command(&["SENTINEL", "MASTER", MASTER])
                    .await
                    .unwrap_or_default();
                let is = |name: &str, value: &str| {
                    state.windows(2).any(|pair| pair[0] == name && pair[1] == value)
                };
                if is("num-other-sentinels", &others) && is("num-slaves", "1") {
                    break;
                }
                wait.pause().await?;
            }
        }
        Ok(set)
    }

    /// The store URL, which names all sentinels.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self
            .sentinels
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()))
            .collect();
        format!("redis+sentinel://{}/{MASTER}", hosts.join(","))
    }

    /// The server that the sentinels take for the master.
    ///
    /// # Errors
    /// When no sentinel answers.
    pub async fn master(&self) -> io::Result<&RedisServer> {
        let answer = self.sentinels[0]
            .command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER])
            .await?;
        let port = answer.last().and_then(|port| port.parse().ok());
        let found = self.servers.iter().find(|server| Some(server.port()) == port);
        found.ok_or_else(|| io::Error::other("the sentinels name a master that is not one of the servers"))
    }

    /// The master and its replica, in the order in which they were started.
    #[must_use]
    pub const fn servers(&self) -> &[RedisServer; 2] {
        &self.servers
    }

    /// The sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// Kills the master as a crash would; returns when the sentinels have made the replica the new one.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn failover(&self) -> io::Result<()> {
        let old = self.master().await?;
        old.kill()?;
        self.wait_for_other_than(old.port()).await
    }

    /// Has the sentinels swap master and replica while both run; returns when they have. The old master then refuses
    /// writes, and the new one has what the old one had been told before.
    ///
    /// # Errors
    /// When that does not happen.
    pub async fn switch(&self) -> io::Result<()> {
        let old = self.master().await?;
        let written = offsets(old).await.0;
        let wait = Wait::until("the replica has what was written");
        while offsets(old).await.1 < written {
            wait.pause().await?;
        }
        // Refused while the sentinel has not yet heard from the replica.
        let wait = Wait::until("a sentinel begins the fail-over");
        while self.sentinels[0]
            .command(&["SENTINEL", "FAILOVER", MASTER])
            .await
            .is_err()
        {
            wait.pause().await?;
        }
        self.wait_for_other_than(old.port()).await?;
        // Until then it takes writes that it will lose.
        let wait = Wait::until("the old master is a replica");
        while old
            .command(&["ROLE"])
            .await
            .unwrap_or_default()
            .first()
            .is_none_or(|role| role != "slave")
        {
            wait.pause().await?;
        }
        Ok(())
    }

    async fn wait_for_other_than(&self, old: u16) -> io::Result<()> {
        let wait = Wait::until("the sentinels name a new master");
        loop {
            if let Ok(master) = self.master().await
                && master.port() != old
            {
                let role = master.command(&["ROLE"]).await.unwrap_or_default();
                if role.first().is_some_and(|role| role == "master") {
                    return Ok(());
                }
            }
            wait.pause().await?;
        }
    }
}

/// How far a master's writes have come, and how far the replica that has most of them says that it has come; 0 when that is
/// not known.
async fn offsets(master: &RedisServer) -> (u64, u64) {
    let info = master.command(&["INFO", "replication"]).await.unwrap_or_default();
    let text = info.concat();
    let after = |prefix: &str, line: &str| {
        let (_, rest) = line.split_once(prefix)?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().ok()
    };
    let most = |prefix| {
        text.lines()
            .filter_map(|line| after(prefix, line))
            .max()
            .unwrap_or(0)
    };
    (most("master_repl_offset:"), most(",offset="))
}
