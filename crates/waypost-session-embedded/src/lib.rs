#![doc = include_str!("../README.md")]

mod check;
mod codec;
mod directory;
mod environment;
mod error;
mod leases;
mod options;
mod reads;
mod register;
mod sessions;
mod store;
mod transaction;
mod writer;

#[doc(hidden)]
pub use check::Report;
pub use options::EmbeddedOptions;
pub use register::{SCHEMES, register};
pub use store::EmbeddedStore;
