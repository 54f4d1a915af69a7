#![doc = include_str!("../README.md")]

mod clock;
mod error;
mod lease_watch;
mod memory;
mod registry;
mod secret;
mod store;
mod url;

pub use clock::ProcessClock;
pub use error::{ErrorKind, RetryAdvice, StoreError};
pub use lease_watch::LeaseWatch;
pub use memory::{MemoryState, MemoryStore};
pub use registry::{Factory, OpenFuture, Registry};
pub use secret::Secret;
pub use store::{
    BATCH_MAX, Capabilities, Claimed, Reclaimed, Released, Renewal, Renewed, Restored, SessionStore,
    check_batch,
};
pub use url::{Host, Params, StoreUrl};
