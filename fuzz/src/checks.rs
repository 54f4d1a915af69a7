//! What must hold for any bytes. The fuzz targets call these, and so does a test that replays the corpus.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Decoder as _;
use waypost_wire::{Frame, FrameCodec, Preface, decode, encode, split_frame};

/// The limit that the chunked stream is read with, in bytes.
const FRAME_BYTES_MAX: usize = 4096;

/// Any bytes are a frame or an error, and a frame that was read can be written and read again.
pub fn wire_decode(data: &[u8]) {
    let _ = Preface::decode(data);
    let Ok(frame) = decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    if frame == Frame::Unknown {
        return;
    }
    let mut out = BytesMut::new();
    encode(&frame, &mut out, usize::MAX).expect("a frame that was read can be written");
    let bare = split_frame(&mut out, usize::MAX)
        .expect("a written length can be read")
        .expect("it is whole");
    assert!(out.is_empty());
    assert_eq!(decode(bare).expect("a frame that was written can be read"), frame);
}

/// However a stream is cut into pieces, the same frames come out and the same end; the first byte says how it is cut.
pub fn codec_chunks(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let whole = read(stream, stream.len().max(1));
    let pieces = read(stream, usize::from(cut).max(1));
    assert_eq!(whole, pieces);
}

/// The frames, and how the stream ended.
fn read(stream: &[u8], piece_bytes: usize) -> (Vec<Frame>, String) {
    let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
    let (mut buf, mut frames) = (BytesMut::new(), Vec::new());
    for piece in stream.chunks(piece_bytes) {
        buf.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buf) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, error.to_string()),
            }
        }
        let bound = 2 * (FRAME_BYTES_MAX + stream.len()) + 64;
        assert!(
            buf.capacity() <= bound,
            "{} bytes of buffer for {} of stream",
            buf.capacity(),
            stream.len()
        );
    }
    let end = codec
        .decode_eof(&mut buf)
        .map_or_else(|error| error.to_string(), |_| String::new());
    (frames, end)
}
