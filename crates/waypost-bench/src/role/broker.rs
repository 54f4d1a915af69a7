//! A broker, as the executable `waypost-broker` runs it.

use anyhow::Result;
use waypost::{Broker, store_registry};

use super::Line;
use crate::control::{Answer, Command};

pub(super) async fn run(store: &str, listen: &str) -> Result<()> {
    let store = store_registry().open(store).await?;
    let broker = Broker::builder(store).listen(listen).start().await?;
    let mut line = Line::new();
    line.answer(&Answer {
        address: broker.listen_urls().join(" "),
        ..Answer::default()
    })
    .await?;
    while let Some(command) = line.next().await? {
        let unsupported = !matches!(command, Command::Look);
        line.answer(&Answer {
            unsupported,
            store_reads: broker.counters().addresses_looked_up,
            ..Answer::default()
        })
        .await?;
    }
    broker.shutdown().await;
    Ok(())
}
