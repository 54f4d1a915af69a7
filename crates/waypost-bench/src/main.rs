//! Measures Waypost beside the raw limit, NATS and Redis pub/sub, in one run on one machine.
//!
//! This program is the conductor, and in other processes of itself the servers (`role`): see `--help`.

mod aside;
mod control;
mod date;
mod measure;
mod names;
mod options;
mod page;
mod report;
mod results;
mod role;
mod run;
mod steps;
mod stores;
mod system;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;

use crate::options::Options;
use crate::run::Run;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    waypost_harness::run(|| conduct(&arguments))
}

fn conduct(arguments: &[String]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some((word, [name, rest @ ..])) = arguments.split_first()
            && word == "role"
        {
            return role::run(name, rest).await;
        }
        if let Some((word, rest)) = arguments.split_first()
            && word == "stores"
        {
            return stores::run(rest).await;
        }
        let Some(options) = Options::parse(arguments)? else {
            std::io::stdout().write_all(options::HELP.as_bytes())?;
            return Ok(());
        };
        let results = Run::new(&options).all().await;
        let markdown = report::write(&results, &options.out)?;
        if let Some(root) = &options.readme {
            report::update_readme(&results, root)?;
        }
        std::io::stdout().write_all(markdown.as_bytes())?;
        Ok(())
    })
}
