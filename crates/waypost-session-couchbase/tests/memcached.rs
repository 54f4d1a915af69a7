//! The suite with Debian's `memcached` behind the stand-in's front: what it answers is not ours.

mod common;

use common::Fresh;
use waypost_session_testkit::conformance;
use waypost_session_testkit::servers::couchbase::CouchbaseOptions;

conformance!(Fresh {
    options: || CouchbaseOptions::new().documents_in_memcached(),
    parameters: "",
});
