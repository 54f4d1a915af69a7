//! One `redis-server` process.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use super::{Wait, admin, tls};
use crate::servers::{ReservedPort, Signal, signal_child};

const EXECUTABLE_VARIABLE: &str = "WAYPOST_TEST_REDIS_SERVER";

/// What a server is to be like. The default has no password, no TLS and keeps nothing on disk.
#[derive(Clone, Default)]
pub struct RedisOptions {
    password: Option<String>,
    tls: bool,
    is_sentinel: bool,
    directives: Vec<String>,
}

impl core::fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RedisOptions")
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("tls", &self.tls)
            .field("directives", &self.directives)
            .finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// The default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for this password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Serves TLS alone, with a certificate of its own making.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// One more line of `redis.conf`.
    #[must_use]
    pub fn directive(mut self, line: impl Into<String>) -> Self {
        self.directives.push(line.into());
        self
    }

    /// Lines of `sentinel.conf` follow.
    pub(super) fn sentinel() -> Self {
        Self {
            is_sentinel: true,
            ..Self::default()
        }
    }

    /// Starts a server.
    ///
    /// # Errors
    /// When `redis-server` is missing or does not come up.
    pub async fn start(self) -> io::Result<RedisServer> {
        RedisServer::start_with(self).await
    }
}

/// A running `redis-server`. Its drop kills the process and removes its directory.
#[derive(Debug)]
pub struct RedisServer {
    options: RedisOptions,
    dir: TempDir,
    port: ReservedPort,
    process: Mutex<Option<Child>>,
}

impl RedisServer {
    /// Starts a server with the default options; returns when it answers.
    ///
    /// # Errors
    /// When `redis-server` is missing or does not come up.
    pub async fn start() -> io::Result<Self> {
        RedisOptions::new().start().await
    }

    async fn start_with(options: RedisOptions) -> io::Result<Self> {
        let server = Self {
            options,
            dir: TempDir::new()?,
            port: ReservedPort::new()?,
            process: Mutex::new(None),
        };
        server.configure()?;
        server.start_again().await?;
        Ok(server)
    }

    fn configure(&self) -> io::Result<()> {
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            "protected-mode no".to_owned(),
            format!("dir {}", self.dir.path().display()),
            format!("logfile {}", self.log().display()),
        ];
        if self.options.tls {
            let files = tls::make(self.dir.path())?;
            lines.extend([
                "port 0".to_owned(),
                format!("tls-port {}", self.port()),
                "tls-auth-clients no".to_owned(),
            ]);
            lines.push(format!("tls-cert-file {}", files.cert.display()));
            lines.push(format!("tls-key-file {}", files.key.display()));
            lines.push(format!("tls-ca-cert-file {}", files.cert.display()));
        } else {
            lines.push(format!("port {}", self.port()));
        }
        if !self.options.is_sentinel {
            lines.push(format!("unixsocket {}", self.socket().display()));
            lines.extend([
                "save \"\"".to_owned(),
                "appendonly no".to_owned(),
                "databases 16".to_owned(),
            ]);
        }
        if let Some(password) = &self.options.password {
            lines.push(format!("requirepass {password}"));
        }
        lines.extend(self.options.directives.iter().cloned());
        lines.push(String::new());
        fs::write(self.config(), lines.join("\n"))
    }

    /// The store URL of this server.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "rediss" } else { "redis" };
        let user = self
            .options
            .password
            .as_ref()
            .map(|password| format!(":{password}@"))
            .unwrap_or_default();
        let query = if self.options.tls {
            format!("?ca-file={}", tls::certificate(self.dir.path()).display())
        } else {
            String::new()
        };
        format!("{scheme}://{user}127.0.0.1:{}{query}", self.port())
    }

    /// Where it listens on `127.0.0.1`.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Child::id)
    }

    /// Runs one command and gives the lines of its answer. Works with TLS and password alike.
    ///
    /// # Errors
    /// When the server does not answer or answers with an error.
    pub async fn command(&self, command: &[&str]) -> io::Result<Vec<String>> {
        if self.options.is_sentinel {
            return admin::by_port(self.port(), command).await;
        }
        admin::by_socket(&self.socket(), self.options.password.as_deref(), command).await
    }

    /// Kills the process, as a crash would; returns when it is gone. Does nothing when it is not running.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&self) -> io::Result<()> {
        match self.process().take() {
            None => Ok(()),
            Some(mut child) => {
                child.kill()?;
                child.wait().map(drop)
            }
        }
    }

    /// Asks the process to end in good order; returns when it is gone.
    ///
    /// # Errors
    /// When it does not end, or the system refuses.
    pub async fn stop(&self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        let wait = Wait::until("the server has ended");
        while !self.has_ended() {
            wait.pause().await?;
        }
        self.process().take();
        Ok(())
    }

    /// Starts it again on the same port, with what it kept on disk (nothing, by default); returns when it answers.
    ///
    /// # Errors
    /// What keeps it from coming up.
    pub async fn start_again(&self) -> io::Result<()> {
        self.kill()?;
        let executable = std::env::var(EXECUTABLE_VARIABLE).unwrap_or_else(|_| "redis-server".to_owned());
        let mut command = Command::new(&executable);
        command
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if self.options.is_sentinel {
            command.arg("--sentinel");
        }
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(
                error.kind(),
                format!("{executable} is not installed: apt-get install redis-server"),
            ),
            _ => error,
        })?;
        *self.process() = Some(child);
        let wait = Wait::until("the server answers");
        while !self.has_ended() {
            if self
                .command(&["PING"])
                .await
                .is_ok_and(|answer| answer == ["PONG"])
            {
                return Ok(());
            }
            wait.pause().await?;
        }
        self.process().take();
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        Err(io::Error::other(format!(
            "{executable} ended at once: {}",
            last.join(" / ")
        )))
    }

    /// Makes it hang: it keeps its connections and accepts new ones, and answers nothing from when this returns.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// When it is not running.
    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self
            .pid()
            .ok_or_else(|| io::Error::other("the server is not running"))?;
        signal_child(pid, signal)
    }

    /// Whether the process is gone, by itself or never started.
    fn has_ended(&self) -> bool {
        self.process()
            .as_mut()
            .is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("redis.conf")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Nothing can be done about a failure here.
        let _ = self.kill();
    }
}
