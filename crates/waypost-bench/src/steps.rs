//! The steps of a round, each for one system.

use core::fmt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::control::{Answer, Command, Mode};
use crate::measure;
use crate::options::SIZE;
use crate::run::Run;
use crate::system::Running;
use waypost_harness::proc;

/// Clients connected one by one.
const SINGLES: usize = 300;
/// Clients that move between the servers at once.
const MOVED: usize = 1000;
/// Below this, the batches that connect clients are too small to say anything of memory.
const MEMORY_CLIENTS_MIN: usize = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Makes the clients addressable, in batches.
    Register,
    RegisterSingly,
    /// One message to each client, so that what follows is the steady state.
    Touch,
    Throughput(Mode, usize),
    RoundTrips,
    Takeover,
    Broadcast,
    Idle,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register => f.write_str("register in batches"),
            Self::RegisterSingly => f.write_str("register one by one"),
            Self::Touch => f.write_str("a message to each"),
            Self::Throughput(Mode::BestEffort, size) => write!(f, "best effort, {size} B"),
            Self::Throughput(Mode::Acked, size) => write!(f, "acked, {size} B"),
            Self::RoundTrips => f.write_str("round trips"),
            Self::Takeover => f.write_str("takeover under load"),
            Self::Broadcast => f.write_str("broadcast"),
            Self::Idle => f.write_str("idle"),
        }
    }
}

fn per_second(count: u64, nanos: u64) -> f64 {
    count as f64 / (nanos.max(1) as f64 / 1e9)
}

impl Step {
    pub(crate) async fn take(self, run: &mut Run<'_>, running: &mut Running, clients: usize) -> Result<()> {
        let options = run.options;
        let windows = &options.windows;
        let name = running.system.name();
        match self {
            Self::Register => register(run, running, clients).await?,
            Self::RegisterSingly => {
                let count = clients + SINGLES;
                let answer = running
                    .b
                    .ask(&Command::Register {
                        count,
                        batched: false,
                    })
                    .await?;
                if running.has_registration() {
                    let rate = per_second(answer.count, answer.took_nanos);
                    run.put(
                        name,
                        "register_singly",
                        clients,
                        0,
                        &[("clients_per_second", rate)],
                    );
                }
            }
            Self::Touch => {
                let before = measure::looks(running).await?;
                running.a.ask(&Command::Touch { targets: clients }).await?;
                measure::settle(running, &before).await?;
            }
            Self::Throughput(mode, size) => {
                let phase = match mode {
                    Mode::BestEffort => "best_effort",
                    Mode::Acked => "acked",
                };
                if let Some(t) = measure::throughput(running, mode, clients, size, windows).await? {
                    let mut values = vec![
                        ("messages_per_second", t.per_second),
                        ("cpu_us_per_message", t.cpu_micros),
                        ("lost", t.lost as f64),
                        ("refused", t.refused as f64),
                    ];
                    if running.system.is_waypost() {
                        values.push(("store_reads_per_message", t.store_reads));
                    }
                    run.put(name, phase, clients, size, &values);
                }
            }
            Self::RoundTrips => {
                let answer = running
                    .a
                    .ask(&Command::RoundTrips {
                        targets: clients,
                        size: SIZE,
                        millis: millis(windows.round_trips),
                    })
                    .await?;
                let values = [
                    ("p50_us", answer.p50_nanos as f64 / 1e3),
                    ("p99_us", answer.p99_nanos as f64 / 1e3),
                ];
                run.put(name, "round_trip", clients, SIZE, &values);
            }
            Self::Takeover => {
                if let Some(rate) = takeover(running, clients, windows.window).await? {
                    run.put(name, "takeover", clients, SIZE, &[("clients_per_second", rate)]);
                }
            }
            Self::Broadcast => {
                let answer = running
                    .a
                    .ask(&Command::Broadcast {
                        size: SIZE,
                        millis: millis(windows.window),
                    })
                    .await?;
                if !answer.unsupported {
                    let rate = per_second(answer.count, answer.took_nanos);
                    run.put(
                        name,
                        "broadcast",
                        clients,
                        SIZE,
                        &[("deliveries_per_second", rate)],
                    );
                }
                let now = measure::looks(running).await?;
                measure::settle(running, &now).await?;
            }
            Self::Idle => idle(run, running, clients).await?,
        }
        Ok(())
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

async fn register(run: &mut Run<'_>, running: &mut Running, clients: usize) -> Result<()> {
    let command = Command::Register {
        count: clients,
        batched: true,
    };
    let needed = running.system.client_bytes() * clients as u64;
    if needed > proc::available_bytes() / 2 {
        bail!("left out, it would take about {} MiB", needed >> 20);
    }
    let before = proc::anonymous_bytes(running.b.pid);
    let cpu_before = running.cpu();
    let answer: Answer = running.b.ask(&command).await?;
    let cpu = running.cpu().saturating_sub(cpu_before);
    let grown = proc::anonymous_bytes(running.b.pid).saturating_sub(before);
    running.a.ask(&command).await?;
    if running.has_registration() && answer.count > 0 {
        let mut values = vec![
            ("clients_per_second", per_second(answer.count, answer.took_nanos)),
            ("cpu_us_per_client", cpu.as_secs_f64() * 1e6 / answer.count as f64),
        ];
        if clients >= MEMORY_CLIENTS_MIN {
            // The benchmark's own list of the addresses is not the server's.
            let own = (clients * crate::names::LEN_BYTES) as f64;
            values.push((
                "bytes_per_session",
                (grown as f64 - own).max(0.0) / answer.count as f64,
            ));
        }
        run.put(running.system.name(), "register", clients, 0, &values);
    }
    Ok(())
}

/// Clients move to the one server and back to the other, while messages flow between them; `None` where nothing moves.
async fn takeover(running: &mut Running, clients: usize, span: Duration) -> Result<Option<f64>> {
    let take = Command::Take { count: MOVED };
    if running.a.ask(&take).await?.unsupported {
        return Ok(None);
    }
    let before = measure::looks(running).await?;
    running
        .a
        .ask(&Command::Start {
            mode: Mode::BestEffort,
            targets: clients,
            size: SIZE,
        })
        .await?;
    let began = Instant::now();
    let mut moved = 0;
    while began.elapsed() < span {
        moved += running.b.ask(&take).await?.count;
        moved += running.a.ask(&take).await?.count;
    }
    let rate = moved as f64 / began.elapsed().as_secs_f64();
    running.a.ask(&Command::Stop).await?;
    measure::settle(running, &before).await?;
    Ok(Some(rate))
}

async fn idle(run: &mut Run<'_>, running: &mut Running, clients: usize) -> Result<()> {
    if !running.system.is_waypost() {
        return Ok(());
    }
    let writes = running.store_writes().await;
    let cpu: Vec<Duration> = running
        .processes()
        .iter()
        .map(|(_, pid)| proc::cpu(*pid))
        .collect();
    tokio::time::sleep(run.options.idle).await;
    let seconds = run.options.idle.as_secs_f64();
    let name = running.system.name();
    for ((what, pid), before) in running.processes().into_iter().zip(cpu) {
        let percent = (proc::cpu(pid) - before).as_secs_f64() / seconds * 100.0;
        run.put(name, "idle_percent_of_a_core", clients, 0, &[(what, percent)]);
    }
    if let (Some(before), Some(after)) = (writes, running.store_writes().await) {
        let rate = after.saturating_sub(before) as f64 / seconds;
        run.put(name, "idle_store", clients, 0, &[("renewals_per_second", rate)]);
    }
    Ok(())
}
