//! The suite on a single server with a password, a fresh one for each case.

use std::sync::Arc;

use async_trait::async_trait;
use waypost_session::{SessionStore, StoreError};
use waypost_session_redis::RedisStore;
use waypost_session_testkit::servers::redis::{RedisOptions, RedisServer};
use waypost_session_testkit::{Datastore, Outage, StartError, StoreBuilder, conformance};

const PASSWORD: &str = "correct-horse-battery";

struct Single;

#[async_trait]
impl StoreBuilder for Single {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        Ok(Box::new(One(RedisOptions::new()
            .password(PASSWORD)
            .start()
            .await?)))
    }
}

struct One(RedisServer);

#[async_trait]
impl Datastore for One {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        Ok(Arc::new(RedisStore::connect(&self.0.url()).await?))
    }

    fn secret(&self) -> Option<&str> {
        Some(PASSWORD)
    }

    fn outage(&self) -> Option<&dyn Outage> {
        Some(self)
    }
}

#[async_trait]
impl Outage for One {
    async fn stop(&self) -> Result<(), StartError> {
        Ok(self.0.kill()?)
    }

    async fn start(&self) -> Result<(), StartError> {
        Ok(self.0.start_again().await?)
    }
}

conformance!(Single);
