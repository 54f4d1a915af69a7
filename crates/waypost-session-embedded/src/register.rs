//! How a store URL picks this backend.

use std::path::PathBuf;
use std::sync::Arc;

use waypost_session::{ErrorKind, OpenFuture, Registry, SessionStore, StoreError, StoreUrl};

use crate::{EmbeddedOptions, EmbeddedStore};

/// The URL schemes of this backend.
pub const SCHEMES: &[&str] = &["embedded"];

/// Adds this backend to `registry`: `embedded:PATH[?map_size=BYTES&max_readers=N&sync=BOOL&timeout=DURATION]`.
///
/// PATH is the directory of the store, absolute or relative to the process's working directory; the parameters are those
/// of [`EmbeddedOptions`].
pub fn register(registry: &mut Registry) {
    registry.register(SCHEMES, open);
}

fn open(url: StoreUrl) -> OpenFuture {
    Box::pin(async move {
        let (path, options) = parse(&url)?;
        let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(path, options))
            .await
            .map_err(|error| {
                StoreError::new(ErrorKind::Unexpected, "open", "opening did not end").with_source(error)
            })?;
        opened.map(|store| Arc::new(store) as Arc<dyn SessionStore>)
    })
}

fn parse(url: &StoreUrl) -> Result<(PathBuf, EmbeddedOptions), StoreError> {
    let invalid = |message: &str| StoreError::new(ErrorKind::ConfigInvalid, "open", message);
    if !url.hosts().is_empty() || url.username().is_some() || url.password().is_some() {
        return Err(invalid(
            "an embedded store has no host: write `embedded:PATH` or `embedded:///ABSOLUTE/PATH`",
        ));
    }
    if url.path().is_empty() {
        return Err(invalid(
            "an embedded store needs a directory: write `embedded:PATH`",
        ));
    }
    let mut options = EmbeddedOptions::default();
    let mut params = url.params();
    if let Some(bytes) = params.number("map_size")? {
        options = options.map_size_bytes(bytes);
    }
    if let Some(readers) = params.number("max_readers")? {
        options = options.max_readers(readers);
    }
    if let Some(sync) = params.boolean("sync")? {
        options = options.sync(sync);
    }
    if let Some(timeout) = params.duration("timeout")? {
        options = options.timeout(timeout);
    }
    params.finish()?;
    Ok((PathBuf::from(url.path()), options))
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_url_gives_path_and_options() {
        let url = StoreUrl::parse("embedded:data/store?map_size=16777216&sync=true&max_readers=7&timeout=3s")
            .unwrap();
        let (path, options) = parse(&url).unwrap();
        assert_eq!(path, Path::new("data/store"));
        let expected = EmbeddedOptions::default()
            .map_size_bytes(16 << 20)
            .sync(true)
            .max_readers(7)
            .timeout(Duration::from_secs(3));
        assert_eq!(options, expected);
        for url in ["embedded:/var/lib/waypost", "embedded:///var/lib/waypost"] {
            let (path, options) = parse(&StoreUrl::parse(url).unwrap()).unwrap();
            assert_eq!(
                (path.as_path(), options),
                (Path::new("/var/lib/waypost"), EmbeddedOptions::default())
            );
        }
    }

    #[test]
    fn a_url_that_makes_no_sense_is_refused() {
        for url in [
            "embedded:",
            "embedded:p?sync=1",
            "embedded:p?map_size=big",
            "embedded:p?syn=true",
            "embedded://h/p",
        ] {
            let error = StoreUrl::parse(url).and_then(|url| parse(&url)).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{url}");
        }
    }

    #[tokio::test]
    async fn the_registry_opens_a_store_and_creates_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let mut registry = Registry::new();
        register(&mut registry);
        let path = dir.path().join("a/b");
        let store = registry
            .open(&format!("embedded:{}", path.display()))
            .await
            .unwrap();
        assert!(path.join("data.mdb").exists());
        store.close().await;
    }
}
