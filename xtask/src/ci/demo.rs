//! The demo as a user would see it: `cluster up` on every topology and store, and what it printed, word for word.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::output::say;
use crate::process::ProcessId;
use crate::workspace::Workspace;

const VARIANTS: [(&str, &str); 4] = [
    ("brokerless", "embedded"),
    ("broker", "embedded"),
    ("brokerless", "redis"),
    ("broker", "redis"),
];
const SERVERS: u32 = 3;

/// How long the demo may take, counted from the first line of a server; building may take longer.
const DEMO_DEADLINE: Duration = Duration::from_secs(60);
const BUILD_DEADLINE: Duration = Duration::from_secs(900);

pub(super) fn check(workspace: &Workspace) -> Result<bool> {
    let mut passed = true;
    for (topology, store) in VARIANTS {
        passed &= play(workspace, topology, store)?;
    }
    Ok(passed)
}

/// Plays the demo once; whether every server printed what it should, and all ended in good order.
fn play(workspace: &Workspace, topology: &str, store: &str) -> Result<bool> {
    let start = Instant::now();
    say!("$ cargo xtask cluster up --topology {topology} --store {store}");
    let mut child = Command::new(std::env::current_exe().context("this program has no path")?)
        .args(["cluster", "up", "--topology", topology, "--store", store])
        .current_dir(workspace.root())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run xtask")?;
    let id = ProcessId::of(child.id())?;
    let stdout = BufReader::new(child.stdout.take().context("xtask has no stdout")?);
    let (sender, lines) = channel();
    let reader = std::thread::spawn(move || {
        for line in stdout.lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut received: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut transcript = Vec::new();
    let mut deadline = start + BUILD_DEADLINE;
    let mut asked_to_stop = false;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if line.starts_with("server-") && received.is_empty() {
                    deadline = Instant::now() + DEMO_DEADLINE;
                }
                if let Some((server, text)) = line.split_once(" | ")
                    && text.starts_with("Received: ")
                {
                    received
                        .entry(server.to_owned())
                        .or_default()
                        .push(text.to_owned());
                }
                if line.starts_with("cluster | all ") && !asked_to_stop {
                    asked_to_stop = true;
                    id.signal(Signal::INT)?;
                }
                transcript.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if !asked_to_stop => {
                asked_to_stop = true;
                deadline = Instant::now() + DEMO_DEADLINE;
                id.signal(Signal::INT)?;
            }
            Err(RecvTimeoutError::Timeout) => {
                id.signal(Signal::KILL)?;
                break;
            }
        }
    }
    let status = child.wait().context("cannot wait for xtask")?;
    drop(lines);
    reader
        .join()
        .map_err(|_| anyhow::anyhow!("the reader of the demo panicked"))?;
    let wrong: Vec<u32> = (1..=SERVERS)
        .filter(|server| received.get(&format!("server-{server}")) != Some(&expected(*server)))
        .collect();
    let passed = wrong.is_empty() && status.success();
    if !passed {
        say!("  FAILED: servers with a wrong transcript: {wrong:?}; cluster up ended with {status}");
        for line in transcript {
            say!("    {line}");
        }
    }
    say!(
        "  {} in {}",
        super::verdict(passed),
        super::seconds(start.elapsed())
    );
    Ok(passed)
}

/// What server `i` of three prints: first its own clients among themselves, then what the server before it sends.
fn expected(i: u32) -> Vec<String> {
    let other = (i + SERVERS - 2) % SERVERS + 1;
    [
        format!("clientD{i} clientA{i} Hello from D to A!"),
        format!("clientA{i} clientB{i} Hello from A to B!"),
        format!("clientC{i} clientB{i} Hello from C to B!"),
        format!("clientA{other} clientA{i} Hello from A to A!"),
        format!("clientC{other} clientC{i} Hello from C to C!"),
        format!("clientA{other} clientC{i} Hello from A to C!"),
        format!("clientC{other} clientA{i} Hello from C to A!"),
    ]
    .map(|text| format!("Received: {text}"))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_hears_from_the_one_before_it() {
        assert_eq!(expected(1)[3], "Received: clientA3 clientA1 Hello from A to A!");
        assert_eq!(expected(2)[3], "Received: clientA1 clientA2 Hello from A to A!");
        assert_eq!(expected(3)[6], "Received: clientC2 clientA3 Hello from C to A!");
        assert_eq!(expected(1).len(), 7);
    }
}
