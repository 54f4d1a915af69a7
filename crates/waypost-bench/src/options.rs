//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lexopt::Arg;

use crate::measure::Windows;
use crate::system::System;

pub(crate) const HELP: &str = "\
Measures Waypost beside the raw limit, NATS and Redis pub/sub, in one run on one machine

Usage: waypost-bench [OPTIONS]
       waypost-bench stores [OPTIONS]    claims, look-ups and releases on each datastore; see stores --help

Options:
  --quick              fewer clients, one size, short windows: within two minutes
  --rounds N           how often everything is measured [default: 3]
  --clients N,N,...    clients of each server [default: 10,1000,10000,100000,1000000]
  --size S,S,...       body sizes in bytes [default: 16,128,1024,16384]
  --systems NAME,...   raw, nats, redis-pubsub, brokerless, brokerless-redis, broker-tcp, broker-tcp-redis, broker-unix
                       [default: all]
  --seconds N          how long each throughput is measured [default: 1, or 0.3 with --quick]
  --brokerless PATH    the executable waypost-brokerless, whose start is timed
  --out DIR            where the results go [default: target/bench]
  --readme DIR         also put the table and the picture into README.md and docs/ of the checkout DIR
";

/// The size that the bars are about, in bytes.
pub(crate) const SIZE: usize = 128;

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) clients: Vec<usize>,
    pub(crate) sizes: Vec<usize>,
    pub(crate) systems: Vec<System>,
    pub(crate) windows: Windows,
    /// How long idle servers are watched.
    pub(crate) idle: Duration,
    pub(crate) brokerless: Option<PathBuf>,
    pub(crate) out: PathBuf,
    pub(crate) readme: Option<PathBuf>,
}

impl Options {
    /// `None`: the help was asked for.
    pub(crate) fn parse(arguments: &[String]) -> Result<Option<Self>> {
        let mut parser = lexopt::Parser::from_args(arguments);
        let mut quick = false;
        let (mut rounds, mut clients, mut sizes, mut systems, mut window) = (None, None, None, None, None);
        let (mut brokerless, mut out, mut readme) = (None, PathBuf::from("target/bench"), None);
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Short('h') | Arg::Long("help") => return Ok(None),
                Arg::Long("quick") => quick = true,
                Arg::Long("rounds") => rounds = Some(number(&parser.value()?.to_string_lossy())?),
                Arg::Long("clients") => clients = Some(numbers(&parser.value()?.to_string_lossy())?),
                Arg::Long("size" | "sizes") => sizes = Some(numbers(&parser.value()?.to_string_lossy())?),
                Arg::Long("systems") => systems = Some(named(&parser.value()?.to_string_lossy())?),
                Arg::Long("seconds") => window = Some(seconds(&parser.value()?.to_string_lossy())?),
                Arg::Long("readme") => readme = Some(parser.value()?.into()),
                Arg::Long("brokerless") => brokerless = Some(parser.value()?.into()),
                Arg::Long("out") => out = parser.value()?.into(),
                other => return Err(other.unexpected().into()),
            }
        }
        let millis = |millis: usize| Duration::from_millis(millis as u64);
        let (default_clients, default_sizes) = if quick {
            (vec![10, 1000, 10_000], vec![SIZE])
        } else {
            (
                vec![10, 1000, 10_000, 100_000, 1_000_000],
                vec![16, SIZE, 1024, 16_384],
            )
        };
        let mut clients = clients.unwrap_or(default_clients);
        clients.sort_unstable();
        Ok(Some(Self {
            quick,
            rounds: rounds.unwrap_or(3),
            clients,
            sizes: sizes.unwrap_or(default_sizes),
            systems: systems.unwrap_or_else(|| System::ALL.to_vec()),
            windows: Windows {
                warm_up: millis(if quick { 100 } else { 300 }),
                window: window.unwrap_or_else(|| millis(if quick { 300 } else { 1000 })),
                round_trips: millis(if quick { 150 } else { 1000 }),
            },
            idle: Duration::from_secs(if quick { 2 } else { 10 }),
            brokerless,
            out,
            readme,
        }))
    }
}

pub(crate) fn seconds(text: &str) -> Result<Duration> {
    text.trim()
        .parse()
        .ok()
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .with_context(|| format!("not a number of seconds above 0: {text}"))
}

fn number(text: &str) -> Result<usize> {
    match text.trim().replace('_', "").parse() {
        Ok(0) | Err(_) => bail!("not a number above 0: {text}"),
        Ok(number) => Ok(number),
    }
}

fn numbers(text: &str) -> Result<Vec<usize>> {
    text.split(',').map(number).collect()
}

fn named(text: &str) -> Result<Vec<System>> {
    text.split(',')
        .map(|name| System::find(name).with_context(|| format!("there is no system {name}; see --help")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Option<Options>> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        Options::parse(&arguments)
    }

    #[test]
    fn lists_are_read() {
        let options = parse(&["--clients", "1_000,10", "--systems", "raw,nats"])
            .unwrap()
            .unwrap();
        assert_eq!(options.clients, [10, 1000]);
        assert_eq!(options.systems, [System::Raw, System::Nats]);
        assert_eq!(options.rounds, 3);
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        assert!(parse(&["--systems", "carrier-pigeon"]).is_err());
        assert!(parse(&["--rounds", "0"]).is_err());
        assert!(parse(&["--seconds", "-1"]).is_err());
        assert!(parse(&["--fast"]).is_err());
        assert!(parse(&["--help"]).unwrap().is_none());
    }
}
