//! Runs the stand-in for Couchbase until it is killed, for trying things by hand, and prints its store URL. It is not
//! Couchbase, and forgets everything at its end. With the argument `tls` it serves TLS; with `caves` it answers as that mock
//! does; with `late` each answer comes 2 to 5 ms later; with a number, it has so many nodes.
//!
//! `cargo run -p waypost-session-testkit --features couchbase --example couchbase_stand_in -- [tls] [caves] [late] [NODES]`

use std::io::Write as _;
use std::time::Duration;

use waypost_session_testkit::servers::couchbase::CouchbaseOptions;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut options = CouchbaseOptions::new().collection("chat", "sessions");
    for argument in std::env::args().skip(1) {
        options = match argument.parse() {
            Ok(nodes) => options.nodes(nodes),
            Err(_) if argument == "tls" => options.tls(),
            Err(_) if argument == "caves" => options.like_caves(),
            Err(_) if argument == "late" => {
                options.with_latency(Duration::from_millis(2)..Duration::from_millis(5))
            }
            Err(_) => {
                let known = "arguments are `tls`, `caves`, `late` and a number of nodes";
                return Err(std::io::Error::other(known));
            }
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
