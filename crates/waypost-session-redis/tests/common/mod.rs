//! Datastores for the suite: real servers.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use tokio::sync::Mutex;
use waypost_session::{SessionStore, StoreError};
use waypost_session_redis::RedisStore;
use waypost_session_testkit::servers::redis::{RedisCluster, RedisSentinel, RedisServer};
use waypost_session_testkit::{Datastore, StartError};

/// Servers that are shared by the cases that run at the same time, and end with the last of them.
pub(crate) struct Shared<S>(Mutex<Weak<S>>);

impl<S> Shared<S> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    pub(crate) async fn get(
        &self,
        start: impl Future<Output = std::io::Result<S>>,
    ) -> std::io::Result<Arc<S>> {
        let mut shared = self.0.lock().await;
        if let Some(servers) = shared.upgrade() {
            return Ok(servers);
        }
        let servers = Arc::new(start.await?);
        *shared = Arc::downgrade(&servers);
        Ok(servers)
    }
}

/// Something with a store URL.
pub(crate) trait HasUrl: Send + Sync {
    fn store_url(&self) -> String;
}

impl HasUrl for RedisServer {
    fn store_url(&self) -> String {
        self.url()
    }
}

impl HasUrl for RedisCluster {
    fn store_url(&self) -> String {
        self.url()
    }
}

impl HasUrl for RedisSentinel {
    fn store_url(&self) -> String {
        self.url()
    }
}

/// One case's part of shared servers.
struct Part<S>(Arc<S>);

#[async_trait]
impl<S: HasUrl> Datastore for Part<S> {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        Ok(Arc::new(RedisStore::connect(&self.0.store_url()).await?))
    }
}

/// One case's part of shared servers.
pub(crate) fn part<S: HasUrl + 'static>(servers: Arc<S>) -> Result<Box<dyn Datastore>, StartError> {
    Ok(Box::new(Part(servers)))
}
