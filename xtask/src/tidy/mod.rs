//! `tidy`: rules of this repository that no compiler checks.

mod crates;
mod docs;
mod sources;

use std::process::ExitCode;

use anyhow::Result;

use crate::output::say;
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, parser: &mut lexopt::Parser) -> Result<ExitCode> {
    crate::no_more_arguments(parser)?;
    Ok(if check(workspace)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints each breach; whether there is none.
pub(crate) fn check(workspace: &Workspace) -> Result<bool> {
    let mut breaches = crates::breaches(workspace)?;
    breaches.extend(sources::breaches(workspace)?);
    breaches.extend(docs::breaches(workspace)?);
    for breach in &breaches {
        say!("tidy: {breach}");
    }
    if breaches.is_empty() {
        say!("tidy: nothing to complain about");
    }
    Ok(breaches.is_empty())
}
