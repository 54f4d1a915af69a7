//! The suite on a master that a sentinel watches, shared by the cases.

mod common;

use async_trait::async_trait;
use common::{Shared, part};
use waypost_session_testkit::servers::redis::RedisSentinel;
use waypost_session_testkit::{Datastore, StartError, StoreBuilder, conformance};

static SHARED: Shared<RedisSentinel> = Shared::new();

struct Builder;

#[async_trait]
impl StoreBuilder for Builder {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        part(SHARED.get(RedisSentinel::start(1)).await?)
    }
}

conformance!(Builder);
