//! `waypost-bench stores`: what claims, look-ups and releases cost on each datastore, one by one and in batches.

mod options;
mod place;
mod table;
mod work;

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::date;
use options::Options;
use place::Place;
use waypost_harness::proc;
use work::Measured;

/// A run.
#[derive(Debug, Serialize)]
struct Report {
    date: String,
    machine: String,
    seconds: f64,
    stores: Vec<StoreReport>,
}

/// What one store showed.
#[derive(Debug, Serialize)]
struct StoreReport {
    /// Without a password.
    store: String,
    /// What answered: the thing itself, or a stand-in.
    is_stand_in: bool,
    measured: Vec<Measured>,
    /// Why it was not measured, or not wholly.
    error: Option<String>,
}

/// Measures the stores that the arguments name and writes the tables.
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    let Some(options) = Options::parse(arguments)? else {
        std::io::stdout().write_all(options::HELP.as_bytes())?;
        return Ok(());
    };
    let mut report = Report {
        date: date::today(),
        machine: proc::machine(),
        seconds: options.window.as_secs_f64(),
        stores: Vec::new(),
    };
    for name in &options.stores {
        report.stores.push(one(name, &options).await);
    }
    let markdown = table::markdown(&report);
    fs::create_dir_all(&options.out).with_context(|| format!("cannot make {}", options.out.display()))?;
    write(
        &options.out.join("stores.json"),
        &serde_json::to_string_pretty(&report)?,
    )?;
    write(&options.out.join("stores.md"), &markdown)?;
    if let Some(page) = &options.page {
        let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
        write(page, &crate::page::replaced(&text, "stores", &markdown)?)?;
    }
    std::io::stdout().write_all(markdown.as_bytes())?;
    if report.stores.iter().any(|store| store.error.is_some()) {
        bail!("not every store could be measured");
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

async fn one(name: &str, options: &Options) -> StoreReport {
    let mut report = StoreReport {
        store: Place::shown(name),
        is_stand_in: false,
        measured: Vec::new(),
        error: None,
    };
    let result = async {
        let place = Place::open(name).await?;
        report.is_stand_in = place.is_stand_in;
        say(&format!(
            "{}{}",
            report.store,
            if place.is_stand_in { " (stand-in)" } else { "" }
        ));
        work::measure(&place, options.window, &mut report.measured).await
    }
    .await;
    if let Err(error) = result {
        let text = format!("{error:#}");
        say(&format!("{}: {text}", report.store));
        report.error = Some(text);
    }
    report
}

/// Progress, on stderr.
fn say(text: &str) {
    // Nothing can be done when nobody listens.
    let _ = writeln!(std::io::stderr(), "{text}");
}
