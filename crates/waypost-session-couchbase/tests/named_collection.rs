//! The suite on the stand-in node, in a named collection, with durable writes, several connections and a prefix.

mod common;

use common::Fresh;
use waypost_session_testkit::conformance;

conformance!(Fresh {
    collection: Some(("chat", "sessions")),
    parameters: "durability=persist-to-majority&connections=2&prefix=a%3A",
});
