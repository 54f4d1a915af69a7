#![doc = include_str!("../README.md")]

mod age;
mod bucket;
mod fault;
mod hosts;
mod http;
mod journal;
mod key;
mod lease;
mod leases;
mod liveness;
mod multipart;
mod names;
mod object;
mod reclaim;
mod record;
mod renewals;
mod sessions;
mod settings;
mod stamp;
mod store;

pub use settings::SCHEMES;
pub use store::RiakStore;
