//! Running stories: one, or many of them on all cores.

use core::time::Duration;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use super::Story;
use crate::store::StoreFlaw;

/// A story in which a promise was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which one.
    pub seed: u64,
    /// What was found.
    pub found: String,
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { seed, found } = self;
        write!(
            f,
            "seed {seed}: {found}\n  to see every step: cargo xtask sim --seed {seed}"
        )
    }
}

/// What many stories came to.
#[derive(Debug, Default)]
pub struct Report {
    /// How many were run.
    pub seeds: u64,
    /// How many things happened in them.
    pub steps: u64,
    /// How many acked sends ended with each outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// The first ones that failed, by seed.
    pub failures: Vec<Failure>,
}

thread_local! {
    /// Panics of this thread are findings, and are told by whoever runs the story.
    static IS_QUIET: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                loud(info);
            }
        }));
    });
}

/// Plays the story; what was found, if anything.
fn play(story: &mut Story) -> Option<String> {
    hush();
    let was_quiet = IS_QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(|| story.play()));
    IS_QUIET.set(was_quiet);
    let panic = result.err()?;
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Some(text.unwrap_or_else(|| "a panic without words".to_owned()))
}

/// Plays one seed on a sound store.
///
/// # Errors
/// What was found.
pub fn check(seed: u64, flaw: Option<StoreFlaw>) -> Result<Report, Failure> {
    let mut story = Story::new(seed, false, flaw);
    if let Some(found) = play(&mut story) {
        return Err(Failure { seed, found });
    }
    Ok(Report {
        seeds: 1,
        steps: story.world.steps(),
        outcomes: story.world.oracle().outcomes().clone(),
        failures: Vec::new(),
    })
}

/// Plays one seed and keeps every step: the lines, and what was found.
#[must_use]
pub fn trace(seed: u64) -> (Vec<String>, Option<Failure>) {
    let mut story = Story::new(seed, true, None);
    let found = play(&mut story);
    let failure = found.map(|found| Failure { seed, found });
    let mut lines = vec![format!("{:?}", story.plan)];
    lines.extend_from_slice(story.world.trace());
    (lines, failure)
}

/// Plays seeds from `first` on, on all cores, until there have been `count` of them or the time is over.
#[must_use]
pub fn run(first: u64, count: u64, at_most: Option<Duration>) -> Report {
    const FAILURES_MAX: usize = 20;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let (next, start) = (AtomicU64::new(0), Instant::now());
    let part = || {
        let mut report = Report::default();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count || at_most.is_some_and(|at_most| start.elapsed() >= at_most) {
                return report;
            }
            match check(first.wrapping_add(at), None) {
                Ok(one) => report.add(one),
                Err(failure) => report.add(Report {
                    seeds: 1,
                    failures: vec![failure],
                    ..Report::default()
                }),
            }
            if report.failures.len() >= FAILURES_MAX {
                next.store(count, Ordering::Relaxed);
            }
        }
    };
    let mut whole = Report::default();
    thread::scope(|scope| {
        let parts: Vec<_> = (0..cores).map(|_| scope.spawn(part)).collect();
        for part in parts {
            match part.join() {
                Ok(report) => whole.add(report),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    whole.failures.sort_by_key(|failure| failure.seed);
    whole
}

impl Report {
    fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        for (outcome, count) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        self.failures.extend(other.failures);
    }
}
