//! What is measured once a round beside the systems: what Redis can take, and how quickly a server is up.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::run::Run;
use crate::system::{find, start_redis};

/// Starts of one round.
const STARTS: usize = 5;
/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `redis-benchmark -P 64 -t set` reaches, with one client as servers have one connection, and with its usual 50.
pub(crate) async fn redis_benchmark(run: &mut Run<'_>) -> Result<()> {
    let program = find("redis-benchmark").context("left out, it is not installed")?;
    let server = start_redis().await?;
    let requests = if run.options.quick { "300000" } else { "2000000" };
    let output = Command::new(program)
        .args([
            "-p",
            &server.port().to_string(),
            "-P",
            "64",
            "-t",
            "set",
            "-n",
            requests,
            "--csv",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate: f64 = text
        .lines()
        .find(|line| line.starts_with("\"SET\""))
        .and_then(|line| line.split(',').nth(1)?.trim_matches('"').parse().ok())
        .context("its output cannot be read")?;
    run.put("redis-benchmark", "set", 0, 0, &[("requests_per_second", rate)]);
    Ok(())
}

/// From exec of `waypost-brokerless --stdio` to its first answer.
pub(crate) async fn start_time(run: &mut Run<'_>) -> Result<()> {
    let Some(program) = run.options.brokerless.clone() else {
        bail!("left out, no --brokerless given");
    };
    for _ in 0..STARTS {
        let dir = TempDir::new()?;
        let store = format!("embedded:{}", dir.path().join("sessions").display());
        let began = Instant::now();
        let mut process = Command::new(&program)
            .args(["1", "1", "--stdio", "--store", &store])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut lines = BufReader::new(process.stdout.take().context("no stdout")?).lines();
        tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .context("it does not answer")??
            .context("it has ended")?;
        let millis = began.elapsed().as_secs_f64() * 1e3;
        run.put("waypost-brokerless", "start", 0, 0, &[("milliseconds", millis)]);
        // Its stdin's end means quit.
        drop(process.stdin.take());
        let _ = tokio::time::timeout(PATIENCE, process.wait()).await;
    }
    Ok(())
}
