//! Rules about source files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

/// A longer file has a second responsibility.
const LINES_MAX: usize = 800;

/// Text that has no business in a source file, with the reason. In pieces, so that this file does not hold it.
const FORBIDDEN: [([&str; 2], &str); 5] = [
    (["to", "do!("], "write it or leave it out"),
    (["unimpl", "emented!("], "write it or leave it out"),
    (["db", "g!("], "a debugging aid"),
    (["#[ign", "ore"], "a test that does not run protects nothing"),
    (["#[should", "_panic"], "assert what does happen"),
];

pub(super) fn breaches(workspace: &Workspace) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for top in ["crates", "xtask", "fuzz"] {
        find_sources(&workspace.root().join(top), &mut files)?;
    }
    files.sort();
    let mut breaches = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let place = workspace.shown(&file).to_string();
        breaches.extend(
            file_breaches(&text)
                .into_iter()
                .map(|breach| format!("{place}{breach}")),
        );
    }
    Ok(breaches)
}

/// Rust files, but for generated ones and what cargo builds.
fn find_sources(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("gen") && !path.ends_with("target") {
                find_sources(&path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Each begins with the place within the file.
fn file_breaches(text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    // Attributes of the whole file, such as a feature's gate, may stand before; a README may stand in for the line.
    let documents = |line: &str| line.starts_with("//!") || line.starts_with("#![doc = include_str!(");
    let is_attribute = |line: &str| line.starts_with("#![") && !documents(line);
    let first = text
        .lines()
        .find(|line| !line.trim().is_empty() && !is_attribute(line));
    if !first.is_some_and(documents) {
        breaches.push(": does not begin with a `//!` line that says what it is".to_owned());
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        breaches.push(format!(
            ": has {lines} lines, more than {LINES_MAX}: look for the second responsibility"
        ));
    }
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for (pieces, reason) in FORBIDDEN {
            let forbidden = pieces.concat();
            if line.contains(&forbidden) {
                breaches.push(format!(":{}: `{forbidden}`: {reason}", number + 1));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_is() {
        assert!(file_breaches("//! It is.\n").is_empty());
        assert!(file_breaches("#![no_main]\n//! It is.\n").is_empty());
        assert!(file_breaches("#![doc = include_str!(\"../README.md\")]\n").is_empty());
        assert_eq!(file_breaches("use x;\n").len(), 1);
        assert_eq!(file_breaches("").len(), 1);
    }

    #[test]
    fn forbidden_text_is_named_with_its_line() {
        let [pieces, ..] = FORBIDDEN.map(|(pieces, _)| pieces.concat());
        let breaches = file_breaches(&format!("//! It is.\nfn f() {{ {pieces}) }}\n// {pieces}\n"));
        assert_eq!(breaches.len(), 1);
        assert!(breaches[0].starts_with(":2:"), "{breaches:?}");
    }

    #[test]
    fn a_long_file_is_named() {
        let text = format!("//! It is.\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(file_breaches(&text).len(), 1);
    }
}
