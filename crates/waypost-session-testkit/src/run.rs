//! Runs cases: one as a test, or all of them with a report.

use core::time::Duration;
use std::io::Write as _;
use std::sync::Arc;

use crate::stop::chain;
use crate::{CASES, Case, Ctx, Rng, Stop, StoreBuilder};

/// No case takes longer, not on a slow server far away either that is full of what others have left behind.
const CASE_TIMEOUT: Duration = Duration::from_secs(300);
/// Nor the cleaning up after it, nor the closing of its store.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Repeats a run: set it to the seed that a failure printed.
const SEED_VARIABLE: &str = "WAYPOST_TEST_SEED";

/// What became of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The store kept the contract.
    Passed,
    /// It did not, or the datastore could not be started; the text says how and with which seed.
    Failed(String),
    /// The store or its builder does not promise what the case is about.
    NotApplicable(String),
}

/// What became of a run of the suite.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The names of the cases that passed.
    pub passed: Vec<&'static str>,
    /// The names of those that failed.
    pub failed: Vec<&'static str>,
    /// The names of those that did not apply.
    pub not_applicable: Vec<&'static str>,
}

impl Report {
    /// Whether something ran and nothing failed.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.failed.is_empty() && !self.passed.is_empty()
    }
}

/// Runs one case on a datastore of `builder`, with the seed of the environment variable `WAYPOST_TEST_SEED` or a fresh one.
/// A panic inside is a failure.
pub async fn run_case(builder: &dyn StoreBuilder, case: &'static Case) -> Verdict {
    let given = std::env::var(SEED_VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(Rng::fresh_seed);
    let failed = |what: String| Verdict::Failed(format!("{what} (repeat with {SEED_VARIABLE}={seed})"));
    let datastore = match builder.start().await {
        Ok(datastore) => datastore,
        Err(error) => return failed(format!("the datastore did not start: {}", chain(&*error))),
    };
    let ctx = match Ctx::new(datastore, seed).await {
        Ok(ctx) => Arc::new(ctx),
        Err(error) => return failed(format!("the store did not open: {}", chain(&error))),
    };
    // A task of its own, so that a panic becomes an answer.
    let mut task = tokio::spawn({
        let ctx = Arc::clone(&ctx);
        async move { (case.run)(&ctx).await }
    });
    let ended = tokio::time::timeout(CASE_TIMEOUT, &mut task).await;
    if ended.is_err() {
        task.abort();
    }
    // A store that does not answer or close in time must not stop the run.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, ctx.clean_up()).await;
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, ctx.store().close()).await;
    match ended {
        Ok(Ok(Ok(()))) => Verdict::Passed,
        Ok(Ok(Err(Stop::NotApplicable(what)))) => Verdict::NotApplicable(what),
        Ok(Ok(Err(Stop::Failed(what)))) => failed(what),
        Ok(Err(error)) => failed(chain(&error)),
        Err(_) => failed(format!(
            "the case was not over after {} s",
            CASE_TIMEOUT.as_secs()
        )),
    }
}

/// Runs the case of that name as a test: what [`conformance!`](crate::conformance) expands to.
///
/// # Panics
/// When the case fails: that is how a test says so.
pub fn run_one(builder: &dyn StoreBuilder, name: &str) {
    let case = CASES
        .iter()
        .find(|case| case.name == name)
        .unwrap_or_else(|| panic!("no case is named {name}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    match runtime.block_on(run_case(builder, case)) {
        Verdict::Passed => {}
        Verdict::NotApplicable(what) => say(&format!("{name}: not applicable: {what}")),
        Verdict::Failed(what) => panic!("{name}: {what}"),
    }
}

/// Runs every case whose name contains `filter` (all for an empty one), one after the other, printing a line each and at
/// the end `N passed, N failed`. Needs a runtime with time and IO; one with several threads makes the races real.
pub async fn run_suite(builder: &dyn StoreBuilder, filter: &str) -> Report {
    let mut report = Report::default();
    for case in CASES.iter().filter(|case| case.name.contains(filter)) {
        match run_case(builder, case).await {
            Verdict::Passed => {
                say(&format!("{}: ok", case.name));
                report.passed.push(case.name);
            }
            Verdict::NotApplicable(what) => {
                say(&format!("{}: not applicable: {what}", case.name));
                report.not_applicable.push(case.name);
            }
            Verdict::Failed(what) => {
                say(&format!("{}: FAILED: {what}", case.name));
                report.failed.push(case.name);
            }
        }
    }
    say(&format!(
        "{} passed, {} failed",
        report.passed.len(),
        report.failed.len()
    ));
    report
}

/// One line on stdout. A closed stdout is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
