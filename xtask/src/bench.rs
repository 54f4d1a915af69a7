//! `bench`: the side-by-side benchmark, by the package `waypost-bench`.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::needs;
use crate::output::say;
use crate::workspace::{Workspace, run_shown};

/// What is measured beside Waypost, and the Debian package that has it.
const BESIDE: [(&str, &str); 2] = [("nats-server", "nats-server"), ("redis-server", "redis-server")];

pub(crate) fn run(workspace: &Workspace, parser: &mut lexopt::Parser) -> Result<ExitCode> {
    let arguments: Vec<OsString> = parser.raw_args()?.collect();
    let is_help = arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h");
    if !is_help {
        install_what_is_missing()?;
    }
    // Its own word: the other datastores' clients take long to build, and only that needs them.
    let is_stores = arguments.first().is_some_and(|word| word == "stores");
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--package", "waypost-bench"]);
    if is_stores {
        build.args(["--features", "riak,couchbase"]);
    }
    let mut server = workspace.cargo();
    server.args([
        "build",
        "--release",
        "--package",
        "waypost",
        "--bin",
        "waypost-brokerless",
    ]);
    let builds = if is_stores {
        vec![&mut build]
    } else {
        vec![&mut build, &mut server]
    };
    for command in builds {
        if !run_shown(command)?.success() {
            bail!("the build failed");
        }
    }
    let programs = workspace.target_dir()?.join("release");
    let mut bench = Command::new(programs.join("waypost-bench"));
    bench.current_dir(workspace.root());
    let mut rest = arguments.as_slice();
    if is_stores {
        bench.arg("stores");
        rest = &rest[1..];
    } else {
        bench.arg("--brokerless").arg(programs.join("waypost-brokerless"));
    }
    bench.arg("--out").arg(workspace.target_dir()?.join("bench"));
    for argument in rest {
        bench.arg(argument);
        if argument == "--readme" {
            bench.arg(workspace.root());
        }
    }
    let status = run_shown(&mut bench)?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Installs them where we may: root on a Debian. The benchmark leaves out what is still missing, and says so.
fn install_what_is_missing() -> Result<()> {
    let missing: Vec<&str> = BESIDE
        .iter()
        .filter(|(program, _)| {
            needs::find(program).is_none() && !Path::new("/usr/sbin").join(program).exists()
        })
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    let debian = Path::new("/etc/debian_version").exists() && needs::find("apt-get").is_some();
    if !debian || !rustix::process::geteuid().is_root() {
        say!("not installed, so it is left out: {names}");
        return Ok(());
    }
    say!("not installed, so it is being installed: {names}");
    let mut update = Command::new("apt-get");
    update.args(["update", "-qq"]);
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing);
    for command in [&mut update, &mut install] {
        if !run_shown(command.env("DEBIAN_FRONTEND", "noninteractive"))?.success() {
            say!("apt-get failed; {names} is left out");
            break;
        }
    }
    Ok(())
}
