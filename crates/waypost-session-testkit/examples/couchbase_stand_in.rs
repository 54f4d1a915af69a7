//! Runs the stand-in Couchbase node until it is killed, for trying things by hand, and prints its store URL. It is not
//! Couchbase, and forgets everything at its end.
//!
//! `cargo run -p waypost-session-testkit --features couchbase --example couchbase_stand_in`

use std::io::Write as _;

use waypost_session_testkit::servers::couchbase::CouchbaseOptions;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let node = CouchbaseOptions::new()
        .collection("chat", "sessions")
        .start()
        .await?;
    writeln!(std::io::stdout(), "{}", node.url())?;
    std::future::pending::<()>().await;
    Ok(())
}
