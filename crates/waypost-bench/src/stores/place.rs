//! A store that is measured, and the server under it.

use std::sync::Arc;

use anyhow::Result;
use tempfile::TempDir;
use waypost::{SessionStore, StoreUrl, store_registry};

use crate::system::start_redis;

/// An open store and what must stay alive with it.
pub(super) struct Place {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) is_stand_in: bool,
    _server: Server,
}

/// What runs for the sake of the measurement, until it is dropped.
#[expect(dead_code, reason = "held for their drop")]
enum Server {
    None,
    Dir(TempDir),
    Redis(waypost_session_testkit::servers::redis::RedisServer),
    #[cfg(feature = "riak")]
    Riak(waypost_session_testkit::servers::riak::RiakStandIn),
    #[cfg(feature = "couchbase")]
    Couchbase(waypost_session_testkit::servers::couchbase::CouchbaseCluster),
}

impl Place {
    /// The store's name in the table: its URL without a password.
    pub(super) fn shown(name: &str) -> String {
        if name.contains(':') {
            return StoreUrl::parse(name).map_or_else(|_| "the given URL".to_owned(), |url| url.to_string());
        }
        name.to_owned()
    }

    pub(super) async fn open(name: &str) -> Result<Self> {
        let (url, server) = match name {
            "memory" => ("memory:".to_owned(), Server::None),
            "embedded" => {
                let dir = TempDir::new()?;
                let url = format!("embedded:{}", dir.path().join("sessions").display());
                (url, Server::Dir(dir))
            }
            "redis" => {
                let server = start_redis().await?;
                (server.url(), Server::Redis(server))
            }
            #[cfg(feature = "riak")]
            "riak" => {
                let server = waypost_session_testkit::servers::riak::RiakOptions::new()
                    .start()
                    .await?;
                (server.url(), Server::Riak(server))
            }
            #[cfg(feature = "couchbase")]
            "couchbase" => {
                let server = waypost_session_testkit::servers::couchbase::CouchbaseOptions::new()
                    .start()
                    .await?;
                (server.url(), Server::Couchbase(server))
            }
            url => (url.to_owned(), Server::None),
        };
        Ok(Self {
            store: store_registry().open(&url).await?,
            is_stand_in: matches!(name, "riak" | "couchbase"),
            _server: server,
        })
    }
}
