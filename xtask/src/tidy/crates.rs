//! Rules about packages: names, inherited settings, and which may depend on which.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::workspace::Workspace;

/// All of ours that a package may depend on; what is not listed is forbidden. Arrows point inwards only.
const ARROWS: &[(&str, &[&str])] = &[
    ("waypost-types", &[]),
    ("waypost-wire", &["waypost-types"]),
    ("waypost-session", &["waypost-types"]),
    (
        "waypost-router",
        &["waypost-types", "waypost-wire", "waypost-session"],
    ),
    ("waypost-session-testkit", &["waypost-types", "waypost-session"]),
    ("waypost-session-embedded", &["waypost-types", "waypost-session"]),
    ("waypost-session-redis", &["waypost-types", "waypost-session"]),
    ("waypost-session-couchbase", &["waypost-types", "waypost-session"]),
    ("waypost-session-riak", &["waypost-types", "waypost-session"]),
    (
        "waypost-node",
        &[
            "waypost-types",
            "waypost-wire",
            "waypost-session",
            "waypost-router",
        ],
    ),
    (
        "waypost-peer",
        &[
            "waypost-types",
            "waypost-wire",
            "waypost-session",
            "waypost-router",
            "waypost-node",
        ],
    ),
    (
        "waypost",
        &[
            "waypost-types",
            "waypost-wire",
            "waypost-session",
            "waypost-router",
            "waypost-node",
            "waypost-peer",
            "waypost-session-embedded",
            "waypost-session-redis",
            "waypost-session-couchbase",
            "waypost-session-riak",
        ],
    ),
    (
        "waypost-sim",
        &[
            "waypost-types",
            "waypost-wire",
            "waypost-session",
            "waypost-router",
        ],
    ),
    (
        "waypost-conformance",
        &[
            "waypost-types",
            "waypost-session",
            "waypost-session-testkit",
            "waypost-session-embedded",
            "waypost-session-redis",
            "waypost-session-couchbase",
            "waypost-session-riak",
        ],
    ),
    (
        "waypost-bench",
        &[
            "waypost",
            "waypost-harness",
            "waypost-session",
            "waypost-session-testkit",
        ],
    ),
    ("waypost-harness", &[]),
    (
        "waypost-isolation",
        &["waypost", "waypost-harness", "waypost-session-testkit"],
    ),
    (
        "waypost-broken-router",
        &["waypost-types", "waypost-wire", "waypost-session"],
    ),
    (
        "waypost-broken",
        &[
            "waypost-types",
            "waypost-wire",
            "waypost-session",
            "waypost-broken-router",
        ],
    ),
    ("waypost-codegen", &[]),
    (
        "waypost-instructions",
        &[
            "waypost-types",
            "waypost-wire",
            "waypost-session",
            "waypost-router",
        ],
    ),
    (
        "waypost-chaos",
        &[
            "waypost-harness",
            "waypost-types",
            "waypost-wire",
            "waypost-session-testkit",
        ],
    ),
    ("xtask", &[]),
];

/// What tests may use beyond that: the testkit anywhere, and in the outer crates real stores.
const TEST_ONLY: &[(&str, &[&str])] = &[
    ("waypost-node", &["waypost-session-testkit"]),
    (
        "waypost-peer",
        &[
            "waypost-session-testkit",
            "waypost-session-embedded",
            "waypost-session-redis",
        ],
    ),
    ("waypost", &["waypost-session-testkit"]),
    ("waypost-session-embedded", &["waypost-session-testkit"]),
    ("waypost-session-redis", &["waypost-session-testkit"]),
    ("waypost-session-couchbase", &["waypost-session-testkit"]),
    ("waypost-session-riak", &["waypost-session-testkit"]),
];

/// Settings that every package takes from the workspace.
const INHERITED: [&str; 3] = [
    "edition.workspace = true",
    "rust-version.workspace = true",
    "license.workspace = true",
];

pub(super) fn breaches(workspace: &Workspace) -> Result<Vec<String>> {
    let output = workspace
        .cargo()
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    let mut breaches = Vec::new();
    for package in metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?
    {
        let name = package["name"].as_str().context("a package without a name")?;
        let manifest = Path::new(
            package["manifest_path"]
                .as_str()
                .context("a package without a manifest")?,
        );
        let dir = manifest.parent().context("a manifest without a directory")?;
        breaches.extend(name_breach(workspace.root(), name, dir));
        let text = std::fs::read_to_string(manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        breaches.extend(manifest_breaches(name, &text));
        breaches.extend(arrow_breaches(name, &package["dependencies"]));
    }
    Ok(breaches)
}

/// `crates/` is flat, and a directory's name is its package's name.
fn name_breach(root: &Path, name: &str, dir: &Path) -> Option<String> {
    let place = dir.strip_prefix(root).ok()?;
    if !place.starts_with("crates") || place == Path::new("crates").join(name) {
        return None;
    }
    Some(format!(
        "package {name} lives in {}, not in crates/{name}",
        place.display()
    ))
}

fn manifest_breaches(name: &str, manifest: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    if !manifest.contains("[lints]\nworkspace = true") {
        breaches.push(format!("package {name} does not inherit the workspace's lints"));
    }
    for setting in INHERITED {
        if !manifest.lines().any(|line| line == setting) {
            breaches.push(format!("the manifest of {name} has no line `{setting}`"));
        }
    }
    breaches
}

fn arrow_breaches(name: &str, dependencies: &Value) -> Vec<String> {
    let list = |table: &[(&str, &'static [&'static str])]| -> Option<&'static [&'static str]> {
        table.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
    };
    let Some(allowed) = list(ARROWS) else {
        return vec![format!(
            "package {name} is not in the list of allowed dependencies (xtask/src/tidy/crates.rs)"
        )];
    };
    let test_only = list(TEST_ONLY).unwrap_or_default();
    let mut breaches = Vec::new();
    for dependency in dependencies.as_array().into_iter().flatten() {
        // Only packages of this workspace have a path.
        let (Some(to), Some(_)) = (dependency["name"].as_str(), dependency["path"].as_str()) else {
            continue;
        };
        let for_tests = dependency["kind"] == "dev";
        if to == name || allowed.contains(&to) || (for_tests && test_only.contains(&to)) {
            continue;
        }
        let kind = if for_tests { " in its tests" } else { "" };
        breaches.push(format!(
            "{name} depends on {to}{kind}: that arrow does not point inwards"
        ));
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arrows_point_inwards_only() {
        let on = |name: &str, kind: Option<&str>| json!([{ "name": name, "kind": kind, "path": "/x" }]);
        assert!(arrow_breaches("waypost-wire", &on("waypost-types", None)).is_empty());
        assert_eq!(
            arrow_breaches("waypost-types", &on("waypost-wire", None)).len(),
            1
        );
        assert_eq!(
            arrow_breaches("waypost-peer", &on("waypost-session-redis", None)).len(),
            1
        );
        assert!(arrow_breaches("waypost-peer", &on("waypost-session-redis", Some("dev"))).is_empty());
        assert_eq!(arrow_breaches("waypost-unheard-of", &json!([])).len(), 1);
        assert!(arrow_breaches("xtask", &json!([{ "name": "anyhow", "kind": null }])).is_empty());
    }

    #[test]
    fn directory_is_named_after_its_package() {
        let root = Path::new("/r");
        assert_eq!(
            name_breach(root, "waypost-types", Path::new("/r/crates/waypost-types")),
            None
        );
        assert_eq!(name_breach(root, "xtask", Path::new("/r/xtask")), None);
        assert!(name_breach(root, "waypost-types", Path::new("/r/crates/types")).is_some());
        assert!(name_breach(root, "waypost-types", Path::new("/r/crates/a/waypost-types")).is_some());
    }

    #[test]
    fn settings_are_inherited() {
        let good = format!(
            "[package]\n{}\n\n[lints]\nworkspace = true\n",
            INHERITED.join("\n")
        );
        assert!(manifest_breaches("x", &good).is_empty());
        assert_eq!(manifest_breaches("x", "[package]\nedition = \"2021\"\n").len(), 4);
    }
}
