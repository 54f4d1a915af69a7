//! A broker goes away and another one takes its place; the attached server comes back by itself, with its clients and
//! under the same incarnation: `cargo run -p waypost-peer --example reconnect`.

use std::error::Error;
use std::sync::Arc;

use waypost_node::Broker;
use waypost_peer::{Event, Peer};
use waypost_session::MemoryStore;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example that shows something")]
async fn main() -> Result<(), Box<dyn Error>> {
    // The store outlives the broker, as a datastore does.
    let store = Arc::new(MemoryStore::new());
    let broker = Broker::builder(store.clone())
        .listen("tcp://127.0.0.1:0")
        .start()
        .await?;
    let url = broker.listen_urls().remove(0);

    let (server, mut events) = Peer::attached(&[&url]).start().await?;
    let incarnation = server.register_identity("server-1").await?;
    server.connect_client("alice").await?;
    server.connect_client("bob").await?;

    broker.shutdown().await;
    let broker = Broker::builder(store).listen(&url).start().await?;

    while let Some(event) = events.recv().await {
        match event {
            Event::Disconnected => println!("the broker is gone"),
            Event::Reconnected => break,
            _ => {}
        }
    }
    println!("attached again; registered as incarnation {incarnation}, and nothing was registered anew");
    let outcome = server.send_acked("alice", "bob", "Still there?".into()).await?;
    println!("outcome: {outcome}");

    server.shutdown().await;
    broker.shutdown().await;
    Ok(())
}
