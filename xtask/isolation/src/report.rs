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

/// Medians without the trouble and beside it.
struct Felt {
    rates: (u64, u64),
    p99: (u64, u64),
}

impl Felt {
    fn of(row: &Row) -> Self {
        let both = |of: fn(&Window) -> u64| (median(&row.undisturbed, of), median(&row.disturbed, of));
        Self {
            rates: both(|window| window.per_second),
            p99: both(|window| window.p99_micros),
        }
    }

    fn rate_percent(&self) -> u64 {
        self.rates.1 * 100 / self.rates.0.max(1)
    }

    fn p99_percent(&self) -> u64 {
        self.p99.1 * 100 / self.p99.0.max(1)
    }

    fn is_kept(&self) -> bool {
        self.rate_percent() >= THROUGHPUT_PERCENT_MIN && self.p99_percent() <= P99_PERCENT_MAX
    }
}

/// What is not as promised, in words.
pub(crate) fn broken(row: &Row) -> Option<String> {
    let felt = Felt::of(row);
    let missed = (!felt.is_kept()).then(|| {
        format!(
            "{}, {}: {} % of the throughput, {} % of the p99",
            row.topology,
            row.trouble.name(),
            felt.rate_percent(),
            felt.p99_percent()
        )
    });
    let both: Vec<String> = missed.into_iter().chain(over_memory(row)).collect();
    (!both.is_empty()).then(|| both.join("; "))
}

fn line(row: &Row) -> String {
    let felt = Felt::of(row);
    let (rate, latency) = (felt.rate_percent(), felt.p99_percent());
    let Felt { rates, p99 } = felt;
    let kept = if over_memory(row).is_some() {
        "TOO MUCH MEMORY"
    } else if felt.is_kept() {
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
fn over_memory(row: &Row) -> Option<String> {
    let over: Vec<String> = NAMES
        .iter()
        .zip(&row.grown_kib)
        .zip(&row.bounds_kib)
        .filter(|((_, grown), bound)| grown > bound)
        .map(|((name, grown), bound)| format!("{name} {grown} KiB of {bound}"))
        .collect();
    (!over.is_empty()).then(|| {
        let (topology, trouble) = (&row.topology, row.trouble.name());
        format!("{topology}, {trouble}: memory grew by {}", over.join(", "))
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conduct::Trouble;

    fn row(undisturbed: (u64, u64), disturbed: (u64, u64), grown_kib: u64) -> Row {
        let window = |(per_second, p99_micros)| Window {
            per_second,
            p99_micros,
            ..Window::default()
        };
        Row {
            topology: "mesh".to_owned(),
            trouble: Trouble::Storm,
            capacity_per_second: 0,
            load_per_second: 0,
            undisturbed: vec![window(undisturbed)],
            disturbed: vec![window(disturbed)],
            grown_kib: vec![grown_kib],
            bounds_kib: vec![100],
            troubles: 1,
        }
    }

    #[test]
    fn what_is_missed_is_told_and_what_is_kept_is_not() {
        assert_eq!(broken(&row((1000, 50), (900, 100), 100)), None);
        for (disturbed, grown, part) in [
            ((899, 50), 0, "89 % of the throughput"),
            ((1000, 101), 0, "202 % of the p99"),
            ((1000, 50), 101, "memory grew by sender 101 KiB of 100"),
        ] {
            let told = broken(&row((1000, 50), disturbed, grown)).unwrap();
            assert!(told.contains(part), "{told}");
        }
    }
}
