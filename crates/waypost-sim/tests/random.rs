//! Clusters to which everything happens, from one seed each.
//!
//! `WAYPOST_SIM_SEEDS=N` runs N seeds instead of the usual number; `cargo xtask sim` runs one of them, or as many as time
//! allows.

use waypost_sim::story;
use waypost_types::Outcome;

const SEEDS: u64 = 2300;

#[test]
fn promises_hold_whatever_happens() {
    let wanted = std::env::var("WAYPOST_SIM_SEEDS").ok();
    let seeds = wanted.map_or(SEEDS, |text| text.parse().expect("WAYPOST_SIM_SEEDS is a number"));
    let report = story::run(0, seeds, None);
    let failures: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for outcome in Outcome::ALL {
        assert!(
            report.outcomes.contains_key(outcome.as_str()),
            "no send ended as {outcome}: {:?}",
            report.outcomes
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..5 {
        let (first, second) = (story::trace(seed), story::trace(seed));
        assert!(first.0.len() > 1000, "seed {seed} has {} lines", first.0.len());
        assert!(
            first == second,
            "seed {seed} does not give the same lines each time"
        );
    }
    assert!(story::trace(0) != story::trace(1));
}
