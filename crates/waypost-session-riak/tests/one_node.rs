//! The suite on a stand-in of one node behind TLS and a password, a fresh one for each case.
#![cfg(feature = "tls")]

use std::sync::Arc;

use async_trait::async_trait;
use waypost_session::{SessionStore, StoreError};
use waypost_session_riak::RiakStore;
use waypost_session_testkit::servers::riak::{RiakOptions, RiakStandIn};
use waypost_session_testkit::{Datastore, Outage, StartError, StoreBuilder, conformance};

const PASSWORD: &str = "correct-horse-battery";

struct OneNode;

#[async_trait]
impl StoreBuilder for OneNode {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        let options = RiakOptions::new().credentials("waypost", PASSWORD).tls();
        Ok(Box::new(Running(options.start().await?)))
    }
}

struct Running(RiakStandIn);

#[async_trait]
impl Datastore for Running {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        let ca_file = self.0.ca_file().unwrap_or_default();
        // A busy machine takes its time for so many handshakes.
        let url = format!("{}?timeout=6s&ca-file={}", self.0.url(), ca_file.display());
        Ok(Arc::new(RiakStore::connect(&url).await?))
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
        self.0.stop(0).await;
        Ok(())
    }

    async fn start(&self) -> Result<(), StartError> {
        Ok(self.0.start_again(0).await?)
    }
}

conformance!(OneNode);
