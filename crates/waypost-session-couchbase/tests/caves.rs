//! The suite on two stand-in nodes that answer as CAVES, Couchbase's own mock, does, some milliseconds late and in any order.

mod common;

use std::time::Duration;

use common::Fresh;
use waypost_session_testkit::conformance;
use waypost_session_testkit::servers::couchbase::CouchbaseOptions;

conformance!(Fresh {
    options: || {
        let latency = Duration::from_millis(2)..Duration::from_millis(5);
        CouchbaseOptions::new().like_caves().with_latency(latency)
    },
    parameters: "",
});
