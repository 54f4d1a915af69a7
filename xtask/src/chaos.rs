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
    let isolation = arguments.first().is_some_and(|first| first == "isolation");
    let mut cargo = workspace.cargo();
    if isolation {
        needs::redis_server()?;
        cargo.args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "waypost-isolation",
            "--",
        ]);
        cargo.arg("--out").arg(workspace.target_dir()?.join("isolation"));
    } else {
        cargo.args(["run", "--quiet", "--package", "waypost-chaos", "--"]);
    }
    let status = cargo
        .args(arguments.into_iter().skip(usize::from(isolation)))
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
