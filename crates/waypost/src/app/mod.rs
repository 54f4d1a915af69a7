//! What the three executables share. Not part of the library's API: nothing here is covered by its version number.

mod broker;
mod cli;
pub mod config;
mod demo;
mod exit;
mod leave;
mod logging;
mod output;
mod program;
mod ready;
mod server;
mod signals;
mod stdio;
mod store;

use std::process::ExitCode;

use anyhow::Context as _;
pub use program::Program;

use config::Config;
use exit::Failure;

/// Runs one of the executables to its end and returns its exit code.
pub fn main(program: Program) -> ExitCode {
    let config = match cli::parse(program) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match run(program, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(program),
    }
}

fn run(program: Program, config: Config) -> Result<(), Failure> {
    logging::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        let signals = signals::Signals::install()?;
        match program {
            Program::Broker => broker::run(config, signals).await,
            Program::Server | Program::Brokerless => server::run(program, config, signals).await,
        }
    });
    // Nothing that matters is left, and a store's stuck call must not hold up the end.
    runtime.shutdown_background();
    result
}
