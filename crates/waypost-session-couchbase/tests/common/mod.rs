//! The stand-in node as a datastore of the suite.

use std::sync::Arc;

use async_trait::async_trait;
use waypost_session::{SessionStore, StoreError};
use waypost_session_couchbase::CouchbaseStore;
use waypost_session_testkit::servers::couchbase::{CouchbaseNode, CouchbaseOptions};
use waypost_session_testkit::{Datastore, Outage, StartError, StoreBuilder};

const PASSWORD: &str = "correct-horse-battery";

/// Starts a node for each case. `collection` is a scope and a collection, or nothing for the default one.
pub(crate) struct Fresh {
    pub(crate) collection: Option<(&'static str, &'static str)>,
    pub(crate) parameters: &'static str,
}

#[async_trait]
impl StoreBuilder for Fresh {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        let mut options = CouchbaseOptions::new().password(PASSWORD);
        let mut parameters = format!("?{}", self.parameters);
        if let Some((scope, collection)) = self.collection {
            options = options.collection(scope, collection);
            parameters = format!("{parameters}&scope={scope}&collection={collection}");
        }
        let node = options.start().await?;
        let url = node.url() + &parameters;
        Ok(Box::new(One { node, url }))
    }
}

struct One {
    node: CouchbaseNode,
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
