//! The executables on the stand-in for Couchbase: the demo in both topologies, and messages while the store comes and goes.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::scenario::play;
use support::{BROKER, BROKERLESS, DEADLINE, Process, SERVER, command, eventually};
use tokio::runtime::Runtime;
use waypost_session_testkit::Rng;
use waypost_session_testkit::servers::couchbase::{CouchbaseCluster, CouchbaseOptions};

/// A stand-in of three nodes in this process.
struct Store {
    runtime: Runtime,
    cluster: CouchbaseCluster,
}

impl Store {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let options = CouchbaseOptions::new().nodes(3).collection("chat", "sessions");
        let cluster = runtime.block_on(options.start()).unwrap();
        Self { runtime, cluster }
    }

    fn url(&self) -> String {
        format!("{}?timeout=1s", self.cluster.url())
    }

    fn stop(&self) {
        self.runtime.block_on(self.cluster.stop());
    }

    fn flush(&self) {
        self.cluster.flush();
    }

    fn start_again(&self) {
        self.runtime.block_on(self.cluster.start_again()).unwrap();
    }
}

#[test]
fn three_servers_of_a_mesh_play_the_demo_in_order() {
    let store = Store::start();
    let url = format!(
        "{}&scope=chat&collection=sessions&durability=majority",
        store.url()
    );
    play(3, |id| {
        Process::spawn(command(BROKERLESS).args([&id.to_string(), "3", "--store", &url]))
    });
}

#[test]
fn three_servers_of_a_broker_play_the_demo_in_order() {
    let store = Store::start();
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("broker.sock").display());
    let ready = directory.path().join("ready");
    let mut broker = Process::spawn(
        command(BROKER)
            .args(["--listen", &socket, "--store", &store.url()])
            .args(["--ready-file".as_ref(), ready.as_os_str()]),
    );
    eventually("the broker is ready", || ready.exists().then_some(()));
    play(3, |id| {
        Process::spawn(command(SERVER).args([&id.to_string(), "3", "--broker", &socket]))
    });
    broker.signal("TERM");
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn a_store_that_is_not_there_or_refuses_us_ends_the_executable_in_words() {
    let store = Store::start();
    let wrong = store.url().replace("open-sesame", "close-sesame");
    let (code, _, log) = support::run(BROKERLESS, &["1", "1", "--store", &wrong]);
    assert_eq!(code, Some(64), "{log}");
    assert!(
        log.contains("does not know the url's user") && !log.contains("sesame"),
        "{log}"
    );
    store.stop();
    let (code, _, log) = support::run(BROKERLESS, &["1", "1", "--store", &store.url()]);
    assert_eq!(code, Some(69), "{log}");
    assert!(
        log.contains("cannot be reached") && !log.contains("sesame"),
        "{log}"
    );
}

/// Servers, which clients they have, and what was sent.
struct Cluster {
    servers: Vec<Process>,
    home: BTreeMap<String, usize>,
    sent: usize,
    /// The bodies that were said to be delivered, and to whom.
    delivered: BTreeMap<String, String>,
    /// The bodies that arrived, and where.
    arrived: Vec<(String, String, usize)>,
}

impl Cluster {
    fn start(servers: Vec<Process>) -> Self {
        Self {
            servers,
            home: BTreeMap::new(),
            sent: 0,
            delivered: BTreeMap::new(),
            arrived: Vec::new(),
        }
    }

    /// Has a client connect at a server, again and again until it is there.
    fn connect(&mut self, client: &str, at: usize) {
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
    fn send(&mut self, from: &str, to: &str) -> String {
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

    /// Reads all that the servers have printed until now, and says where each believes a client to be.
    fn located(&mut self, client: &str) -> Vec<Value> {
        (0..self.servers.len())
            .map(|at| {
                self.servers[at].write(format!(r#"{{"op":"locate","client":"{client}","id":"l"}}"#));
                loop {
                    let event = self.next(at);
                    if event["id"] == "l" {
                        return event["identity"].clone();
                    }
                }
            })
            .collect()
    }

    /// What was said to be delivered has arrived, once and at the right client; what arrived was sent.
    fn check(&mut self) {
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

/// The store goes away and comes back; meanwhile messages go where their routes are known, and afterwards clients move.
fn messages_while_the_store_comes_and_goes(store: &Store, mut cluster: Cluster) {
    let seed = Rng::fresh_seed();
    let mut rng = Rng::new(seed);
    let clients: Vec<_> = (0..12).map(|n| format!("client-{n}")).collect();
    for (n, client) in clients.iter().enumerate() {
        cluster.connect(client, n % 3);
    }
    // Every server learns every route.
    for from in &clients[..3] {
        for to in &clients {
            assert_eq!(cluster.send(from, to), "delivered", "{from} to {to}");
        }
    }
    for round in 0..4 {
        store.stop();
        let until = Instant::now() + Duration::from_millis(300 + rng.next() % 1500);
        let mut sent = 0;
        while Instant::now() < until {
            let (from, to) = (&clients[rng.below(12)], &clients[rng.below(12)]);
            let outcome = cluster.send(from, to);
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
            let at = (cluster.home[client] + 1 + rng.below(2)) % 3;
            cluster.connect(client, at);
        }
        let start = Instant::now();
        for (from, to) in clients
            .iter()
            .flat_map(|from| clients.iter().map(move |to| (from, to)))
        {
            while cluster.send(from, to) != "delivered" {
                assert!(
                    start.elapsed() < DEADLINE,
                    "seed {seed}, round {round}: {from} does not reach {to}"
                );
            }
        }
        for client in &clients {
            let expected = format!("s{}", cluster.home[client]);
            for identity in cluster.located(client) {
                assert_eq!(identity, *expected, "seed {seed}, round {round}: {client}");
            }
        }
        cluster.check();
    }
}

/// Three servers of a mesh.
fn mesh(store: &Store) -> Cluster {
    let servers = (0..3).map(|n| {
        let identity = format!("s{n}");
        let mut server = Process::spawn(command(BROKERLESS).args([
            "--stdio",
            "--identity",
            &identity,
            "--store",
            &store.url(),
            "--lease-term",
            "2s",
        ]));
        server.event("registered");
        server
    });
    Cluster::start(servers.collect())
}

#[test]
fn a_mesh_loses_nothing_it_acknowledged_while_the_store_comes_and_goes() {
    let store = Store::start();
    messages_while_the_store_comes_and_goes(&store, mesh(&store));
}

#[test]
fn the_log_is_ours_unless_more_is_asked_for() {
    let store = Store::start();
    let mut server = Process::spawn(
        command(BROKERLESS)
            .args(["--stdio", "--identity", "s", "--store", &store.url()])
            .args(["--log-format", "json"]),
    );
    server.event("registered");
    server.close_stdin();
    assert_eq!(server.wait().code(), Some(0));
    let log = server.drain_log();
    assert!(log.contains("waypost-brokerless starts"), "{log}");
    for line in log.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let target = record["target"].as_str().unwrap();
        assert!(target.starts_with("waypost"), "{line}");
    }
}

#[test]
fn a_bucket_that_was_emptied_while_the_store_was_away_is_filled_again() {
    let store = Store::start();
    let mut cluster = mesh(&store);
    let clients: Vec<_> = (0..6).map(|n| format!("client-{n}")).collect();
    for (n, client) in clients.iter().enumerate() {
        cluster.connect(client, n % 3);
    }
    for round in 0..3 {
        store.stop();
        store.flush();
        // For shorter and longer than the lease term, with and without calls of the store under way.
        let away = Duration::from_secs(round);
        let since = Instant::now();
        while since.elapsed() < away {
            let outcome = cluster.send(&clients[0], "nobody");
            assert_eq!(outcome, "store_unavailable", "round {round}");
        }
        store.start_again();
        for server in &mut cluster.servers {
            server.logged("fenced: this incarnation is over");
        }
        let until = Instant::now() + DEADLINE;
        for client in &clients {
            let home = json!(format!("s{}", cluster.home[client]));
            while cluster.located(client).iter().any(|identity| *identity != home) {
                assert!(Instant::now() < until, "round {round}: {client} is not put back");
            }
            for from in &clients[..3] {
                while cluster.send(from, client) != "delivered" {
                    assert!(
                        Instant::now() < until,
                        "round {round}: {from} does not reach {client}"
                    );
                }
            }
        }
        cluster.check();
    }
}

#[test]
fn a_broker_loses_nothing_it_acknowledged_while_the_store_comes_and_goes() {
    let store = Store::start();
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("broker.sock").display());
    let ready = directory.path().join("ready");
    let _broker = Process::spawn(
        command(BROKER)
            .args(["--listen", &socket, "--store", &store.url()])
            .args(["--ready-file".as_ref(), ready.as_os_str()]),
    );
    eventually("the broker is ready", || ready.exists().then_some(()));
    let servers = (0..3).map(|n| {
        let identity = format!("s{n}");
        let mut server =
            Process::spawn(command(SERVER).args(["--stdio", "--identity", &identity, "--broker", &socket]));
        server.event("registered");
        server
    });
    let cluster = Cluster::start(servers.collect());
    messages_while_the_store_comes_and_goes(&store, cluster);
}
