//! Measures what bystanders feel of others' trouble: throughput and latency of servers that have nothing to do with it,
//! undisturbed and disturbed by turns, in one run.
//!
//! This program is the conductor, and in other processes of itself the servers and the broker (`role`).

mod cluster;
mod conduct;
mod control;
mod report;
mod role;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lexopt::{Arg, ValueExt as _};
use waypost::Settings;

const HELP: &str = "\
Bystanders beside trouble: undisturbed and disturbed by turns, medians of all rounds.

usage: cargo xtask chaos isolation [OPTIONS]

  --rounds N      pairs of windows for each trouble (5)
  --window MS     length of a window in milliseconds (3000)
  --load PERCENT  the bystanders' load, of what they reach at full speed (30)
  --only NAME     one trouble: stopped-peer, full-inbox, hung-store, storm
  --topology T    mesh or broker; both if not given
  --queue-bytes N bound of a link's queue, for all processes (4194304); a small one makes the bounds on memory tight
  --out DIR       where isolation.json and isolation.md go (target/isolation)
";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) window: Duration,
    pub(crate) load_percent: u64,
    pub(crate) only: Option<String>,
    pub(crate) topology: Option<String>,
    queue_bytes: Option<usize>,
    pub(crate) out: PathBuf,
}

impl Options {
    /// The settings of all processes.
    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        if let Some(bytes) = self.queue_bytes {
            settings.queue_bytes_max = bytes;
            settings.frame_bytes_max = settings.frame_bytes_max.min(bytes);
        }
        settings
    }
}

fn main() -> ExitCode {
    waypost_harness::run(run)
}

fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut parser = lexopt::Parser::from_env();
    let mut options = Options {
        rounds: 5,
        window: Duration::from_secs(3),
        load_percent: 30,
        only: None,
        topology: None,
        queue_bytes: None,
        out: PathBuf::from("target/isolation"),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(word) if word == "role" => {
                let rest: Vec<String> = parser
                    .raw_args()?
                    .map(|argument| argument.to_string_lossy().into_owned())
                    .collect();
                return runtime.block_on(role::run(&rest));
            }
            Arg::Long("rounds") => options.rounds = parser.value()?.parse()?,
            Arg::Long("window") => options.window = Duration::from_millis(parser.value()?.parse()?),
            Arg::Long("load") => options.load_percent = parser.value()?.parse()?,
            Arg::Long("only") => options.only = Some(parser.value()?.string()?),
            Arg::Long("topology") => options.topology = Some(parser.value()?.string()?),
            Arg::Long("queue-bytes") => options.queue_bytes = Some(parser.value()?.parse()?),
            Arg::Long("out") => options.out = parser.value()?.into(),
            Arg::Long("help") | Arg::Short('h') => {
                std::io::stdout().write_all(HELP.as_bytes())?;
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    ensure!(options.rounds > 0, "--rounds takes at least 1");
    let results = runtime.block_on(conduct::all(&options))?;
    let markdown = report::write(&results, &options).context("cannot write the report")?;
    std::io::stdout().write_all(markdown.as_bytes())?;
    let broken: Vec<String> = results.iter().filter_map(report::broken).collect();
    ensure!(broken.is_empty(), "not as promised: {}", broken.join("; "));
    Ok(())
}
