//! The tables.

use std::fmt::Write as _;

use super::bars::bars;
use super::{grouped, short};
use crate::options::SIZE;
use crate::results::{Key, Results, Spread};

pub(super) fn page(results: &Results) -> String {
    let mut page = String::new();
    let quick = if results.quick { " (quick)" } else { "" };
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        page,
        "# Waypost beside the raw limit, NATS and Redis pub/sub{quick}\n\n{}, {}; {} rounds, median (min–max).\n",
        results.date, results.machine, results.rounds
    );
    let _ = writeln!(
        page,
        "Two server processes on one machine, each with as many clients; server A sends to random clients of server B. \
         Rates are of what arrived. `raw` is one TCP connection without any routing; it, NATS and Redis gather what is \
         sent before they write, and Waypost gets 64 messages in a call (`send_messages`) and is read by \
         `recv_batch`. All systems take turns at every step. Takeover and \
         broadcast are Waypost's alone: elsewhere a client that moves subscribes anew, and nothing says when the old \
         subscription has stopped. A dash is what a system does not have or what was not measured."
    );
    for note in &results.notes {
        let _ = writeln!(page, "\n- {note}");
    }
    the_bars(results, &mut page);
    for size in results.sizes("best_effort", "messages_per_second") {
        let title = format!("Best effort, {} B: messages a second", grouped(size));
        table(
            results,
            &mut page,
            &title,
            "best_effort",
            "messages_per_second",
            size,
        );
    }
    for (title, phase, metric, size) in [
        (
            "Acked, 256 in flight, 128 B: messages a second",
            "acked",
            "messages_per_second",
            SIZE,
        ),
        (
            "CPU of all processes a message, best effort, 128 B: µs",
            "best_effort",
            "cpu_us_per_message",
            SIZE,
        ),
        (
            "CPU of all processes a message, acked, 128 B: µs",
            "acked",
            "cpu_us_per_message",
            SIZE,
        ),
        (
            "Sent and not arrived, best effort, 128 B: messages",
            "best_effort",
            "lost",
            SIZE,
        ),
        (
            "Of these the sender was told of: messages",
            "best_effort",
            "refused",
            SIZE,
        ),
        (
            "Round trip, one in flight, 128 B: p50 in µs",
            "round_trip",
            "p50_us",
            SIZE,
        ),
        (
            "Round trip, one in flight, 128 B: p99 in µs",
            "round_trip",
            "p99_us",
            SIZE,
        ),
        (
            "Register in batches: clients a second",
            "register",
            "clients_per_second",
            0,
        ),
        (
            "Register one by one: clients a second",
            "register_singly",
            "clients_per_second",
            0,
        ),
        (
            "Memory a session in server B: bytes",
            "register",
            "bytes_per_session",
            0,
        ),
        (
            "Takeover under load: clients a second",
            "takeover",
            "clients_per_second",
            SIZE,
        ),
        (
            "Broadcast, one in flight: deliveries a second",
            "broadcast",
            "deliveries_per_second",
            SIZE,
        ),
        (
            "Store reads a message",
            "best_effort",
            "store_reads_per_message",
            SIZE,
        ),
        (
            "Idle: server B, % of a core",
            "idle_percent_of_a_core",
            "server B",
            0,
        ),
        (
            "Idle: scripts a second in the datastore",
            "idle_store",
            "renewals_per_second",
            0,
        ),
    ] {
        table(results, &mut page, title, phase, metric, size);
    }
    memory(results, &mut page);
    page
}

fn the_bars(results: &Results, page: &mut String) {
    let all = bars(results);
    if all.is_empty() {
        return;
    }
    let met = all.iter().filter(|bar| bar.is_met).count();
    let _ = writeln!(page, "\n## Bars: {met} of {} met\n", all.len());
    let _ = writeln!(page, "| figure | bar | measured | |\n|---|---|---|---|");
    for bar in all {
        let mark = if bar.is_met { "met" } else { "**missed**" };
        let _ = writeln!(
            page,
            "| {} | {} | {} | {mark} |",
            bar.figure,
            bar.bar,
            spread(&bar.measured)
        );
    }
}

fn spread(spread: &Spread) -> String {
    if spread.min == spread.max {
        return short(spread.median);
    }
    format!(
        "{} ({}–{})",
        short(spread.median),
        short(spread.min),
        short(spread.max)
    )
}

/// A row a system, a column a number of clients.
fn table(
    results: &Results,
    page: &mut String,
    title: &str,
    phase: &'static str,
    metric: &'static str,
    size: usize,
) {
    let counts = results.clients(phase, metric);
    let mut rows = String::new();
    for system in results.systems() {
        let cells: Vec<Option<Spread>> = counts
            .iter()
            .map(|&clients| {
                results.spread(Key {
                    system: system.name(),
                    phase,
                    metric,
                    clients,
                    size,
                })
            })
            .collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let _ = write!(rows, "| {} |", system.name());
        for cell in &cells {
            let _ = write!(
                rows,
                " {} |",
                cell.as_ref().map_or_else(|| "—".to_owned(), spread)
            );
        }
        rows.push('\n');
    }
    if rows.is_empty() {
        return;
    }
    let heads: Vec<String> = counts.iter().map(|clients| grouped(*clients)).collect();
    let _ = writeln!(page, "\n## {title}\n\n| clients | {} |", heads.join(" | "));
    let _ = writeln!(page, "|---|{}", "---:|".repeat(counts.len()));
    page.push_str(&rows);
}

/// A row a system, a column a kind of process.
fn memory(results: &Results, page: &mut String) {
    const KINDS: [&str; 5] = ["server A", "server B", "broker", "nats-server", "redis-server"];
    let Some(clients) = results.clients("peak_memory", "server A").last().copied() else {
        return;
    };
    let _ = writeln!(
        page,
        "\n## Peak memory with {} clients: MiB\n\n| process | {} |\n|---|{}",
        grouped(clients),
        KINDS.join(" | "),
        "---:|".repeat(KINDS.len())
    );
    for system in results.systems() {
        let cells: Vec<String> = KINDS
            .iter()
            .map(|metric| {
                let peak = results.spread(Key {
                    system: system.name(),
                    phase: "peak_memory",
                    metric,
                    clients,
                    size: 0,
                });
                peak.map_or_else(
                    || "—".to_owned(),
                    |peak| format!("{:.0}", peak.median / f64::from(1 << 20)),
                )
            })
            .collect();
        let _ = writeln!(page, "| {} | {} |", system.name(), cells.join(" | "));
    }
}
