//! Runs the stand-in for Couchbase until it is killed, for trying things by hand, and prints its store URL. It is not
//! Couchbase, and forgets everything at its end. With the argument `tls` it serves TLS; with a number, so many nodes.
//!
//! `cargo run -p waypost-session-testkit --features couchbase --example couchbase_stand_in -- [tls] [NODES]`

use std::io::Write as _;

use waypost_session_testkit::servers::couchbase::CouchbaseOptions;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut options = CouchbaseOptions::new().collection("chat", "sessions");
    for argument in std::env::args().skip(1) {
        options = match argument.parse() {
            Ok(nodes) => options.nodes(nodes),
            Err(_) if argument == "tls" => options.tls(),
            Err(_) => return Err(std::io::Error::other("arguments are `tls` and a number of nodes")),
        };
    }
    let cluster = options.start().await?;
    let mut url = cluster.url();
    if let Some(ca_file) = cluster.ca_file() {
        url = format!("{url}?ca-file={}", ca_file.display());
    }
    writeln!(std::io::stdout(), "{url}")?;
    std::future::pending::<()>().await;
    Ok(())
}
