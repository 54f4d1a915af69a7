//! A server of another version: written by hand, with what a newer release may add.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::BytesMut;
use waypost_wire::{Frame, Hello, Preface, Role, decode, encode, split_frame};

/// Largest frame, in bytes.
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// A field that this version does not know: a frame of its own is one of a kind that is not known.
const NEWER: [u8; 6] = [0xf2, 0x7f, 0x03, b'n', b'e', b'w'];

/// A link to a listening node as a server of these versions opens it.
#[derive(Debug)]
pub struct Neighbour {
    stream: TcpStream,
    buffer: BytesMut,
    /// It adds fields and kinds that nobody knows yet.
    is_newer: bool,
}

impl Neighbour {
    /// Sends a preface with these versions and a `Hello`, and reads the other's preface.
    ///
    /// # Errors
    /// When the endpoint does not take connections, or closes without a preface.
    pub fn open(endpoint: &str, versions: (u16, u16), is_newer: bool) -> Result<Self> {
        let address = endpoint.strip_prefix("tcp://").context("not a tcp endpoint")?;
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut neighbour = Self {
            stream,
            buffer: BytesMut::new(),
            is_newer,
        };
        let preface = Preface {
            version_min: versions.0,
            version_max: versions.1,
            frame_bytes_max: FRAME_BYTES_MAX,
        };
        neighbour.stream.write_all(&preface.encode())?;
        neighbour.say(&Frame::Hello(Hello {
            role: Role::Peer,
            location: None,
            nonce: [0; 16],
            software: "neighbour".to_owned(),
        }))?;
        while Preface::decode(&neighbour.buffer)?.is_none() {
            neighbour.fill()?;
        }
        let _ = neighbour.buffer.split_to(waypost_wire::PREFACE_BYTES);
        Ok(neighbour)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// From the link.
    pub fn say(&mut self, frame: &Frame) -> Result<()> {
        let mut framed = BytesMut::new();
        encode(frame, &mut framed, FRAME_BYTES_MAX as usize)?;
        if !self.is_newer {
            return Ok(self.stream.write_all(&framed)?);
        }
        let bare = split_frame(&mut framed, FRAME_BYTES_MAX as usize)?.context("a whole frame")?;
        let grown = [&bare[..], &NEWER].concat();
        for frame in [&grown[..], &NEWER] {
            let mut len = frame.len();
            let mut bytes = Vec::new();
            while len >= 0x80 {
                bytes.push(u8::try_from(len & 0x7f)? | 0x80);
                len >>= 7;
            }
            bytes.push(u8::try_from(len)?);
            bytes.extend_from_slice(frame);
            self.stream.write_all(&bytes)?;
            // The kind that is not known comes only once the link is open.
            if matches!(frame_kind(frame), Some(Frame::Hello(_))) {
                break;
            }
        }
        Ok(())
    }

    /// Reads frames until one is what is wanted; answers pings.
    ///
    /// # Errors
    /// When the link ends before, or says nothing for long.
    pub fn until<T>(&mut self, mut wanted: impl FnMut(&Frame) -> Option<T>) -> Result<T> {
        loop {
            while let Some(bytes) = split_frame(&mut self.buffer, FRAME_BYTES_MAX as usize)? {
                let frame = decode(bytes)?;
                if let Some(value) = wanted(&frame) {
                    return Ok(value);
                }
                match frame {
                    Frame::Ping { token } => self.say(&Frame::Pong {
                        token,
                        lease_ms: 0,
                        store_unavailable: false,
                    })?,
                    Frame::Close(close) => bail!("closed: {}", close.text),
                    _ => {}
                }
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        let count = self.stream.read(&mut bytes)?;
        anyhow::ensure!(count > 0, "the other side closed");
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(())
    }
}

fn frame_kind(bytes: &[u8]) -> Option<Frame> {
    decode(bytes.to_vec().into()).ok()
}
