//! The table of the stores.

use std::fmt::Write as _;

use super::work::{Load, Measured};
use super::{Report, StoreReport};
use crate::report::short;

pub(super) fn markdown(report: &Report) -> String {
    let mut page = format!(
        "{}, {}; store, server and callers share it. Latency is of one caller, calls a second of 64 callers; of batches of {} \
         entries the latency is of a whole batch, with one caller, and entries a second are with 4. Claims are of free \
         addresses. Each figure is of {} s of claims and of what they claimed.\n\n",
        report.date,
        report.machine,
        Load::BATCHED[0].batch,
        report.seconds
    );
    page.push_str(
        "| store | verb | p50, µs | p99, µs | calls a second | batch: p50, ms | batch: p99, ms | batch: entries a second |\n\
         |---|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for store in &report.stores {
        rows(store, &mut page);
    }
    for store in &report.stores {
        if let Some(error) = &store.error {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(page, "\n{}: not measured, or not wholly: {error}", store.store);
        }
    }
    page
}

fn rows(store: &StoreReport, page: &mut String) {
    let label = if store.is_stand_in { " (stand-in)" } else { "" };
    for verb in ["claim", "look-up", "release"] {
        let find = |load: Load| {
            store
                .measured
                .iter()
                .find(|measured| measured.verb == verb && measured.load == load)
        };
        let cell = |load: Load, value: fn(&Measured) -> f64| {
            find(load).map_or_else(|| "—".to_owned(), |measured| short(value(measured)))
        };
        let [one, many] = Load::SINGLE;
        let [batch, batches] = Load::BATCHED;
        let _ = writeln!(
            page,
            "| {}{label} | {verb} | {} | {} | {} | {} | {} | {} |",
            store.store,
            cell(one, |m| m.p50_us),
            cell(one, |m| m.p99_us),
            cell(many, |m| m.entries_per_second),
            cell(batch, |m| m.p50_us / 1e3),
            cell(batch, |m| m.p99_us / 1e3),
            cell(batches, |m| m.entries_per_second),
        );
    }
}
