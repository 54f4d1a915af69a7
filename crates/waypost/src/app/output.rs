//! Stdout: whole lines in order, by one thread, bounded, flushed when idle.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How many lines may wait to be written.
const LINES_MAX: usize = 4096;
/// How many bytes may wait to be written. One line alone may be longer.
const BYTES_MAX: u32 = 4 << 20;

/// Stdout's reader is gone or was too slow at the end, or stdout cannot be written.
#[derive(Debug)]
pub(crate) struct Closed;

/// Writes lines to stdout. When its reader is slow, [`line`](Self::line) waits.
#[derive(Debug)]
pub(crate) struct Output {
    queue: mpsc::Sender<Lines>,
    room: Arc<Semaphore>,
    patience: Patience,
    ended: oneshot::Receiver<io::Result<()>>,
}

/// Until when a slow reader is waited for: for ever, unless the program is about to end.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    until: watch::Sender<Option<Instant>>,
}

impl Patience {
    /// Waits no longer than `until` from now on, and not longer than it was told before.
    pub(crate) fn ends_at(&self, until: Instant) {
        self.until
            .send_modify(|old| *old = Some(old.map_or(until, |old| old.min(until))));
    }

    async fn ended(&self) {
        let mut changes = self.until.subscribe();
        loop {
            let until = *changes.borrow_and_update();
            let changed = async {
                if changes.changed().await.is_err() {
                    core::future::pending::<()>().await;
                }
            };
            match until {
                None => changed.await,
                Some(until) => tokio::select! {
                    () = sleep_until(until) => return,
                    () = changed => {}
                },
            }
        }
    }
}

#[derive(Debug)]
struct Lines {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl Output {
    /// Starts the writer.
    pub(crate) fn stdout() -> Result<Self> {
        Self::to(io::stdout())
    }

    fn to(sink: impl Write + Send + 'static) -> Result<Self> {
        let (queue, mut lines) = mpsc::channel(LINES_MAX);
        let (end, ended) = oneshot::channel();
        thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                let result = write_all(sink, &mut lines);
                if let Err(error) = &result
                    && error.kind() != io::ErrorKind::BrokenPipe
                {
                    tracing::error!(%error, "cannot write to stdout");
                }
                drop(lines);
                // Nobody may be waiting for the end.
                let _ = end.send(result);
            })
            .context("cannot start the thread that writes to stdout")?;
        Ok(Self {
            queue,
            room: Arc::new(Semaphore::new(BYTES_MAX as usize)),
            patience: Patience {
                until: watch::Sender::new(None),
            },
            ended,
        })
    }

    /// Writes one line; `bytes` comes without its newline. Returns once it is queued; waits while the queue is full.
    pub(crate) async fn line(&self, mut bytes: Vec<u8>) -> Result<(), Closed> {
        bytes.push(b'\n');
        self.lines(bytes).await
    }

    /// The same for lines that each have their newline.
    pub(crate) async fn lines(&self, bytes: Vec<u8>) -> Result<(), Closed> {
        let wanted = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(BYTES_MAX);
        let bytes = match Arc::clone(&self.room).try_acquire_many_owned(wanted) {
            Ok(room) => match self.queue.try_send(Lines { bytes, _room: room }) {
                Ok(()) => return Ok(()),
                Err(error) => error.into_inner().bytes,
            },
            Err(_) => bytes,
        };
        let queued = async {
            let room = Arc::clone(&self.room)
                .acquire_many_owned(wanted)
                .await
                .map_err(|_| Closed)?;
            self.queue
                .send(Lines { bytes, _room: room })
                .await
                .map_err(|_| Closed)
        };
        tokio::select! {
            result = queued => result,
            () = self.queue.closed() => Err(Closed),
            () = self.patience.ended() => Err(Closed),
        }
    }

    /// A handle on how long a slow reader is waited for.
    pub(crate) fn patience(&self) -> Patience {
        self.patience.clone()
    }

    /// Returns once nothing can be written any more.
    pub(crate) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Waits until everything is written and flushed, but not longer than `until`. A reader that is gone is no error.
    pub(crate) async fn finish(self, until: Instant) -> Result<()> {
        drop(self.queue);
        match timeout_at(until, self.ended).await {
            Ok(Ok(Err(error))) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error).context("cannot write to stdout")
            }
            Ok(_) => Ok(()),
            Err(_) => {
                tracing::warn!("stdout's reader is too slow: the last lines are lost");
                Ok(())
            }
        }
    }
}

fn write_all(sink: impl Write, queue: &mut mpsc::Receiver<Lines>) -> io::Result<()> {
    let mut sink = io::BufWriter::with_capacity(64 << 10, sink);
    while let Some(lines) = queue.blocking_recv() {
        sink.write_all(&lines.bytes)?;
        while let Ok(lines) = queue.try_recv() {
            sink.write_all(&lines.bytes)?;
        }
        sink.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use std::sync::mpsc as blocking;

    /// Takes bytes when told to.
    struct Gate {
        open: blocking::Receiver<()>,
        written: blocking::Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open
                .recv()
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_slow_reader_makes_the_writer_wait_and_loses_nothing() {
        let (opener, open) = blocking::channel();
        let (written, pieces) = blocking::channel();
        let output = Output::to(Gate { open, written }).unwrap();
        output.line(vec![b'a'; BYTES_MAX as usize]).await.unwrap();
        let mut second = Box::pin(output.line(b"second".to_vec()));
        let waits = tokio::time::timeout(Duration::from_millis(1), &mut second).await;
        assert!(waits.is_err(), "there is no room for a second line");
        for _ in 0..8 {
            opener.send(()).unwrap();
        }
        second.await.unwrap();
        output
            .finish(Instant::now() + Duration::from_secs(10))
            .await
            .unwrap();
        let all: Vec<u8> = pieces.iter().flatten().collect();
        assert!(all.ends_with(b"a\nsecond\n"));
    }

    #[tokio::test]
    async fn a_reader_that_never_reads_is_not_waited_for_at_the_end() {
        let (_opener, open) = blocking::channel();
        let (written, _pieces) = blocking::channel();
        let output = Output::to(Gate { open, written }).unwrap();
        output.line(vec![b'a'; BYTES_MAX as usize]).await.unwrap();
        output
            .patience()
            .ends_at(Instant::now() + Duration::from_millis(1));
        assert!(output.line(b"more".to_vec()).await.is_err());
        output.finish(Instant::now()).await.unwrap();
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_ends_the_waiting_and_is_no_error() {
        let (opener, open) = blocking::channel::<()>();
        let (written, _pieces) = blocking::channel();
        let output = Output::to(Gate { open, written }).unwrap();
        output.line(vec![b'a'; BYTES_MAX as usize]).await.unwrap();
        drop(opener);
        output.closed().await;
        assert!(output.line(b"more".to_vec()).await.is_err());
        output
            .finish(Instant::now() + Duration::from_secs(10))
            .await
            .unwrap();
    }
}
