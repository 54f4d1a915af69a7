//! A real `redis-server` that can be stopped, killed and started again empty.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use waypost_session_testkit::servers::ReservedPort;

use crate::links::{Links, Place};
use crate::server::Signal;
use crate::world::eventually;

/// How long it may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server, always on the same port; it keeps nothing on disk.
#[derive(Debug)]
pub struct RedisServer {
    host: String,
    port: ReservedPort,
    directory: TempDir,
    child: Child,
}

impl RedisServer {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When `redis-server` (or what `WAYPOST_TEST_REDIS_SERVER` names) cannot be run.
    pub(crate) fn start(links: &Links) -> Result<Self> {
        let (host, port, directory) = (links.host(Place::Store), ReservedPort::new()?, TempDir::new()?);
        let child = spawn(links, &host, port.number(), directory.path().to_owned())?;
        Ok(Self {
            host,
            port,
            directory,
            child,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("tcp://{}:{}", self.host, self.port.number())
    }

    /// Stops or continues it.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal.send(self.child.id())
    }

    /// Kills it; all that it knew is gone.
    ///
    /// # Errors
    /// From the system.
    pub fn kill(&mut self) -> Result<()> {
        // A stopped process takes SIGKILL too.
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again after [`kill`](Self::kill), empty.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn restart(&mut self, links: &Links) -> Result<()> {
        self.child = spawn(
            links,
            &self.host,
            self.port.number(),
            self.directory.path().to_owned(),
        )?;
        Ok(())
    }

    /// Forgets everything, as an operator's slip.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn flush_all(&self) -> Result<()> {
        let mut stream = self.tell(b"*1\r\n$8\r\nFLUSHALL\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        ensure!(&answer == b"+OK\r\n", "redis-server refused FLUSHALL");
        Ok(())
    }

    /// Ends it as an operator does: what it knew is there when it starts again.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end_and_save(&mut self) -> Result<()> {
        self.tell(b"*2\r\n$8\r\nSHUTDOWN\r\n$4\r\nSAVE\r\n")?;
        eventually("redis-server ends", PATIENCE, || Ok(self.child.try_wait()?))?;
        Ok(())
    }

    fn tell(&self, command: &[u8]) -> Result<TcpStream> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.number()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(command)?;
        Ok(stream)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(links: &Links, host: &str, port: u16, directory: PathBuf) -> Result<Child> {
    let program = std::env::var_os("WAYPOST_TEST_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
    let log = directory.join("redis.log");
    let mut child = links
        .command(Place::Store, Path::new(&program))
        .args(["--port", &port.to_string(), "--bind", host])
        .args(["--protected-mode", "no", "--save", "", "--dir"])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(File::create(&log)?)
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}: install redis-server", program.to_string_lossy()))?;
    // Its port cannot be reached from here when it is in a network namespace.
    eventually("redis-server accepts connections", PATIENCE, || {
        if let Some(status) = child.try_wait()? {
            anyhow::bail!("redis-server ended at once: {status}");
        }
        Ok(std::fs::read_to_string(&log)?
            .to_lowercase()
            .contains("ready to accept connections")
            .then_some(()))
    })?;
    Ok(child)
}
