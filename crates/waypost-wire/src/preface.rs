//! The first 16 bytes of each side: who speaks, in which versions, and how large a frame it takes.

use core::fmt;

use waypost_types::DEFAULT_HANDSHAKE_FRAME_BYTES_MAX;

/// What a link begins with.
pub const MAGIC: [u8; 8] = *b"WAYPOST\0";
/// Length of a preface in bytes.
pub const PREFACE_BYTES: usize = 16;
/// Lowest protocol version that this crate speaks.
pub const VERSION_MIN: u16 = 1;
/// Highest protocol version that this crate speaks.
pub const VERSION_MAX: u16 = 1;

/// The smallest frame limit that a side may have: a handshake must fit.
#[expect(clippy::cast_possible_truncation, reason = "4 KiB")]
const FRAME_BYTES_MAX_LEAST: u32 = DEFAULT_HANDSHAKE_FRAME_BYTES_MAX as u32;

/// What one side says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preface {
    /// Lowest protocol version spoken.
    pub version_min: u16,
    /// Highest protocol version spoken.
    pub version_max: u16,
    /// Largest frame that this side accepts once the link is open, in bytes without its length prefix.
    pub frame_bytes_max: u32,
}

/// What two prefaces make together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// The version that both sides speak from here on.
    pub version: u16,
    /// Largest frame that may be sent to the other side, in bytes without its length prefix.
    pub send_frame_bytes_max: usize,
    /// Largest frame that is accepted from the other side, in bytes without its length prefix.
    pub receive_frame_bytes_max: usize,
}

/// What the other side seems to speak instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LooksLike {
    /// A browser, a proxy or a health check.
    HttpRequest,
    /// A web server.
    HttpResponse,
    /// A client that begins TLS.
    TlsHandshake,
    /// A TLS server that refuses plain bytes.
    TlsAlert,
    /// An SSH client or server.
    Ssh,
    /// A load balancer that announces its client.
    ProxyProtocol,
    /// A Redis client or server.
    Redis,
    /// None of those.
    Other,
}

impl LooksLike {
    const PATTERNS: [(&'static [u8], Self); 22] = [
        (b"GET ", Self::HttpRequest),
        (b"POST ", Self::HttpRequest),
        (b"PUT ", Self::HttpRequest),
        (b"PATCH ", Self::HttpRequest),
        (b"PRI * HTTP/2", Self::HttpRequest),
        (b"HEAD ", Self::HttpRequest),
        (b"DELETE ", Self::HttpRequest),
        (b"OPTIONS ", Self::HttpRequest),
        (b"CONNECT ", Self::HttpRequest),
        (b"TRACE ", Self::HttpRequest),
        (b"HTTP/", Self::HttpResponse),
        (b"\x16\x03", Self::TlsHandshake),
        (b"\x15\x03", Self::TlsAlert),
        (b"SSH-", Self::Ssh),
        (b"PROXY ", Self::ProxyProtocol),
        (b"\r\n\r\n\0\r\nQUIT\n", Self::ProxyProtocol),
        (b"*1\r\n", Self::Redis),
        (b"*2\r\n", Self::Redis),
        (b"*3\r\n", Self::Redis),
        (b"PING\r\n", Self::Redis),
        (b"-ERR ", Self::Redis),
        (b"-NOAUTH ", Self::Redis),
    ];

    /// A guess from the first bytes of a stream, however few.
    fn guess(bytes: &[u8]) -> Self {
        Self::PATTERNS
            .into_iter()
            .find(|(pattern, _)| bytes.starts_with(pattern) || pattern.starts_with(bytes))
            .map_or(Self::Other, |(_, looks_like)| looks_like)
    }
}

impl fmt::Display for LooksLike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HttpRequest => {
                "it looks like an HTTP request: point browsers, proxies and health checks at another port"
            }
            Self::HttpResponse => "it looks like an HTTP server: check the address that was dialled",
            Self::TlsHandshake => {
                "it looks like a TLS handshake: give this listener a certificate, or dial it without TLS"
            }
            Self::TlsAlert => "it looks like a TLS server that refuses plain bytes: dial it with TLS",
            Self::Ssh => "it looks like SSH: check the address and the port",
            Self::ProxyProtocol => {
                "it looks like the PROXY protocol: turn that off in the load balancer for this port"
            }
            Self::Redis => "it looks like Redis: the datastore's address belongs in the store's URL",
            Self::Other => "check the address and the port",
        })
    }
}

/// Why no link can be made with the other side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefaceError {
    /// The other side does not speak Waypost.
    #[error("the other side does not speak Waypost; {looks_like}")]
    NotWaypost {
        /// What it seems to speak.
        looks_like: LooksLike,
    },
    /// The two sides have no version in common.
    #[error(
        "the other side speaks versions {} to {} of Waypost's protocol and this one {} to {}: upgrade the older of the two",
        theirs.0, theirs.1, ours.0, ours.1
    )]
    Version {
        /// Lowest and highest of the other side.
        theirs: (u16, u16),
        /// Lowest and highest of this side.
        ours: (u16, u16),
    },
    /// The other side accepts only frames too small for a handshake.
    #[error(
        "the other side accepts frames of {theirs_bytes} bytes at most: it must accept at least {least_bytes}; raise its frame limit"
    )]
    FrameLimit {
        /// What it accepts.
        theirs_bytes: u32,
        /// What it must accept.
        least_bytes: u32,
    },
}

impl Preface {
    /// The preface of a side that speaks all versions of this crate.
    #[must_use]
    pub const fn new(frame_bytes_max: u32) -> Self {
        Self {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            frame_bytes_max,
        }
    }

    /// The preface as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; PREFACE_BYTES] {
        let mut bytes = [0; PREFACE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.version_min.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.version_max.to_be_bytes());
        bytes[12..].copy_from_slice(&self.frame_bytes_max.to_be_bytes());
        bytes
    }

    /// Reads the front of a stream: `None` when it is a preface so far and more bytes are needed. A preface is the first
    /// [`PREFACE_BYTES`] of `bytes`; what follows is left alone.
    ///
    /// # Errors
    /// [`PrefaceError`], as soon as one byte cannot be part of a preface.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, PrefaceError> {
        if bytes.iter().zip(MAGIC).any(|(&theirs, ours)| theirs != ours) {
            return Err(PrefaceError::NotWaypost {
                looks_like: LooksLike::guess(bytes),
            });
        }
        let Some((_, [a, b, c, d, e, f, g, h])) = bytes
            .first_chunk::<PREFACE_BYTES>()
            .and_then(|preface| preface.split_first_chunk::<8>())
            .and_then(|(magic, rest)| rest.first_chunk::<8>().map(|rest| (magic, *rest)))
        else {
            return Ok(None);
        };
        let theirs = Self {
            version_min: u16::from_be_bytes([a, b]),
            version_max: u16::from_be_bytes([c, d]),
            frame_bytes_max: u32::from_be_bytes([e, f, g, h]),
        };
        if theirs.version_min > theirs.version_max {
            return Err(PrefaceError::Version {
                theirs: (theirs.version_min, theirs.version_max),
                ours: (VERSION_MIN, VERSION_MAX),
            });
        }
        if theirs.frame_bytes_max < FRAME_BYTES_MAX_LEAST {
            return Err(PrefaceError::FrameLimit {
                theirs_bytes: theirs.frame_bytes_max,
                least_bytes: FRAME_BYTES_MAX_LEAST,
            });
        }
        Ok(Some(theirs))
    }

    /// What this side, having sent `self`, agrees on with a side that sent `theirs`: the highest common version, and
    /// each direction's frame limit, which is the receiver's.
    ///
    /// # Errors
    /// [`PrefaceError::Version`] when there is no common version.
    pub fn agree(&self, theirs: &Self) -> Result<Agreed, PrefaceError> {
        let version = self.version_max.min(theirs.version_max);
        if version < self.version_min.max(theirs.version_min) {
            return Err(PrefaceError::Version {
                theirs: (theirs.version_min, theirs.version_max),
                ours: (self.version_min, self.version_max),
            });
        }
        Ok(Agreed {
            version,
            send_frame_bytes_max: usize::try_from(theirs.frame_bytes_max).unwrap_or(usize::MAX),
            receive_frame_bytes_max: usize::try_from(self.frame_bytes_max).unwrap_or(usize::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preface_comes_back_and_every_prefix_of_it_wants_more() {
        let preface = Preface::new(1 << 20);
        let bytes = preface.encode();
        for len in 0..PREFACE_BYTES {
            assert_eq!(Preface::decode(&bytes[..len]), Ok(None), "{len}");
        }
        assert_eq!(Preface::decode(&bytes), Ok(Some(preface)));
        let mut more = bytes.to_vec();
        more.push(0xff);
        assert_eq!(Preface::decode(&more), Ok(Some(preface)));
    }

    #[test]
    fn the_first_wrong_byte_is_enough() {
        let cases: [(&[u8], LooksLike); 8] = [
            (b"G", LooksLike::HttpRequest),
            (b"POST /metrics HTTP/1.1\r\n", LooksLike::HttpRequest),
            (b"\x16\x03\x01", LooksLike::TlsHandshake),
            (b"\x15\x03\x03\0\x02", LooksLike::TlsAlert),
            (b"SSH-2.0-OpenSSH", LooksLike::Ssh),
            (b"PROXY TCP4", LooksLike::ProxyProtocol),
            (b"*1\r\n$4\r\nPING\r\n", LooksLike::Redis),
            (b"WAYPOST1", LooksLike::Other),
        ];
        for (bytes, looks_like) in cases {
            assert_eq!(
                Preface::decode(bytes),
                Err(PrefaceError::NotWaypost { looks_like }),
                "{bytes:?}"
            );
        }
        let text = Preface::decode(b"GET / HTTP/1.1").unwrap_err().to_string();
        assert!(
            text.contains("an HTTP request") && text.contains("another port"),
            "{text}"
        );
    }

    #[test]
    fn versions_meet_at_the_highest_common_one_or_both_are_named() {
        let ours = Preface {
            version_min: 1,
            version_max: 3,
            frame_bytes_max: 1 << 20,
        };
        let theirs = Preface {
            version_min: 2,
            version_max: 9,
            frame_bytes_max: 1 << 16,
        };
        assert_eq!(
            ours.agree(&theirs),
            Ok(Agreed {
                version: 3,
                send_frame_bytes_max: 1 << 16,
                receive_frame_bytes_max: 1 << 20
            })
        );
        let newer = Preface {
            version_min: 4,
            ..theirs
        };
        assert_eq!(
            ours.agree(&newer),
            Err(PrefaceError::Version {
                theirs: (4, 9),
                ours: (1, 3)
            })
        );
        assert_eq!(
            newer.agree(&ours),
            Err(PrefaceError::Version {
                theirs: (1, 3),
                ours: (4, 9)
            })
        );
    }

    #[test]
    fn a_limit_below_a_handshake_and_a_reversed_range_are_refused() {
        let small = Preface::new(4095).encode();
        assert_eq!(
            Preface::decode(&small),
            Err(PrefaceError::FrameLimit {
                theirs_bytes: 4095,
                least_bytes: 4096
            })
        );
        assert!(Preface::decode(&Preface::new(4096).encode()).is_ok());
        let reversed = Preface {
            version_min: 2,
            version_max: 1,
            frame_bytes_max: 4096,
        }
        .encode();
        assert!(matches!(
            Preface::decode(&reversed),
            Err(PrefaceError::Version { .. })
        ));
    }
}
