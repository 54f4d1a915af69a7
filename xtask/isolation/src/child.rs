//! A role's process, as the conductor sees it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};

use crate::control::{Answer, Command};

/// How long a role may take for one command.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process of this program. It ends with its handle.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    pub(crate) address: String,
    process: tokio::process::Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub(crate) async fn start(arguments: &[&str]) -> Result<Self> {
        let mut process = tokio::process::Command::new(std::env::current_exe()?)
            .arg("role")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = process.stdin.take().context("no stdin")?;
        let stdout = process.stdout.take().context("no stdout")?;
        let mut child = Self {
            name: arguments.join(" "),
            address: String::new(),
            process,
            stdin,
            lines: BufReader::new(stdout).lines(),
        };
        child.address = child.answer().await?.address;
        Ok(child)
    }

    pub(crate) async fn ask(&mut self, command: &Command) -> Result<Answer> {
        let line = serde_json::to_string(command)? + "\n";
        self.stdin.write_all(line.as_bytes()).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<Answer> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line())
            .await
            .with_context(|| format!("{} does not answer", self.name))??
            .with_context(|| format!("{} has ended", self.name))?;
        let answer: Answer = serde_json::from_str(&line)?;
        if let Some(error) = answer.error {
            bail!("{}: {error}", self.name);
        }
        Ok(answer)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.id()
    }
}

/// Stops a process where it is, or lets it go on.
pub(crate) fn pause(pid: Option<u32>, paused: bool) -> Result<()> {
    let pid = pid
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw)
        .context("the process has ended")?;
    Ok(kill_process(
        pid,
        if paused { Signal::STOP } else { Signal::CONT },
    )?)
}

/// Memory of its own that is resident now, without mapped files, in KiB.
pub(crate) fn memory_kib(pid: Option<u32>) -> u64 {
    let status = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
    status
        .as_deref()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("RssAnon:")))
        .and_then(|line| line.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or_default()
}
