//! What can be wrong with a frame, coming or going.

use waypost_types::NameError;

use crate::{BATCH_ENTRIES_MAX, NAMES_MAX, OUTCOMES_ENTRIES_MAX};

/// A frame that came is not one. The sender broke the contract: close the link, saying `Malformed`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not the protobuf message that they should be.
    #[error(
        "the frame is not valid protobuf: close the link, and look for a sender of another protocol or version"
    )]
    Malformed(#[source] Protobuf),
    /// An address, identity or location is empty, too long or not UTF-8.
    #[error("the {frame} frame has a bad name: close the link; the sender must check its names")]
    Name {
        /// Which kind of frame.
        frame: &'static str,
        /// What is wrong with the name.
        #[source]
        source: NameError,
    },
    /// A batch has too many entries.
    #[error(
        "the {frame} frame has {entries} entries: at most {max} are accepted; the sender must split its batch"
    )]
    Batch {
        /// Which kind of frame.
        frame: &'static str,
        /// How many entries it has.
        entries: usize,
        /// How many are accepted.
        max: usize,
    },
    /// A number is outside its range.
    #[error("the {frame} frame has {field} {value}: {min} to {max} are accepted; close the link")]
    Range {
        /// Which kind of frame.
        frame: &'static str,
        /// Which field.
        field: &'static str,
        /// What it says.
        value: u64,
        /// The least that is accepted.
        min: u64,
        /// The most that is accepted.
        max: u64,
    },
    /// A field of fixed length has another.
    #[error(
        "the {frame} frame has {field} of {len_bytes} bytes: exactly {expected_bytes} are accepted; close the link"
    )]
    Length {
        /// Which kind of frame.
        frame: &'static str,
        /// Which field.
        field: &'static str,
        /// Its length.
        len_bytes: usize,
        /// The length that it must have.
        expected_bytes: usize,
    },
}

/// A frame that was to be sent breaks the contract, so that the other side would close the link. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The frame is larger than the other side accepts.
    #[error(
        "the frame has {frame_len_bytes} bytes: the link takes at most {max_bytes}; send less at once or raise the frame limit of both sides"
    )]
    TooLarge {
        /// The frame's length in bytes, without its length prefix.
        frame_len_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// A batch has too many entries.
    #[error("the {frame} frame has {entries} entries: at most {max} may be sent; split the batch")]
    Batch {
        /// Which kind of frame.
        frame: &'static str,
        /// How many entries it has.
        entries: usize,
        /// How many may be sent.
        max: usize,
    },
    /// A number is outside its range.
    #[error("the {frame} frame has {field} {value}: only {min} to {max} may be sent")]
    Range {
        /// Which kind of frame.
        frame: &'static str,
        /// Which field.
        field: &'static str,
        /// What it says.
        value: u64,
        /// The least that may be sent.
        min: u64,
        /// The most that may be sent.
        max: u64,
    },
    /// A field of fixed length has another.
    #[error("the {frame} frame has {field} of {len_bytes} bytes: only exactly {expected_bytes} may be sent")]
    Length {
        /// Which kind of frame.
        frame: &'static str,
        /// Which field.
        field: &'static str,
        /// Its length.
        len_bytes: usize,
        /// The length that it must have.
        expected_bytes: usize,
    },
    /// [`Frame::Unknown`](crate::Frame::Unknown) stands for what was skipped and cannot be sent.
    #[error("a frame of unknown kind has no bytes to send: drop it")]
    Unknown,
}

/// What goes wrong with the frames of a byte stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The other side announced a frame larger than the limit. Found from its length alone; nothing was allocated.
    #[error(
        "a frame of {frame_len_bytes} bytes is announced: at most {max_bytes} are accepted; close the link, or raise the frame limit of both sides"
    )]
    TooLarge {
        /// The length that was announced, in bytes, without its prefix.
        frame_len_bytes: u64,
        /// The limit.
        max_bytes: usize,
    },
    /// A frame's length has no end within its longest form.
    #[error(
        "a frame's length takes more than {max_bytes} bytes: close the link; the stream is not Waypost's or has lost its place"
    )]
    Length {
        /// The longest form of a length, in bytes.
        max_bytes: usize,
    },
    /// The stream ended inside a frame.
    #[error(
        "the stream ended inside a frame, after {have_bytes} of its bytes: the other side died or was cut off; connect again"
    )]
    Torn {
        /// How much of the frame came, in bytes, with its length prefix.
        have_bytes: usize,
        /// How much it is in all, when its length came.
        need_bytes: Option<usize>,
    },
    /// A frame that came is not one.
    #[error("a frame could not be read: close the link")]
    Decode(#[from] DecodeError),
    /// A frame cannot be sent. Nothing of it was written, and the link is as good as before.
    #[error("a frame could not be written: drop it and go on")]
    Encode(#[from] EncodeError),
    /// The connection failed.
    #[error("the connection failed: connect again")]
    Io(#[from] std::io::Error),
}

/// What the protobuf decoder said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct Protobuf(prost::DecodeError);

impl Protobuf {
    pub(crate) const fn new(error: prost::DecodeError) -> Self {
        Self(error)
    }
}

/// Both directions check the same bounds and say so in their own words.
pub(crate) trait Refusal: Sized {
    fn batch(frame: &'static str, entries: usize, max: usize) -> Self;
    fn range(frame: &'static str, field: &'static str, value: u64, min: u64, max: u64) -> Self;
    fn length(frame: &'static str, field: &'static str, len_bytes: usize, expected_bytes: usize) -> Self;
}

macro_rules! refusal {
    ($error:ident) => {
        impl Refusal for $error {
            #[cold]
            fn batch(frame: &'static str, entries: usize, max: usize) -> Self {
                Self::Batch {
                    frame,
                    entries,
                    max,
                }
            }
            #[cold]
            fn range(frame: &'static str, field: &'static str, value: u64, min: u64, max: u64) -> Self {
                Self::Range {
                    frame,
                    field,
                    value,
                    min,
                    max,
                }
            }
            #[cold]
            fn length(
                frame: &'static str,
                field: &'static str,
                len_bytes: usize,
                expected_bytes: usize,
            ) -> Self {
                Self::Length {
                    frame,
                    field,
                    len_bytes,
                    expected_bytes,
                }
            }
        }
    };
}
refusal!(DecodeError);
refusal!(EncodeError);

/// A batch of clients.
pub(crate) fn check_batch<E: Refusal>(frame: &'static str, entries: usize) -> Result<(), E> {
    if entries > BATCH_ENTRIES_MAX {
        Err(E::batch(frame, entries, BATCH_ENTRIES_MAX))
    } else {
        Ok(())
    }
}

/// Outcomes, delivered and failed.
pub(crate) fn check_outcomes<E: Refusal>(entries: usize) -> Result<(), E> {
    if entries > OUTCOMES_ENTRIES_MAX {
        Err(E::batch("outcomes", entries, OUTCOMES_ENTRIES_MAX))
    } else {
        Ok(())
    }
}

/// A list of servers.
pub(crate) fn check_servers<E: Refusal>(frame: &'static str, entries: usize) -> Result<(), E> {
    let max = NAMES_MAX as usize;
    if entries > max {
        Err(E::batch(frame, entries, max))
    } else {
        Ok(())
    }
}

/// A number that stands for a server; `min` is 0 where it may stand for the peer at the other end.
pub(crate) fn check_alias<E: Refusal>(
    frame: &'static str,
    field: &'static str,
    alias: u32,
    min: u32,
) -> Result<(), E> {
    if (min..=NAMES_MAX).contains(&alias) {
        Ok(())
    } else {
        Err(E::range(frame, field, alias.into(), min.into(), NAMES_MAX.into()))
    }
}

/// A field of fixed length.
pub(crate) fn check_length<E: Refusal>(
    frame: &'static str,
    field: &'static str,
    len_bytes: usize,
    expected_bytes: usize,
) -> Result<(), E> {
    if len_bytes == expected_bytes {
        Ok(())
    } else {
        Err(E::length(frame, field, len_bytes, expected_bytes))
    }
}
