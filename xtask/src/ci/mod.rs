//! `ci`: everything that must hold before a change is taken, in one target directory.
//!
//! Every step is run even when an earlier one failed, so that one run tells all.

mod features;
mod isolation;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::output::say;
use crate::workspace::{Workspace, run_shown};
use crate::{codegen, needs, test, tidy};

/// What one step came to.
struct Done {
    name: &'static str,
    passed: bool,
    took: Duration,
}

pub(crate) fn run(workspace: &Workspace, parser: &mut lexopt::Parser) -> Result<ExitCode> {
    crate::no_more_arguments(parser)?;
    let start = Instant::now();
    let mut report = Vec::new();
    let mut step = |name: &'static str, body: &dyn Fn() -> Result<bool>| -> Result<()> {
        say!("\n== {name}");
        let start = Instant::now();
        let passed = match body() {
            Ok(passed) => passed,
            Err(error) => {
                say!("error: {error:#}");
                false
            }
        };
        let took = start.elapsed();
        say!("== {name}: {} in {}", verdict(passed), seconds(took));
        report.push(Done { name, passed, took });
        Ok(())
    };
    step("tidy", &|| tidy::check(workspace))?;
    step("format", &|| {
        passes(workspace.cargo().args(["fmt", "--all", "--check"]))
    })?;
    step("generated code", &|| {
        passes(&mut codegen::command(workspace, true))
    })?;
    step("isolation", &|| isolation::check(workspace))?;
    step("lints", &|| {
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
    })?;
    step("docs", &|| {
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
    })?;
    step("features", &|| features::check(workspace))?;
    step("dependencies", &|| dependencies(workspace))?;
    step("tests", &|| test::run_all(workspace, &[]))?;
    say!("");
    for done in &report {
        say!(
            "{:<16} {:<7} {:>9}",
            done.name,
            verdict(done.passed),
            seconds(done.took)
        );
    }
    let passed = report.iter().all(|done| done.passed);
    say!(
        "{:<16} {:<7} {:>9}",
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

/// Licences, bans and sources of what we depend on, where the tool for it is installed.
fn dependencies(workspace: &Workspace) -> Result<bool> {
    if needs::find("cargo-deny").is_none() {
        say!(
            "not checked: cargo-deny is not installed (`cargo install cargo-deny`); deny.toml holds the rules"
        );
        return Ok(true);
    }
    passes(
        workspace
            .cargo()
            .args(["deny", "--all-features", "check", "bans", "licenses", "sources"]),
    )
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
