//! Opening a link: prefaces, hellos and, where a cluster key is set, proofs, all within one deadline.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use waypost_types::{DEFAULT_FRAME_BYTES_MAX, DEFAULT_HANDSHAKE_FRAME_BYTES_MAX, Location};
use waypost_wire::{Agreed, Close, CloseCode, Frame, Hello, NONCE_BYTES, Preface, Role, encode, split_frame};

use super::framed::{FrameReader, FrameWriter};
use super::handshake_error::{AuthFailure, HandshakeError};
use super::proof::{ClusterKey, Side};
use super::stream::Stream;
use crate::deadline::after;

/// How long a handshake may take when nothing else is said.
pub const DEFAULT_HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// What a connection in its handshake is read into at first; it grows to one handshake frame at most.
const READ_BYTES: usize = 512;
/// How many frames of unknown kinds are skipped before the other side's `Hello` and `Proof`.
const UNKNOWN_FRAMES_MAX: u32 = 16;
/// How long a refusal may take: writing it, and waiting for the other side to have read it.
const FAREWELL: Duration = Duration::from_millis(500);
/// How much is still read, and thrown away, after a refusal.
const FAREWELL_READ_BYTES_MAX: usize = 64 << 10;
/// How long a side without a key waits for a sign that the other side has one.
const PROOF_SIGN: Duration = Duration::from_millis(500);
/// The nonce of a side that has no cluster key.
const NO_NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];

/// What this side says of itself, and what it asks of the other.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HandshakeSettings {
    /// What this side is to the other.
    pub role: Role,
    /// Where this node can be dialled; `None` for a peer.
    pub location: Option<Location>,
    /// Name and version, for the other side's logs.
    pub software: String,
    /// When set, the other side must have the same; when not, it must have none.
    pub cluster_key: Option<ClusterKey>,
    /// Largest frame that this side accepts once the link is open, in bytes without its length prefix; it is taken into
    /// the range of 4 KiB to 4 GiB. Default: 1 MiB.
    pub frame_bytes_max: usize,
    /// How long the whole handshake may take. Default: 5 s.
    pub deadline: Duration,
}

impl HandshakeSettings {
    /// The defaults: no location, no key.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            role,
            location: None,
            software: concat!("waypost/", env!("CARGO_PKG_VERSION")).to_owned(),
            cluster_key: None,
            frame_bytes_max: DEFAULT_FRAME_BYTES_MAX,
            deadline: DEFAULT_HANDSHAKE_DEADLINE,
        }
    }

    /// Where this node can be dialled.
    #[must_use]
    pub fn location(mut self, location: Option<Location>) -> Self {
        self.location = location;
        self
    }

    /// The key that both sides must have, or that neither may have.
    #[must_use]
    pub fn cluster_key(mut self, key: Option<ClusterKey>) -> Self {
        self.cluster_key = key;
        self
    }

    /// Largest frame that this side accepts, in bytes without its length prefix.
    #[must_use]
    pub const fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.frame_bytes_max = bytes;
        self
    }

    /// How long the whole handshake may take.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    fn preface(&self) -> Preface {
        let bytes = self.frame_bytes_max.max(DEFAULT_HANDSHAKE_FRAME_BYTES_MAX);
        Preface::new(u32::try_from(bytes).unwrap_or(u32::MAX))
    }
}

/// A link that is open.
#[derive(Debug)]
#[non_exhaustive]
pub struct Established<S> {
    /// The connection.
    pub stream: S,
    /// What was read of the other side's frames after the handshake's.
    pub buffered: BytesMut,
    /// What the other side said and what both agreed on.
    pub info: LinkInfo,
}

impl Established<Stream> {
    /// Splits the link so that one task reads frames while another writes them. A write that makes no progress for
    /// `write_stall` ends the link.
    #[must_use]
    pub fn into_framed(self, write_stall: Duration) -> (FrameReader, FrameWriter, LinkInfo) {
        let (read, write) = self.stream.into_split();
        let agreed = self.info.agreed;
        (
            FrameReader::new(read, self.buffered, agreed.receive_frame_bytes_max),
            FrameWriter::new(write, agreed.send_frame_bytes_max, write_stall),
            self.info,
        )
    }
}

/// What the two sides of an open link told each other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkInfo {
    /// Which side this is.
    pub side: Side,
    /// The other side's first frame.
    pub remote: Hello,
    /// The version spoken, and the frame limit of each direction.
    pub agreed: Agreed,
    /// Both sides have shown that they know the cluster key.
    pub authenticated: bool,
}

/// Opens a link over a new connection. A refusal is told to the other side, which may take half a second more than the
/// deadline. Dropping the future drops the connection.
///
/// # Errors
/// [`HandshakeError`]; the connection is closed.
pub async fn handshake<S>(
    mut stream: S,
    side: Side,
    settings: &HandshakeSettings,
) -> Result<Established<S>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let deadline = after(settings.deadline);
    let mut received = Received {
        buf: BytesMut::new(),
        unknown: 0,
    };
    let result = timeout_at(
        deadline,
        exchange(&mut stream, &mut received, side, settings, deadline),
    )
    .await;
    match result.unwrap_or(Err(HandshakeError::TimedOut {
        after: settings.deadline,
    })) {
        Ok(info) => Ok(Established {
            stream,
            buffered: received.buf,
            info,
        }),
        Err(error) => {
            if let Some(close) = error.to_close() {
                farewell(&mut stream, BytesMut::new(), close).await;
            }
            Err(error)
        }
    }
}

/// Refuses a connection without a handshake, saying why. Takes half a second at most.
pub async fn refuse<S>(mut stream: S, settings: &HandshakeSettings, code: CloseCode, text: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let close = Close {
        code,
        text: text.to_owned(),
    };
    farewell(
        &mut stream,
        BytesMut::from(&settings.preface().encode()[..]),
        close,
    )
    .await;
}

async fn exchange<S>(
    stream: &mut S,
    received: &mut Received,
    side: Side,
    settings: &HandshakeSettings,
    deadline: Instant,
) -> Result<LinkInfo, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let preface = settings.preface();
    let nonce = if settings.cluster_key.is_some() {
        fresh_nonce()
    } else {
        NO_NONCE
    };
    let hello = Hello {
        role: settings.role,
        location: settings.location.clone(),
        nonce,
        software: settings.software.clone(),
    };
    let mut first = BytesMut::from(&preface.encode()[..]);
    push(&mut first, &Frame::Hello(hello))?;
    // A side that refuses may have said why and gone before this was written: what it said is read all the same.
    let written = write(stream, &first).await;
    let opened = read_hello(stream, received, &preface).await;
    let (agreed, remote) = match (opened, written) {
        (Err(HandshakeError::Io(_) | HandshakeError::Ended), Err(error)) => return Err(error.into()),
        (Err(error), _) => return Err(error),
        (Ok(_), Err(error)) => return Err(error.into()),
        (Ok(opened), Ok(())) => opened,
    };
    let authenticated = match &settings.cluster_key {
        Some(key) => {
            prove(stream, received, side, key, &nonce, &remote.nonce).await?;
            true
        }
        None => {
            if remote.nonce != NO_NONCE {
                let until = deadline.min(Instant::now() + PROOF_SIGN);
                look_for_proof(stream, received, until).await?;
            }
            false
        }
    };
    Ok(LinkInfo {
        side,
        remote,
        agreed,
        authenticated,
    })
}

async fn read_hello<S: AsyncRead + Unpin>(
    stream: &mut S,
    received: &mut Received,
    preface: &Preface,
) -> Result<(Agreed, Hello), HandshakeError> {
    let theirs = loop {
        if let Some(theirs) = received.preface()? {
            break theirs;
        }
        received.more(stream).await?;
    };
    let agreed = preface.agree(&theirs)?;
    match received.frame(stream).await? {
        Frame::Hello(hello) => Ok((agreed, hello)),
        _ => Err(HandshakeError::Unexpected { expected: "Hello" }),
    }
}

/// Shows that this side knows the key and asks the same of the other.
async fn prove<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    received: &mut Received,
    side: Side,
    key: &ClusterKey,
    own: &[u8; NONCE_BYTES],
    theirs: &[u8; NONCE_BYTES],
) -> Result<(), HandshakeError> {
    if *theirs == NO_NONCE {
        return Err(AuthFailure::NoKeyThere.into());
    }
    if theirs == own {
        return Err(AuthFailure::Reflected.into());
    }
    let mut proof = BytesMut::new();
    push(&mut proof, &Frame::Proof(key.prove(side, own, theirs)))?;
    let written = write(stream, &proof).await;
    let mac = match (received.frame(stream).await, written) {
        (Ok(Frame::Proof(mac)), _) => mac,
        (Ok(_), _) => return Err(AuthFailure::NoProof.into()),
        (Err(HandshakeError::Io(_) | HandshakeError::Ended), Err(error)) => return Err(error.into()),
        (Err(error), _) => return Err(error),
    };
    if key.verify(side, own, theirs, &mac) {
        Ok(())
    } else {
        Err(AuthFailure::WrongKey.into())
    }
}

/// This side has no key. The other sent a nonce, so it has one, or it is an implementation that sends a nonce in any case.
/// One that has a key says so next, by its proof or by closing; what else comes is left for the open link.
async fn look_for_proof<S: AsyncRead + Unpin>(
    stream: &mut S,
    received: &mut Received,
    until: Instant,
) -> Result<(), HandshakeError> {
    /// First bytes of the frames of a side that has a key.
    const PROOF_TAG: u8 = 2 << 3 | 2;
    const CLOSE_TAG: u8 = 3 << 3 | 2;
    let tag = async {
        loop {
            let length = received.buf.iter().take_while(|byte| **byte >= 0x80).count() + 1;
            if let Some(tag) = received.buf.get(length) {
                return Ok(*tag);
            }
            received.more(stream).await?;
        }
    };
    match timeout_at(until, tag).await {
        Err(_) => Ok(()),
        Ok(Err(error)) => Err(error),
        Ok(Ok(PROOF_TAG)) => Err(AuthFailure::NoKeyHere.into()),
        // Gives the error that tells what it says.
        Ok(Ok(CLOSE_TAG)) => received.frame(stream).await.map(|_| ()),
        Ok(Ok(_)) => Ok(()),
    }
}

/// What came from the other side and has not been used yet. Bounded by one handshake frame.
struct Received {
    buf: BytesMut,
    unknown: u32,
}

impl Received {
    fn preface(&mut self) -> Result<Option<Preface>, HandshakeError> {
        let preface = Preface::decode(&self.buf)?;
        if preface.is_some() {
            let _ = self.buf.split_to(waypost_wire::PREFACE_BYTES);
        }
        Ok(preface)
    }

    /// The next frame of a known kind. Cancel safe.
    async fn frame<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<Frame, HandshakeError> {
        loop {
            match split_frame(&mut self.buf, DEFAULT_HANDSHAKE_FRAME_BYTES_MAX)? {
                None => self.more(stream).await?,
                Some(bytes) => match waypost_wire::decode(bytes)? {
                    Frame::Close(Close { code, text }) => return Err(HandshakeError::Closed { code, text }),
                    Frame::Unknown if self.unknown < UNKNOWN_FRAMES_MAX => self.unknown += 1,
                    Frame::Unknown => {
                        return Err(HandshakeError::Unexpected {
                            expected: "Hello or Proof",
                        });
                    }
                    frame => return Ok(frame),
                },
            }
        }
    }

    async fn more<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<(), HandshakeError> {
        if self.buf.capacity() == self.buf.len() {
            self.buf.reserve(READ_BYTES);
        }
        match stream.read_buf(&mut self.buf).await {
            Ok(0) => Err(HandshakeError::Ended),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn fresh_nonce() -> [u8; NONCE_BYTES] {
    loop {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        if nonce != NO_NONCE {
            return nonce;
        }
    }
}

fn push(out: &mut BytesMut, frame: &Frame) -> Result<(), HandshakeError> {
    // Fails only for a location that is longer than one may be.
    encode(frame, out, DEFAULT_HANDSHAKE_FRAME_BYTES_MAX)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error).into())
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Says why, ends this side's direction, and reads on for a moment: closing a socket that has unread bytes would take
/// back what was said.
async fn farewell<S>(stream: &mut S, mut out: BytesMut, close: Close)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if push(&mut out, &Frame::Close(close)).is_err() {
        return;
    }
    let told = async {
        write(stream, &out).await?;
        stream.shutdown().await?;
        let mut sink = [0; 512];
        let mut read = 0;
        while read < FAREWELL_READ_BYTES_MAX {
            match stream.read(&mut sink).await? {
                0 => break,
                n => read += n,
            }
        }
        Ok::<_, io::Error>(())
    };
    // Best effort: the other side sees the end of the connection in any case.
    let _ = timeout(FAREWELL, told).await;
}
