//! The suite on a single server by TLS, shared by the cases.
#![cfg(feature = "tls")]

mod common;

use async_trait::async_trait;
use common::{Shared, part};
use waypost_session_testkit::servers::redis::{RedisOptions, RedisServer};
use waypost_session_testkit::{Datastore, StartError, StoreBuilder, conformance};

static SHARED: Shared<RedisServer> = Shared::new();

struct Builder;

#[async_trait]
impl StoreBuilder for Builder {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        part(SHARED.get(RedisOptions::new().tls().start()).await?)
    }
}

conformance!(Builder);
