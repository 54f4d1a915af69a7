//! Redis pub/sub: a channel a client. Spoken by hand, as a client library would cost more than Redis itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};

use super::{Counters, Server};
use crate::names::Names;

/// Bytes gathered before a write.
const WRITE_BYTES: usize = 64 << 10;
/// Channels subscribed to between two confirmations.
const BATCH: usize = 10_000;

#[derive(Debug)]
pub(super) struct Redis {
    subscriber: OwnedWriteHalf,
    publisher: OwnedWriteHalf,
    buffer: Vec<u8>,
    shared: Arc<Shared>,
    answers: mpsc::Receiver<()>,
}

#[derive(Debug, Default)]
struct Shared {
    counters: Arc<Counters>,
    subscribed: AtomicU64,
    more: Notify,
}

impl Redis {
    pub(super) async fn connect(address: &str, own: char, counters: Arc<Counters>) -> Result<Self> {
        let shared = Arc::new(Shared {
            counters,
            ..Shared::default()
        });
        let (publisher_read, publisher) = open(address).await?;
        let (subscriber_read, subscriber) = open(address).await?;
        let (_, echo) = open(address).await?;
        let (answered, answers) = mpsc::channel(1);
        tokio::spawn(replies(publisher_read, Arc::clone(&shared)));
        tokio::spawn(messages(
            subscriber_read,
            echo,
            own,
            Arc::clone(&shared),
            answered,
        ));
        Ok(Self {
            subscriber,
            publisher,
            buffer: Vec::new(),
            shared,
            answers,
        })
    }

    async fn subscribed(&self, count: u64) {
        loop {
            let more = self.shared.more.notified();
            if self.shared.subscribed.load(Ordering::Acquire) >= count {
                return;
            }
            more.await;
        }
    }
}

async fn open(address: &str) -> Result<(OwnedReadHalf, OwnedWriteHalf)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream.into_split())
}

/// `PUBLISH to "kind from body"`.
fn publish(buffer: &mut Vec<u8>, kind: u8, from: &str, to: &str, body: &[u8]) {
    use std::io::Write as _;
    let len = 1 + from.len() + body.len();
    // Writing to a vector cannot fail.
    let _ = write!(
        buffer,
        "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{to}\r\n${len}\r\n",
        to.len()
    );
    buffer.push(kind);
    buffer.extend_from_slice(from.as_bytes());
    buffer.extend_from_slice(body);
    buffer.extend_from_slice(b"\r\n");
}

/// Counts what nobody received.
async fn replies(read: OwnedReadHalf, shared: Arc<Shared>) -> Result<()> {
    let mut input = Input::new(read);
    loop {
        let line = input.line().await?;
        if line.first() != Some(&b':') {
            bail!("not the answer to PUBLISH: {}", String::from_utf8_lossy(line));
        }
        if line == b":0" {
            shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts messages, answers questions, passes answers on.
async fn messages(
    read: OwnedReadHalf,
    mut echo: OwnedWriteHalf,
    own: char,
    shared: Arc<Shared>,
    answered: mpsc::Sender<()>,
) -> Result<()> {
    let mut input = Input::new(read);
    let (mut channel, mut buffer) = (String::new(), Vec::new());
    loop {
        if input.line().await? != b"*3" {
            bail!("not a push of three");
        }
        let is_message = input.bulk().await? == b"message";
        channel.clear();
        channel.push_str(str::from_utf8(input.bulk().await?)?);
        if !is_message {
            input.line().await?;
            shared.subscribed.fetch_add(1, Ordering::Release);
            shared.more.notify_waiters();
            continue;
        }
        let content = input.bulk().await?;
        shared.counters.received.fetch_add(1, Ordering::Relaxed);
        match content.split_first() {
            Some((b'?', rest)) => {
                let (from, body) = rest
                    .split_at_checked(channel.len())
                    .context("a question is cut off")?;
                buffer.clear();
                publish(&mut buffer, b'!', &channel, str::from_utf8(from)?, body);
                echo.write_all(&buffer).await?;
            }
            Some((b'!', _)) if own == 'a' => answered.try_send(()).unwrap_or_default(),
            _ => {}
        }
    }
}

/// A connection's bytes.
#[derive(Debug)]
struct Input {
    read: OwnedReadHalf,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    fn new(read: OwnedReadHalf) -> Self {
        Self {
            read,
            buffer: vec![0; 256 << 10],
            start: 0,
            end: 0,
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let read = self.read.read(&mut self.buffer[self.end..]).await?;
        if read == 0 {
            bail!("Redis has closed the connection");
        }
        self.end += read;
        Ok(())
    }

    async fn line(&mut self) -> Result<&[u8]> {
        loop {
            let bytes = &self.buffer[self.start..self.end];
            if let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
                let start = self.start;
                self.start += at + 1;
                return Ok(&self.buffer[start..start + at.saturating_sub(1)]);
            }
            self.fill().await?;
        }
    }

    async fn bulk(&mut self) -> Result<&[u8]> {
        let line = self.line().await?;
        let len: usize = str::from_utf8(line)?
            .strip_prefix('$')
            .context("not a string")?
            .parse()?;
        while self.end - self.start < len + 2 {
            self.fill().await?;
        }
        let start = self.start;
        self.start += len + 2;
        Ok(&self.buffer[start..start + len])
    }
}

impl Server for Redis {
    async fn register(&mut self, names: &Names, from: usize, to: usize, batched: bool) -> Result<()> {
        let batch = if batched { BATCH } else { 1 };
        let mut at = from;
        while at < to {
            let end = to.min(at + batch);
            let mut text = format!("*{}\r\n$9\r\nSUBSCRIBE\r\n", end - at + 1);
            for at in at..end {
                let name = names.get(at);
                text.push_str(&format!("${}\r\n{name}\r\n", name.len()));
            }
            self.subscriber.write_all(text.as_bytes()).await?;
            self.subscribed(end as u64).await;
            at = end;
        }
        Ok(())
    }

    async fn send(&mut self, from: &str, to: &str, body: &Bytes) -> Result<bool> {
        publish(&mut self.buffer, b'.', from, to, body);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush().await?;
        }
        Ok(true)
    }

    async fn flush(&mut self) -> Result<()> {
        self.publisher.write_all(&self.buffer).await?;
        self.buffer.clear();
        Ok(())
    }

    async fn request(&mut self, from: &str, to: &str, body: &Bytes) -> Result<()> {
        publish(&mut self.buffer, b'?', from, to, body);
        self.flush().await?;
        self.answers
            .recv()
            .await
            .context("Redis has closed the connection")
    }
}
