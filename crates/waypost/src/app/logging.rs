//! Logs go to stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

use super::Program;
use super::config::{Config, LogFormat};
use super::exit::{Failure, usage};

/// Sends this process's log records to stderr.
pub(crate) fn start(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.log).map_err(|error| {
        usage(format_args!(
            "log: not a filter: {:?}: {error}; write for example info or waypost=debug",
            config.log
        ))
    })?;
    let builder = Subscriber::builder()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A closed stderr must not end the program.
        .log_internal_errors(false);
    match config.log_format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// The first record: what this build is.
pub(crate) fn announce(program: Program) {
    let stores = crate::store_registry().schemes().collect::<Vec<_>>().join(",");
    tracing::info!(version = crate::version(), stores, "{} starts", program.name());
}
