//! Network namespaces: each process has a machine of its own as far as the network is concerned, and cables can be pulled.
//!
//! A namespace lives as long as the process that holds it, which ends with its stdin: so nothing stays behind, however
//! a run ends, and the network of the machine itself is not touched.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::world::eventually;

/// A hardware address that nobody has: what is sent there is lost without a word.
const NOWHERE: &str = "02:00:00:00:00:99";

/// Some namespaces on one bridge.
#[derive(Debug)]
pub(crate) struct Namespaces {
    /// The namespace of the bridge alone.
    hub: Holder,
    rooms: Vec<Holder>,
}

impl Namespaces {
    /// Makes that many, of which each reaches each.
    ///
    /// # Errors
    /// When this user may not, or `ip`, `unshare` or `nsenter` are missing.
    pub(crate) fn start(count: usize) -> Result<Self> {
        let hub = Holder::start()?;
        hub.ip("link add hub type bridge\nlink set hub up\n")?;
        let mut namespaces = Self {
            hub,
            rooms: Vec::new(),
        };
        for index in 0..count {
            let room = Holder::start()?;
            namespaces.hub.ip(&format!(
                "link add port{index} type veth peer name eth0 netns {}\n\
                 link set port{index} master hub up\n",
                room.pid()
            ))?;
            room.ip(&format!(
                "addr add {}/16 dev eth0\nlink set eth0 up\nlink set lo up\n",
                address(index)
            ))?;
            namespaces.rooms.push(room);
        }
        Ok(namespaces)
    }

    /// Runs a program in one of them.
    pub(crate) fn command(&self, index: usize, program: &Path) -> Command {
        self.rooms[index].command(program)
    }

    /// Loses whatever one sends to the other, until [`mend`](Self::mend).
    pub(crate) fn cut(&self, from: usize, to: usize) -> Result<()> {
        let to = address(to);
        self.rooms[from].ip(&format!(
            "neigh replace {to} lladdr {NOWHERE} dev eth0 nud permanent\n"
        ))
    }

    /// Undoes a cut.
    pub(crate) fn mend(&self, from: usize, to: usize) -> Result<()> {
        let to = address(to);
        self.rooms[from].ip(&format!("neigh del {to} dev eth0\n"))
    }
}

/// The address of a namespace.
pub(crate) fn address(index: usize) -> String {
    format!("10.99.{}.{}", (index + 1) / 250, (index + 1) % 250)
}

/// Whether this process may make them; why not otherwise.
pub(crate) fn refusal() -> Option<String> {
    Namespaces::start(1).err().map(|error| format!("{error:#}"))
}

/// A process that holds a namespace open.
#[derive(Debug)]
struct Holder(Child);

impl Holder {
    fn start() -> Result<Self> {
        let mut child = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run unshare")?;
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let path = format!("/proc/{}/ns/net", child.id());
        let made = eventually("a network namespace is made", Duration::from_secs(10), || {
            if child.try_wait()?.is_some() {
                bail!("this user may not make network namespaces");
            }
            Ok(std::fs::read_link(&path)
                .is_ok_and(|other| other != own)
                .then_some(()))
        });
        let holder = Self(child);
        made.map(|()| holder)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.pid()))
            .arg("--")
            .arg(program);
        command
    }

    fn ip(&self, lines: &str) -> Result<()> {
        let mut child = self
            .command(Path::new("ip"))
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run nsenter")?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        stdin.write_all(lines.as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "ip refuses '{}': {}",
            lines.trim_end(),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
