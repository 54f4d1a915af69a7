#![doc = include_str!("../README.md")]

// The samples and strategies of the tests name this crate as its users do.
#[cfg(test)]
extern crate self as waypost_wire;

#[cfg(test)]
mod against_prost;
mod chunk;
#[cfg(feature = "codec")]
mod codec;
mod convert;
mod decode;
mod encode;
mod error;
mod frame;
mod framing;
mod in_order;
mod out_buf;
mod page;
mod preface;
mod short;

/// What `cargo xtask codegen` makes of `proto/`. Private: the frames of this crate are its public face.
#[allow(
    clippy::all,
    clippy::use_self,
    missing_docs,
    unreachable_pub,
    reason = "generated"
)]
mod r#gen {
    include!("gen/waypost.v1.rs");
}

pub use chunk::{Batch, CHUNK_AHEAD, CHUNK_FRAMES_MAX, Chunk, DeliveryRef, FrameRef, Item, MessageRef};
#[cfg(feature = "codec")]
pub use codec::FrameCodec;
pub use decode::decode;
pub use encode::{BODY_APART_BYTES_MIN, encode, encode_message};
pub use error::{DecodeError, EncodeError, Protobuf, WireError};
pub use frame::{
    Attached, BATCH_ENTRIES_MAX, Broadcast, CLOSE_TEXT_BYTES_MAX, Close, CloseCode, Delivery, Displaced,
    Failed, Frame, Hello, Message, NAMES_MAX, NONCE_BYTES, Numbers, OUTCOMES_ENTRIES_MAX, Outcomes,
    PROOF_BYTES, Role, SOFTWARE_BYTES_MAX, StoreUnavailable,
};
pub use framing::{LENGTH_BYTES_MAX, split_frame};
pub use out_buf::OutBuf;
pub use page::{PAGE_FRAME_BYTES_MAX, Page};
pub use preface::{Agreed, LooksLike, MAGIC, PREFACE_BYTES, Preface, PrefaceError, VERSION_MAX, VERSION_MIN};
