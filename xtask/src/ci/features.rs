//! Feature combinations: every sensible subset compiles, and the one that makes no sense says why.

use anyhow::{Context as _, Result};

use super::passes;
use crate::output::say;
use crate::workspace::{Workspace, shown};

const TOPOLOGIES: [&str; 3] = ["broker", "brokerless", "broker,brokerless"];
const STORES: [&str; 5] = ["couchbase", "embedded", "redis", "riak", "embedded,redis"];

/// Library crates with features of their own, and the sets to check. Each stands alone: whoever imports one gets it
/// without the others.
const LIBRARIES: [(&str, &str); 19] = [
    ("waypost-types", ""),
    ("waypost-wire", ""),
    ("waypost-wire", "codec"),
    ("waypost-router", ""),
    ("waypost-session", ""),
    ("waypost-session-testkit", ""),
    ("waypost-session-embedded", ""),
    ("waypost-session-couchbase", ""),
    ("waypost-session-redis", ""),
    ("waypost-session-redis", "tls"),
    ("waypost-session-riak", ""),
    ("waypost-session-riak", "tls"),
    ("waypost-session-testkit", "couchbase"),
    ("waypost-session-testkit", "riak"),
    ("waypost-node", ""),
    ("waypost-node", "tls"),
    ("waypost-peer", ""),
    ("waypost-peer", "tls"),
    ("waypost", ""),
];

pub(super) fn check(workspace: &Workspace) -> Result<bool> {
    let mut passed = true;
    for (package, features) in LIBRARIES {
        let mut cargo = workspace.cargo();
        cargo.args([
            "check",
            "--quiet",
            "--package",
            package,
            "--lib",
            "--no-default-features",
        ]);
        if !features.is_empty() {
            cargo.args(["--features", features]);
        }
        passed &= passes(&mut cargo)?;
    }
    for topology in TOPOLOGIES {
        for store in STORES {
            let features = format!("{topology},{store}");
            let mut cargo = workspace.cargo();
            cargo.args([
                "check",
                "--quiet",
                "--package",
                "waypost",
                "--lib",
                "--bins",
                "--no-default-features",
            ]);
            passed &= passes(cargo.args(["--features", &features]))?;
        }
    }
    Ok(passed & no_store_is_refused(workspace)?)
}

/// An executable without any store does not compile, and the error names the features to choose from.
fn no_store_is_refused(workspace: &Workspace) -> Result<bool> {
    let mut cargo = workspace.cargo();
    cargo.args([
        "check",
        "--quiet",
        "--package",
        "waypost",
        "--bins",
        "--no-default-features",
    ]);
    cargo.args(["--features", "broker,brokerless"]);
    say!(
        "$ {}   # must fail and say which features to choose from",
        shown(&cargo)
    );
    let output = cargo.output().context("cannot run cargo")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        say!("  FAILED: an executable without any store compiles");
        return Ok(false);
    }
    if !names_the_features(&stderr) {
        say!("  FAILED: the error does not name the features:\n{stderr}");
        return Ok(false);
    }
    say!("  passed");
    Ok(true)
}

fn names_the_features(stderr: &str) -> bool {
    stderr
        .lines()
        .filter(|line| line.starts_with("error"))
        .any(|line| line.contains("feature") && line.contains("embedded") && line.contains("redis"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_that_names_the_features_counts() {
        assert!(names_the_features(
            "error: no store: choose a feature of embedded, redis"
        ));
        assert!(!names_the_features(
            "error[E0432]: unresolved import `waypost_session_embedded`"
        ));
        assert!(!names_the_features("warning: feature embedded redis"));
    }
}
