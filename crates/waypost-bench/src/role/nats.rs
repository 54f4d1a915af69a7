//! NATS: a subject a client, through `async-nats`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use async_nats::{Client, ConnectOptions, Event, Subject};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::{BURST, Counters, IN_FLIGHT, Server, Work};
use crate::names::Names;

/// Subscriptions between two confirmations by the server.
const BATCH: usize = 10_000;

#[derive(Debug)]
pub(super) struct Nats {
    client: Client,
    counters: Arc<Counters>,
}

impl Nats {
    pub(super) async fn connect(url: &str, counters: Arc<Counters>) -> Result<Self> {
        let errors = Arc::clone(&counters);
        let client = ConnectOptions::new()
            .event_callback(move |event| {
                // A slow consumer: the client drops what its program did not take in time.
                if matches!(event, Event::SlowConsumer(_)) {
                    errors.refused.fetch_add(1, Ordering::Relaxed);
                }
                async {}
            })
            .connect(url)
            .await?;
        Ok(Self { client, counters })
    }

    async fn subscribe(&self, name: &str) -> Result<()> {
        let mut subscription = self.client.subscribe(subject(name)).await?;
        let (client, counters) = (self.client.clone(), Arc::clone(&self.counters));
        tokio::spawn(async move {
            while let Some(message) = subscription.next().await {
                counters.received.fetch_add(1, Ordering::Relaxed);
                // The sender's address comes as the subject for replies; a question has an inbox there.
                if let Some(reply) = message.reply.filter(|reply| reply.starts_with("_INBOX")) {
                    // The asking side times out and says so.
                    let _ = client.publish(reply, message.payload).await;
                }
            }
        });
        Ok(())
    }
}

fn subject(name: &str) -> Subject {
    Subject::from(name)
}

impl Server for Nats {
    async fn register(&mut self, names: &Names, from: usize, to: usize, batched: bool) -> Result<()> {
        for at in from..to {
            self.subscribe(names.get(at)).await?;
            if !batched || at % BATCH == 0 {
                confirm(&self.client).await?;
            }
        }
        confirm(&self.client).await
    }

    async fn send(&mut self, from: &str, to: &str, body: &Bytes) -> Result<bool> {
        self.client
            .publish_with_reply(subject(to), subject(from), body.clone())
            .await?;
        Ok(true)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.client.flush().await?)
    }

    async fn acked(&mut self, work: &mut Work) -> Result<bool> {
        let counters = Arc::clone(&work.counters);
        let client = &self.client;
        let mut flying = FuturesUnordered::new();
        let one = || {
            let (_, to, body) = work.next();
            client.request(subject(to), body.clone())
        };
        for _ in 0..IN_FLIGHT {
            flying.push(one());
        }
        let mut since_look = 0;
        while let Some(answer) = flying.next().await {
            let counter = match answer {
                Ok(_) => &counters.acked,
                Err(_) => &counters.refused,
            };
            counter.fetch_add(1, Ordering::Relaxed);
            counters.sent.fetch_add(1, Ordering::Relaxed);
            since_look += 1;
            if since_look < BURST || !counters.stop.load(Ordering::Relaxed) {
                since_look %= BURST;
                flying.push(one());
            }
        }
        Ok(true)
    }

    async fn request(&mut self, _from: &str, to: &str, body: &Bytes) -> Result<()> {
        self.client.request(subject(to), body.clone()).await?;
        Ok(())
    }
}

/// Returns when the server has seen all that was sent before.
async fn confirm(client: &Client) -> Result<()> {
    client.flush().await?;
    // `flush` ends when the bytes are written. The server answers an unanswered request at once, and in order.
    let _ = client.request("waypost.bench.nobody", Bytes::new()).await;
    Ok(())
}
