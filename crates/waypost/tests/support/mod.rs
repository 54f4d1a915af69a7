//! Real processes, driven through their standard streams. Every wait has a deadline; a process ends with its handle.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod scenario;
#[cfg(any(feature = "couchbase", feature = "riak"))]
pub(crate) mod traffic;

use std::fmt::Debug;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
pub(crate) use waypost_session_testkit::servers::{Signal, signal_child};

/// How long anything may take before the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The three executables.
pub(crate) const BROKER: &str = env!("CARGO_BIN_EXE_waypost-broker");
pub(crate) const SERVER: &str = env!("CARGO_BIN_EXE_waypost-server");
pub(crate) const BROKERLESS: &str = env!("CARGO_BIN_EXE_waypost-brokerless");

/// A command that knows nothing of the environment's settings.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WAYPOST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs to the end and returns exit code, stdout and stderr.
pub(crate) fn run(program: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Waits until `condition` gives a value.
pub(crate) fn eventually<T>(what: impl Debug, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < until, "not in time: {what:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A running process whose output comes line by line.
pub(crate) struct Process {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    log: Receiver<String>,
    /// What was read while something else was waited for.
    passed: Vec<String>,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, log) = (
            lines(child.stdout.take().unwrap()),
            lines(child.stderr.take().unwrap()),
        );

        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            log,
            passed: Vec::new(),
        }
    }

    /// A `waypost-brokerless --stdio` that has registered.
    pub(crate) fn brokerless(identity: &str, store: &Path) -> Self {
        let store = format!("embedded:{}", store.display());
        let mut process =
            Self::spawn(command(BROKERLESS).args(["--stdio", "--identity", identity, "--store", &store]));
        process.event("registered");
        process
    }

    /// Writes a line to stdin.
    pub(crate) fn write(&mut self, line: impl AsRef<str>) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line.as_ref().as_bytes()).unwrap();
        stdin.write_all(b"\n").unwrap();
    }

    /// Writes to stdin what need not end a line.
    pub(crate) fn write_raw(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The next line of stdout; none at its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line in time; log:\n{}", self.drain_log()),
        }
    }

    /// The next line of stdout as JSON.
    pub(crate) fn next(&mut self) -> Value {
        let line = self.line();
        let line = line.unwrap_or_else(|| panic!("stdout has ended; log:\n{}", self.drain_log()));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next event of that kind; others before it are kept for [`passed`](Self::passed).
    pub(crate) fn event(&mut self, kind: &str) -> Value {
        loop {
            let value = self.next();
            if value["event"] == kind {
                return value;
            }
            self.passed.push(value.to_string());
        }
    }

    /// Events that were read while others were waited for.
    pub(crate) fn passed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.passed)
    }

    /// Writes a line and returns the next event of that kind.
    pub(crate) fn ask(&mut self, line: impl AsRef<str>, kind: &str) -> Value {
        self.write(line);
        self.event(kind)
    }

    pub(crate) fn connect(&mut self, client: &str) -> u64 {
        let event = self.ask(format!(r#"{{"op":"connect","client":"{client}"}}"#), "connected");
        assert_eq!(event["client"], client);
        event["seq"].as_u64().unwrap()
    }

    /// Sends with an acknowledgement and returns the outcome.
    pub(crate) fn send(&mut self, from: &str, to: &str, body: &str) -> String {
        let line = format!(
            r#"{{"op":"send","from":"{from}","to":"{to}","body":"{body}","ack":true,"id":"{body}"}}"#
        );
        let event = self.ask(line, "outcome");
        assert_eq!(event["id"], body);
        event["outcome"].as_str().unwrap().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal_child(self.child.id(), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the process ends", || self.child.try_wait().unwrap())
    }

    /// What the process has logged until now.
    pub(crate) fn drain_log(&mut self) -> String {
        self.log.try_iter().collect::<Vec<_>>().join("\n")
    }

    /// Waits for a log record with that text.
    pub(crate) fn logged(&mut self, text: &str) -> String {
        eventually(text, || self.log.try_iter().find(|line| line.contains(text)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = format!("log of {}:\n{}\n", self.child.id(), self.drain_log());
            let _ = std::io::stderr().write_all(log.as_bytes());
        }
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
