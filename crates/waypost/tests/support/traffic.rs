//! Servers whose clients send to each other, held to what they say of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;
use waypost_session_testkit::Rng;

use super::scenario::play;
use super::{BROKER, BROKERLESS, DEADLINE, Process, SERVER, Signal, command, eventually};

/// Servers, which clients they have, and what was sent.
pub(crate) struct Traffic {
    pub(crate) servers: Vec<Process>,
    pub(crate) home: BTreeMap<String, usize>,
    sent: usize,
    /// The bodies that were said to be delivered, and to whom.
    delivered: BTreeMap<String, String>,
    /// The bodies that arrived, and where.
    arrived: Vec<(String, String, usize)>,
}

impl Traffic {
    pub(crate) fn start(servers: Vec<Process>) -> Self {
        Self {
            servers,
            home: BTreeMap::new(),
            sent: 0,
            delivered: BTreeMap::new(),
            arrived: Vec::new(),
        }
    }

    /// Has a client connect at a server, again and again until it is there.
    pub(crate) fn connect(&mut self, client: &str, at: usize) {
        let until = Instant::now() + DEADLINE;
        let line = format!(r#"{{"op":"connect","client":"{client}"}}"#);
        self.servers[at].write(&line);
        loop {
            let event = self.next(at);
            if event["event"] == "connected" && event["client"] == client {
                break;
            }
            if event["event"] == "error" {
                assert!(Instant::now() < until, "{client} cannot connect: {event}");
                self.servers[at].write(&line);
            }
        }
        self.home.insert(client.to_owned(), at);
    }

    /// Sends with an acknowledgement; the outcome.
    pub(crate) fn send(&mut self, from: &str, to: &str) -> String {
        self.sent += 1;
        let body = format!("body-{}", self.sent);
        let at = self.home[from];
        self.servers[at].write(format!(
            r#"{{"op":"send","from":"{from}","to":"{to}","body":"{body}","ack":true,"id":"{body}"}}"#
        ));
        loop {
            let event = self.next(at);
            if event["event"] == "outcome" && event["id"] == *body {
                let outcome = event["outcome"].as_str().unwrap().to_owned();
                if outcome == "delivered" {
                    self.delivered.insert(body, to.to_owned());
                }
                return outcome;
            }
        }
    }

    /// The server's next event; messages are kept.
    fn next(&mut self, at: usize) -> Value {
        let event = self.servers[at].next();
        if event["event"] == "message" {
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            self.arrived.push((text("body"), text("to"), at));
        }
        event
    }

    /// Reads all that the servers have printed until now, and says where each believes a client to be. A server whose routes are
    /// known may not have found back to a store that was away: it is asked again.
    pub(crate) fn located(&mut self, client: &str) -> Vec<Value> {
        let (until, line) = (
            Instant::now() + DEADLINE,
            format!(r#"{{"op":"locate","client":"{client}","id":"l"}}"#),
        );
        (0..self.servers.len())
            .map(|at| {
                self.servers[at].write(&line);
                loop {
                    let event = self.next(at);
                    if event["id"] != "l" {
                        continue;
                    }
                    if event["event"] == "located" {
                        return event["identity"].clone();
                    }
                    assert_eq!(event["outcome"], "store_unavailable");
                    assert!(
                        Instant::now() < until,
                        "server {at} does not find back to the store"
                    );
                    self.servers[at].write(&line);
                }
            })
            .collect()
    }

    /// What was said to be delivered has arrived, once and at the right client; what arrived was sent.
    pub(crate) fn check(&mut self) {
        let any = self.home.keys().next().unwrap().clone();
        let until = Instant::now() + DEADLINE;
        // What is in an inbox may be printed after the answer to something else.
        while self.arrived.len() < self.delivered.len() && Instant::now() < until {
            self.located(&any);
        }
        let bodies: BTreeSet<_> = self.arrived.iter().map(|(body, ..)| body).collect();
        assert_eq!(
            bodies.len(),
            self.arrived.len(),
            "something arrived twice: {:?}",
            self.arrived
        );
        for (body, to) in &self.delivered {
            let arrived = self.arrived.iter().find(|(arrived, ..)| arrived == body);
            let (_, at, _) = arrived.unwrap_or_else(|| panic!("{body} was said to be delivered to {to}"));
            assert_eq!(at, to, "{body} went to the wrong client");
        }
    }
}

/// How a store goes away and comes back.
pub(crate) trait Comings {
    fn stop(&self);
    fn start_again(&self);
}

/// The store goes away and comes back; meanwhile messages go where their routes are known, and afterwards clients move.
pub(crate) fn messages_while_the_store_comes_and_goes(store: &impl Comings, mut traffic: Traffic) {
    let seed = Rng::fresh_seed();
    let mut rng = Rng::new(seed);
    let clients: Vec<_> = (0..12).map(|n| format!("client-{n}")).collect();
    for (n, client) in clients.iter().enumerate() {
        traffic.connect(client, n % 3);
    }
    // Every server learns every route.
    for from in &clients[..3] {
        for to in &clients {
            assert_eq!(traffic.send(from, to), "delivered", "{from} to {to}");
        }
    }
    for round in 0..4 {
        store.stop();
        let until = Instant::now() + Duration::from_millis(300 + rng.next() % 1500);
        let mut sent = 0;
        while Instant::now() < until {
            let (from, to) = (&clients[rng.below(12)], &clients[rng.below(12)]);
            let outcome = traffic.send(from, to);
            sent += 1;
            assert!(
                ["delivered", "store_unavailable"].contains(&&*outcome),
                "seed {seed}, round {round}: {from} to {to} is {outcome}"
            );
        }
        assert!(sent > 0);
        store.start_again();
        for _ in 0..4 {
            let client = &clients[rng.below(12)];
            let at = (traffic.home[client] + 1 + rng.below(2)) % 3;
            traffic.connect(client, at);
        }
        let start = Instant::now();
        for (from, to) in clients
            .iter()
            .flat_map(|from| clients.iter().map(move |to| (from, to)))
        {
            while traffic.send(from, to) != "delivered" {
                assert!(
                    start.elapsed() < DEADLINE,
                    "seed {seed}, round {round}: {from} does not reach {to}"
                );
            }
        }
        for client in &clients {
            let expected = format!("s{}", traffic.home[client]);
            for identity in traffic.located(client) {
                assert_eq!(identity, *expected, "seed {seed}, round {round}: {client}");
            }
        }
        traffic.check();
    }
}

/// Three servers of a mesh.
pub(crate) fn mesh(store: impl Fn(usize) -> String) -> Traffic {
    let servers = (0..3).map(|n| {
        let identity = format!("s{n}");
        let mut server = Process::spawn(
            command(BROKERLESS)
                .args(["--stdio", "--identity", &identity, "--lease-term", "2s"])
                .args(["--store", &store(n)]),
        );
        server.event("registered");
        server
    });
    Traffic::start(servers.collect())
}

/// A broker that is ready.
pub(crate) struct Broker {
    pub(crate) process: Process,
    pub(crate) socket: String,
    _directory: tempfile::TempDir,
}

impl Broker {
    pub(crate) fn start(store: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = format!("unix:{}", directory.path().join("broker.sock").display());
        let ready = directory.path().join("ready");
        let process = Process::spawn(
            command(BROKER)
                .args(["--listen", &socket, "--store", store])
                .args(["--ready-file".as_ref(), ready.as_os_str()]),
        );
        eventually("the broker is ready", || ready.exists().then_some(()));
        Self {
            process,
            socket,
            _directory: directory,
        }
    }

    /// Three servers attached to it.
    pub(crate) fn servers(&self) -> Traffic {
        let servers = (0..3).map(|n| {
            let identity = format!("s{n}");
            let arguments = ["--stdio", "--identity", &identity, "--broker", &self.socket];
            let mut server = Process::spawn(command(SERVER).args(arguments));
            server.event("registered");
            server
        });
        Traffic::start(servers.collect())
    }

    /// Three servers attached to it play the demo, and then it moves out.
    pub(crate) fn plays_the_demo(mut self) {
        play(3, |id| {
            Process::spawn(command(SERVER).args([&id.to_string(), "3", "--broker", &self.socket]))
        });
        self.process.signal(Signal::TERM);
        assert_eq!(self.process.wait().code(), Some(0));
    }
}
