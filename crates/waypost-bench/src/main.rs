//! Measures Waypost beside the raw limit, NATS and Redis pub/sub, in one run on one machine.

mod child;
mod control;
mod measure;
mod names;
mod proc;
mod role;
mod system;

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;

use crate::control::{Command, Mode};
use crate::measure::Windows;
use crate::system::{Running, System};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.split_first() {
            Some((word, [name, rest @ ..])) if word == "role" => role::run(name, rest).await,
            _ => first(&arguments).await,
        }
    })
}

async fn first(names: &[String]) -> Result<()> {
    let windows = Windows {
        warm_up: Duration::from_millis(300),
        window: Duration::from_millis(1000),
        round_trips: Duration::from_millis(500),
    };
    for round in 0..3 {
        let mut all = Vec::new();
        for system in System::ALL {
            if names.is_empty() || names.iter().any(|name| name == system.name()) {
                all.push(Running::start(system).await?);
            }
        }
        for count in [10, 1000, 10_000] {
            for running in &mut all {
                let r = running.b.ask(&Command::Register { count, batched: true }).await?;
                running.a.ask(&Command::Register { count, batched: true }).await?;
                let best = measure::throughput(running, Mode::BestEffort, count, 128, &windows).await?;
                let acked = measure::throughput(running, Mode::Acked, count, 128, &windows).await?;
                let rtt = running.a.ask(&Command::RoundTrips { targets: count, size: 128, millis: 500 }).await?;
                writeln!(std::io::stdout(), "round {round} n {count} {:18} reg {:.0}/s best {best:.3?}\n      acked {:.3?} rtt {} {}", running.system.name(),
                  r.count as f64 / (r.took_nanos as f64 / 1e9), acked, rtt.p50_nanos/1000, rtt.p99_nanos/1000)?;
            }
        }
        for running in all { running.stop().await; }
    }
    Ok(())
}
