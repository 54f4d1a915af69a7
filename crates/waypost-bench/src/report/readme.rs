//! What goes into the repository's README: the picture, and one table of what users ask first.

use std::fmt::Write as _;

use super::{grouped, short};
use crate::options::SIZE;
use crate::results::{Key, Results};
use crate::system::System;

/// Numbers of clients that get a column, where they were measured.
const COUNTS: [usize; 3] = [10, 10_000, 1_000_000];
/// Where what does not depend on it is taken from, or else at the largest number.
const COMMON: usize = 1000;

pub(super) fn section(results: &Results) -> String {
    let rate = "messages_per_second";
    let measured = results.clients("best_effort", rate);
    let counts: Vec<usize> = COUNTS
        .into_iter()
        .filter(|count| measured.contains(count))
        .collect();
    let common = if measured.contains(&COMMON) {
        COMMON
    } else {
        measured.last().copied().unwrap_or_default()
    };
    let mut text = format!(
        "![Messages a second against the number of clients](docs/throughput.svg)\n\n\
         Two server processes on one machine, each with as many clients; one sends {SIZE} B to random clients of the other. \
         {}, {}; median of {} rounds, systems in turn. `raw` is one TCP connection that routes nothing.\n\n\
         | messages a second |",
        results.date, results.machine, results.rounds
    );
    // Writing to a string cannot fail, here and below.
    for count in &counts {
        let _ = write!(text, " {} clients |", grouped(*count));
    }
    text.push_str(" acked, 256 in flight | round trip p50 / p99, µs | CPU a message, µs |\n|---|");
    text.push_str(&"---:|".repeat(counts.len() + 3));
    text.push('\n');
    for system in results.systems() {
        let value = |phase, metric, clients| {
            let spread = results.spread(Key {
                system: system.name(),
                phase,
                metric,
                clients,
                size: SIZE,
            });
            spread.map_or_else(|| "—".to_owned(), |spread| short(spread.median))
        };
        let _ = write!(text, "| {} |", shown(system));
        for &count in &counts {
            let _ = write!(text, " {} |", value("best_effort", rate, count));
        }
        let _ = writeln!(
            text,
            " {} | {} / {} | {} |",
            value("acked", rate, common),
            value("round_trip", "p50_us", common),
            value("round_trip", "p99_us", common),
            value("best_effort", "cpu_us_per_message", common)
        );
    }
    let _ = writeln!(
        text,
        "\nThe last three columns are with {} clients; CPU is that of all processes together.",
        grouped(common)
    );
    for note in &results.notes {
        let _ = writeln!(text, "\n- {note}");
    }
    text
}

fn shown(system: System) -> String {
    if system.is_waypost() {
        format!("**Waypost**, {}", system.name())
    } else {
        system.name().to_owned()
    }
}
