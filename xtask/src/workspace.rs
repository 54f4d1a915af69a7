//! Where the workspace is, and running cargo in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context as _, Result, bail};

use crate::output::say;

/// The workspace that this xtask belongs to, whatever the current directory is.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    pub(crate) fn locate() -> Result<Self> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        // Run by `cargo xtask` both are this package; run by a test of another package, only the second is.
        let package = if package.ends_with("xtask") {
            package
        } else {
            PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        };
        let root = package
            .parent()
            .context("the xtask package is not inside a workspace")?;
        if !root.join("Cargo.toml").is_file() {
            bail!(
                "{} holds no Cargo.toml: run this from the checkout it was built in",
                root.display()
            );
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory: `CARGO_TARGET_DIR`, else `target/` here.
    pub(crate) fn target_dir(&self) -> Result<PathBuf> {
        match std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => std::path::absolute(dir).context("CARGO_TARGET_DIR cannot be made absolute"),
            None => Ok(self.root.join("target")),
        }
    }

    /// A cargo command at the root. `CARGO` is respected, and what `cargo run` set for us is not handed down: build
    /// scripts that watch those variables would run again each time.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_")
                || text.starts_with("CARGO_MANIFEST_")
                || text.starts_with("CARGO_BIN_")
                || matches!(
                    text.as_ref(),
                    "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR"
                )
            {
                command.env_remove(&name);
            }
        }
        command
    }

    /// A path as seen from the root, for messages.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// Prints the command and runs it to its end, with our own stdin, stdout and stderr.
pub(crate) fn run_shown(command: &mut Command) -> Result<ExitStatus> {
    say!("$ {}", shown(command));
    command
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", name.to_string_lossy(), quoted(value)));
        }
    }
    let program = Path::new(command.get_program());
    // `CARGO` is a long path to what everybody calls cargo.
    words.push(quoted(program.file_name().unwrap_or(program.as_os_str())));
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if !word.is_empty() && !word.contains([' ', '\t', '\n', '\'', '"', '*', '$', '(', ')', '|', '&', ';']) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_command_can_be_pasted_into_a_shell() {
        let mut command = Command::new("/opt/toolchain/bin/cargo");
        command
            .args(["test", "--", "it's here"])
            .env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            shown(&command),
            r"RUSTDOCFLAGS='-D warnings' cargo test -- 'it'\''s here'"
        );
    }

    #[test]
    fn workspace_is_found_without_the_current_directory() {
        let workspace = Workspace::locate().unwrap();
        assert!(workspace.root().join("xtask/Cargo.toml").is_file());
    }
}
