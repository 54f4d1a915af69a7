//! What tests of the store alone need: names, and servers that are registered.

use std::time::Duration;

use waypost_session::SessionStore as _;
use waypost_session_redis::RedisStore;
use waypost_types::{Address, Identity, Location, Owner};

const TERM: Duration = Duration::from_secs(60);

pub(crate) fn address(text: &str) -> Address {
    Address::new(text).unwrap()
}

pub(crate) fn location() -> Location {
    Location::new("tcp://127.0.0.1:1").unwrap()
}

pub(crate) async fn server(store: &RedisStore, name: &str) -> Owner {
    let identity = Identity::new(name).unwrap();
    let incarnation = store.register(&identity, &location(), TERM).await.unwrap();
    Owner::new(identity, incarnation)
}
