//! What the store makes of one node: failures at connecting, in flight and of data, and the client's pitfalls.

mod failures;
mod pitfalls;

use std::time::Duration;

use waypost_session::SessionStore;
use waypost_session_couchbase::CouchbaseStore;
use waypost_types::{Address, Identity, Location, Owner};

const TERM: Duration = Duration::from_secs(60);

fn address(name: &str) -> Address {
    Address::new(name).unwrap()
}

fn location() -> Location {
    Location::new("tcp://192.0.2.1:4500").unwrap()
}

async fn server(store: &CouchbaseStore, name: &str) -> Owner {
    let identity = Identity::new(name).unwrap();
    let incarnation = store.register(&identity, &location(), TERM).await.unwrap();
    Owner::new(identity, incarnation)
}
