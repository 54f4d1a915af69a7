//! Medians, and whether they are what is promised.

use std::fmt::Write as _;
use std::fs;

use anyhow::Result;

use crate::Options;
use crate::conduct::{Row, Window};

/// The processes, in the order of a row's figures.
const NAMES: [&str; 5] = ["sender", "receiver", "victim", "rival", "broker"];
/// Throughput beside trouble, in percent of that without.
const THROUGHPUT_PERCENT_MIN: u64 = 90;
/// The 99th percentile beside trouble, in percent of that without.
const P99_PERCENT_MAX: u64 = 200;

fn median(windows: &[Window], of: impl Fn(&Window) -> u64) -> u64 {
    let mut values: Vec<u64> = windows.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn line(row: &Row) -> String {
    let rates = (
        median(&row.undisturbed, |window| window.per_second),
        median(&row.disturbed, |window| window.per_second),
    );
    let p99 = (
        median(&row.undisturbed, |window| window.p99_micros),
        median(&row.disturbed, |window| window.p99_micros),
    );
    let (rate, latency) = (rates.1 * 100 / rates.0.max(1), p99.1 * 100 / p99.0.max(1));
    let kept = if over_memory(row).is_some() {
        "TOO MUCH MEMORY"
    } else if rate >= THROUGHPUT_PERCENT_MIN && latency <= P99_PERCENT_MAX {
        "kept"
    } else {
        "MISSED"
    };
    let mib = |kib: &[u64]| {
        let mib: Vec<String> = kib.iter().map(|kib| (kib / 1024).to_string()).collect();
        mib.join(", ")
    };
    let (grown, bounds) = (mib(&row.grown_kib), mib(&row.bounds_kib));
    let refused: u64 = row.disturbed.iter().map(|window| window.refused).sum();
    format!(
        "| {} | {} | {} | {} | {} | {rate} % | {} | {} | {latency} % | {} | {refused} | {grown} | {bounds} | {} | {kept} |\n",
        row.topology,
        row.trouble.name(),
        row.capacity_per_second,
        rates.0,
        rates.1,
        p99.0,
        p99.1,
        median(&row.disturbed, |window| window.max_micros),
        row.troubles,
    )
}

/// Which processes grew by more than their queues and tables may hold.
pub(crate) fn over_memory(row: &Row) -> Option<String> {
    let over: Vec<String> = NAMES
        .iter()
        .zip(&row.grown_kib)
        .zip(&row.bounds_kib)
        .filter(|((_, grown), bound)| grown > bound)
        .map(|((name, grown), bound)| format!("{name} {grown} KiB of {bound}"))
        .collect();
    (!over.is_empty()).then(|| format!("{}, {}: {}", row.topology, row.trouble.name(), over.join(", ")))
}

/// Writes both files; the Markdown.
pub(crate) fn write(rows: &[Row], options: &Options) -> Result<String> {
    let mut text = format!(
        "# Bystanders beside trouble\n\n\
         Acked messages of 64 bytes from one server to another, at {} % of what they reach at full speed; {} pairs of windows of {} ms, \
         undisturbed and disturbed by turns; medians of these. Latency in microseconds, from when a message was due to its outcome. {} cores.\n\n\
         Promised: at least {THROUGHPUT_PERCENT_MIN} % of the throughput, a p99 of at most {P99_PERCENT_MAX} %, and no process that grows by more than \
         what its queues and tables may hold by its settings.\n\n\
         | topology | trouble | full speed /s | undisturbed /s | disturbed /s | kept | p99 undisturbed | p99 disturbed | p99 | max disturbed | not delivered | growth in MiB: sender, receiver, victim, rival, broker | their bounds | trouble | |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        options.load_percent,
        options.rounds,
        options.window.as_millis(),
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    for row in rows {
        write!(text, "{}", line(row))?;
    }
    text.push_str(
        "\nstopped-peer: 5,000 messages of 1 KiB a second to a stopped server. full-inbox: the same to a client of the receiving \
         bystander that reads nothing. hung-store: 1,000 messages a second to unknown clients while the datastore stands still. storm: \
         50,000 clients taken over by another server, again and again (`trouble` counts the messages, or the storms).\n",
    );
    fs::create_dir_all(&options.out)?;
    fs::write(options.out.join("isolation.md"), &text)?;
    fs::write(
        options.out.join("isolation.json"),
        serde_json::to_string_pretty(rows)? + "\n",
    )?;
    Ok(text)
}
