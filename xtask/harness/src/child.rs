//! A process of this program in a role, as its conductor sees it.

use std::marker::PhantomData;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};

/// How long a role may take for one command: registering a million clients takes its time on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long it may take to end.
const END: Duration = Duration::from_secs(5);

/// What every answer may say, whatever else is in it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Head {
    address: String,
    error: Option<String>,
}

/// A process of this very program, started as `PROGRAM role ARGUMENTS...`. It says a JSON line when it is ready, and one for
/// each that it is told: a `C` in, an `A` out, of which `address` and `error` are read here. It is killed with its handle.
#[derive(Debug)]
pub struct Child<C, A> {
    name: String,
    /// Its process.
    pub pid: u32,
    /// Where it is reached, if others connect to it.
    pub address: String,
    process: tokio::process::Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    speaks: PhantomData<fn(C) -> A>,
}

impl<C: Serialize + Sync, A: DeserializeOwned> Child<C, A> {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started or says what is wrong.
    pub async fn start(arguments: &[&str]) -> Result<Self> {
        let name = arguments.join(" ");
        let mut process = tokio::process::Command::new(std::env::current_exe()?)
            .arg("role")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdin = process.stdin.take().context("no stdin")?;
        let stdout = process.stdout.take().context("no stdout")?;
        let mut child = Self {
            pid: process.id().context("it has ended")?,
            name,
            address: String::new(),
            process,
            stdin,
            lines: BufReader::new(stdout).lines(),
            speaks: PhantomData,
        };
        child.address = child.line().await?.1.address;
        Ok(child)
    }

    /// Tells it something and gives its answer.
    ///
    /// # Errors
    /// When it answers with an error or not at all.
    pub async fn ask(&mut self, command: &C) -> Result<A> {
        self.tell(command).await?;
        Ok(serde_json::from_str(&self.line().await?.0)?)
    }

    async fn tell(&mut self, command: &C) -> Result<()> {
        let line = serde_json::to_string(command)? + "\n";
        Ok(self.stdin.write_all(line.as_bytes()).await?)
    }

    async fn line(&mut self) -> Result<(String, Head)> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line())
            .await
            .with_context(|| format!("{} does not answer", self.name))??
            .with_context(|| format!("{} has ended", self.name))?;
        let head: Head = serde_json::from_str(&line)?;
        if let Some(error) = head.error {
            bail!("{}: {error}", self.name);
        }
        Ok((line, head))
    }

    /// Ends it by its last command; what does not end in time is killed.
    pub async fn stop(mut self, last: &C) {
        let _ = self.tell(last).await;
        let _ = tokio::time::timeout(END, self.process.wait()).await;
    }
}
