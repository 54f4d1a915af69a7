//! What a failed run prints: the broken rule and how to repeat it stand first and last, where they are seen whatever part
//! of a long output somebody is shown.

use anyhow::Error;

/// A few of the rules, should many be broken at once.
const RULES_MAX: usize = 6;

/// The report of a failure: `repeat` is the command that plays it again, `history` what was done to the cluster, `logs` what its
/// processes logged.
#[must_use]
pub fn report(error: &Error, repeat: &str, history: &str, logs: &str) -> String {
    let whole = format!("{error:#}");
    // Evidence is indented.
    let rules: Vec<&str> = whole
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .take(RULES_MAX)
        .collect();
    let headline = format!(
        "FAILED: {}\nto repeat it, timing permitting: {repeat}\n",
        rules.join("\nFAILED: ")
    );
    format!("{headline}\n{whole}\n{history}{logs}\n{headline}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_broken_and_how_to_repeat_it_stand_first_and_last() {
        let error = anyhow::anyhow!("broken promise: delivered twice:\n  0.1 s1 m7\n  0.2 s2 m7\n");
        let report = report(&error, "cargo xtask chaos --seed 7", "", "--- s1\n  a log\n");
        let headline = "FAILED: broken promise: delivered twice:\nto repeat it, timing permitting: cargo xtask chaos --seed 7\n";
        assert!(
            report.starts_with(headline) && report.ends_with(headline),
            "{report}"
        );
        assert!(
            report.contains("0.2 s2 m7") && report.contains("a log"),
            "{report}"
        );
    }
}
