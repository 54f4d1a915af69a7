//! Which session stores this build has.

use waypost_session::{MemoryStore, Registry};

/// The Cargo features that each add a datastore, in alphabetical order, whether or not this build has them.
pub const DATASTORE_FEATURES: &[&str] = &["couchbase", "embedded", "redis", "riak"];

/// Every session store that is compiled in, by URL scheme. `memory:` is always there: it lives and dies with its
/// process and is for one broker alone, and for tests.
///
/// A registry is an ordinary value, and stores of one's own may be added to it.
#[must_use]
pub fn store_registry() -> Registry {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_adds_its_schemes() {
        let registry = store_registry();
        let has = |scheme: &str| registry.schemes().any(|known| known == scheme);
        assert!(has("memory"));
        assert_eq!(has("embedded"), cfg!(feature = "embedded"));
        assert_eq!(has("couchbase"), cfg!(feature = "couchbase"));
        assert_eq!(has("redis"), cfg!(feature = "redis"));
        assert_eq!(has("riak+http"), cfg!(feature = "riak"));
    }

    #[tokio::test]
    async fn a_scheme_that_this_build_lacks_is_an_error_that_names_its_feature() {
        let registry = store_registry();
        let schemes: Vec<_> = registry.schemes().collect();
        assert_eq!(
            schemes.contains(&"riak+http"),
            cfg!(feature = "riak"),
            "{schemes:?}"
        );
        assert_eq!(
            schemes.contains(&"couchbase"),
            cfg!(feature = "couchbase"),
            "{schemes:?}"
        );
        // The message itself, whatever is compiled in, is the registry's and tested there.
        let lacking = [
            ("riak+http://h:8098/b", "riak", cfg!(feature = "riak")),
            (
                "couchbase://u:hunter2@h/b",
                "couchbase",
                cfg!(feature = "couchbase"),
            ),
        ];
        for (url, feature, _) in lacking.into_iter().filter(|(_, _, is_there)| !is_there) {
            let error = store_registry().open(url).await.expect_err(url).to_string();
            assert!(error.contains(&format!("--features {feature}")), "{error}");
            assert!(error.contains("memory"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
