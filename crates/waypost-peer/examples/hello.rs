//! Two servers of a mesh in one process, on the in-memory session store: `cargo run -p waypost-peer --example hello`.

use std::error::Error;
use std::sync::Arc;

use waypost_peer::{Event, Peer};
use waypost_session::MemoryStore;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example that shows something")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Both servers see the same sessions. In production this is Redis, or a file that all processes of a machine share.
    let store = Arc::new(MemoryStore::new());

    let (one, _events) = Peer::mesh(store.clone())
        .listen("tcp://127.0.0.1:0")
        .start()
        .await?;
    one.register_identity("server-1").await?;
    one.connect_client("alice").await?;

    let (two, mut events) = Peer::mesh(store).listen("tcp://127.0.0.1:0").start().await?;
    two.register_identity("server-2").await?;
    two.connect_client("bob").await?;

    let outcome = one.send_acked("alice", "bob", "Hello, Bob!".into()).await?;
    println!("outcome: {outcome}");

    while let Some(event) = events.recv().await {
        if let Event::Message(message) = event {
            println!(
                "{} -> {}: {}",
                message.from(),
                message.to(),
                String::from_utf8_lossy(message.body())
            );
            break;
        }
    }
    one.shutdown().await;
    two.shutdown().await;
    Ok(())
}
