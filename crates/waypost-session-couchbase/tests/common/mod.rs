//! The stand-in node as a datastore of the suite.

use std::sync::Arc;

use async_trait::async_trait;
use waypost_session::{SessionStore, StoreError};
use waypost_session_couchbase::CouchbaseStore;
use waypost_session_testkit::servers::couchbase::{CouchbaseCluster, CouchbaseOptions};
use waypost_session_testkit::{Datastore, Outage, StartError, StoreBuilder};

const PASSWORD: &str = "correct-horse-battery";

/// Starts a stand-in for each case.
pub(crate) struct Fresh {
    pub(crate) options: fn() -> CouchbaseOptions,
    /// What the URL says besides.
    pub(crate) parameters: &'static str,
}

#[async_trait]
impl StoreBuilder for Fresh {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        let node = (self.options)().password(PASSWORD).start().await?;
        let mut url = format!("{}?{}", node.url(), self.parameters);
        if let Some(ca_file) = node.ca_file() {
            url = format!("{url}&ca-file={}", ca_file.display());
        }
        Ok(Box::new(One { node, url }))
    }
}

struct One {
    node: CouchbaseCluster,
    url: String,
}

#[async_trait]
impl Datastore for One {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        Ok(Arc::new(CouchbaseStore::connect(&self.url).await?))
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
        self.node.stop().await;
        Ok(())
    }

    async fn start(&self) -> Result<(), StartError> {
        Ok(self.node.start_again().await?)
    }
}
