//! The suite on three stand-in nodes, in a named collection, with durable writes, several connections and a prefix.

mod common;

use common::Fresh;
use waypost_session_testkit::conformance;
use waypost_session_testkit::servers::couchbase::CouchbaseOptions;

conformance!(Fresh {
    options: || CouchbaseOptions::new().nodes(3).collection("chat", "sessions"),
    parameters: "scope=chat&collection=sessions&durability=persist-to-majority&connections=2&prefix=a%3A",
});
