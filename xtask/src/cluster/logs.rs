//! `cluster logs [NAME]`: what the processes printed and logged.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::state::{Home, Member};
use super::tail::Tail;
use crate::interrupt::Interrupt;
use crate::output::{self, say};

pub(crate) fn run(home: &Home, name: Option<&str>, follow: bool) -> Result<ExitCode> {
    let state = home
        .load()?
        .context("no cluster is running; `cargo xtask cluster up` starts one")?;
    let members: Vec<&Member> = match name {
        Some(name) => vec![state.member(name)?],
        None => state.members.iter().collect(),
    };
    let coloured = output::colour();
    let mut tails = Vec::new();
    for (index, member) in members.into_iter().enumerate() {
        let prefix = output::prefix(&member.name, index, coloured);
        // The log first: it begins earlier.
        tails.push((prefix.clone(), Tail::open(&member.log)?));
        tails.push((prefix, Tail::open(&member.out)?));
    }
    for (prefix, tail) in &mut tails {
        for line in if follow { tail.lines()? } else { tail.rest()? } {
            say!("{prefix}{line}");
        }
    }
    if follow {
        let interrupt = Interrupt::install()?;
        while !interrupt.requested() && !output::stdout_is_closed() && state.is_running() {
            for (prefix, tail) in &mut tails {
                for line in tail.lines()? {
                    say!("{prefix}{line}");
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(ExitCode::SUCCESS)
}
