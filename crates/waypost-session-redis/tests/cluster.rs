//! The suite on a Cluster of three masters, shared by the cases.

mod common;

use async_trait::async_trait;
use common::{Shared, part};
use waypost_session_testkit::servers::redis::RedisCluster;
use waypost_session_testkit::{Datastore, StartError, StoreBuilder, conformance};

static SHARED: Shared<RedisCluster> = Shared::new();

struct Builder;

#[async_trait]
impl StoreBuilder for Builder {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        part(SHARED.get(RedisCluster::start(3)).await?)
    }
}

conformance!(Builder);
