//! Runs stories of the simulator: one with every step, or many; `cargo xtask sim` is this program.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use lexopt::{Arg, Parser, ValueExt as _};
use waypost_sim::story;

const HELP: &str = "\
Runs whole clusters in virtual time, each from one seed, against every promise of docs/guarantees.md

Usage: cargo xtask sim [OPTIONS]

Options:
  --seed N        one seed; every step goes into a file, and the last ones are shown if a promise is broken
  --seeds N       this many seeds, on all cores [default: 1000]
  --first N       the first of them [default: 0]
  --minutes N     fresh seeds on all cores until the time is over
  --trace FILE    where the steps of --seed go [default: waypost-sim-N.trace in the directory for temporary files]
";

/// How many of the last steps are shown.
const SHOWN: usize = 40;

#[derive(Debug, Default)]
struct Wanted {
    seed: Option<u64>,
    seeds: Option<u64>,
    first: Option<u64>,
    minutes: Option<f64>,
    trace: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = parse(std::env::args_os().skip(1)).map_err(std::io::Error::other);
    let result = result.and_then(|wanted| match wanted {
        None => say(HELP).map(|()| true),
        Some(Wanted {
            seed: Some(seed),
            trace,
            ..
        }) => one(seed, trace),
        Some(wanted) => many(&wanted),
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Where that fails too, the exit code is left.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(64)
        }
    }
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<Option<Wanted>, lexopt::Error> {
    let mut parser = Parser::from_args(args);
    let mut wanted = Wanted::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("seed") => wanted.seed = Some(parser.value()?.parse()?),
            Arg::Long("seeds") => wanted.seeds = Some(parser.value()?.parse()?),
            Arg::Long("first") => wanted.first = Some(parser.value()?.parse()?),
            Arg::Long("minutes") => {
                let minutes: f64 = parser.value()?.parse()?;
                if !(0.0..=100_000.0).contains(&minutes) {
                    return Err("--minutes is a number of minutes".into());
                }
                wanted.minutes = Some(minutes);
            }
            Arg::Long("trace") => wanted.trace = Some(parser.value()?.into()),
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(wanted))
}

fn say(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", text.trim_end())
}

/// One seed with all its steps; whether all promises were kept.
fn one(seed: u64, trace: Option<PathBuf>) -> std::io::Result<bool> {
    let file = trace.unwrap_or_else(|| std::env::temp_dir().join(format!("waypost-sim-{seed}.trace")));
    let (lines, failure) = story::trace(seed);
    std::fs::write(&file, lines.join("\n") + "\n")?;
    if let Some(failure) = &failure {
        for line in &lines[lines.len().saturating_sub(SHOWN)..] {
            say(line)?;
        }
        say(&failure.to_string())?;
    } else {
        say(&format!("seed {seed}: every promise was kept"))?;
    }
    say(&format!("{} steps in {}", lines.len(), file.display()))?;
    Ok(failure.is_none())
}

/// Many seeds; whether all promises were kept in all of them.
fn many(wanted: &Wanted) -> std::io::Result<bool> {
    let at_most = wanted
        .minutes
        .map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let fresh = || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs() << 24)
    };
    let first = wanted
        .first
        .unwrap_or_else(|| if at_most.is_some() { fresh() } else { 0 });
    let count = wanted
        .seeds
        .unwrap_or_else(|| if at_most.is_some() { u64::MAX } else { 1000 });
    let report = story::run(first, count, at_most);
    for failure in &report.failures {
        say(&failure.to_string())?;
    }
    let sends: u64 = report.outcomes.values().sum();
    say(&format!(
        "{} seeds from {first} on, {} steps, {sends} acked sends: {:?}",
        report.seeds, report.steps, report.outcomes
    ))?;
    say(&format!("{} seeds broke a promise", report.failures.len()))?;
    Ok(report.failures.is_empty())
}
