//! The bars: ratios within one run.

use crate::options::SIZE;
use crate::results::{Key, Results, Spread};

/// One bar and what was measured.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) figure: String,
    pub(super) bar: String,
    pub(super) measured: Spread,
    pub(super) is_met: bool,
}

const RATE: &str = "messages_per_second";
const BROKERLESS: &str = "brokerless";
const BROKERS: [&str; 2] = ["broker-tcp", "broker-unix"];
/// Flatness is asked for up to here.
const FLAT_MAX: usize = 100_000;

fn key(system: &'static str, phase: &'static str, metric: &'static str, clients: usize) -> Key {
    let size = match phase {
        "best_effort" | "acked" | "round_trip" => SIZE,
        _ => 0,
    };
    Key {
        system,
        phase,
        metric,
        clients,
        size,
    }
}

struct Bars<'a> {
    results: &'a Results,
    all: Vec<Bar>,
}

impl Bars<'_> {
    fn at_least(&mut self, figure: String, bar: f64, measured: Option<Spread>) {
        if let Some(measured) = measured {
            self.all.push(Bar {
                figure,
                bar: format!("at least {bar}"),
                is_met: measured.median >= bar,
                measured,
            });
        }
    }

    fn at_most(&mut self, figure: String, bar: f64, measured: Option<Spread>) {
        if let Some(measured) = measured {
            self.all.push(Bar {
                figure,
                bar: format!("at most {bar}"),
                is_met: measured.median <= bar,
                measured,
            });
        }
    }

    /// The slowest number of clients against the fastest.
    fn flat(&mut self, system: &'static str) {
        let medians: Vec<f64> = self
            .results
            .clients("best_effort", RATE)
            .into_iter()
            .filter(|clients| *clients <= FLAT_MAX)
            .filter_map(|clients| self.results.spread(key(system, "best_effort", RATE, clients)))
            .map(|spread| spread.median)
            .collect();
        let slowest = medians.iter().copied().reduce(f64::min);
        let fastest = medians.iter().copied().reduce(f64::max);
        if let (Some(slowest), Some(fastest), 2..) = (slowest, fastest, medians.len()) {
            let ratio = Spread::of(vec![slowest / fastest]);
            self.at_least(
                format!("{system}: slowest of all client counts / fastest"),
                0.85,
                ratio,
            );
        }
    }
}

/// All bars that this run says something about.
pub(super) fn bars(results: &Results) -> Vec<Bar> {
    let mut bars = Bars {
        results,
        all: Vec::new(),
    };
    let counts = results.clients("best_effort", RATE);
    for &clients in counts.iter().filter(|clients| **clients <= FLAT_MAX) {
        let ratio = results.ratio(
            key(BROKERLESS, "best_effort", RATE, clients),
            key("raw", "best_effort", RATE, clients),
        );
        bars.at_least(format!("brokerless / raw, {clients} clients"), 0.6, ratio);
    }
    bars.flat(BROKERLESS);
    for system in BROKERS {
        for (clients, bar) in [(10, 1.3), (1000, 2.5), (10_000, 5.0)] {
            let ratio = results.ratio(
                key(system, "best_effort", RATE, clients),
                key("nats", "best_effort", RATE, clients),
            );
            bars.at_least(format!("{system} / nats, {clients} clients"), bar, ratio);
        }
        bars.flat(system);
    }
    for system in [BROKERLESS, BROKERS[0], BROKERS[1]] {
        for &clients in &counts {
            let ratio = results.ratio(
                key(system, "acked", RATE, clients),
                key(system, "best_effort", RATE, clients),
            );
            bars.at_least(
                format!("{system}: acked / best effort, {clients} clients"),
                0.5,
                ratio,
            );
        }
    }
    for (system, other, bar) in [
        (BROKERLESS, "raw", 1.3),
        (BROKERS[0], "nats", 0.9),
        (BROKERS[1], "nats", 0.9),
    ] {
        for (metric, name) in [("p50_us", "p50"), ("p99_us", "p99")] {
            for &clients in &counts {
                let ratio = results.ratio(
                    key(system, "round_trip", metric, clients),
                    key(other, "round_trip", metric, clients),
                );
                bars.at_most(
                    format!("round trip {name}: {system} / {other}, {clients} clients"),
                    bar,
                    ratio,
                );
            }
        }
    }
    common(&mut bars);
    bars.all
}

/// Those that are not about messages.
fn common(bars: &mut Bars<'_>) {
    let results = bars.results;
    let largest = results.clients("register", "clients_per_second").last().copied();
    for system in [BROKERLESS, "brokerless-redis", "broker-tcp", "broker-tcp-redis"] {
        if let Some(clients) = largest {
            let ratio = results.ratio(
                key(system, "register", "clients_per_second", clients),
                key("redis-benchmark", "set", "requests_per_second", 0),
            );
            bars.at_least(
                format!("{system}: register in batches / redis-benchmark SET, {clients} clients"),
                0.12,
                ratio,
            );
        }
        for clients in results.clients("best_effort", "store_reads_per_message") {
            let reads = results.spread(key(system, "best_effort", "store_reads_per_message", clients));
            bars.at_most(
                format!("{system}: store reads a message, {clients} clients"),
                0.001,
                reads,
            );
        }
        let millions = results.clients("register", "bytes_per_session");
        for clients in millions.into_iter().filter(|clients| *clients >= 1_000_000) {
            let bytes = results.spread(key(system, "register", "bytes_per_session", clients));
            bars.at_most(
                format!("{system}: bytes a session in the server, {clients} clients"),
                250.0,
                bytes,
            );
        }
        for clients in results.clients("idle_percent_of_a_core", "server B") {
            let idle = results.spread(key(system, "idle_percent_of_a_core", "server B", clients));
            bars.at_most(
                format!("{system}: idle, % of a core, {clients} clients"),
                1.0,
                idle,
            );
        }
    }
    let start = results.spread(key("waypost-brokerless", "start", "milliseconds", 0));
    bars.at_most("start of waypost-brokerless, ms".to_owned(), 50.0, start);
}
