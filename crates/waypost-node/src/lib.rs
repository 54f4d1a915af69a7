#![doc = include_str!("../README.md")]

mod broker;
mod client_inbox;
mod deadline;
mod driver;
mod error;
mod link;
mod link_writer;
mod node;
mod secure;
mod settings;
mod store;
pub mod transport;
mod turns;
mod uplink;
mod waiter;

pub use broker::{Broker, BrokerBuilder};
pub use client_inbox::ClientInbox;
pub use error::StartError;
pub use node::{Node, NodeConfig, Topology};
pub use secure::TlsFiles;
pub use settings::{
    DEFAULT_ANNOUNCE_PER_SECOND, DEFAULT_CLAIMS_PER_SECOND, DEFAULT_CONNECTS_MAX, Settings, WhenStoreIsLost,
};
pub use waiter::{Tickets, Waiter};
pub use waypost_router::Counters;
