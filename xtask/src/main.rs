//! Waypost's own commands: `cargo xtask ...`.
//!
//! A small dispatcher, one file a subcommand. It depends on nothing of this workspace, so that it works while the rest
//! does not compile; what is heavy is a package of its own that it runs.

mod bench;
mod chaos;
mod ci;
mod cluster;
mod codegen;
mod conformance;
mod containers;
mod instructions;
mod interrupt;
mod needs;
mod output;
mod process;
mod sim;
mod test;
mod tidy;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::Arg;

use crate::output::say;
use crate::workspace::Workspace;

const HELP: &str = "\
Waypost's own commands

Usage: cargo xtask <COMMAND>

Commands:
  cluster up [--topology broker|brokerless] [--store NAME|URL] [--servers N] [--brokers N] [--detach] [--release]
                              build and run a cluster that plays the demo; Ctrl-C drains it
  cluster down                drain the running cluster and remove what it left
  cluster status              the running cluster's processes, alive or dead
  cluster logs [NAME] [--follow]
                              what they printed and logged
  cluster kill NAME           SIGKILL one of them, to see what happens
  test [ARGS]                 all tests; ARGS go to cargo nextest run (or cargo test)
  conformance --store NAME|URL [FILTER]
                              the session-store suite against memory, embedded, redis, riak, couchbase or any server of yours
  bench [--quick] [OPTIONS]   Waypost beside raw TCP, NATS and Redis pub/sub, into target/bench; --help lists the options,
                              --readme puts the table and the picture into README.md
  bench stores [--store NAME|URL]... [--seconds N] [--page FILE]
                              claims, look-ups and releases on each datastore; --page docs/stores.md puts the table there
  chaos [--seconds N] [--seed S] [--topology brokerless|broker|brokers=N] [--servers N] [--brokerless N]
        [--store embedded|redis|riak|riak-one]
                              real executables through kills, stops and outages, held against every promise
  chaos rolling [--per-second N] [--topology ...] [--store ...]
                              every process of a loaded cluster restarted: nothing lost, how long sends took meanwhile
  chaos isolation [OPTIONS]   what bystanders feel of others' trouble, into target/isolation; --help lists the options
  sim [--seed N] [--minutes N] [--seeds N]
                              clusters in virtual time against every promise: one seed with its steps, or many on all cores
  ci [STEP ...]               all that must hold before a change is taken, or some of it: tidy, format, isolation,
                              codegen, lints, docs, features, dependencies, instructions, demo, test
  codegen [--check]           Rust of proto/ into crates/waypost-wire/src/gen
  instructions [--update]     instructions a message costs on the hot path, against the recorded figures; --update records
                              them anew
  tidy                        the rules that a compiler does not check

The default cluster is three brokerless servers on the embedded store: nothing to install.

Examples:
  cargo xtask cluster up
  cargo xtask cluster up --topology broker --store redis
  cargo xtask cluster up --detach && cargo xtask cluster status && cargo xtask cluster down
";

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(code) => code,
        // Whoever read our output has had enough, as in `cargo xtask cluster logs | head`.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let mut parser = lexopt::Parser::from_args(args);
    let command = match parser.next()? {
        None => {
            say!("{HELP}");
            return Ok(ExitCode::from(64));
        }
        Some(Arg::Short('h') | Arg::Long("help")) => "help".to_owned(),
        Some(Arg::Value(name)) => name.to_string_lossy().into_owned(),
        Some(other) => return Err(other.unexpected().into()),
    };
    let workspace = Workspace::locate()?;
    match command.as_str() {
        "help" => {
            say!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        "cluster" => cluster::run(&workspace, &mut parser),
        "test" => test::run(&workspace, &parser.raw_args()?.collect::<Vec<_>>()),
        "conformance" => conformance::run(&workspace, &mut parser),
        "bench" => bench::run(&workspace, &mut parser),
        "chaos" => chaos::run(&workspace, &mut parser),
        "sim" => sim::run(&workspace, &mut parser),
        "ci" => ci::run(&workspace, &mut parser),
        "codegen" => codegen::run(&workspace, &mut parser),
        "instructions" => instructions::run(&workspace, &mut parser),
        "tidy" => tidy::run(&workspace, &mut parser),
        other => bail!("unknown command '{other}'; `cargo xtask help` lists the commands"),
    }
}

/// For subcommands that take no argument.
fn no_more_arguments(parser: &mut lexopt::Parser) -> Result<()> {
    match parser.next()? {
        None => Ok(()),
        Some(argument) => Err(argument.unexpected().into()),
    }
}
