//! A broker and two servers that are attached to it, in one process; a request and its reply:
//! `cargo run -p waypost-peer --example two_servers_by_broker`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use waypost_node::Broker;
use waypost_peer::{Event, Peer, PeerError};
use waypost_session::MemoryStore;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example that shows something")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Only the broker speaks to the datastore.
    let store = Arc::new(MemoryStore::new());
    let broker = Broker::builder(store).listen("tcp://127.0.0.1:0").start().await?;
    let url = broker.listen_urls().remove(0);

    let (one, _events) = Peer::attached(&[&url]).start().await?;
    one.register_identity("server-1").await?;
    one.connect_client("alice").await?;

    let (two, mut events) = Peer::attached(&[&url]).start().await?;
    two.register_identity("server-2").await?;
    two.connect_client("bob").await?;

    // The program of server 2 answers for its clients.
    let answering = two.clone();
    let answers = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let Event::Request { token, message } = event {
                let answer = format!(
                    "{} to you, {}!",
                    String::from_utf8_lossy(message.body()),
                    message.from()
                );
                answering.reply(token, answer.into())?;
            }
        }
        Ok::<(), PeerError>(())
    });

    let reply = one.request("alice", "bob", "Hello".into()).await?;
    println!("bob replied: {}", String::from_utf8_lossy(&reply));

    // Moving out: no acked message is lost, and the broker learns at once that the servers are gone.
    one.drain().await?;
    two.drain().await?;
    one.shutdown().await;
    two.shutdown().await;
    answers.await??;
    broker.drain(Duration::from_secs(5)).await;
    broker.shutdown().await;
    Ok(())
}
