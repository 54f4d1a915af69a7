//! `cluster status`: who is alive.

use std::process::ExitCode;

use anyhow::Result;

use super::state::Home;
use crate::output::say;

pub(crate) fn run(home: &Home) -> Result<ExitCode> {
    let Some(state) = home.load()? else {
        say!("no cluster is running; `cargo xtask cluster up` starts one");
        return Ok(ExitCode::SUCCESS);
    };
    say!("topology {}, store {}", state.topology, state.store);
    for member in &state.members {
        let life = if member.id.is_alive() { "alive" } else { "dead" };
        let address = if member.address.is_empty() {
            "-"
        } else {
            &member.address
        };
        say!(
            "{:<10} {life:<5} pid {:<8} {address:<28} {}",
            member.name,
            member.id.pid(),
            home.shown(&member.log)
        );
    }
    if !state.is_running() {
        say!("nothing of it runs any longer; `cargo xtask cluster down` cleans up");
    }
    Ok(ExitCode::SUCCESS)
}
