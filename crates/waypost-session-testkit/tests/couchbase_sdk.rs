//! The stand-in Couchbase node judged by a client that is not the one under test: the official Python SDK.

use std::path::Path;

use tokio::process::Command;
use waypost_session_testkit::servers::couchbase::CouchbaseOptions;

/// Names a Python that has the SDK. `cargo xtask test` makes one.
const PYTHON_VARIABLE: &str = "WAYPOST_TEST_COUCHBASE_PYTHON";

async fn judge(options: CouchbaseOptions) {
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
    let cluster = options.collection("chat", "sessions").start().await.unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/couchbase/sdk.py");
    let scheme = if cluster.ca_file().is_some() {
        "couchbases"
    } else {
        "couchbase"
    };
    let output = Command::new(&python)
        .arg(script)
        .arg(format!("{scheme}://127.0.0.1:{}", cluster.port()))
        .args(["waypost", "server", "open-sesame", "chat", "sessions"])
        .args(cluster.ca_file())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("32 passed, 0 failed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_sdk_finds_on_the_stand_in_what_it_expects_of_a_server() {
    judge(CouchbaseOptions::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_the_same_on_three_nodes_by_tls() {
    judge(CouchbaseOptions::new().nodes(3).tls()).await;
}

/// The script is right about a server that is not ours, too.
#[tokio::test(flavor = "multi_thread")]
async fn it_finds_the_same_with_memcached_behind_the_same_front() {
    judge(CouchbaseOptions::new().documents_in_memcached()).await;
}
