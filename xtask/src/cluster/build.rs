//! Building the executables with exactly the features that a cluster needs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::options::{Topology, UpOptions};
use crate::interrupt::Interrupt;
use crate::output::say;
use crate::workspace::{Workspace, shown};

/// A directory that holds the executables already, for tests of this program.
const BIN_DIR_VARIABLE: &str = "WAYPOST_XTASK_BIN_DIR";

/// Paths of the built executables by name.
#[derive(Debug)]
pub(crate) struct Executables(BTreeMap<String, PathBuf>);

impl Executables {
    pub(crate) fn path(&self, name: &str) -> Result<&PathBuf> {
        self.0
            .get(name)
            .with_context(|| format!("cargo built no executable '{name}'"))
    }
}

fn names(topology: Topology) -> &'static [&'static str] {
    match topology {
        Topology::Broker => &["waypost-broker", "waypost-server"],
        Topology::Brokerless => &["waypost-brokerless"],
    }
}

/// Builds them, and gives up when a signal comes.
pub(crate) fn build(
    workspace: &Workspace,
    options: &UpOptions,
    interrupt: &Interrupt,
) -> Result<Executables> {
    let names = names(options.topology);
    if let Some(dir) = std::env::var_os(BIN_DIR_VARIABLE).map(PathBuf::from) {
        return Ok(Executables(
            names
                .iter()
                .map(|name| ((*name).to_owned(), dir.join(name)))
                .collect(),
        ));
    }
    let mut cargo = workspace.cargo();
    // Always one package alone: a build of the whole workspace would unify features, and a cluster on the embedded
    // store would come with Redis inside.
    cargo.args([
        "build",
        "--package",
        "waypost",
        "--no-default-features",
        "--features",
    ]);
    cargo.arg(options.features());
    for name in names {
        cargo.args(["--bin", name]);
    }
    if options.release {
        cargo.arg("--release");
    }
    say!("$ {}", shown(&cargo));
    cargo.arg("--message-format=json-render-diagnostics");
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let reader = std::thread::spawn(move || std::io::read_to_string(stdout));
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupt.requested() {
            child.kill()?;
            child.wait()?;
            bail!("interrupted while building");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // In a terminal Ctrl-C reaches cargo too, which then ends before we look.
    if interrupt.requested() {
        bail!("interrupted while building");
    }
    if !status.success() {
        bail!("the build failed ({status})");
    }
    let messages = reader
        .join()
        .map_err(|_| anyhow::anyhow!("the reader of cargo's messages panicked"))?;
    Ok(Executables(executables(
        &messages.context("cannot read cargo's messages")?,
    )))
}

/// The executables among cargo's JSON messages.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter_map(|message| {
            let path = message["executable"].as_str()?;
            Some((
                message["target"]["name"].as_str()?.to_owned(),
                PathBuf::from(path),
            ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_other_messages() {
        let messages = concat!(
            "not json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"waypost"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"waypost-broker"},"executable":"/t/waypost-broker"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let found = Executables(executables(messages));
        assert_eq!(
            found.path("waypost-broker").unwrap(),
            &PathBuf::from("/t/waypost-broker")
        );
        assert!(found.path("waypost").is_err());
    }
}
