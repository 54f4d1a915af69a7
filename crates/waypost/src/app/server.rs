//! `waypost-server` and `waypost-brokerless`: one starts a peer that is attached to a broker, the other a node.

use core::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep, timeout_at};
use waypost_peer::{Events, Peer, PeerError};
use waypost_types::{Identity, Incarnation};

use super::config::{Config, Mode};
use super::exit::Failure;
use super::output::Output;
use super::ready::{Ready, ReadyFile};
use super::signals::Signals;
use super::store::OpenStore;
use super::{Program, demo, logging, stdio, store};

/// How long to wait before a registration that the store did not answer is tried again.
const REGISTER_PAUSE: Duration = Duration::from_millis(200);

/// A server that is in the cluster.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) peer: Peer,
    pub(crate) events: Events,
    pub(crate) identity: Identity,
    pub(crate) incarnation: Incarnation,
}

/// Runs until a signal comes or stdin ends, then moves out.
pub(crate) async fn run(program: Program, config: Config, signals: Signals) -> Result<(), Failure> {
    logging::announce(program);
    let (mut server, store) = tokio::select! {
        started = start(program, &config) => started?,
        () = signals.requested() => return Ok(()),
    };
    let listen = server.peer.listen_urls();
    tracing::info!(
        identity = %server.identity,
        incarnation = %server.incarnation,
        listen = %listen.join(","),
        "serves"
    );
    let ready = ReadyFile::write(
        config.ready_file.as_deref(),
        &Ready {
            identity: Some(server.identity.as_str()),
            pid: std::process::id(),
            listen: &listen,
            store: store.as_ref().map(|store| store.url.as_str()),
        },
    )?;
    let output = Output::stdout()?;
    give_up_on_a_slow_reader(&output, &signals, config.drain_deadline);
    let (left_by, output) = match config.mode {
        Mode::Demo { id, total } => {
            let place = demo::Place { id, total };
            let left_by = demo::run(&mut server, place, &output, &signals, &config).await;
            (left_by, output)
        }
        Mode::Stdio => {
            // On a thread of the runtime, where what wakes it costs no system call.
            let serving = tokio::spawn(async move {
                let left_by = stdio::run(&mut server, &output, &signals, &config).await?;
                Ok::<_, Failure>((left_by, output))
            });
            match serving.await {
                Ok(left) => left?,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => return Err(anyhow::Error::from(error).into()),
                },
            }
        }
    };
    drop(ready);
    // The time to leave may be used up; the last lines and the store get a moment all the same.
    let until = left_by.max(Instant::now() + Duration::from_secs(1));
    if let Some(store) = store {
        let _ = timeout_at(until, store.store.close()).await;
    }
    Ok(output.finish(until).await?)
}

/// After a signal the program ends in time even if nobody reads its stdout: the last quarter is for leaving.
fn give_up_on_a_slow_reader(output: &Output, signals: &Signals, deadline: Duration) {
    let (patience, signals) = (output.patience(), signals.clone());
    tokio::spawn(async move {
        signals.requested().await;
        patience.ends_at(Instant::now() + deadline / 4 * 3);
    });
}

async fn start(program: Program, config: &Config) -> Result<(Registered, Option<OpenStore>), Failure> {
    let store = if program.has_store() {
        Some(store::open(program, config).await?)
    } else {
        None
    };
    let mut builder = if let Some(opened) = &store {
        let mut builder = Peer::mesh(opened.store.clone());
        for url in &config.listen {
            builder = builder.listen(url);
        }
        if let Some(url) = &config.advertise {
            builder = builder.advertise(url);
        }
        builder
    } else {
        Peer::attached(&config.brokers.iter().map(String::as_str).collect::<Vec<_>>())
    };
    if let Some(key) = &config.cluster_key {
        builder = builder.cluster_key(key.0.clone());
    }
    if let Some(files) = &config.tls {
        builder = builder.tls(files.clone());
    }
    let (peer, events) = builder
        .settings(config.settings.clone())
        .start()
        .await
        .map_err(Failure::start)?;
    let identity = config.identity.clone().context("a server has an identity")?;
    let with = store.as_ref().map_or_else(
        || format!("the broker at {}", config.brokers.join(" or ")),
        |store| format!("the session store at {}", store.url),
    );
    match register(&peer, &identity, config.settings.send_deadline).await {
        Ok(incarnation) => Ok((
            Registered {
                peer,
                events,
                identity,
                incarnation,
            },
            store,
        )),
        Err(error) => {
            peer.shutdown().await;
            Err(Failure::register(error, &with))
        }
    }
}

/// A store that has just come back is not given up at the first failure: a broker's connections may not have.
async fn register(peer: &Peer, identity: &Identity, patience: Duration) -> Result<Incarnation, PeerError> {
    let until = Instant::now() + patience;
    loop {
        match peer.register_identity(identity.as_str()).await {
            Err(PeerError::StoreUnavailable) if Instant::now() + REGISTER_PAUSE < until => {
                sleep(REGISTER_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Text that came from outside, as one line of a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escape = c.is_control().then(|| c.escape_default());
            let plain = escape.is_none().then_some(c);
            escape.into_iter().flatten().chain(plain)
        })
        .collect()
}
