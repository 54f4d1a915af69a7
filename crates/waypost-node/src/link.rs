//! One link: a task that reads and a task that writes.

use std::sync::Arc;
use std::time::Duration;

use waypost_router::{LinkId, Whose};
use waypost_types::Location;
use waypost_wire::{Chunk, Close, CloseCode, Role};

use crate::driver::Driver;
use crate::error::Chain;
use crate::link_writer::{EndsLink, LinkHandle};
use crate::transport::{
    DialSettings, Established, FrameReader, HandshakeSettings, Side, Stream, dial_location, handshake,
};

/// How long a link that was closed on purpose may still be read, so that the last words arrive.
const LINGER: Duration = Duration::from_millis(500);
/// After so many bytes the program has its turn before more is read. Each turn has the worker ask the system for news, which costs as
/// much as a read.
const LARGE: usize = 128 << 10;

pub(crate) fn handshake_settings(driver: &Driver, role: Role) -> HandshakeSettings {
    let settings = &driver.link_settings;
    HandshakeSettings::new(role)
        .location(settings.location.clone().filter(|_| role == Role::Node))
        .cluster_key(settings.cluster_key.clone())
        .frame_bytes_max(settings.frame_bytes_max)
}

/// Dials a location and opens a link there. What went wrong comes as text for the log.
pub(crate) async fn open(
    location: &str,
    dial: &DialSettings,
    settings: &HandshakeSettings,
) -> Result<Established<Stream>, String> {
    let stream = dial_location(location, dial)
        .await
        .map_err(|error| Chain(&error).to_string())?;
    handshake(stream, Side::Dialling, settings)
        .await
        .map_err(|error| Chain(&error).to_string())
}

/// Opens a link to another node and serves it until it ends.
pub(crate) async fn dial_node(driver: Arc<Driver>, id: LinkId, location: Location) {
    let settings = handshake_settings(&driver, Role::Node);
    match open(location.as_str(), &driver.link_settings.dial, &settings).await {
        Ok(established) => {
            let handle = Arc::new(LinkHandle::new(Whose::Router(id)));
            driver.add_link(id, Arc::clone(&handle));
            driver.with(|now, core| {
                if let Some(router) = &mut core.router {
                    router.link_dialled(now, id);
                }
            });
            serve(&driver, Whose::Router(id), established, &handle).await;
            driver.link_ended(id);
        }
        Err(error) => {
            tracing::info!(%location, error, "cannot open a link");
            driver.with(|now, core| {
                if let Some(router) = &mut core.router {
                    router.dial_failed(now, id);
                }
            });
        }
    }
}

/// Serves an open link until either side ends it.
pub(crate) async fn serve(
    driver: &Arc<Driver>,
    whose: Whose,
    established: Established<Stream>,
    handle: &Arc<LinkHandle>,
) {
    let (mut reader, writer, _) = established.into_framed(driver.link_settings.write_stall);
    let (writer_driver, writer_handle) = (Arc::clone(driver), Arc::clone(handle));
    let last = matches!(whose, Whose::Endpoint).then(|| Close {
        code: CloseCode::GoingAway,
        text: String::new(),
    });
    let ends_link = EndsLink(Arc::clone(handle));
    let writing = driver.tasks.spawn(async move {
        let _ends_link = ends_link;
        let ended = writer_driver.ended.clone();
        tokio::select! {
            biased;
            () = ended.cancelled() => {}
            () = writer_handle.serve(&writer_driver, writer, last) => {}
        }
    });
    tokio::select! {
        () = read(driver, whose, &mut reader) => handle.close(),
        () = handle.closing().cancelled() => reader.linger(LINGER).await,
    }
    // The writer ends by itself once it is told to close: it writes what is queued, for a bounded time.
    let _ = writing.await;
}

async fn read(driver: &Arc<Driver>, whose: Whose, reader: &mut FrameReader) {
    let (mut chunk, mut taken_in) = (Chunk::new(), 0);
    loop {
        // What has come is still at hand for the program.
        if taken_in >= LARGE {
            taken_in = 0;
            tokio::task::yield_now().await;
        }
        let mut failed = match reader.read_chunk(&mut chunk).await {
            Ok(true) => None,
            Ok(false) => return,
            Err(error) => Some(error),
        };
        taken_in += chunk.bytes_len();
        while !chunk.is_empty() {
            // Interest is registered before looking, so that room which comes free in between is not missed.
            let room = driver.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match driver.with(|now, core| core.handle_chunk(now, whose, &mut chunk)) {
                Ok(true) => break,
                // A queue on the way is full. Once it counts as stalled, the machines refuse instead of asking to wait.
                Ok(false) => drop(tokio::time::timeout(driver.link_settings.stall, room).await),
                Err(error) => {
                    failed = Some(error.into());
                    break;
                }
            }
        }
        if let Some(error) = failed {
            tracing::info!(error = %Chain(&error), ?whose, "a link broke");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{ClusterKey, ListenSettings, Listener};

    async fn listener() -> Listener {
        let url = "tcp://127.0.0.1:0".parse().unwrap();
        Listener::bind(&url, &ListenSettings::default()).await.unwrap()
    }

    #[tokio::test]
    async fn a_link_that_does_not_open_says_what_the_system_said() {
        let closed = listener().await.local_url().to_string();
        let settings = HandshakeSettings::new(Role::Node);
        let error = open(&closed, &DialSettings::default(), &settings)
            .await
            .unwrap_err();
        assert!(error.contains("nobody listens on tcp://"), "{error}");
        assert!(error.contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn a_link_that_does_not_open_for_its_key_says_so() {
        let keyed = |key: &[u8]| HandshakeSettings::new(Role::Node).cluster_key(ClusterKey::new(key).ok());
        let listener = listener().await;
        let url = listener.local_url().to_string();
        let theirs = keyed(b"theirs");
        let listening = async {
            let stream = listener.accept().await.secure().await.unwrap();
            handshake(stream, Side::Listening, &theirs).await
        };
        let (dial, ours) = (DialSettings::default(), keyed(b"ours"));
        let (opened, _) = tokio::join!(open(&url, &dial, &ours), listening);
        let error = opened.unwrap_err();
        assert!(error.contains("the cluster keys differ"), "{error}");
    }
}
