//! `sim`: whole clusters in virtual time from one seed each, by the package `waypost-sim`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

/// `arguments` are the simulator's own.
pub(crate) fn run(workspace: &Workspace, parser: &mut lexopt::Parser) -> Result<ExitCode> {
    let status = workspace
        .cargo()
        .args(["run", "--quiet", "--package", "waypost-sim", "--"])
        .args(parser.raw_args()?)
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
