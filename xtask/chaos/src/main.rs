//! `waypost-chaos [--seconds N] [--seed S] [--topology brokerless|broker|brokers=N] [--store embedded|redis|riak|riak-one]
//! [--servers N] [--brokerless N] [--network proxies|namespaces|direct]`, and
//! `waypost-chaos rolling [--per-second N] [--topology ...] [--store ...]`

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use lexopt::{Arg, ValueExt as _};
use waypost_chaos::{Network, Options, Store, Topology};

fn main() -> ExitCode {
    waypost_harness::run(run)
}

fn run() -> Result<()> {
    let (mut seconds, mut seed) = (30u64, None);
    let (mut topology, mut store) = ("brokerless".to_owned(), "embedded".to_owned());
    let mut network = "proxies".to_owned();
    let (mut rolling, mut per_second, mut servers, mut brokerless) = (false, 500, 3, 0);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(word) if word == "rolling" => rolling = true,
            Arg::Long("servers") => servers = parser.value()?.parse::<usize>()?,
            Arg::Long("brokerless") => brokerless = parser.value()?.parse::<usize>()?,
            Arg::Long("per-second") => per_second = parser.value()?.parse()?,
            Arg::Long("seconds") => seconds = parser.value()?.parse()?,
            Arg::Long("seed") => seed = Some(parser.value()?.parse::<u64>()?),
            Arg::Long("topology") => topology = parser.value()?.string()?,
            Arg::Long("network") => network = parser.value()?.string()?,
            Arg::Long("store") => store = parser.value()?.string()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let seed = match seed {
        Some(seed) => seed,
        None => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
    };
    let mut options = Options::new(topology.parse::<Topology>()?, store.parse::<Store>()?);
    anyhow::ensure!(servers > 0, "--servers takes at least 1");
    options.servers = servers;
    options.brokerless = brokerless.min(servers);
    options.network = network.parse::<Network>()?;
    let mut out = std::io::stdout();
    if rolling {
        options.network = Network::Direct;
        let rolled = waypost_chaos::restart_everything(options, per_second)?;
        writeln!(
            out,
            "sends while this was restarted, {per_second} of either kind a second ({topology}, {store}):\n{rolled}"
        )?;
        writeln!(
            out,
            "no acked one lost, none delivered twice or to another client; best effort works afterwards"
        )?;
        return Ok(());
    }
    writeln!(
        out,
        "cargo xtask chaos --seconds {seconds} --seed {seed} {options}"
    )?;
    let summary = waypost_chaos::run(options, seed, Duration::from_secs(seconds))?;
    writeln!(out, "{summary}\nall promises kept")?;
    Ok(())
}
