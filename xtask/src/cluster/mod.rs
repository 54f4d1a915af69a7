//! `cluster`: a cluster of real processes on this machine, from one command.

mod build;
mod down;
mod kill;
mod launch;
mod logs;
mod options;
mod redis;
mod shutdown;
mod state;
mod status;
pub(crate) mod store;
mod tail;
mod up;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use lexopt::Arg;

use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, parser: &mut lexopt::Parser) -> Result<ExitCode> {
    let verb = match parser.next()? {
        Some(Arg::Value(verb)) => verb.to_string_lossy().into_owned(),
        Some(other) => return Err(other.unexpected().into()),
        None => bail!("cluster what? up, down, status, logs or kill; `cargo xtask help` explains"),
    };
    let home = state::Home::of(workspace)?;
    match verb.as_str() {
        "up" => up::run(workspace, &home, &options::UpOptions::parse(parser)?),
        "down" => {
            crate::no_more_arguments(parser)?;
            down::run(&home)
        }
        "status" => {
            crate::no_more_arguments(parser)?;
            status::run(&home)
        }
        "logs" => {
            let (name, follow) = logs_arguments(parser)?;
            logs::run(&home, name.as_deref(), follow)
        }
        "kill" => {
            let name = match parser.next()? {
                Some(Arg::Value(name)) => Some(name.to_string_lossy().into_owned()),
                Some(other) => return Err(other.unexpected().into()),
                None => None,
            };
            crate::no_more_arguments(parser)?;
            kill::run(
                &home,
                &name.context("kill which? `cargo xtask cluster status` lists the names")?,
            )
        }
        other => bail!("unknown cluster command '{other}': there are up, down, status, logs and kill"),
    }
}

fn logs_arguments(parser: &mut lexopt::Parser) -> Result<(Option<String>, bool)> {
    let (mut name, mut follow) = (None, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("follow") | Arg::Short('f') => follow = true,
            Arg::Value(value) if name.is_none() => name = Some(value.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok((name, follow))
}
