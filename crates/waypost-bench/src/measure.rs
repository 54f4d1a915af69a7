//! One measurement of one system.

use std::time::Duration;

use anyhow::Result;

use crate::control::{Answer, Command, Mode};
use crate::system::Running;

/// Looks in a row, 10 ms apart, that show the same, before all is thought to have arrived; and looks at the most.
const SETTLE_SAME: usize = 300;
const SETTLE_LOOKS: usize = 3000;

/// How long things are measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    pub(crate) round_trips: Duration,
}

/// What a window of sending showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throughput {
    pub(crate) per_second: f64,
    pub(crate) cpu_micros: f64,
    /// Messages of the whole run that were sent and never arrived, and those among them that the system told of.
    pub(crate) lost: u64,
    pub(crate) refused: u64,
    pub(crate) store_reads: f64,
}

const fn per(count: u64, whole: f64) -> f64 {
    if whole > 0.0 { count as f64 / whole } else { 0.0 }
}

async fn store_reads(running: &mut Running, a: &Answer) -> Result<u64> {
    Ok(match &mut running.broker {
        Some(broker) => broker.ask(&Command::Look).await?.store_reads,
        None => a.store_reads,
    })
}

/// Waits until all that was sent since the two looks has arrived or was refused, or nothing arrives any more; gives what
/// server A and server B count then.
pub(crate) async fn settle(running: &mut Running, since: &(Answer, Answer)) -> Result<(Answer, Answer)> {
    let (before_a, before_b) = since;
    let mut same = 0;
    let mut last = looks(running).await?;
    for _ in 0..SETTLE_LOOKS {
        let (a, b) = &last;
        let known = (b.received - before_b.received) + (a.refused - before_a.refused);
        if known >= a.sent - before_a.sent || same == SETTLE_SAME {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = looks(running).await?;
        same = if now.1.received == b.received { same + 1 } else { 0 };
        last = now;
    }
    Ok(last)
}

/// What server A and server B count now.
pub(crate) async fn looks(running: &mut Running) -> Result<(Answer, Answer)> {
    Ok((
        running.a.ask(&Command::Look).await?,
        running.b.ask(&Command::Look).await?,
    ))
}

/// `None`: the system has no such way to send.
pub(crate) async fn throughput(
    running: &mut Running,
    mode: Mode,
    targets: usize,
    size: usize,
    windows: &Windows,
) -> Result<Option<Throughput>> {
    let before = looks(running).await?;
    running.a.ask(&Command::Start { mode, targets, size }).await?;
    tokio::time::sleep(windows.warm_up).await;
    let (cpu_from, a_from, b_from) = (
        running.cpu(),
        running.a.ask(&Command::Look).await?,
        running.b.ask(&Command::Look).await?,
    );
    let reads_from = store_reads(running, &a_from).await?;
    tokio::time::sleep(windows.window).await;
    let (cpu_to, a_to, b_to) = (
        running.cpu(),
        running.a.ask(&Command::Look).await?,
        running.b.ask(&Command::Look).await?,
    );
    let reads_to = store_reads(running, &a_to).await?;
    if running.a.ask(&Command::Stop).await?.unsupported {
        return Ok(None);
    }
    let (end_a, end_b) = settle(running, &before).await?;
    // What counts is what arrived; of acked messages, what the sender knows to have arrived.
    let (done, nanos) = match mode {
        Mode::BestEffort => (b_to.received - b_from.received, b_to.nanos - b_from.nanos),
        Mode::Acked => (a_to.acked - a_from.acked, a_to.nanos - a_from.nanos),
    };
    let (before_a, before_b) = before;
    let sent = end_a.sent - before_a.sent;
    Ok(Some(Throughput {
        per_second: per(done, nanos as f64 / 1e9),
        cpu_micros: (cpu_to - cpu_from).as_secs_f64() * 1e6 / (done.max(1) as f64),
        lost: sent.saturating_sub(end_b.received - before_b.received),
        refused: end_a.refused - before_a.refused,
        store_reads: per(reads_to - reads_from, done as f64),
    }))
}
