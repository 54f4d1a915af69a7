//! The session store: who holds which client, on the datastore that the user already runs.
//!
//! This crate is the trait [`SessionStore`], its errors, store URLs with their registry, and the in-memory reference
//! store. It knows no datastore.

mod clock;
mod error;
mod lease_watch;
mod store;

pub use clock::ProcessClock;
pub use error::{ErrorKind, RetryAdvice, StoreError};
pub use lease_watch::LeaseWatch;
pub use store::{
    BATCH_MAX, Capabilities, Claimed, Reclaimed, Released, Renewal, Renewed, Restored, SessionStore,
};
