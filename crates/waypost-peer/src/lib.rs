#![doc = include_str!("../README.md")]

mod acked_sender;
mod builder;
mod error;
mod event;
mod peer;

pub use acked_sender::AckedSender;
pub use builder::PeerBuilder;
pub use error::{PeerError, RequestError};
pub use event::{ClientEvents, Event, EventBatch, Events, Message, MessageRef, Messages, RequestToken};
pub use peer::{BroadcastOutcome, Peer};
pub use waypost_node::{Counters, Settings, StartError, TlsFiles, WhenStoreIsLost};
