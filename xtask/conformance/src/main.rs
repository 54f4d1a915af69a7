//! Runs the conformance suite of the session stores against one real store.
//!
//! `WAYPOST_CONFORMANCE_STORE=memory|embedded|redis|URL waypost-conformance [FILTER]`; `cargo xtask conformance` builds
//! it with the one feature that the store needs. The exit code is 1 when a case fails or none ran.

#[cfg(feature = "embedded")]
mod embedded;
#[cfg(feature = "redis")]
mod redis;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use waypost_session::{MemoryStore, Registry};
use waypost_session_testkit::{ByUrl, MemoryBuilder, StoreBuilder, run_suite};

/// A variable and not an argument, since a URL may hold a password.
const STORE_VARIABLE: &str = "WAYPOST_CONFORMANCE_STORE";

fn main() -> Result<ExitCode> {
    let store = std::env::var(STORE_VARIABLE)
        .with_context(|| format!("{STORE_VARIABLE} names no store: memory, embedded, redis or a url"))?;
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.next().unwrap_or_default();
    if let Some(extra) = arguments.next() {
        bail!("one filter is enough; what is '{extra}'?");
    }
    let builder = builder(&store)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()?;
    let report = runtime.block_on(run_suite(&*builder, &filter));
    Ok(if report.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn builder(store: &str) -> Result<Box<dyn StoreBuilder>> {
    Ok(match store {
        "memory" => Box::new(MemoryBuilder),
        #[cfg(feature = "embedded")]
        "embedded" => Box::new(embedded::Fresh),
        #[cfg(feature = "redis")]
        "redis" => Box::new(redis::Fresh(registry())),
        url => Box::new(ByUrl::new(registry(), url)?),
    })
}

/// The backends of this build.
fn registry() -> Registry {
    let mut registry = Registry::new();
    MemoryStore::register(&mut registry);
    #[cfg(feature = "embedded")]
    waypost_session_embedded::register(&mut registry);
    #[cfg(feature = "couchbase")]
    waypost_session_couchbase::CouchbaseStore::register(&mut registry);
    #[cfg(feature = "redis")]
    waypost_session_redis::RedisStore::register(&mut registry);
    #[cfg(feature = "riak")]
    waypost_session_riak::RiakStore::register(&mut registry);
    registry
}
