//! The suite that every backend passes, each case in a directory of its own.

use std::sync::Arc;

use async_trait::async_trait;
use waypost_session::{SessionStore, StoreError};
use waypost_session_embedded::{EmbeddedOptions, EmbeddedStore};
use waypost_session_testkit::{Datastore, StartError, StoreBuilder, conformance};

struct Builder;

struct Directory(tempfile::TempDir);

#[async_trait]
impl StoreBuilder for Builder {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        Ok(Box::new(Directory(tempfile::tempdir()?)))
    }
}

#[async_trait]
impl Datastore for Directory {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        Ok(Arc::new(EmbeddedStore::open(
            self.0.path(),
            EmbeddedOptions::default(),
        )?))
    }
}

conformance!(Builder);
