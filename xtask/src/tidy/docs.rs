//! Rules about documents: what they point to exists.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

/// A name in backticks with at least this many underscores is that of a test or of another function.
const UNDERSCORES_OF_A_TEST: usize = 3;

pub(super) fn breaches(workspace: &Workspace) -> Result<Vec<String>> {
    let root = workspace.root();
    let mut documents = Vec::new();
    let mut sources = Vec::new();
    find(root, "md", false, &mut documents)?;
    for dir in ["docs", "deploy", "crates", "proto", "fuzz"] {
        find(&root.join(dir), "md", true, &mut documents)?;
    }
    for dir in ["crates", "xtask", "fuzz"] {
        find(&root.join(dir), "rs", true, &mut sources)?;
    }
    documents.sort();
    let mut functions = HashSet::new();
    for source in &sources {
        functions_in(&read(source)?, &mut functions);
        // Examples and test files are named too.
        functions.extend(source.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    let mut breaches = readme_breaches(root)?;
    for document in documents {
        let text = read(&document)?;
        let place = workspace.shown(&document).to_string();
        let dir = document.parent().unwrap_or(root);
        let missing = links(&text)
            .filter(|target| !dir.join(target).exists())
            .map(|target| format!("{place}: links to {target}, which does not exist"));
        breaches.extend(missing);
        let unknown = tests_named(&text)
            .filter(|name| !functions.contains(*name))
            .map(|name| format!("{place}: names `{name}`, and there is no such test or function"));
        breaches.extend(unknown);
    }
    Ok(breaches)
}

/// Each crate has a README, which is its documentation too.
fn readme_breaches(root: &Path) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    let mut crates: Vec<PathBuf> = entries(&root.join("crates"))?;
    crates.sort();
    for dir in crates {
        let manifest = dir.join("Cargo.toml");
        if !manifest.is_file() || read(&manifest)?.lines().any(|line| line == "publish = false") {
            continue;
        }
        let name = dir.strip_prefix(root).unwrap_or(&dir).display();
        if !dir.join("README.md").is_file() {
            breaches.push(format!("{name} has no README.md"));
        } else if !read(&dir.join("src/lib.rs"))?.contains("#![doc = include_str!(\"../README.md\")]") {
            breaches.push(format!(
                "{name}/src/lib.rs does not include the README.md as its documentation"
            ));
        }
    }
    Ok(breaches)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

fn find(dir: &Path, extension: &str, deep: bool, found: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for path in entries(dir)? {
        if path.is_dir() {
            if deep && !path.ends_with("target") {
                find(&path, extension, deep, found)?;
            }
        } else if path.extension().is_some_and(|of| of == extension) {
            found.push(path);
        }
    }
    Ok(())
}

/// Every word that follows an `fn`, and every public field.
fn functions_in(source: &str, into: &mut HashSet<String>) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for before in ["fn ", "pub "] {
        for (at, _) in source.match_indices(before) {
            let rest = &source[at + before.len()..];
            into.insert(rest.chars().take_while(|c| is_part(*c)).collect());
        }
    }
}

/// The files that a document links to, without what follows a `#`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("](")
        .filter_map(|(at, _)| text[at + 2..].split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or(target))
        .filter(|target| {
            !target.is_empty() && !target.contains("://") && !target.contains(char::is_whitespace)
        })
        // Rust paths in the documentation of a crate.
        .filter(|target| !target.contains("::"))
}

/// Names in backticks that look like those of tests.
fn tests_named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.matches('_').count() >= UNDERSCORES_OF_A_TEST)
        .filter(|name| {
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_found_and_others_are_not() {
        let text = "[a](b.md) [c](d/e.md#f) [g](#h) [i](https://j/k) `l[m](n o)` [p](crate::Q)";
        assert_eq!(links(text).collect::<Vec<_>>(), ["b.md", "d/e.md"]);
    }

    #[test]
    fn names_of_tests_are_told_from_other_code() {
        let text =
            "`late_release_keeps_newer_session`, `send_acked`, `WAYPOST_TEST_REDIS_SERVER`, `a_b_c_d e`";
        assert_eq!(
            tests_named(text).collect::<Vec<_>>(),
            ["late_release_keeps_newer_session"]
        );
    }

    #[test]
    fn functions_are_found_wherever_they_are() {
        let mut found = HashSet::new();
        functions_in(
            "async fn one_two() {}\n pub const fn three(x: u8) {}\n pub four: u8",
            &mut found,
        );
        assert!(
            ["one_two", "three", "four"]
                .iter()
                .all(|name| found.contains(*name))
        );
    }
}
