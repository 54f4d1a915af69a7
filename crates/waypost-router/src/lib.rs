//! Waypost's router and endpoint as pure state machines: frames and a time in, frames and commands out.
//!
//! This crate does no IO, reads no clock, draws no randomness and looks at no environment; a driver (`waypost-node`, or a
//! simulator) does all that for it. Same inputs, same outputs.

mod assembly;
mod endpoint;
mod gate;
mod map;
mod names;
mod node;
mod outbox;
mod settings;

pub use crate::assembly::Core;
pub use crate::endpoint::{BroadcastOutcome, Completion, Endpoint, Event, Refusal, RequestToken};
pub use crate::gate::Room;
pub use crate::node::{Command, Counters, LinkId, LinkKind, Router, StoreFailure, StoreOp, StoreReply};
pub use crate::settings::{Settings, WhenStoreIsLost};
