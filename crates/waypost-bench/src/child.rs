//! A role's process, as the conductor sees it.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};

use crate::control::{Answer, Command};

/// How long a role may take for one command, such as registering a million clients one machine is slow at.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long it may take to end.
const END: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Child {
    role: &'static str,
    pub(crate) pid: u32,
    /// Where it is reached, if others connect to it.
    pub(crate) address: String,
    process: tokio::process::Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub(crate) async fn start(role: &'static str, arguments: &[&str]) -> Result<Self> {
        let mut process = tokio::process::Command::new(std::env::current_exe()?)
            .args(["role", role])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {role}"))?;
        let stdin = process.stdin.take().context("no stdin")?;
        let stdout = process.stdout.take().context("no stdout")?;
        let mut child = Self {
            role,
            pid: process.id().unwrap_or_default(),
            address: String::new(),
            process,
            stdin,
            lines: BufReader::new(stdout).lines(),
        };
        child.address = child.answer().await?.address;
        Ok(child)
    }

    pub(crate) async fn ask(&mut self, command: &Command) -> Result<Answer> {
        let mut line = serde_json::to_string(command)?;
        line.push('\n');
        self.stdin.write_all(line.as_bytes()).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<Answer> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line())
            .await
            .with_context(|| format!("{} does not answer", self.role))??
            .with_context(|| format!("{} has ended", self.role))?;
        let answer: Answer = serde_json::from_str(&line)?;
        if let Some(error) = answer.error {
            bail!("{}: {error}", self.role);
        }
        Ok(answer)
    }

    pub(crate) async fn stop(mut self) {
        // Its stdin's end tells it; what does not end in time is killed when dropped.
        let _ = self.ask_to_end().await;
        let _ = tokio::time::timeout(END, self.process.wait()).await;
    }

    async fn ask_to_end(&mut self) -> Result<()> {
        let line = serde_json::to_string(&Command::Quit)? + "\n";
        Ok(self.stdin.write_all(line.as_bytes()).await?)
    }
}
