//! `chaos`: real executables through kills, stops and outages from one seed, by the package `waypost-chaos`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::needs;
use crate::workspace::Workspace;

/// `arguments` are the runner's own.
pub(crate) fn run(workspace: &Workspace, parser: &mut lexopt::Parser) -> Result<ExitCode> {
    let arguments: Vec<_> = parser.raw_args()?.collect();
    if arguments
        .iter()
        .any(|argument| argument.to_string_lossy().contains("redis"))
    {
        needs::redis_server()?;
    }
    let status = workspace
        .cargo()
        .args(["run", "--quiet", "--package", "waypost-chaos", "--"])
        .args(arguments)
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
