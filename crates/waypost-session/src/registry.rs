//! Which backends this program has, by URL scheme.

use core::fmt;
use core::pin::Pin;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{ErrorKind, SessionStore, StoreError, StoreUrl};

/// What a [`Factory`] returns: the store, open and reachable, or why not.
pub type OpenFuture = Pin<Box<dyn Future<Output = Result<Arc<dyn SessionStore>, StoreError>> + Send>>;

/// Opens a store by its URL, whose scheme is one of those that the factory was registered for.
pub type Factory = fn(StoreUrl) -> OpenFuture;

/// The backends of one program: made in `main` and passed on, no global.
#[derive(Clone, Default)]
pub struct Registry {
    factories: BTreeMap<&'static str, Factory>,
}

impl Registry {
    /// A registry without backends.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens URLs of these schemes (in lower case) by `factory`. A scheme that was registered before is replaced.
    pub fn register(&mut self, schemes: &'static [&'static str], factory: Factory) -> &mut Self {
        for scheme in schemes {
            self.factories.insert(scheme, factory);
        }
        self
    }

    /// The registered schemes, sorted.
    pub fn schemes(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.factories.keys().copied()
    }

    /// Opens the store at `url`.
    ///
    /// # Errors
    /// `ConfigInvalid` when the URL cannot be read; `Unsupported` when this program has no backend for its scheme, with
    /// the schemes it has and the Cargo feature that would add this one; otherwise what the backend says.
    pub async fn open(&self, url: &str) -> Result<Arc<dyn SessionStore>, StoreError> {
        let url = StoreUrl::parse(url)?;
        match self.factories.get(url.scheme()) {
            Some(factory) => factory(url).await,
            None => Err(self.unsupported(url.scheme())),
        }
    }

    fn unsupported(&self, scheme: &str) -> StoreError {
        let present = if self.factories.is_empty() {
            "this build has no store at all".to_owned()
        } else {
            format!("this build has {}", self.schemes().collect::<Vec<_>>().join(", "))
        };
        let message = feature_of(scheme).map_or_else(
            || format!("no store is known by the url scheme `{scheme}`; {present}"),
            |feature| {
                format!(
                    "the url scheme `{scheme}` needs the Cargo feature `{feature}`, which this build lacks: build with \
                     `--features {feature}`; {present}"
                )
            },
        );
        StoreError::new(ErrorKind::Unsupported, "open", message)
    }
}

/// The Cargo feature of the `waypost` crate that adds a scheme.
fn feature_of(scheme: &str) -> Option<&'static str> {
    match scheme {
        "embedded" => Some("embedded"),
        "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel" | "redis+cluster" | "rediss+cluster" => {
            Some("redis")
        }
        "riak+http" | "riak+https" => Some("riak"),
        "couchbase" | "couchbases" => Some("couchbase"),
        _ => None,
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.schemes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    fn nowhere(url: StoreUrl) -> OpenFuture {
        Box::pin(async move {
            Err(StoreError::new(
                ErrorKind::Unavailable,
                "open",
                format!("nothing at {url}"),
            ))
        })
    }

    async fn failure(registry: &Registry, url: &str) -> (ErrorKind, String) {
        let error = registry.open(url).await.expect_err(url);
        (error.kind(), error.to_string())
    }

    #[tokio::test]
    async fn the_scheme_picks_the_backend() {
        let mut registry = Registry::new();
        MemoryStore::register(registry.register(&["redis", "rediss"], nowhere));
        assert_eq!(
            registry.schemes().collect::<Vec<_>>(),
            ["memory", "redis", "rediss"]
        );
        assert_eq!(format!("{registry:?}"), r#"["memory", "redis", "rediss"]"#);
        assert!(registry.open("memory:").await.is_ok());
        let (kind, message) = failure(&registry, "rediss://:hunter2@host").await;
        assert_eq!(kind, ErrorKind::Unavailable);
        assert_eq!(
            message,
            "session store: open unavailable: nothing at rediss://:***@host"
        );
    }

    #[tokio::test]
    async fn a_missing_backend_names_the_feature_that_adds_it_and_what_there_is() {
        let mut registry = Registry::new();
        registry.register(&["redis", "embedded"], nowhere);
        for (url, feature) in [
            ("riak+http://h:8098", "riak"),
            ("couchbase://u:hunter2@h/b", "couchbase"),
            ("redis+cluster://h", "redis"),
        ] {
            let (kind, message) = failure(&registry, url).await;
            assert_eq!(kind, ErrorKind::Unsupported);
            let scheme = url.split(':').next().unwrap();
            assert_eq!(
                message,
                format!(
                    "session store: open unsupported: the url scheme `{scheme}` needs the Cargo feature `{feature}`, \
                     which this build lacks: build with `--features {feature}`; this build has embedded, redis"
                )
            );
        }
    }

    #[tokio::test]
    async fn a_scheme_that_nobody_knows_gets_the_list_alone() {
        let mut registry = Registry::new();
        let (kind, message) = failure(&registry, "mysql://u:hunter2@h").await;
        assert_eq!(kind, ErrorKind::Unsupported);
        assert_eq!(
            message,
            "session store: open unsupported: no store is known by the url scheme `mysql`; this build has no store at all"
        );
        registry.register(&["redis"], nowhere);
        let (_, message) = failure(&registry, "mysql://u:hunter2@h").await;
        assert!(
            message.ends_with("no store is known by the url scheme `mysql`; this build has redis"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn a_url_that_cannot_be_read_is_invalid_configuration() {
        assert_eq!(
            failure(&Registry::new(), "hunter2").await.0,
            ErrorKind::ConfigInvalid
        );
    }
}
