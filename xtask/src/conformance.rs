//! `conformance`: the session-store suite against a real store, by the package `waypost-conformance`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use lexopt::Arg;

use crate::cluster::store::StoreChoice;
use crate::needs;
use crate::workspace::Workspace;

/// How the store's URL reaches the runner: it may hold a password, and arguments are for everybody to read.
const STORE_VARIABLE: &str = "WAYPOST_CONFORMANCE_STORE";

pub(crate) fn run(workspace: &Workspace, parser: &mut lexopt::Parser) -> Result<ExitCode> {
    let mut store = None;
    let mut filter = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("store") => store = Some(parser.value()?.to_string_lossy().into_owned()),
            Arg::Value(value) if filter.is_none() => filter = Some(value),
            other => return Err(other.unexpected().into()),
        }
    }
    let mut store = store
        .context("which store? cargo xtask conformance --store memory|embedded|redis|riak|couchbase|URL")?;
    let mut cargo = workspace.cargo();
    cargo.args([
        "run",
        "--quiet",
        "--package",
        "waypost-conformance",
        "--no-default-features",
    ]);
    if !matches!(store.as_str(), "memory" | "memory:") {
        let choice: StoreChoice = store.parse()?;
        if choice == StoreChoice::StartRedis {
            needs::redis_server()?;
        }
        if let StoreChoice::Container(service) = choice {
            // Ctrl-C ends us by itself.
            store = service.start(|| false)?;
        }
        cargo.args(["--features", choice.feature()]);
    }
    cargo.arg("--").args(filter).env(STORE_VARIABLE, &store);
    let status = cargo.status().context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
