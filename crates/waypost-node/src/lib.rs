//! The tokio runtime of a router: listeners, dialling, TLS, store executor, drain.

mod broker;
mod error;
mod settings;
pub mod transport;

pub use broker::{Broker, BrokerBuilder};
pub use error::StartError;
pub use settings::{DEFAULT_ANNOUNCE_PER_SECOND, Settings, WhenStoreIsLost};
