//! `test`: all tests, on a fresh machine too.

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;

use crate::needs;
use crate::output::say;
use crate::workspace::{Workspace, run_shown};

/// Tells the testkit which program to start.
const REDIS_SERVER_VARIABLE: &str = "WAYPOST_TEST_REDIS_SERVER";
/// Tells it which `memcached` to start.
const MEMCACHED_VARIABLE: &str = "WAYPOST_TEST_MEMCACHED";
/// Tells the tests on real processes where the executables are; they build them otherwise.
const EXECUTABLES_VARIABLE: &str = "WAYPOST_CHAOS_BIN";
/// Tells the testkit which Python has the Couchbase SDK.
const COUCHBASE_PYTHON_VARIABLE: &str = "WAYPOST_TEST_COUCHBASE_PYTHON";

pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<ExitCode> {
    Ok(if run_all(workspace, arguments)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs the tests and the doctests; whether all passed.
pub(crate) fn run_all(workspace: &Workspace, arguments: &[OsString]) -> Result<bool> {
    let redis = needs::redis_server_for_tests()?;
    say!("tests use {}", redis.display());
    let memcached = needs::memcached_for_tests()?;
    say!("tests use {}", memcached.display());
    let python = needs::couchbase_python_for_tests(workspace)?;
    say!("tests use {}", python.display());
    let nextest = has_nextest(workspace);
    let left_out = needs::namespaces_refusal().filter(|_| arguments.is_empty());
    let mut tests = command(workspace, nextest, arguments);
    if left_out.is_some() {
        if nextest {
            tests.args(["-E", "not test(in_namespaces)"]);
        } else {
            tests.args(["--", "--skip", "in_namespaces"]);
        }
    }
    // The tests look for `redis-server` by that name; Valkey's is as good.
    tests.env(REDIS_SERVER_VARIABLE, &redis);
    tests.env(MEMCACHED_VARIABLE, &memcached);
    tests.env(COUCHBASE_PYTHON_VARIABLE, &python);
    if arguments.is_empty() && std::env::var_os(EXECUTABLES_VARIABLE).is_none() {
        // The tests of the package that they belong to have them built, with every store.
        tests.env(EXECUTABLES_VARIABLE, workspace.target_dir()?.join("debug"));
    }
    let mut passed = run_shown(&mut tests)?.success();
    if !arguments.is_empty() {
        if nextest {
            say!("doctests: not run, since arguments were given; `cargo xtask test` alone runs them");
        }
        return Ok(passed);
    }
    if let Some(reason) = left_out {
        say!(
            "LEFT OUT: tests between network namespaces, which cannot be made here ({reason}). The same cuts were tried \
             through proxies"
        );
    }
    if nextest {
        // nextest runs no doctests.
        let mut doctests = workspace.cargo();
        doctests.args(["test", "--doc", "--workspace", "--all-features"]);
        doctests.env(REDIS_SERVER_VARIABLE, &redis);
        passed &= run_shown(&mut doctests)?.success();
    }
    Ok(passed)
}

/// With every feature, since a test behind one that is off would be skipped without a word.
fn command(workspace: &Workspace, nextest: bool, arguments: &[OsString]) -> Command {
    let mut cargo = workspace.cargo();
    if nextest {
        cargo.args(["nextest", "run"]);
    } else {
        cargo.arg("test");
    }
    if !names_packages(arguments) {
        cargo.arg("--workspace");
    }
    cargo.arg("--all-features").args(arguments);
    cargo
}

fn names_packages(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .map(|argument| argument.to_string_lossy())
        .take_while(|argument| argument != "--")
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

fn has_nextest(workspace: &Workspace) -> bool {
    workspace
        .cargo()
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_package_is_not_widened_to_the_workspace() {
        let named = |line: &str| names_packages(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(named("-p waypost-types"));
        assert!(named("--package=waypost-types some_test"));
        assert!(!named("some_test -- -p"));
        assert!(!named("some_test --no-fail-fast"));
    }
}
