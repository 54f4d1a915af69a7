//! What the programs that measure and check share: how they start and fail, processes of themselves in roles, driven over
//! stdin by JSON lines, and what the system says about processes.

mod child;
pub mod proc;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;

pub use child::Child;

/// Runs a program; what goes wrong is told on stderr, with its causes, and by the exit code.
pub fn run(program: impl FnOnce() -> Result<()>) -> ExitCode {
    match program() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told when stderr is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
