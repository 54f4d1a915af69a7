//! Where one frame ends and the next begins in a stream of bytes.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::WireError;

/// Longest form of a frame's length, in bytes.
pub const LENGTH_BYTES_MAX: usize = 5;

/// What the front of a buffer says about the frame that begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// The length itself is not complete.
    LengthIncomplete,
    /// The length is known.
    Frame {
        /// Length of the prefix in bytes.
        prefix_len: usize,
        /// Length of what follows the prefix, in bytes; not above the limit.
        frame_len: usize,
    },
}

/// Takes one whole frame, without its length, from the front of `buf`; `None` when more bytes are needed.
///
/// The frame is a slice of the buffer: nothing is copied. This function never makes `buf` larger: who fills it decides
/// how far it grows.
///
/// # Errors
/// [`WireError::TooLarge`] as soon as the length says so, and [`WireError::Length`] when the length has no end. `buf` is
/// then unchanged, and the stream has lost its place for good.
pub fn split_frame(buf: &mut BytesMut, max_bytes: usize) -> Result<Option<Bytes>, WireError> {
    match front(buf, max_bytes)? {
        Front::Frame {
            prefix_len,
            frame_len,
        } if buf.len() - prefix_len >= frame_len => {
            buf.advance(prefix_len);
            Ok(Some(buf.split_to(frame_len).freeze()))
        }
        Front::LengthIncomplete | Front::Frame { .. } => Ok(None),
    }
}

#[inline]
pub(crate) fn front(bytes: &[u8], max_bytes: usize) -> Result<Front, WireError> {
    // Nearly all lengths take two bytes, or one.
    let (prefix_len, frame_len) = match *bytes {
        [length @ ..0x80, ..] => (1, usize::from(length)),
        [low, high @ ..0x80, ..] => (2, usize::from(low & 0x7f) | usize::from(high) << 7),
        _ => return any_front(bytes, max_bytes),
    };
    if frame_len > max_bytes {
        return any_front(bytes, max_bytes);
    }
    Ok(Front::Frame {
        prefix_len,
        frame_len,
    })
}

#[inline(never)]
fn any_front(bytes: &[u8], max_bytes: usize) -> Result<Front, WireError> {
    let mut length = 0_u64;
    for (index, &byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return match usize::try_from(length) {
                Ok(frame_len) if frame_len <= max_bytes => Ok(Front::Frame {
                    prefix_len: index + 1,
                    frame_len,
                }),
                _ => Err(WireError::TooLarge {
                    frame_len_bytes: length,
                    max_bytes,
                }),
            };
        }
    }
    if bytes.len() >= LENGTH_BYTES_MAX {
        return Err(WireError::Length {
            max_bytes: LENGTH_BYTES_MAX,
        });
    }
    Ok(Front::LengthIncomplete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_two_gibibytes_is_refused_at_its_last_byte() {
        let length = [0x80, 0x80, 0x80, 0x80, 0x08];
        assert_eq!(front(&length[..4], 1 << 20).unwrap(), Front::LengthIncomplete);
        assert!(matches!(
            front(&length, 1 << 20),
            Err(WireError::TooLarge {
                frame_len_bytes: 0x8000_0000,
                max_bytes: 0x10_0000
            })
        ));
    }

    #[test]
    fn a_length_without_an_end_is_refused() {
        assert!(matches!(
            front(&[0x80; 5], 1 << 20),
            Err(WireError::Length { max_bytes: 5 })
        ));
    }

    #[test]
    fn the_limit_itself_is_accepted() {
        assert_eq!(
            front(&[0x80, 0x20], 4096).unwrap(),
            Front::Frame {
                prefix_len: 2,
                frame_len: 4096
            }
        );
        assert!(front(&[0x81, 0x20], 4096).is_err());
    }
}
