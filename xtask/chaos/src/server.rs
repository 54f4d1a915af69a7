//! Real processes: servers that are driven by lines, and brokers.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};

use crate::build::executable;
use crate::links::{Links, Place};
use crate::world::{World, eventually};

/// With what the executables exit that cannot reach the store when they start.
pub(crate) const STORE_UNREACHABLE: i32 = 69;

/// Numbers a process; a restarted server is another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub(crate) usize);

/// Signals that processes are sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end.
    Term,
    /// Stops it where it is.
    Stop,
    /// Lets it go on.
    Continue,
}

impl Signal {
    /// Sends it; a process that is to stop has stopped when this returns.
    pub(crate) fn send(self, pid: u32) -> Result<()> {
        let process = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("not a process id")?;
        let signal = match self {
            Self::Term => rustix::process::Signal::TERM,
            Self::Stop => rustix::process::Signal::STOP,
            Self::Continue => rustix::process::Signal::CONT,
        };
        kill_process(process, signal)?;
        if self == Self::Stop {
            // Only once one of its threads has run again do the others stop, which takes a while on a busy machine.
            eventually("a process stops", Duration::from_secs(10), || {
                Ok(has_stopped(pid)?.then_some(()))
            })?;
        }
        Ok(())
    }
}

/// Whether every thread of a process is stopped.
fn has_stopped(pid: u32) -> Result<bool> {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(stat) = std::fs::read_to_string(thread?.path().join("stat")) else {
            // It has ended meanwhile.
            continue;
        };
        // What stands before the state is a name in parentheses.
        if stat
            .rsplit(") ")
            .next()
            .is_none_or(|rest| !rest.starts_with(['T', 'Z', 'X']))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How to start a process.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) links: &'a Links,
    pub(crate) place: Place,
    pub(crate) program: &'static str,
    pub(crate) arguments: Vec<String>,
    /// Where logs and ready files go.
    pub(crate) directory: PathBuf,
}

impl Launch<'_> {
    fn spawn(&self, label: &str, arguments: &[&str]) -> Result<(Child, PathBuf)> {
        let ready = self.directory.join(format!("{label}.ready"));
        let log = File::create(self.directory.join(format!("{label}.log")))?;
        let mut command = self.links.command(self.place, &executable(self.program));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WAYPOST_") {
                command.env_remove(name);
            }
        }
        let child = command
            .args(&self.arguments)
            .args(arguments)
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", self.program))?;
        Ok((child, ready))
    }
}

fn listens_at(ready: &Path) -> Option<String> {
    let text = std::fs::read_to_string(ready).ok()?;
    let value: Value = serde_json::from_str(&text).ok()?;
    Some(
        value["listen"]
            .as_array()?
            .first()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
    )
}

/// One server process under `--stdio`.
#[derive(Debug)]
pub struct Server {
    id: ServerId,
    identity: String,
    world: World,
    child: Child,
    /// What goes to its stdin; nothing ends that.
    lines: Sender<Option<Vec<u8>>>,
    /// How many lines its stdin has taken.
    written: Arc<AtomicU64>,
    reads: Arc<AtomicBool>,
    ready: PathBuf,
}

impl Server {
    pub(crate) fn start(world: &World, launch: &Launch<'_>, identity: &str) -> Result<Self> {
        let id = world.change(|oracle| oracle.start(identity));
        let label = format!("{identity}-{}", id.0);
        let (mut child, ready) = launch.spawn(&label, &["--stdio", "--identity", identity])?;
        let (sender, receiver) = channel();
        let stdin = child.stdin.take().context("stdin is piped")?;
        let written = Arc::new(AtomicU64::new(0));
        let writer_written = Arc::clone(&written);
        thread::spawn(move || write_lines(stdin, &receiver, &writer_written));
        let stdout = child.stdout.take().context("stdout is piped")?;
        let reads = Arc::new(AtomicBool::new(true));
        let (reader_world, reader_reads, reader_lines) = (world.clone(), Arc::clone(&reads), sender.clone());
        thread::spawn(move || {
            read_lines(stdout, &reader_reads, |line| {
                reader_world.change(|oracle| {
                    oracle.heard(id, line);
                    if let Some(reply) = reply_to(line) {
                        oracle.wrote(id, &reply);
                        let _ = reader_lines.send(Some((reply + "\n").into_bytes()));
                    }
                });
            });
            reader_world.change(|oracle| oracle.ended(id));
        });
        Ok(Self {
            id,
            identity: identity.to_owned(),
            world: world.clone(),
            child,
            lines: sender,
            written,
            reads,
            ready,
        })
    }

    /// This process's number.
    #[must_use]
    pub const fn id(&self) -> ServerId {
        self.id
    }

    /// Its name in the cluster.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens, if it does.
    ///
    /// # Errors
    /// When it does not say so in time.
    pub fn endpoint(&self) -> Result<String> {
        eventually("the server is ready", Duration::from_secs(30), || {
            Ok(listens_at(&self.ready))
        })
    }

    /// Writes bytes as they are; they should end a line.
    pub fn write(&self, bytes: &[u8]) {
        self.world.change(|oracle| {
            oracle.wrote(self.id, String::from_utf8_lossy(bytes).trim_end_matches('\n'));
            self.pass(bytes.to_vec());
        });
    }

    fn pass(&self, bytes: Vec<u8>) {
        // Nobody takes lines for a process that has ended.
        let _ = self.lines.send(Some(bytes));
    }

    /// Asks it to connect a client.
    pub fn connect(&self, client: &str) {
        self.line(&json!({"op": "connect", "client": client}), |oracle| {
            oracle.wrote_connect(self.id, client)
        });
    }

    /// Asks it to disconnect a client, whether it still holds it or not.
    pub fn disconnect(&self, client: &str) {
        self.line(&json!({"op": "disconnect", "client": client}), |_| {});
    }

    /// Sends a message and asks for its outcome; its number.
    pub fn send(&self, from: &str, to: &str) -> u64 {
        self.send_padded(from, to, "")
    }

    /// The same with more in its body.
    pub fn send_padded(&self, from: &str, to: &str, padding: &str) -> u64 {
        self.message("send", from, to, padding, true)
    }

    /// Sends a message without asking for its outcome.
    pub fn send_unacked(&self, from: &str, to: &str) -> u64 {
        self.message("send", from, to, "", false)
    }

    /// Sends a request; the receiving process answers with the same body.
    pub fn request(&self, from: &str, to: &str) -> u64 {
        self.message("request", from, to, "", true)
    }

    /// What writes to it, for another thread.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer {
            id: self.id,
            world: self.world.clone(),
            lines: self.lines.clone(),
        }
    }

    fn message(&self, op: &str, from: &str, to: &str, padding: &str, acked: bool) -> u64 {
        self.writer().message(op, from, to, padding, acked)
    }

    fn line(&self, line: &Value, note: impl FnOnce(&mut crate::Oracle)) {
        self.writer().line(line, note);
    }

    /// Sends to all clients but the sender; the broadcast's number.
    pub fn broadcast(&self, from: &str) -> u64 {
        let id = self.world.oracle().new_id();
        self.line(
            &json!({"op": "broadcast", "from": from, "body": format!("m{id}"), "id": id}),
            |_| {},
        );
        id
    }

    /// Asks who holds a client; the question's number.
    pub fn locate(&self, client: &str) -> u64 {
        let id = self.world.oracle().new_id();
        self.line(&json!({"op": "locate", "client": client, "id": id}), |_| {});
        id
    }

    /// Asks it to move out.
    pub fn drain(&self) {
        self.line(&json!({"op": "drain"}), |_| {});
    }

    /// Asks it to end.
    pub fn quit(&self) {
        self.line(&json!({"op": "quit"}), |_| {});
    }

    /// Ends its stdin.
    pub fn close_stdin(&self) {
        let _ = self.lines.send(None);
    }

    /// Reads what it prints, or lets it wait.
    pub fn set_reading(&self, reads: bool) {
        self.reads.store(reads, Ordering::Release);
    }

    /// Kills it.
    ///
    /// # Errors
    /// From the system.
    pub fn kill(&mut self) -> Result<()> {
        self.world.change(|oracle| oracle.kill(self.id));
        self.child.kill()?;
        self.child.wait()?;
        self.set_reading(true);
        let id = self.id;
        self.world.wait(
            "a killed server's output ends",
            Duration::from_secs(30),
            |oracle| oracle.has_ended(id).then_some(()),
        )
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match signal {
            Signal::Stop => self.world.change(crate::Oracle::disturb),
            Signal::Term => {
                let written = self.written.load(Ordering::Acquire);
                self.world.change(|oracle| oracle.told_to_end(self.id, written));
            }
            Signal::Continue => {}
        }
        signal.send(self.child.id())
    }

    /// Waits until it has ended and all that it printed has been read.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.set_reading(true);
        let what = format!("{} ends", self.identity);
        let status = eventually(&what, patience, || Ok(self.child.try_wait()?))?;
        let id = self.id;
        self.world.wait("its output ends", patience, |oracle| {
            oracle.has_ended(id).then_some(())
        })?;
        Ok(status)
    }
}

/// Writes to a server's stdin.
#[derive(Debug, Clone)]
pub struct Writer {
    id: ServerId,
    world: World,
    lines: Sender<Option<Vec<u8>>>,
}

impl Writer {
    /// Sends a message and asks for its outcome; its number.
    pub fn send(&self, from: &str, to: &str) -> u64 {
        self.message("send", from, to, "", true)
    }

    /// Sends a message without asking for its outcome.
    pub fn send_unacked(&self, from: &str, to: &str) -> u64 {
        self.message("send", from, to, "", false)
    }

    fn message(&self, op: &str, from: &str, to: &str, padding: &str, acked: bool) -> u64 {
        let id = self.world.oracle().new_id();
        let body = if padding.is_empty() {
            format!("m{id}")
        } else {
            format!("m{id}:{padding}")
        };
        // One without acknowledgement that could not even be sent has an outcome too, for the sake of its id.
        let mut line = json!({"op": op, "from": from, "to": to, "body": body, "id": id});
        if op == "send" {
            line["ack"] = acked.into();
        }
        self.line(&line, |oracle| oracle.wrote_send(self.id, id, from, to, acked));
        id
    }

    fn line(&self, line: &Value, note: impl FnOnce(&mut crate::Oracle)) {
        let line = line.to_string();
        self.world.change(|oracle| {
            oracle.wrote(self.id, &line);
            note(oracle);
            // Nobody takes lines for a process that has ended.
            let _ = self.lines.send(Some((line + "\n").into_bytes()));
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.set_reading(true);
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One broker process.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    endpoint: String,
}

impl Broker {
    /// `None` when it cannot reach the store.
    pub(crate) fn start(launch: &Launch<'_>, label: &str, listen: &str) -> Result<Option<Self>> {
        let (mut child, ready) = launch.spawn(label, &["--listen", listen])?;
        let endpoint = eventually("the broker is ready", Duration::from_secs(30), || {
            match child.try_wait()? {
                Some(status) if status.code() == Some(STORE_UNREACHABLE) => Ok(Some(None)),
                Some(status) => {
                    let log = launch.directory.join(format!("{label}.log"));
                    let log = std::fs::read_to_string(log).unwrap_or_default();
                    bail!("the broker ended at once: {status}: {}", log.trim_end())
                }
                None => Ok(listens_at(&ready).map(Some)),
            }
        });
        match endpoint {
            Ok(endpoint) => Ok(endpoint.map(|endpoint| Self { child, endpoint })),
            Err(error) => {
                // The error is what counts.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        Signal::Term.send(self.child.id())?;
        eventually("the broker ends", patience, || Ok(self.child.try_wait()?))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_lines(stdin: impl std::io::Write, lines: &Receiver<Option<Vec<u8>>>, written: &AtomicU64) {
    let mut stdin = BufWriter::new(stdin);
    while let Ok(Some(line)) = lines.recv() {
        let mut count = count_lines(&line);
        if stdin.write_all(&line).is_err() {
            return;
        }
        // Lines that have come meanwhile go with it.
        let mut ends = false;
        for line in lines.try_iter() {
            count += line.as_deref().map_or(0, count_lines);
            ends |= line.is_none_or(|line| stdin.write_all(&line).is_err());
            if ends {
                break;
            }
        }
        if stdin.flush().is_err() {
            return;
        }
        written.fetch_add(count, Ordering::Release);
        if ends {
            return;
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

fn read_lines(stdout: impl std::io::Read, reads: &AtomicBool, mut take: impl FnMut(&str)) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        while !reads.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(5));
        }
        line.clear();
        match stdout.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // A line cut short by a kill says nothing.
        if line.pop() == Some(b'\n') {
            take(&String::from_utf8_lossy(&line));
        }
    }
}

fn reply_to(line: &str) -> Option<String> {
    if !line.starts_with(r#"{"event":"request""#) {
        return None;
    }
    let event: Value = serde_json::from_str(line).ok()?;
    Some(json!({"op": "reply", "id": event["id"], "body": event["body"]}).to_string())
}
