//! Copies the sources of `waypost-router` and puts every flaw into the copy, behind a switch each.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[path = "src/flaws.rs"]
#[allow(dead_code, unreachable_pub, reason = "the switches are for the copy")]
mod flaws;

fn main() -> io::Result<()> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let from = here.join("../../../crates/waypost-router/src");
    let to = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("router");
    println!("cargo::rerun-if-changed={}", from.display());
    println!("cargo::rerun-if-changed=src/flaws.rs");
    copy(&from, &to)?;
    let mut missing = String::new();
    for flaw in flaws::FLAWS {
        for (file, text, broken) in flaw.edits {
            let path = to.join(file);
            let source = fs::read_to_string(&path).unwrap_or_default();
            if source.matches(text).count() != 1 {
                let _ = writeln!(missing, "{}: {file} does not hold once: {text}", flaw.name);
                continue;
            }
            let switch = format!("crate::flaws::is_on({:?})", flaw.name);
            fs::write(&path, source.replace(text, &broken.replace("FLAW", &switch)))?;
        }
    }
    // The root: its modules are found by their paths, and what the crate shows stays as it is.
    let root = fs::read_to_string(to.join("lib.rs"))?;
    let mut lib = String::new();
    for line in root.lines().filter(|line| !line.starts_with("#![")) {
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            let file = to.join(format!("{name}.rs"));
            let dir = to.join(name).join("mod.rs");
            let path = if file.exists() { file } else { dir };
            let _ = writeln!(lib, "#[path = {path:?}]");
        }
        lib.push_str(line);
        lib.push('\n');
    }
    let _ = writeln!(
        lib,
        "/// Flaws whose text the router does not hold any more.\npub const MISSING: &str = {missing:?};"
    );
    fs::write(to.join("root.rs"), lib)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            // Whether a flaw is on is not known to constant functions.
            fs::write(&target, fs::read_to_string(&path)?.replace(" const fn ", " fn "))?;
        }
    }
    Ok(())
}
