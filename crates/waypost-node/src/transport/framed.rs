//! Frames over the two halves of an open link: many at once in each direction.

mod reader;
mod writer;

pub use reader::FrameReader;
pub use writer::{DEFAULT_WRITE_STALL, FrameWriter, WriteError, Written};
