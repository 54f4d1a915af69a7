//! Stand-in nodes that fail in every way that real ones do, and what the store makes of it.

mod answers;
mod apart;
mod buckets;
mod faults;
mod foreign;
mod opening;
mod raw;
mod reclaim;
mod tombstones;

use core::time::Duration;

use waypost_session::SessionStore;
use waypost_session_riak::RiakStore;
use waypost_session_testkit::servers::riak::RiakStandIn;
use waypost_types::{Address, Identity, Location, Owner};

const TERM: Duration = Duration::from_secs(60);
/// Nothing that is waited for takes longer, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn server(store: &RiakStore, name: &str) -> Owner {
    let identity = Identity::new(name).unwrap();
    let incarnation = store.register(&identity, &location(), TERM).await.unwrap();
    Owner::new(identity, incarnation)
}

fn location() -> Location {
    Location::new("tcp://192.0.2.1:4500").unwrap()
}

fn address(name: &str) -> Address {
    Address::new(name).unwrap()
}

async fn open(nodes: &RiakStandIn) -> RiakStore {
    // A busy machine takes its time.
    open_with(nodes, "?timeout=6s").await
}

/// With these parameters at the end of the URL.
async fn open_with(nodes: &RiakStandIn, parameters: &str) -> RiakStore {
    RiakStore::connect(&[&*nodes.url(), parameters].concat())
        .await
        .unwrap()
}
