#![doc = include_str!("../README.md")]

mod dial;
mod evidence;
mod exec;
mod fault;
mod keys;
mod leases;
mod node;
mod reclaim;
mod reply;
mod scripts;
mod sessions;
mod settings;
mod store;
mod topology;

pub use settings::SCHEMES;
pub use store::RedisStore;
