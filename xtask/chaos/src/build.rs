//! The executables under test, built once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where one of Waypost's executables is. The first call builds them all, with every store, in cargo's debug profile;
/// `WAYPOST_CHAOS_BIN` names a directory of executables to take instead.
///
/// # Panics
/// When they cannot be built: nothing can be checked then.
#[must_use]
pub fn executable(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY
        .get_or_init(|| build().unwrap_or_else(|message| panic!("{message}")))
        .join(name)
}

fn build() -> Result<PathBuf, String> {
    if let Some(directory) = std::env::var_os("WAYPOST_CHAOS_BIN").filter(|value| !value.is_empty()) {
        return std::path::absolute(directory).map_err(|error| format!("WAYPOST_CHAOS_BIN: {error}"));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .ok_or("this package is not inside a workspace")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["build", "--quiet", "--package", "waypost", "--bins"]);
    // Not all features: some stores take long to compile, and this package drives three.
    cargo.args([
        "--no-default-features",
        "--features",
        "broker,brokerless,embedded,redis,riak",
    ]);
    for (name, _) in std::env::vars_os() {
        // What cargo set for this package would make build scripts run again each time.
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    let status = cargo
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !status.success() {
        return Err(format!("the executables do not build: {status}"));
    }
    let target = match std::env::var_os("CARGO_TARGET_DIR").filter(|directory| !directory.is_empty()) {
        Some(directory) => {
            std::path::absolute(directory).map_err(|error| format!("CARGO_TARGET_DIR: {error}"))?
        }
        None => root.join("target"),
    };
    Ok(target.join("debug"))
}
