//! Redis servers of our own, one a case, with a password that must never show.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use waypost_session::{Registry, SessionStore, StoreError};
use waypost_session_testkit::servers::redis::{RedisOptions, RedisServer};
use waypost_session_testkit::{Datastore, Outage, StartError, StoreBuilder};

const PASSWORD: &str = "open-sesame";

/// Starts a `redis-server` for each case.
pub(crate) struct Fresh(pub(crate) Registry);

#[async_trait]
impl StoreBuilder for Fresh {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        let server = RedisOptions::new().password(PASSWORD).start().await?;
        Ok(Box::new(Running {
            registry: self.0.clone(),
            server,
        }))
    }
}

struct Running {
    registry: Registry,
    server: RedisServer,
}

#[async_trait]
impl Datastore for Running {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        self.registry.open(&self.server.url()).await
    }

    fn secret(&self) -> Option<&str> {
        Some(PASSWORD)
    }

    fn outage(&self) -> Option<&dyn Outage> {
        Some(self)
    }
}

#[async_trait]
impl Outage for Running {
    async fn stop(&self) -> Result<(), StartError> {
        Ok(self.server.kill()?)
    }

    async fn start(&self) -> Result<(), StartError> {
        self.server
            .start_again()
            .await
            .map_err(|error: io::Error| error.into())
    }
}
