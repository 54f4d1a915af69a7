//! Embedded stores in directories that last for one case.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use waypost_session::{SessionStore, StoreError};
use waypost_session_embedded::{EmbeddedOptions, EmbeddedStore};
use waypost_session_testkit::{Datastore, StartError, StoreBuilder};

/// Gives each case a directory of its own.
pub(crate) struct Fresh;

#[async_trait]
impl StoreBuilder for Fresh {
    async fn start(&self) -> Result<Box<dyn Datastore>, StartError> {
        let dir = tempfile::tempdir().map_err(|error| -> Box<dyn Error + Send + Sync> {
            format!("cannot create a temporary directory: {error}").into()
        })?;
        Ok(Box::new(Directory(dir)))
    }
}

struct Directory(TempDir);

#[async_trait]
impl Datastore for Directory {
    async fn open(&self) -> Result<Arc<dyn SessionStore>, StoreError> {
        Ok(Arc::new(EmbeddedStore::open(
            self.0.path(),
            EmbeddedOptions::default(),
        )?))
    }
}
