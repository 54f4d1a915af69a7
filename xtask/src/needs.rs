//! Programs that are needed and do not come with Rust.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::output::say;
use crate::workspace::run_shown;

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
    if let Some(path) = std::env::var_os("WAYPOST_TEST_REDIS_SERVER").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let Err(missing) = redis_server() else {
        return redis_server();
    };
    let debian = Path::new("/etc/debian_version").exists() && find("apt-get").is_some();
    if !debian || !rustix::process::geteuid().is_root() {
        return Err(missing);
    }
    say!("redis-server is not installed; the tests need it, so it is being installed:");
    for arguments in [
        &["update", "-qq"][..],
        &["install", "-y", "-qq", "--no-install-recommends", "redis-server"],
    ] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        if !run_shown(&mut apt)?.success() {
            bail!("apt-get failed; {missing}");
        }
    }
    redis_server()
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
