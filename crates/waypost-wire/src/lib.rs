//! Waypost's frames and their codec.

mod frame;

pub use frame::{
    Attached, BATCH_ENTRIES_MAX, Broadcast, Close, CloseCode, Displaced, Failed, Frame, Hello, Message, NAMES_MAX,
    Outcomes, Role, StoreUnavailable,
};
