//! The raw limit: one TCP connection, length-prefixed frames with the same names in them, writes coalesced, no routing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::{Counters, IN_FLIGHT, Server, Work};
use crate::names::Names;

/// Bytes gathered before a write.
const WRITE_BYTES: usize = 64 << 10;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

const MESSAGE: u8 = 0;
const ACKED: u8 = 1;
const REQUEST: u8 = 2;
const ACKS: u8 = 3;
const REPLY: u8 = 4;

#[derive(Debug)]
pub(super) struct Raw {
    /// Only the side that sends has them.
    link: Option<(Reader, Writer)>,
}

#[derive(Debug)]
struct Writer {
    half: OwnedWriteHalf,
    buffer: Vec<u8>,
}

impl Writer {
    fn push(&mut self, kind: u8, from: &str, to: &str, body: &[u8]) {
        // One byte each for the kind and the two lengths.
        let len = u32::try_from(3 + from.len() + to.len() + body.len()).unwrap_or(u32::MAX);
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(&[
            kind,
            u8::try_from(from.len()).unwrap_or(u8::MAX),
            u8::try_from(to.len()).unwrap_or(u8::MAX),
        ]);
        self.buffer.extend_from_slice(from.as_bytes());
        self.buffer.extend_from_slice(to.as_bytes());
        self.buffer.extend_from_slice(body);
    }

    async fn flush(&mut self) -> Result<()> {
        self.half.write_all(&self.buffer).await?;
        self.buffer.clear();
        Ok(())
    }
}

struct Frame<'a> {
    kind: u8,
    from: &'a str,
    to: &'a str,
    body: &'a [u8],
}

#[derive(Debug)]
struct Reader {
    half: OwnedReadHalf,
    buffer: Vec<u8>,
    /// What of the buffer has been read and not been parsed.
    start: usize,
    end: usize,
}

impl Reader {
    /// Reads once; false at the end.
    async fn fill(&mut self) -> Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let read = self.half.read(&mut self.buffer[self.end..]).await?;
        self.end += read;
        Ok(read > 0)
    }

    fn parse(&mut self) -> Result<Option<Frame<'_>>> {
        let Some((prefix, rest)) = self.buffer[self.start..self.end].split_first_chunk::<4>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_le_bytes(*prefix))?;
        let Some(frame) = rest.get(..len) else {
            if len + 4 > READ_BYTES {
                bail!("a frame is too long");
            }
            return Ok(None);
        };
        self.start += 4 + len;
        let (&[kind, from, to], rest) = frame.split_first_chunk::<3>().context("a frame is too short")?;
        let (from, rest) = rest.split_at_checked(from.into()).context("a name is cut off")?;
        let (to, body) = rest.split_at_checked(to.into()).context("a name is cut off")?;
        Ok(Some(Frame {
            kind,
            from: str::from_utf8(from)?,
            to: str::from_utf8(to)?,
            body,
        }))
    }
}

fn split(stream: TcpStream) -> Result<(Reader, Writer)> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    Ok((
        Reader {
            half: read,
            buffer: vec![0; READ_BYTES],
            start: 0,
            end: 0,
        },
        Writer {
            half: write,
            buffer: Vec::with_capacity(2 * WRITE_BYTES),
        },
    ))
}

impl Raw {
    pub(super) async fn listen(counters: Arc<Counters>) -> Result<(Self, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await?;
            let (reader, writer) = split(stream)?;
            receive(reader, writer, &counters).await
        });
        Ok((Self { link: None }, address))
    }

    pub(super) async fn connect(address: &str, _counters: Arc<Counters>) -> Result<Self> {
        Ok(Self {
            link: Some(split(TcpStream::connect(address).await?)?),
        })
    }

    fn link(&mut self) -> Result<&mut (Reader, Writer)> {
        self.link.as_mut().context("this side does not send")
    }
}

async fn receive(mut reader: Reader, mut writer: Writer, counters: &Counters) -> Result<()> {
    while reader.fill().await? {
        let (mut received, mut acks) = (0_u64, 0_u32);
        while let Some(frame) = reader.parse()? {
            received += 1;
            // What a program does with a message: look at it.
            std::hint::black_box((frame.from, frame.to, frame.body));
            match frame.kind {
                MESSAGE => {}
                ACKED => acks += 1,
                REQUEST => writer.push(REPLY, frame.to, frame.from, frame.body),
                kind => bail!("a frame of kind {kind} is not expected here"),
            }
        }
        counters.received.fetch_add(received, Ordering::Relaxed);
        if acks > 0 {
            writer.push(ACKS, "", "", &acks.to_le_bytes());
        }
        if !writer.buffer.is_empty() {
            writer.flush().await?;
        }
    }
    Ok(())
}

impl Server for Raw {
    async fn register(&mut self, _: &Names, _: usize, _: usize, _: bool) -> Result<()> {
        Ok(())
    }

    async fn send(&mut self, from: &str, to: &str, body: &Bytes) -> Result<bool> {
        let (_, writer) = self.link()?;
        writer.push(MESSAGE, from, to, body);
        if writer.buffer.len() >= WRITE_BYTES {
            writer.flush().await?;
        }
        Ok(true)
    }

    async fn flush(&mut self) -> Result<()> {
        self.link()?.1.flush().await
    }

    async fn acked(&mut self, work: &mut Work) -> Result<bool> {
        let (reader, writer) = self.link()?;
        let counters = Arc::clone(&work.counters);
        let mut in_flight = 0;
        loop {
            if !work.stops() {
                while in_flight < IN_FLIGHT {
                    let (from, to, body) = work.next();
                    writer.push(ACKED, from, to, body);
                    counters.sent.fetch_add(1, Ordering::Relaxed);
                    in_flight += 1;
                }
                writer.flush().await?;
            }
            if in_flight == 0 {
                return Ok(true);
            }
            if !reader.fill().await? {
                bail!("the other side has closed");
            }
            while let Some(frame) = reader.parse()? {
                let count = u32::from_le_bytes(frame.body.try_into()?);
                counters.acked.fetch_add(count.into(), Ordering::Relaxed);
                in_flight -= usize::try_from(count)?;
            }
        }
    }

    async fn request(&mut self, from: &str, to: &str, body: &Bytes) -> Result<()> {
        let (reader, writer) = self.link()?;
        writer.push(REQUEST, from, to, body);
        writer.flush().await?;
        loop {
            if !reader.fill().await? {
                bail!("the other side has closed");
            }
            if reader.parse()?.is_some() {
                return Ok(());
            }
        }
    }
}
