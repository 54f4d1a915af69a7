//! The suite on one stand-in node, in the default collection.

mod common;

use common::Fresh;
use waypost_session_testkit::conformance;
use waypost_session_testkit::servers::couchbase::CouchbaseOptions;

conformance!(Fresh {
    options: CouchbaseOptions::new,
    parameters: "",
});
