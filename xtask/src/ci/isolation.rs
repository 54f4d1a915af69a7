//! Proofs from `cargo tree` that something is absent from what a user would build.

use anyhow::{Context as _, Result, bail};

use crate::output::say;
use crate::workspace::{Workspace, shown};

/// One proof: what is built, and what must not be in it.
struct Absence {
    package: &'static str,
    arguments: &'static [&'static str],
    absent: &'static [&'static str],
    because: &'static str,
}

const NO_DEFAULT: &str = "--no-default-features";
const RUNTIMES: &[&str] = &["tokio", "tokio-util", "mio", "rand", "getrandom"];

const ABSENCES: &[Absence] = &[
    Absence {
        package: "waypost-types",
        arguments: &[NO_DEFAULT],
        absent: RUNTIMES,
        because: "types are pure",
    },
    Absence {
        package: "waypost-wire",
        arguments: &[NO_DEFAULT],
        absent: RUNTIMES,
        because: "frames without the codec are pure",
    },
    Absence {
        package: "waypost-router",
        arguments: &[NO_DEFAULT],
        absent: RUNTIMES,
        because: "the router is pure",
    },
    Absence {
        package: "waypost-session",
        arguments: &[NO_DEFAULT],
        absent: &[
            "redis",
            "heed",
            "reqwest",
            "waypost-session-embedded",
            "waypost-session-redis",
            "waypost-session-couchbase",
            "waypost-session-riak",
        ],
        because: "the trait knows no backend",
    },
    Absence {
        package: "waypost-node",
        arguments: &[NO_DEFAULT],
        absent: &[
            "redis",
            "heed",
            "rustls",
            "waypost-session-embedded",
            "waypost-session-redis",
            "waypost-session-couchbase",
            "waypost-session-riak",
        ],
        because: "only the facade knows backends",
    },
    Absence {
        package: "waypost-peer",
        arguments: &[NO_DEFAULT],
        absent: &[
            "redis",
            "heed",
            "rustls",
            "waypost-session-embedded",
            "waypost-session-redis",
            "waypost-session-couchbase",
            "waypost-session-riak",
        ],
        because: "only the facade knows backends",
    },
    Absence {
        package: "waypost",
        arguments: &[],
        absent: &[
            "redis",
            "reqwest",
            "couchbase",
            "couchbase-core",
            "aws-lc-sys",
            "waypost-session-couchbase",
            "waypost-session-redis",
            "waypost-session-riak",
        ],
        because: "a backend is absent when its feature is off",
    },
    Absence {
        package: "waypost",
        arguments: &[NO_DEFAULT, "--features", "broker,brokerless,redis"],
        absent: &[
            "heed",
            "lmdb-master-sys",
            "lmdb-master3-sys",
            "waypost-session-embedded",
            "waypost-session-couchbase",
            "waypost-session-riak",
            "couchbase",
            "couchbase-core",
            "reqwest",
        ],
        because: "a backend is absent when its feature is off",
    },
    Absence {
        package: "waypost",
        arguments: &[NO_DEFAULT, "--features", "broker,brokerless,riak"],
        absent: &[
            "couchbase",
            "couchbase-core",
            "heed",
            "redis",
            "waypost-session-embedded",
            "waypost-session-redis",
            "waypost-session-couchbase",
            "aws-lc-sys",
            "openssl",
            "native-tls",
            "h2",
        ],
        because: "a backend is absent when its feature is off",
    },
    Absence {
        package: "waypost",
        arguments: &[NO_DEFAULT, "--features", "broker,brokerless,couchbase"],
        absent: &[
            "heed",
            "redis",
            "native-tls",
            "waypost-session-embedded",
            "waypost-session-redis",
            "waypost-session-riak",
        ],
        because: "a backend is absent when its feature is off",
    },
];

pub(super) fn check(workspace: &Workspace) -> Result<bool> {
    let mut passed = true;
    for absence in ABSENCES {
        let mut cargo = workspace.cargo();
        cargo.args([
            "tree",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--package",
            absence.package,
        ]);
        cargo.args(absence.arguments);
        say!("$ {}   # without {}", shown(&cargo), absence.absent.join(", "));
        let output = cargo.output().context("cannot run cargo")?;
        if !output.status.success() {
            bail!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let tree =
            String::from_utf8(output.stdout).context("cargo tree printed something that is not UTF-8")?;
        let found = present(&tree, absence.absent);
        if !found.is_empty() {
            say!(
                "  FAILED: {} brings {}, although {}",
                absence.package,
                found.join(", "),
                absence.because
            );
            passed = false;
        }
    }
    Ok(passed)
}

/// Those of `names` that the tree holds.
fn present<'a>(tree: &str, names: &[&'a str]) -> Vec<&'a str> {
    let packages: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().next())
        .collect();
    names
        .iter()
        .copied()
        .filter(|name| packages.contains(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_whole() {
        let tree = "waypost-types v0.1.0 (/x)\nthiserror v2.0.0\ntokio-stream v0.1.0 (*)\n";
        assert!(present(tree, &["tokio", "redis"]).is_empty());
        assert_eq!(present(tree, &["tokio-stream", "redis"]), ["tokio-stream"]);
    }
}
