//! The demo: a few servers whose clients greet each other, always in the same order.
//!
//! The order does not rest on anybody's clock. A server sends the next message once the one before is in its receiver's
//! inbox; it greets its neighbour's clients once the neighbour has said, in reply to a request, that its own clients
//! have greeted each other. The pauses are for the eye.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::collections::BTreeSet;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use waypost_peer::{Event, Message, Peer, RequestError};
use waypost_types::{Identity, Outcome};

use super::config::Config;
use super::leave::{Show, leave};
use super::output::Output;
use super::server::{Registered, printable};
use super::signals::Signals;

/// Between two tries of what did not work.
const RETRY_EVERY: Duration = Duration::from_millis(100);
/// Between two records that say so.
const WARN_EVERY: Duration = Duration::from_secs(5);

const READY_QUESTION: &[u8] = b"ready?";
const READY_YES: &[u8] = b"yes";
const READY_NO: &[u8] = b"not yet";

/// Messages that a server's clients send each other before the neighbour's join in.
const OWN_MESSAGES: usize = 3;

/// Which of how many servers this is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// 1 to `total`.
    pub(crate) id: u32,
    pub(crate) total: u32,
}

impl Place {
    /// The server whose clients this one's greet.
    const fn neighbour(self) -> u32 {
        self.id % self.total + 1
    }
}

/// Plays the demo, keeps the clients connected until a signal comes or stdout's reader is gone, and leaves the cluster.
/// Returns by when the program should have ended.
pub(crate) async fn run(
    server: &mut Registered,
    place: Place,
    output: &Output,
    signals: &Signals,
    config: &Config,
) -> Instant {
    let demo = Demo {
        peer: server.peer.clone(),
        identity: server.identity.clone(),
        place,
        output,
        received: watch::Sender::new(0),
        ready: Cell::new(false),
        connected: RefCell::new(BTreeSet::new()),
        start: Instant::now(),
    };
    demo.say(format!("Server registered as: {}", demo.identity)).await;
    {
        let receiving = async {
            while let Some(event) = server.events.recv().await {
                demo.receive(event).await;
            }
        };
        let playing = async {
            demo.play().await;
            core::future::pending::<()>().await;
        };
        tokio::select! {
            () = receiving => {}
            () = playing => {}
            () = signals.requested() => {}
            () = output.closed() => {}
        }
    }
    let until = Instant::now() + config.drain_deadline;
    let parting = async {
        let connected: Vec<_> = demo.connected.borrow().iter().copied().collect();
        for letter in connected {
            demo.disconnect(letter).await;
        }
    };
    let _ = tokio::time::timeout(config.drain_deadline / 2, parting).await;
    leave(&server.peer, &mut server.events, false, until, &mut &demo).await;
    until
}

impl Show for &Demo<'_> {
    async fn show(&mut self, event: Event) {
        self.receive(event).await;
    }
}

struct Demo<'a> {
    peer: Peer,
    identity: Identity,
    place: Place,
    output: &'a Output,
    /// How many messages have come.
    received: watch::Sender<usize>,
    /// Whether the neighbour's neighbour may greet this server's clients.
    ready: Cell<bool>,
    /// The letters of the clients that are connected here.
    connected: RefCell<BTreeSet<&'static str>>,
    start: Instant,
}

impl Demo<'_> {
    async fn play(&self) {
        for (after_ms, letter) in [(500, "A"), (600, "B"), (700, "C"), (800, "D")] {
            self.at(after_ms).await;
            self.connect(letter).await;
        }
        for (count, (after_ms, from, to)) in (1..).zip([(900, "D", "A"), (1000, "A", "B"), (1100, "C", "B")])
        {
            self.at(after_ms).await;
            self.greet(from, to, self.place.id).await;
            // In the inbox is not yet on the screen, and the next line must not come before this one.
            self.received_at_least(count).await;
        }
        self.received_at_least(OWN_MESSAGES).await;
        for (after_ms, letter) in [(1900, "B"), (2000, "D")] {
            self.at(after_ms).await;
            self.disconnect(letter).await;
        }
        self.ready.set(true);
        self.neighbour_is_ready().await;
        for (after_ms, from, to) in [
            (2500, "A", "A"),
            (2600, "C", "C"),
            (2700, "A", "C"),
            (2800, "C", "A"),
        ] {
            self.at(after_ms).await;
            self.greet(from, to, self.place.neighbour()).await;
        }
    }

    async fn connect(&self, letter: &'static str) {
        let client = self.client(letter);
        let mut patience = Patience::new();
        while let Err(error) = self.peer.connect_client(&client).await {
            patience
                .wait(|| tracing::warn!(%client, %error, "cannot connect the client yet"))
                .await;
        }
        self.connected.borrow_mut().insert(letter);
        self.say(format!("Client {client} connected to server {}", self.identity))
            .await;
    }

    async fn disconnect(&self, letter: &str) {
        let client = self.client(letter);
        let mut patience = Patience::new();
        while let Err(error) = self.peer.disconnect_client(&client).await {
            patience
                .wait(|| tracing::warn!(%client, %error, "cannot disconnect the client yet"))
                .await;
        }
        self.connected.borrow_mut().remove(letter);
        self.say(format!("Client {client} disconnected from {}", self.identity))
            .await;
    }

    /// Sends until the message has arrived, and never once more than that.
    async fn greet(&self, from: &str, to: &str, server: u32) {
        let body = format!("Hello from {from} to {to}!");
        let (from, to) = (self.client(from), format!("client{to}{server}"));
        let mut patience = Patience::new();
        loop {
            match self.peer.send_acked(&from, &to, body.clone().into()).await {
                Ok(Outcome::Delivered) => return,
                Ok(Outcome::Unknown) => {
                    tracing::warn!(%from, %to, "nobody knows whether the message has arrived");
                    return;
                }
                Ok(outcome) => {
                    patience
                        .wait(|| tracing::warn!(%from, %to, %outcome, "cannot deliver yet"))
                        .await;
                }
                Err(error) => {
                    patience
                        .wait(|| tracing::warn!(%from, %to, %error, "cannot send yet"))
                        .await
                }
            }
        }
    }

    /// Asks until the neighbour's clients have greeted each other.
    async fn neighbour_is_ready(&self) {
        let neighbour = self.place.neighbour();
        let (from, to) = (self.client("A"), format!("clientA{neighbour}"));
        let mut patience = Patience::new();
        loop {
            let answer = self.peer.request(&from, &to, READY_QUESTION.into()).await;
            match answer {
                Ok(body) if body == READY_YES => return,
                Ok(_) | Err(RequestError::Outcome(_)) => {
                    patience
                        .wait(|| tracing::warn!("still waits for server {neighbour} of {}", self.place.total))
                        .await;
                }
                Err(RequestError::Peer(error)) => {
                    patience
                        .wait(|| tracing::warn!(%error, "cannot ask server {neighbour} yet"))
                        .await;
                }
            }
        }
    }

    async fn receive(&self, event: Event) {
        match event {
            Event::Message(message) => self.show(&message).await,
            Event::Broadcast { from, to, body } => {
                self.say(received(from.as_str(), to.as_str(), &body)).await;
            }
            Event::Request { token, message } if message.body() == READY_QUESTION => {
                let answer = if self.ready.get() { READY_YES } else { READY_NO };
                if let Err(error) = self.peer.reply(token, answer.into()) {
                    tracing::debug!(%error, "cannot reply");
                }
            }
            Event::Displaced { client, by } => {
                tracing::warn!(%client, %by, "another server holds the client now");
            }
            Event::Fenced { superseded } => tracing::warn!(superseded, "this server is fenced"),
            Event::Registered {
                identity,
                incarnation,
            } => {
                // Anew after it was fenced: clients that nobody has claimed meanwhile go on by themselves.
                tracing::info!(%identity, %incarnation, "registered");
            }
            Event::Disconnected => tracing::warn!("the link to the broker broke; connects again"),
            other => tracing::debug!(event = ?other, "not part of the demo"),
        }
    }

    async fn show(&self, message: &Message) {
        self.say(received(message.from(), message.to(), message.body()))
            .await;
        self.received.send_modify(|count| *count += 1);
    }

    async fn received_at_least(&self, count: usize) {
        // The sender is ours and lives as long as we do.
        let _ = self
            .received
            .subscribe()
            .wait_for(|&received| received >= count)
            .await;
    }

    async fn say(&self, line: String) {
        // A reader that is gone ends the demo elsewhere.
        let _ = self.output.line(line.into_bytes()).await;
    }

    async fn at(&self, after_ms: u64) {
        sleep_until(self.start + Duration::from_millis(after_ms)).await;
    }

    fn client(&self, letter: &str) -> String {
        format!("client{letter}{}", self.place.id)
    }
}

fn received(from: &str, to: &str, body: &[u8]) -> String {
    format!(
        "Received: {} {} {}",
        printable(from),
        printable(to),
        printable(&String::from_utf8_lossy(body))
    )
}

/// Waits between tries, and says now and then that it does.
struct Patience {
    warn_at: Instant,
}

impl Patience {
    fn new() -> Self {
        Self {
            warn_at: Instant::now() + WARN_EVERY,
        }
    }

    async fn wait(&mut self, warn: impl FnOnce()) {
        if Instant::now() >= self.warn_at {
            warn();
            self.warn_at = Instant::now() + WARN_EVERY;
        }
        sleep(RETRY_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_servers_neighbour_is_the_first_and_one_alone_is_its_own() {
        let neighbour = |id, total| Place { id, total }.neighbour();
        assert_eq!(
            (neighbour(1, 3), neighbour(2, 3), neighbour(3, 3), neighbour(1, 1)),
            (2, 3, 1, 1)
        );
    }

    #[test]
    fn a_message_from_outside_stays_on_its_line() {
        assert_eq!(
            received("a", "b", b"x\nReceived: \x1b[2J"),
            "Received: a b x\\nReceived: \\u{1b}[2J"
        );
    }
}
