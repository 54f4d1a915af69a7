//! `instructions`: what a message costs on the hot path, in instructions, against the figures that are checked in.
//!
//! Callgrind counts them, so that neither the machine nor what else it does disturbs the figures: the package
//! `waypost-instructions` holds the code that is counted, and nothing in it is random.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use lexopt::Arg;

use crate::needs;
use crate::output::say;
use crate::workspace::{Workspace, run_shown};

/// By how much a figure may grow. What changes without our doing, such as the C library, changes them by less.
const GROWTH_MAX: f64 = 0.10;
/// The function in which instructions are counted.
const MEASURED: &str = "*measured*";
/// So that the C library copies memory in the same way on every x86-64.
const SAME_COPIES: &str = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-ERMS,-FSRM,-AVX_Fast_Unaligned_Load";

/// Instructions a message, by case.
type Figures = BTreeMap<String, f64>;

pub(crate) fn run(workspace: &Workspace, parser: &mut lexopt::Parser) -> Result<ExitCode> {
    let mut update = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("update") => update = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let passed = if update {
        let figures = count(workspace)?;
        let path = file(workspace);
        fs::write(&path, serde_json::to_string_pretty(&figures)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
        say!("recorded in {}", workspace.shown(&path));
        true
    } else {
        check(workspace)?
    };
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether no figure has grown by more than a tenth.
pub(crate) fn check(workspace: &Workspace) -> Result<bool> {
    let path = file(workspace);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let recorded: Figures = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a list of figures", path.display()))?;
    let counted = count(workspace)?;
    let wrong = differences(&recorded, &counted)?;
    for line in &wrong {
        say!("error: {line}");
    }
    if !wrong.is_empty() {
        say!(
            "if that is on purpose, record the new figures by `cargo xtask instructions --update`, and say why in the commit"
        );
    }
    Ok(wrong.is_empty())
}

fn file(workspace: &Workspace) -> PathBuf {
    workspace.root().join("xtask/instructions/figures.json")
}

/// What is wrong with the counted figures, in lines; prints the table.
fn differences(recorded: &Figures, counted: &Figures) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    say!("instructions a message:");
    for (case, &now) in counted {
        let Some(&before) = recorded.get(case) else {
            wrong.push(format!(
                "{case}: {now:.0} instructions a message, and no figure is recorded"
            ));
            continue;
        };
        let growth = now / before - 1.0;
        say!(
            "  {case:<10} {now:>8.0}  recorded {before:>8.0}  {:>+6.1} %",
            growth * 100.0
        );
        if growth > GROWTH_MAX {
            wrong.push(format!(
                "{case}: {now:.0} instructions a message, recorded {before:.0}: {:.0} % more, and {:.0} % are allowed",
                growth * 100.0,
                GROWTH_MAX * 100.0
            ));
        } else if growth < -GROWTH_MAX {
            say!("  {case} has become cheaper: `cargo xtask instructions --update` holds the gain");
        }
    }
    let gone = recorded.keys().filter(|case| !counted.contains_key(*case));
    wrong.extend(gone.map(|case| format!("{case}: a figure is recorded, and nothing counts it")));
    Ok(wrong)
}

fn count(workspace: &Workspace) -> Result<Figures> {
    let valgrind = needs::valgrind()?;
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--package", "waypost-instructions"]);
    if !run_shown(&mut build)?.success() {
        bail!("the build failed");
    }
    let release = workspace.target_dir()?.join("release");
    let program = release.join("waypost-instructions");
    let list = Command::new(&program).output().context("cannot run it")?;
    let list = String::from_utf8(list.stdout)?;
    let mut lines = list.lines();
    let messages: f64 = lines
        .next()
        .and_then(|line| line.parse().ok())
        .context("it does not say how many messages a case has")?;
    let out = release.join("waypost-instructions.callgrind");
    lines
        .map(|case| {
            let total = count_case(&valgrind, &program, case, &out)?;
            // Tenths of instructions say enough, and make a short file.
            Ok((case.to_owned(), (total / messages * 10.0).round() / 10.0))
        })
        .collect()
}

fn count_case(valgrind: &Path, program: &Path, case: &str, out: &Path) -> Result<f64> {
    let output = Command::new(valgrind)
        .args(["--tool=callgrind", &format!("--toggle-collect={MEASURED}")])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .arg(case)
        .env("GLIBC_TUNABLES", SAME_COPIES)
        .stdin(Stdio::null())
        .output()
        .context("cannot run valgrind")?;
    if !output.status.success() {
        bail!("{case} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = fs::read_to_string(out).with_context(|| format!("cannot read {}", out.display()))?;
    match total(&text) {
        Some(total) if total > 0.0 => Ok(total),
        _ => bail!("{case}: nothing was counted; is the function still called {MEASURED}?"),
    }
}

/// The sum at the end of callgrind's file.
fn total(text: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix("totals:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(list: &[(&str, f64)]) -> Figures {
        list.iter()
            .map(|(case, value)| ((*case).to_owned(), *value))
            .collect()
    }

    #[test]
    fn growth_by_more_than_a_tenth_is_wrong_and_less_is_not() {
        let recorded = figures(&[("send", 100.0)]);
        assert!(
            differences(&recorded, &figures(&[("send", 109.0)]))
                .unwrap()
                .is_empty()
        );
        assert!(
            differences(&recorded, &figures(&[("send", 50.0)]))
                .unwrap()
                .is_empty()
        );
        let wrong = differences(&recorded, &figures(&[("send", 111.0)])).unwrap();
        assert!(
            wrong[0].contains("send: 111 instructions a message, recorded 100"),
            "{wrong:?}"
        );
    }

    #[test]
    fn cases_and_figures_must_match() {
        let wrong = differences(&figures(&[("old", 1.0)]), &figures(&[("new", 1.0)])).unwrap();
        assert_eq!(wrong.len(), 2, "{wrong:?}");
    }

    #[test]
    fn the_sum_of_a_callgrind_file_is_found() {
        assert_eq!(
            total("events: Ir\nfn=(1)\n1 2\n\ntotals: 6512384\n"),
            Some(6_512_384.0)
        );
        assert_eq!(total("events: Ir\n"), None);
    }
}
