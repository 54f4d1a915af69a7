//! `waypost-broker`.

use core::time::Duration;

use waypost_node::Broker;

use super::config::Config;
use super::exit::Failure;
use super::ready::{Ready, ReadyFile};
use super::signals::Signals;
use super::{Program, logging, store};

/// How long ending links and sockets may take once the broker has moved out.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// Runs until a signal comes, then moves out.
pub(crate) async fn run(config: Config, signals: Signals) -> Result<(), Failure> {
    logging::announce(Program::Broker);
    let starting = async {
        let opened = store::open(Program::Broker, &config).await?;
        let mut builder = Broker::builder(opened.store.clone()).settings(config.settings.clone());
        for url in &config.listen {
            builder = builder.listen(url);
        }
        if let Some(key) = &config.cluster_key {
            builder = builder.cluster_key(key.0.clone());
        }
        if let Some(url) = &config.advertise {
            builder = builder.advertise(url);
        }
        if let Some(files) = &config.tls {
            builder = builder.tls(files.clone());
        }
        let broker = builder.start().await.map_err(Failure::start)?;
        Ok::<_, Failure>((opened, broker))
    };
    let (opened, broker) = tokio::select! {
        started = starting => started?,
        () = signals.requested() => return Ok(()),
    };
    let listen = broker.listen_urls();
    tracing::info!(listen = %listen.join(","), "serves");
    let ready = ReadyFile::write(
        config.ready_file.as_deref(),
        &Ready {
            identity: None,
            pid: std::process::id(),
            listen: &listen,
            store: Some(&opened.url),
        },
    )?;

    signals.requested().await;
    drop(ready);
    let deadline = config.drain_deadline;
    if tokio::time::timeout(deadline, broker.drain(deadline))
        .await
        .is_err()
    {
        tracing::warn!(
            ?deadline,
            "servers are still attached at the deadline: ends all the same"
        );
    }
    let shutdown = async {
        broker.shutdown().await;
        opened.store.close().await;
    };
    if tokio::time::timeout(SHUTDOWN_MAX, shutdown).await.is_err() {
        tracing::warn!("could not end everything in time");
    }
    Ok(())
}
