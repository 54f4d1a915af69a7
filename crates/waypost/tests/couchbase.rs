//! The executables on the stand-in for Couchbase: the demo in both topologies, and messages while the store comes and goes.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::scenario::play;
use support::traffic::{Broker, Comings, Traffic, mesh, messages_while_the_store_comes_and_goes};
use support::{BROKERLESS, DEADLINE, Process, command};
use tokio::runtime::Runtime;
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

    fn mesh(&self) -> Traffic {
        mesh(|_| self.url())
    }
}

impl Comings for Store {
    fn stop(&self) {
        self.runtime.block_on(self.cluster.stop());
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
    Broker::start(&store.url()).plays_the_demo();
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

#[test]
fn a_mesh_loses_nothing_it_acknowledged_while_the_store_comes_and_goes() {
    let store = Store::start();
    messages_while_the_store_comes_and_goes(&store, store.mesh());
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
    let mut traffic = store.mesh();
    let clients: Vec<_> = (0..6).map(|n| format!("client-{n}")).collect();
    for (n, client) in clients.iter().enumerate() {
        traffic.connect(client, n % 3);
    }
    for round in 0..3 {
        store.stop();
        store.cluster.flush();
        // For shorter and longer than the lease term, with and without calls of the store under way.
        let away = Duration::from_secs(round);
        let since = Instant::now();
        while since.elapsed() < away {
            let outcome = traffic.send(&clients[0], "nobody");
            assert_eq!(outcome, "store_unavailable", "round {round}");
        }
        store.start_again();
        for server in &mut traffic.servers {
            server.logged("fenced: this incarnation is over");
        }
        let until = Instant::now() + DEADLINE;
        for client in &clients {
            let home = json!(format!("s{}", traffic.home[client]));
            while traffic.located(client).iter().any(|identity| *identity != home) {
                assert!(Instant::now() < until, "round {round}: {client} is not put back");
            }
            for from in &clients[..3] {
                while traffic.send(from, client) != "delivered" {
                    assert!(
                        Instant::now() < until,
                        "round {round}: {from} does not reach {client}"
                    );
                }
            }
        }
        traffic.check();
    }
}

#[test]
fn a_broker_loses_nothing_it_acknowledged_while_the_store_comes_and_goes() {
    let store = Store::start();
    let broker = Broker::start(&store.url());
    messages_while_the_store_comes_and_goes(&store, broker.servers());
}
