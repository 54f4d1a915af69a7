//! `ci`: everything that must hold before a change is taken, in one target directory.
//!
//! Every step is run even when an earlier one failed, so that one run tells all.

mod demo;
mod features;
mod isolation;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lexopt::Arg;

use crate::output::say;
use crate::workspace::{Workspace, run_shown};
use crate::{codegen, instructions, needs, test, tidy};

/// What one step came to.
struct Done {
    name: &'static str,
    verdict: &'static str,
    passed: bool,
    took: Duration,
}

type Step = (&'static str, fn(&Workspace) -> Result<bool>);

/// Quick ones first.
const STEPS: [Step; 12] = [
    ("tidy", tidy::check),
    ("format", format),
    ("isolation", isolation::check),
    ("codegen", |workspace| {
        passes(&mut codegen::command(workspace, true))
    }),
    ("lints", lints),
    ("docs", docs),
    ("features", features::check),
    ("dependencies", dependencies),
    ("instructions", instructions::check),
    ("demo", demo::check),
    ("examples", examples),
    ("test", |workspace| test::run_all(workspace, &[])),
];

pub(crate) fn run(workspace: &Workspace, parser: &mut lexopt::Parser) -> Result<ExitCode> {
    let mut chosen = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(name) => chosen.push(find(&name.to_string_lossy())?),
            other => return Err(other.unexpected().into()),
        }
    }
    if chosen.is_empty() {
        chosen = STEPS.to_vec();
    }
    let start = Instant::now();
    let mut report = Vec::new();
    for (name, body) in chosen {
        say!("\n== {name}");
        let start = Instant::now();
        let passed = match body(workspace) {
            Ok(passed) => passed,
            Err(error) => {
                say!("error: {error:#}");
                false
            }
        };
        let took = start.elapsed();
        let verdict = verdict(passed);
        say!("== {name}: {verdict} in {}", seconds(took));
        report.push(Done {
            name,
            verdict,
            passed,
            took,
        });
    }
    say!("");
    for done in &report {
        say!("{:<14} {:<7} {:>9}", done.name, done.verdict, seconds(done.took));
    }
    let passed = report.iter().all(|done| done.passed);
    say!(
        "{:<14} {:<7} {:>9}",
        "all",
        verdict(passed),
        seconds(start.elapsed())
    );
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn find(name: &str) -> Result<Step> {
    STEPS
        .into_iter()
        .find(|(step, _)| *step == name)
        .with_context(|| {
            let names: Vec<&str> = STEPS.iter().map(|(step, _)| *step).collect();
            format!("unknown step '{name}'; there are {}", names.join(", "))
        })
}

fn format(workspace: &Workspace) -> Result<bool> {
    passes(workspace.cargo().args(["fmt", "--all", "--check"]))
}

fn lints(workspace: &Workspace) -> Result<bool> {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ];
    passes(workspace.cargo().args(arguments))
}

fn docs(workspace: &Workspace) -> Result<bool> {
    let arguments = [
        "doc",
        "--workspace",
        "--all-features",
        "--no-deps",
        "--document-private-items",
    ];
    passes(
        workspace
            .cargo()
            .args(arguments)
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// Licences, bans and sources of what we depend on, by the rules of `deny.toml`.
fn dependencies(workspace: &Workspace) -> Result<bool> {
    let mut deny = Command::new(needs::cargo_deny(workspace)?);
    deny.args(["--log-level", "error", "--all-features", "check"]);
    passes(
        deny.args(["bans", "licenses", "sources"])
            .current_dir(workspace.root()),
    )
}

/// The examples that end by themselves, as a reader of the documentation would run them: those that only compile may hang.
const EXAMPLES: [(&str, &str); 5] = [
    ("waypost-peer", "hello"),
    ("waypost-peer", "two_servers_by_broker"),
    ("waypost-peer", "reconnect"),
    ("waypost-router", "drive_by_hand"),
    ("waypost-session-testkit", "own_store"),
];

fn examples(workspace: &Workspace) -> Result<bool> {
    let mut passed = true;
    for (package, example) in EXAMPLES {
        passed &= passes(
            workspace
                .cargo()
                .args(["run", "-p", package, "--example", example]),
        )?;
    }
    Ok(passed)
}

/// Prints the command, runs it, and says how long it took.
fn passes(command: &mut Command) -> Result<bool> {
    let start = Instant::now();
    let passed = run_shown(command)?.success();
    say!("  {} in {}", verdict(passed), seconds(start.elapsed()));
    Ok(passed)
}

fn verdict(passed: bool) -> &'static str {
    if passed { "passed" } else { "FAILED" }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_by_its_name_and_a_wrong_name_lists_them() {
        assert_eq!(find("lints").unwrap().0, "lints");
        let error = find("lint").err().unwrap().to_string();
        assert!(error.contains("tidy, format,"), "{error}");
    }
}
