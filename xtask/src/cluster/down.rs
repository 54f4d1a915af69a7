//! `cluster down`: the same end as Ctrl-C, from elsewhere.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::Signal;

use super::shutdown;
use super::state::Home;
use crate::interrupt::Interrupt;
use crate::output::say;

/// Longer than the owner itself waits for its processes.
const OWNER_DEADLINE: Duration = Duration::from_secs(75);

pub(crate) fn run(home: &Home) -> Result<ExitCode> {
    let Some(state) = home.load()? else {
        say!("cluster | none is running");
        return Ok(ExitCode::SUCCESS);
    };
    let interrupt = Interrupt::install()?;
    if let Some(owner) = &state.owner
        && owner.signal(Signal::TERM)?
    {
        say!(
            "cluster | asked the `cluster up` in the foreground (pid {}) to stop",
            owner.pid()
        );
        let deadline = Instant::now() + OWNER_DEADLINE;
        while owner.is_alive() && Instant::now() < deadline && !interrupt.requested() {
            std::thread::sleep(Duration::from_millis(20));
        }
        if owner.is_alive() {
            bail!(
                "`cluster up` (pid {}) is still stopping; run `cargo xtask cluster down` again",
                owner.pid()
            );
        }
    }
    // The owner has cleaned up, or there was none, or it was killed: then what it left is ours to end. The state is
    // read again, since the owner may have started more before it stopped.
    let Some(state) = home.load()? else {
        say!("cluster | stopped");
        return Ok(ExitCode::SUCCESS);
    };
    let killed = shutdown::stop_all(&state, || interrupt.requested())?;
    home.end(&state)?;
    if killed.is_empty() {
        say!(
            "cluster | stopped; nothing is left but the logs in {}",
            home.shown(&state.dir)
        );
        return Ok(ExitCode::SUCCESS);
    }
    say!(
        "cluster | stopped, but {} did not drain in time and had to be killed",
        killed.join(", ")
    );
    Ok(ExitCode::FAILURE)
}
