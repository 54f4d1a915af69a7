//! Frames: a head of 24 bytes, all numbers big-endian, then framing extras, extras, key and value.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

pub(super) const HEAD: usize = 24;
const REQUEST: u8 = 0x80;
const REQUEST_WITH_FRAMING: u8 = 0x08;
const ANSWER: u8 = 0x81;
/// A document may have 20 MiB.
const BODY_MAX: usize = 24 << 20;

/// A request as it was read.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) opcode: u8,
    /// How the value is encoded.
    pub(super) datatype: u8,
    pub(super) vbucket: u16,
    pub(super) opaque: u32,
    pub(super) cas: u64,
    pub(super) framing: Vec<u8>,
    pub(super) extras: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Request {
    /// Reads one; an end before its first byte is `None`.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD];
        match from.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        };
        let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let (framing, key) = match head[0] {
            REQUEST => (0, usize::from(u16::from_be_bytes([head[2], head[3]]))),
            REQUEST_WITH_FRAMING => (usize::from(head[2]), usize::from(head[3])),
            _ => return Err(broken("no request")),
        };
        let extras = usize::from(head[4]);
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let len = usize::try_from(number(8)).map_err(|_| broken("too long"))?;
        if len > BODY_MAX || framing + extras + key > len {
            return Err(broken("lengths that do not fit"));
        }
        let mut body = vec![0; len];
        from.read_exact(&mut body).await?;
        let value = body.split_off(framing + extras + key);
        let key = body.split_off(framing + extras);
        let extras = body.split_off(framing);
        Ok(Some(Self {
            opcode: head[1],
            datatype: head[5],
            vbucket: u16::from_be_bytes([head[6], head[7]]),
            opaque: number(12),
            cas: u64::from(number(16)) << 32 | u64::from(number(20)),
            framing: body,
            extras,
            key,
            value,
        }))
    }

    /// A number of the extras.
    pub(super) fn extra_u32(&self, at: usize) -> Option<u32> {
        let bytes = self.extras.get(at..at + 4)?;
        Some(bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
    }

    /// A long number of the extras.
    pub(super) fn extra_u64(&self, at: usize) -> Option<u64> {
        let bytes = self.extras.get(at..at + 8)?;
        Some(bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    /// Whether the framing extras ask for the expiry to be kept.
    pub(super) fn keeps_expiry(&self) -> bool {
        let mut rest = self.framing.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let (id, len) = (first >> 4, usize::from(first & 0x0f));
            if id == 5 {
                return true;
            }
            rest = after.get(len..).unwrap_or_default();
        }
        false
    }
}

/// An answer to a request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) cas: u64,
    pub(super) extras: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Answer {
    pub(super) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(super) fn value(value: impl Into<Vec<u8>>) -> Self {
        Self {
            value: value.into(),
            ..Self::default()
        }
    }

    /// What is known of a document that is not deleted: flags, expiry, sequence number, datatype.
    pub(super) fn meta(flags: &[u8], cas: u64) -> Self {
        let mut extras = vec![0; 4];
        extras.extend_from_slice(flags);
        extras.extend_from_slice(&[0; 4]);
        extras.extend_from_slice(&cas.to_be_bytes());
        extras.push(0);
        Self {
            cas,
            extras,
            ..Self::default()
        }
    }

    pub(super) fn encode(&self, opcode: u8, opaque: u32) -> Vec<u8> {
        let body = self.extras.len() + self.value.len();
        let mut bytes = Vec::with_capacity(HEAD + body);
        bytes.extend_from_slice(&[ANSWER, opcode, 0, 0]);
        bytes.push(u8::try_from(self.extras.len()).unwrap_or(u8::MAX));
        bytes.push(0);
        bytes.extend_from_slice(&self.status.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(body).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&opaque.to_be_bytes());
        bytes.extend_from_slice(&self.cas.to_be_bytes());
        bytes.extend_from_slice(&self.extras);
        bytes.extend_from_slice(&self.value);
        bytes
    }
}
