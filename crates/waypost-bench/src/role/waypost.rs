//! Waypost: a server of the mesh, or attached to a broker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::stream::StreamExt as _;
use waypost::{Address, Event, EventBatch, Events, Outcome, Peer, store_registry};

use super::{BURST, Counters, IN_FLIGHT, Server, Work};
use crate::names::Names;

/// Clients connected by one call, and calls at a time.
const BATCH: usize = 5000;
const CALLS: usize = 2;

#[derive(Debug, Clone)]
pub(super) struct Waypost {
    peer: Peer,
}

impl Waypost {
    /// `how` is `mesh` with the store's URL, or `attached` with the broker's.
    pub(super) async fn start(name: &str, how: &str, url: &str, counters: Arc<Counters>) -> Result<Self> {
        let builder = match how {
            "mesh" => Peer::mesh(store_registry().open(url).await?).listen("tcp://127.0.0.1:0"),
            "attached" => Peer::attached(&[url]),
            other => bail!("neither mesh nor attached: {other}"),
        };
        let (peer, events) = builder.start().await?;
        tokio::spawn(receive(peer.clone(), events, counters));
        peer.register_identity(name).await?;
        Ok(Self { peer })
    }
}

async fn receive(peer: Peer, mut events: Events, counters: Arc<Counters>) {
    while let Some(batch) = events.recv_batch().await {
        let event = match batch {
            EventBatch::Messages(mut messages) => {
                counters
                    .received
                    .fetch_add(messages.len() as u64, Ordering::Relaxed);
                while let Some(message) = messages.next() {
                    // What a program does with a message: look at it.
                    std::hint::black_box((message.from(), message.to(), message.body()));
                }
                continue;
            }
            EventBatch::Event(event) => event,
        };
        match event {
            Event::Message(message) => {
                std::hint::black_box((message.from(), message.to(), message.body()));
                counters.received.fetch_add(1, Ordering::Relaxed);
            }
            Event::Broadcast { .. } => {
                counters.received.fetch_add(1, Ordering::Relaxed);
            }
            Event::Request { token, message } => {
                counters.received.fetch_add(1, Ordering::Relaxed);
                // The asking side times out and says so.
                let _ = peer.reply(token, message.into_body());
            }
            Event::SendFailed { count, .. } => {
                counters.refused.fetch_add(count, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl Server for Waypost {
    async fn register(&mut self, names: &Names, from: usize, to: usize, batched: bool) -> Result<()> {
        if !batched {
            for at in from..to {
                self.peer.connect_client(names.get(at)).await?;
            }
            return Ok(());
        }
        // Two calls at a time: the store works on the one while the next is being made.
        let peer = &self.peer;
        let calls = (from..to).step_by(BATCH).map(|at| async move {
            let addresses = (at..to.min(at + BATCH))
                .map(|at| Address::new(names.get(at)))
                .collect::<Result<Vec<_>, _>>()?;
            for result in peer.connect_clients(&addresses).await {
                result?;
            }
            anyhow::Ok(())
        });
        let mut calls = futures_util::stream::iter(calls).buffer_unordered(CALLS);
        while let Some(result) = calls.next().await {
            result?;
        }
        Ok(())
    }

    async fn send(&mut self, from: &str, to: &str, body: &Bytes) -> Result<bool> {
        Ok(self.peer.send_message(from, to, body.clone()).await.is_ok())
    }

    async fn send_burst(&mut self, work: &Work) -> Result<u64> {
        let messages: [_; BURST] = core::array::from_fn(|_| work.next());
        Ok(self.peer.send_messages(&messages).await.len() as u64)
    }

    async fn acked(&mut self, work: &mut Work) -> Result<bool> {
        let counters = Arc::clone(&work.counters);
        let mut sender = self.peer.acked_sender(IN_FLIGHT);
        loop {
            while !sender.is_full() && !work.stops() {
                let count = IN_FLIGHT - sender.unread();
                let messages: Vec<_> = (0..count).map(|_| work.next()).collect();
                let mut rest = messages.as_slice();
                while !rest.is_empty() {
                    let sent = sender.send_many(rest).await?;
                    let sent = usize::try_from(sent.end - sent.start)?;
                    rest = rest.get(sent..).unwrap_or_default();
                    counters.sent.fetch_add(sent as u64, Ordering::Relaxed);
                }
            }
            let Some(first) = sender.next_outcome().await? else {
                break;
            };
            let mut outcome = Some(first);
            while let Some((_, come)) = outcome {
                let counter = match come {
                    Outcome::Delivered => &counters.acked,
                    _ => &counters.refused,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                outcome = sender.try_next_outcome();
            }
        }
        Ok(true)
    }

    async fn request(&mut self, from: &str, to: &str, body: &Bytes) -> Result<()> {
        self.peer
            .request(from, to, body.clone())
            .await
            .map(drop)
            .context("a request failed")
    }

    async fn broadcast(&mut self, from: &str, body: &Bytes) -> Result<Option<u64>> {
        Ok(Some(self.peer.broadcast(from, body.clone()).await?.clients))
    }

    fn second(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn store_reads(&self) -> u64 {
        self.peer
            .counters()
            .map_or(0, |counters| counters.addresses_looked_up)
    }
}
