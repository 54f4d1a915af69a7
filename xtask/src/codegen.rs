//! `codegen`: the Rust of `proto/`, by the package `waypost-codegen`.

use std::process::ExitCode;

use anyhow::Result;
use lexopt::Arg;

use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, parser: &mut lexopt::Parser) -> Result<ExitCode> {
    let mut check = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("check") => check = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let status = command(workspace, check).status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(crate) fn command(workspace: &Workspace, check: bool) -> std::process::Command {
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--package", "waypost-codegen"]);
    if check {
        cargo.args(["--", "--check"]);
    }
    cargo
}
