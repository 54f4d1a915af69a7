#![doc = include_str!("../README.md")]

#[cfg(feature = "executables")]
#[doc(hidden)]
pub mod app;
mod stores;

pub use bytes::Bytes;
pub use stores::{DATASTORE_FEATURES, store_registry};
pub use waypost_node::{Broker, BrokerBuilder};
pub use waypost_peer::{
    AckedSender, BroadcastOutcome, ClientEvents, Counters, Event, EventBatch, Events, Message, MessageRef,
    Messages, Peer, PeerBuilder, PeerError, RequestError, RequestToken, Settings, StartError, TlsFiles,
    WhenStoreIsLost,
};
pub use waypost_session::{
    ErrorKind, MemoryStore, Registry, RetryAdvice, SessionStore, StoreError, StoreUrl,
};
pub use waypost_types::{
    Address, Identity, Incarnation, Lease, LeaseState, Location, NameError, Outcome, Owner, Seq, Session,
};

/// This build's version, as in `Cargo.toml`.
#[must_use]
pub const fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The Rust code of the repository's README, so that it is compiled and run as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod repository_readme {}
