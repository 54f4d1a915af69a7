#![doc = include_str!("../README.md")]

mod batch;
mod client;
mod door;
mod fault;
mod gates;
mod index;
mod keys;
mod lease;
mod leases;
mod log;
mod members;
mod reclaim;
mod record;
mod sdk;
mod sessions;
mod settings;
mod store;
mod view;

#[cfg(test)]
mod tests;

pub use settings::SCHEMES;
pub use store::CouchbaseStore;
