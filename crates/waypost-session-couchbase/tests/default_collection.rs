//! The suite on the stand-in node, in the default collection.

mod common;

use common::Fresh;
use waypost_session_testkit::conformance;

conformance!(Fresh {
    collection: None,
    parameters: "",
});
