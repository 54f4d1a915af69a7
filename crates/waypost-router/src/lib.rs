#![doc = include_str!("../README.md")]

mod assembly;
mod claim;
mod endpoint;
mod gate;
mod large;
mod map;
mod names;
mod node;
mod outbox;
mod quick;
mod settings;
mod wake;

pub use crate::assembly::Core;
pub use crate::endpoint::{BroadcastOutcome, Completion, Endpoint, Event, Refusal, RequestToken};
pub use crate::gate::Room;
pub use crate::node::{Command, Counters, LinkId, LinkKind, Router, StoreFailure, StoreOp, StoreReply};
pub use crate::outbox::Outgoing;
pub use crate::quick::Whose;
pub use crate::settings::{Settings, WhenStoreIsLost};
