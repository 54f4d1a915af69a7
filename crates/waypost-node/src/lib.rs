//! The tokio runtime of a router: listeners, dialling, TLS, store executor, drain.

mod broker;
mod driver;
mod error;
mod link;
mod node;
mod settings;
mod store;
pub mod transport;
mod turns;
mod uplink;

pub use broker::{Broker, BrokerBuilder};
pub use driver::Waiter;
pub use error::StartError;
pub use node::{Node, NodeConfig, Topology};
pub use settings::{DEFAULT_ANNOUNCE_PER_SECOND, Settings, WhenStoreIsLost};
