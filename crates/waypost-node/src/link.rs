//! One link: a task that reads and a task that writes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use waypost_router::{Core, LinkId, Room};
use waypost_types::Location;
use waypost_wire::{Close, CloseCode, Frame, Role};

use crate::driver::{Driver, Waiter};
use crate::transport::{
    Established, FrameReader, FrameWriter, HandshakeSettings, Side, Stream, dial_location, handshake,
};

/// Frames handled under one lock at the most.
const BATCH_FRAMES: usize = 1024;
/// Bytes handed to the writer at once.
const WRITE_BATCH_BYTES: usize = 256 << 10;
/// How long a link that was closed on purpose may still be read, so that the last words arrive.
const LINGER: Duration = Duration::from_millis(500);

/// How the machines reach a link's tasks.
#[derive(Debug, Default)]
pub(crate) struct LinkHandle {
    wake: Notify,
    closing: CancellationToken,
}

impl LinkHandle {
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Lets the writer write what is queued, and ends the link.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }
}

/// Which machine a link belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose {
    Router(LinkId),
    Endpoint,
}

pub(crate) fn handshake_settings(driver: &Driver, role: Role) -> HandshakeSettings {
    let settings = &driver.link_settings;
    HandshakeSettings::new(role)
        .location(settings.location.clone().filter(|_| role == Role::Node))
        .cluster_key(settings.cluster_key.clone())
        .frame_bytes_max(settings.frame_bytes_max)
}

/// Opens a link to another node and serves it until it ends.
pub(crate) async fn dial_node(driver: Arc<Driver>, id: LinkId, location: Location) {
    let opened = async {
        let stream = dial_location(location.as_str(), &driver.link_settings.dial)
            .await
            .map_err(|e| e.to_string())?;
        let settings = handshake_settings(&driver, Role::Node);
        handshake(stream, Side::Dialling, &settings)
            .await
            .map_err(|e| e.to_string())
    };
    match opened.await {
        Ok(established) => {
            let handle = Arc::new(LinkHandle::default());
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
    let writing = driver.tasks.spawn(async move {
        let ended = writer_driver.ended.clone();
        tokio::select! {
            biased;
            () = ended.cancelled() => {}
            () = write(writer_driver, whose, writer, writer_handle) => {}
        }
    });
    tokio::select! {
        () = read(driver, whose, &mut reader, handle) => handle.close(),
        () = handle.closing.cancelled() => reader.linger(LINGER).await,
    }
    // The writer ends by itself once it is told to close: it writes what is queued, for a bounded time.
    let _ = writing.await;
}

async fn read(driver: &Arc<Driver>, whose: Whose, reader: &mut FrameReader, handle: &LinkHandle) {
    let mut frames = Vec::new();
    loop {
        let failed = match reader.read_batch(&mut frames, BATCH_FRAMES).await {
            Ok(0) => return,
            Ok(_) => None,
            Err(error) => Some(error),
        };
        let mut batch = frames.drain(..).peekable();
        while batch.peek().is_some() {
            // Interest is registered before looking, so that room which comes free in between is not missed.
            let room = driver.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let all = driver.with(|now, core| {
                while let Some(frame) = batch.next_if(|frame| takes(now, core, whose, frame)) {
                    match whose {
                        Whose::Router(id) => {
                            if let Some(router) = &mut core.router {
                                router.handle_frame(now, id, frame);
                            }
                        }
                        Whose::Endpoint => {
                            if let Some(endpoint) = &mut core.endpoint {
                                endpoint.handle_frame(now, frame);
                            }
                        }
                    }
                }
                batch.peek().is_none()
            });
            if !all {
                // A queue on the way is full. Once it counts as stalled, the machines refuse instead of asking to wait.
                let _ = tokio::time::timeout(driver.link_settings.stall, room).await;
            }
        }
        drop(batch);
        if let Some(error) = failed {
            tracing::info!(%error, ?whose, "a link broke");
            let _ = handle;
            return;
        }
    }
}

/// Whether a frame can be taken in now. Only messages ever wait: what they lead to is bounded by them.
fn takes(now: waypost_types::MonoTime, core: &mut Core<Waiter>, whose: Whose, frame: &Frame) -> bool {
    let Frame::Message(message) = frame else {
        return true;
    };
    let room = |core: &mut Core<Waiter>| match (whose, &mut core.endpoint) {
        (Whose::Endpoint, Some(endpoint)) => endpoint.inbox_room(now, message.to()),
        _ => core.room_to_take(now, message.to()),
    };
    if room(core) != Room::Wait {
        return true;
    }
    core.pump(now);
    room(core) != Room::Wait
}

async fn write(driver: Arc<Driver>, whose: Whose, mut writer: FrameWriter, handle: Arc<LinkHandle>) {
    let mut frames = Vec::new();
    loop {
        let closing = handle.closing.is_cancelled();
        driver.take_frames(whose, &mut frames, WRITE_BATCH_BYTES);
        if frames.is_empty() {
            if closing {
                let last = Close {
                    code: CloseCode::GoingAway,
                    text: String::new(),
                };
                return writer
                    .close(matches!(whose, Whose::Endpoint).then_some(last))
                    .await;
            }
            tokio::select! {
                () = handle.wake.notified() => {}
                () = handle.closing.cancelled() => {}
            }
            continue;
        }
        match writer.write_batch(&frames).await {
            Ok(written) => {
                for (_, error) in written.refused {
                    tracing::warn!(%error, ?whose, "a frame cannot be sent on this link");
                }
            }
            Err(error) => {
                tracing::info!(%error, ?whose, "a link broke");
                return handle.close();
            }
        }
        frames.clear();
    }
}
