//! `cluster kill NAME`: SIGKILL, to see what the others make of it.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::state::Home;
use crate::output::say;

pub(crate) fn run(home: &Home, name: &str) -> Result<ExitCode> {
    let state = home
        .load()?
        .context("no cluster is running; `cargo xtask cluster up` starts one")?;
    let member = state.member(name)?;
    if member.id.signal(Signal::KILL)? {
        say!("{name} (pid {}) was killed", member.id.pid());
    } else {
        say!("{name} (pid {}) is dead already", member.id.pid());
    }
    Ok(ExitCode::SUCCESS)
}
