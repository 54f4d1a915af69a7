#![doc = include_str!("../README.md")]

mod age;
mod bucket;
mod decide;
mod fault;
mod hosts;
mod http;
mod journal;
mod key;
mod lease;
mod leases;
mod liveness;
#[cfg(test)]
mod model;
mod multipart;
mod names;
mod object;
mod reasons;
mod reclaim;
mod record;
mod renewals;
mod sessions;
mod settings;
mod stamp;
mod store;
mod tell;

pub use settings::SCHEMES;
pub use store::RiakStore;
