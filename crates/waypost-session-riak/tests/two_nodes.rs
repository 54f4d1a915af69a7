//! The suite on a stand-in of two nodes, whose replicas take their time and who answer no faster than real ones with much to do; each
//! handle asks one node first, and they differ.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::Arc;

use async_trait::async_trait;
use waypost_session::{SessionStore, StoreError};
use waypost_session_riak::RiakStore;
use waypost_session_testkit::servers::riak::{RiakOptions, RiakStandIn};
use waypost_session_testkit::{Datastore, StartError, StoreBuilder, conformance};

struct TwoNodes;

#[async_trait]
impl StoreBuilder for TwoNodes {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        let options = RiakOptions::new().nodes(2).delay(Duration::from_millis(3));
        let millis = Duration::from_millis;
        let nodes = options.latency(millis(2), millis(5)).start().await?;
        Ok(Box::new(Running {
            nodes,
            handles: AtomicUsize::new(0),
        }))
    }
}

struct Running {
    nodes: RiakStandIn,
    handles: AtomicUsize,
}

#[async_trait]
impl Datastore for Running {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        let node = self.handles.fetch_add(1, Ordering::Relaxed) % 2;
        // A busy machine takes its time.
        let url = [&*self.nodes.url_of(&[node]), "?timeout=6s"].concat();
        Ok(Arc::new(RiakStore::connect(&url).await?))
    }
}

conformance!(TwoNodes);
