//! Starters of datastores, one file each: real ones, and stand-ins that say so. A starter's drop stops what it started.

#[cfg(feature = "couchbase")]
pub mod couchbase;
mod port;
pub mod redis;
#[cfg(feature = "riak")]
pub mod riak;
mod signal;

pub use port::ReservedPort;
pub use signal::{Signal, signal_child};
