//! What a run showed: JSON with every sample, Markdown with the tables, an SVG picture.

mod bars;
mod markdown;
mod readme;
mod svg;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::results::Results;

/// Writes `results.json`, `results.md` and `throughput.svg`; gives the Markdown.
pub(crate) fn write(results: &Results, dir: &Path) -> Result<String> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let put = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let markdown = markdown::page(results);
    put("results.json", &serde_json::to_string_pretty(results)?)?;
    put("results.md", &markdown)?;
    put("throughput.svg", &svg::throughput(results))?;
    Ok(markdown)
}

/// Puts the picture and the table into the README of a checkout.
pub(crate) fn update_readme(results: &Results, root: &Path) -> Result<()> {
    let page = root.join("README.md");
    let text = fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let text = crate::page::replaced(&text, "throughput", &readme::section(results))?;
    fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))?;
    let picture = root.join("docs/throughput.svg");
    fs::write(&picture, svg::throughput(results))
        .with_context(|| format!("cannot write {}", picture.display()))
}

/// `1.2 M`, `34 k`, `0.56`.
pub(crate) fn short(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e6 => (v / 1e6, " M"),
        v if v >= 1e4 => (v / 1e3, " k"),
        v => (v, ""),
    };
    if value == 0.0 {
        "0".to_owned()
    } else if value < 0.01 {
        format!("{value:.5}{unit}")
    } else if value < 10.0 {
        format!("{value:.2}{unit}")
    } else if value < 100.0 {
        format!("{value:.1}{unit}")
    } else {
        format!("{value:.0}{unit}")
    }
}

/// `10,000`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Sample;

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1_234_567.0), "1.23 M");
        assert_eq!(short(45_678.0), "45.7 k");
        assert_eq!(short(0.1234), "0.12");
        assert_eq!(short(0.0004), "0.00040");
        assert_eq!(grouped(1_000_000), "1,000,000");
        assert_eq!(grouped(10), "10");
    }

    #[test]
    fn a_run_becomes_three_files() {
        let mut results = Results {
            date: "2026-01-31".to_owned(),
            machine: "a machine".to_owned(),
            rounds: 2,
            notes: vec!["nats: left out, nats-server is not installed".to_owned()],
            ..Results::default()
        };
        for (system, value) in [("raw", 8e6), ("brokerless", 5e6), ("broker-tcp", 2e6)] {
            for clients in [10, 1000] {
                for round in 0..2 {
                    results.samples.push(Sample {
                        system,
                        phase: "best_effort",
                        metric: "messages_per_second",
                        clients,
                        size: 128,
                        round,
                        value,
                    });
                }
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let markdown = write(&results, dir.path()).unwrap();
        assert!(markdown.contains("left out"), "{markdown}");
        assert!(markdown.contains("| brokerless | 5.00 M"), "{markdown}");
        let svg = fs::read_to_string(dir.path().join("throughput.svg")).unwrap();
        assert!(
            svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
            "{svg}"
        );
        assert!(svg.contains("brokerless"));
        let json = fs::read_to_string(dir.path().join("results.json")).unwrap();
        assert!(json.contains("\"best_effort\""));
    }
}
