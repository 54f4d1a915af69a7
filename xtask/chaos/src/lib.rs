//! A black-box checker: drives real executables over `--stdio`, breaks them, and holds what they say against the
//! promises.
//!
//! [`Cluster`] starts brokers, servers and the datastore as processes; [`Oracle`] sees every line written to them and
//! every event that they print, and notes each broken promise with the lines that prove it; [`run`] mixes everything at
//! random from one seed. The scenarios are this package's tests.

mod build;
mod cluster;
mod hostile;
mod links;
mod namespaces;
mod neighbour;
mod options;
mod oracle;
mod proxy;
mod random;
mod redis;
mod report;
mod riak;
mod rolling;
mod server;
mod switchboard;
mod world;

pub use build::executable;
pub use cluster::Cluster;
pub use hostile::{Hostile, rss_kib};
pub use links::{Network, Place};
pub use neighbour::Neighbour;
pub use options::{Options, Store, Topology};
pub use oracle::{Oracle, Outcomes};
pub use proxy::{Proxy, Way};
pub use random::{Summary, run};
pub use redis::RedisServer;
pub use report::report;
pub use riak::RiakNodes;
pub use rolling::{Load, Rolled, Times, restart_everything};
pub use server::{Broker, Server, ServerId, Signal, Writer};
pub use world::{World, eventually};
