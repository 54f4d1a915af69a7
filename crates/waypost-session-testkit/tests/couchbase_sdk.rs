//! The stand-in Couchbase node judged by a client that is not the one under test: the official Python SDK.

use std::path::Path;

use tokio::process::Command;
use waypost_session_testkit::servers::couchbase::CouchbaseOptions;

/// Names a Python that has the SDK. `cargo xtask test` makes one.
const PYTHON_VARIABLE: &str = "WAYPOST_TEST_COUCHBASE_PYTHON";

#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_sdk_finds_on_the_stand_in_what_it_expects_of_a_server() {
    let python = std::env::var_os(PYTHON_VARIABLE).unwrap_or_else(|| "python3".into());
    let found = Command::new(&python)
        .args(["-c", "import couchbase"])
        .output()
        .await;
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "no Python with the Couchbase SDK: run `cargo xtask test`, which gets one, or `pip install couchbase==4.6.3` into a \
         Python and name it in {PYTHON_VARIABLE}"
    );
    let node = CouchbaseOptions::new()
        .collection("chat", "sessions")
        .start()
        .await
        .unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/couchbase/sdk.py");
    let output = Command::new(&python)
        .arg(script)
        .arg(format!("couchbase://127.0.0.1:{}", node.port()))
        .args(["waypost", "server", "open-sesame", "chat", "sessions"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("0 failed"), "{said}");
}
