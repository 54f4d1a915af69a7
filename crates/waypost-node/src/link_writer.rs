//! A link's writing side, shared by the task that writes and by those who have something to write at once.
//!
//! What is written from many places goes through the router's queue, and a task of the link gathers it into large writes.
//! On a link that was quiet a moment ago there is nothing to gather: whoever has put the first message there writes it
//! himself, which spares the way through the scheduler.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use waypost_router::{Outgoing, Whose};
use waypost_wire::Close;

use crate::driver::Driver;
use crate::error::Chain;
use crate::transport::{FrameWriter, WriteError};

/// Bytes taken out of the queue at once.
const BATCH_BYTES: usize = 256 << 10;
/// For how long a link must not have been written to by others than its task before it counts as quiet, in microseconds:
/// a few times what a write costs, so that senders in a row do not pay a write each.
const QUIET_MICROS: u64 = 10;
/// After a write of so many bytes a link counts as busy, for so many microseconds: then what comes next is followed by more, and
/// is better gathered until there is enough for a write, or until its task has its turn, than written by itself.
const BUSY_BYTES: usize = 8 << 10;
const BUSY_MICROS: u64 = 200;
/// How often whoever writes himself looks for more: the second look finds nothing unless others have come meanwhile, whose
/// writing is not his.
const ROUNDS: usize = 2;

/// How the machines and the program reach a link's tasks.
#[derive(Debug)]
pub(crate) struct LinkHandle {
    whose: Whose,
    wake: Notify,
    closing: CancellationToken,
    /// Not held while anyone waits. `None` before the link is served and after it has ended.
    writer: Mutex<Option<FrameWriter>>,
    /// When it was last written to by others than its task, in microseconds of the driver's clock.
    written_at: AtomicU64,
    /// Until when it counts as busy.
    busy_until: AtomicU64,
}

impl LinkHandle {
    pub(crate) fn new(whose: Whose) -> Self {
        Self {
            whose,
            wake: Notify::new(),
            closing: CancellationToken::new(),
            writer: Mutex::new(None),
            written_at: AtomicU64::new(0),
            busy_until: AtomicU64::new(0),
        }
    }

    /// Has the link's task write what is queued.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Lets the writer write what is queued, and ends the link.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    pub(crate) const fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Whether what is queued now may be written by whoever queued it; if so, not again for a moment.
    pub(crate) fn is_quiet(&self, now_micros: u64) -> bool {
        let last = self.written_at.load(Ordering::Relaxed);
        let is_quiet = (last == 0 || now_micros >= last + QUIET_MICROS)
            && now_micros >= self.busy_until.load(Ordering::Relaxed);
        if is_quiet {
            self.written_at.store(now_micros, Ordering::Relaxed);
        }
        is_quiet
    }

    /// Writes what is queued, here and now, and leaves to the link's task what cannot be written without waiting.
    pub(crate) fn write_now(&self, driver: &Driver) {
        let is_written = match self.writer.try_lock() {
            Ok(mut writer) => writer
                .as_mut()
                .is_some_and(|writer| self.try_write(driver, writer)),
            Err(_) => false,
        };
        if !is_written {
            self.wake();
        }
    }

    fn try_write(&self, driver: &Driver, writer: &mut FrameWriter) -> bool {
        if !writer.is_flushed() {
            // The task is at it, and waits for the connection.
            return false;
        }
        let mut outgoing = Vec::new();
        for _ in 0..ROUNDS {
            // With this the last ones count as written, and at the end the queue knows that nobody writes.
            if !self.encode(driver, writer, &mut outgoing) {
                return true;
            }
            if !writer.flush_now() {
                return false;
            }
        }
        false
    }

    /// Encodes what is queued; false when nothing is. The writer's lock is held, so that the order is kept.
    fn encode(&self, driver: &Driver, writer: &mut FrameWriter, outgoing: &mut Vec<Outgoing>) -> bool {
        driver.take_outgoing(self.whose, outgoing, BATCH_BYTES);
        let is_any = !outgoing.is_empty();
        let pending = writer.pending_bytes();
        for item in outgoing.drain(..) {
            match item {
                Outgoing::Frame(frame) => {
                    if let Err(error) = writer.push(&frame) {
                        tracing::warn!(%error, whose = ?self.whose, "a frame cannot be sent on this link");
                    }
                }
                Outgoing::Encoded(frames) => writer.push_encoded(frames),
            }
        }
        if writer.pending_bytes() - pending >= BUSY_BYTES {
            let until = driver.now().as_micros() + BUSY_MICROS;
            self.busy_until.store(until, Ordering::Relaxed);
        }
        is_any
    }

    fn lock(&self) -> MutexGuard<'_, Option<FrameWriter>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn flush(&self) -> Result<(), WriteError> {
        let mut waiting = false;
        poll_fn(|cx| match &mut *self.lock() {
            Some(writer) => writer.poll_flush(cx, &mut waiting),
            None => std::task::Poll::Ready(Ok(())),
        })
        .await
    }

    /// The link's writing task: ends when the link does, and says `last` before if it ends in order.
    pub(crate) async fn serve(&self, driver: &Driver, writer: FrameWriter, last: Option<Close>) {
        *self.lock() = Some(writer);
        let served = async {
            let mut outgoing = Vec::new();
            loop {
                let closing = self.closing.is_cancelled();
                self.flush().await?;
                let is_any = match &mut *self.lock() {
                    Some(writer) => self.encode(driver, writer, &mut outgoing),
                    None => return Ok(()),
                };
                if is_any {
                    continue;
                }
                if closing {
                    return Ok(());
                }
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = self.closing.cancelled() => {}
                }
            }
        };
        let result: Result<(), WriteError> = served.await;
        let writer = self.lock().take();
        match (result, writer) {
            (Ok(()), Some(writer)) => writer.close(last).await,
            (Ok(()), None) => {}
            (Err(error), _) => {
                tracing::info!(error = %Chain(&error), whose = ?self.whose, "a link broke");
                self.close();
            }
        }
    }
}

/// Lets go of a link's connection when dropped: its task may end at any point, with its runtime or by a panic.
#[derive(Debug)]
pub(crate) struct EndsLink(pub(crate) std::sync::Arc<LinkHandle>);

impl Drop for EndsLink {
    fn drop(&mut self) {
        drop(self.0.lock().take());
    }
}
