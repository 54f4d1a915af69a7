//! Peer: the handle by which a server joins a Waypost cluster, through a broker or as a node of the mesh.

mod builder;
mod error;
mod event;
mod peer;

pub use builder::PeerBuilder;
pub use error::{PeerError, RequestError};
pub use event::{Event, Events, Message, RequestToken};
pub use peer::{BroadcastOutcome, Peer};
pub use waypost_node::{Settings, StartError, WhenStoreIsLost};
