//! The executables on the stand-in for Riak nodes: the demo in both topologies, messages while nodes come and go, and what they
//! say when there is no store.

mod support;

use std::time::{Duration, Instant};

use support::scenario::play;
use support::traffic::{Broker, Comings, mesh, messages_while_the_store_comes_and_goes};
use support::{BROKERLESS, DEADLINE, Process, command};
use tokio::runtime::Runtime;
use waypost_session_testkit::Rng;
use waypost_session_testkit::servers::riak::{RiakOptions, RiakStandIn};

/// Three nodes in this process, whose replicas take their time.
struct Nodes {
    runtime: Runtime,
    stand_in: RiakStandIn,
}

impl Nodes {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let options = RiakOptions::new().nodes(3).delay(Duration::from_millis(3));
        let stand_in = runtime.block_on(options.start()).unwrap();
        Self { runtime, stand_in }
    }

    /// The URL of one node alone: each server has its own.
    fn url_of(&self, node: u32) -> String {
        self.stand_in.url_of(&[usize::try_from(node).unwrap() % 3])
    }
}

impl Comings for Nodes {
    fn stop(&self) {
        for node in 0..3 {
            self.runtime.block_on(self.stand_in.stop(node));
        }
    }

    fn start_again(&self) {
        for node in 0..3 {
            self.runtime.block_on(self.stand_in.start_again(node)).unwrap();
        }
    }
}

#[test]
fn three_servers_of_a_mesh_each_on_its_own_node_play_the_demo_in_order() {
    let nodes = Nodes::start();
    play(3, |id| {
        let store = nodes.url_of(id);
        Process::spawn(command(BROKERLESS).args([&id.to_string(), "3", "--store", &store]))
    });
}

#[test]
fn three_servers_of_a_broker_play_the_demo_in_order() {
    let nodes = Nodes::start();
    Broker::start(&nodes.stand_in.url()).plays_the_demo();
}

#[test]
fn a_mesh_loses_nothing_it_acknowledged_while_all_nodes_come_and_go() {
    let nodes = Nodes::start();
    let url = format!("{}?timeout=1s", nodes.stand_in.url());
    messages_while_the_store_comes_and_goes(&nodes, mesh(|_| url.clone()));
}

#[test]
fn a_broker_loses_nothing_it_acknowledged_while_all_nodes_come_and_go() {
    let nodes = Nodes::start();
    let broker = Broker::start(&format!("{}?timeout=1s", nodes.stand_in.url()));
    messages_while_the_store_comes_and_goes(&nodes, broker.servers());
}

#[test]
fn messages_arrive_and_clients_move_while_one_node_after_the_other_is_away() {
    let nodes = Nodes::start();
    let mut traffic = mesh(|_| nodes.stand_in.url());
    let mut rng = Rng::new(1);
    let clients: Vec<String> = (0..9).map(|n| format!("client-{n}")).collect();
    for (n, client) in clients.iter().enumerate() {
        traffic.connect(client, n % 3);
    }
    for node in 0..3 {
        nodes.runtime.block_on(nodes.stand_in.stop(node));
        for _ in 0..6 {
            let client = &clients[rng.below(9)];
            let at = (traffic.home[client] + 1) % 3;
            traffic.connect(client, at);
            let until = Instant::now() + DEADLINE;
            for to in &clients {
                // Whoever has not heard yet that it has moved may miss it for a moment.
                while traffic.send(client, to) != "delivered" {
                    assert!(
                        Instant::now() < until,
                        "without node {node} {client} does not reach {to}"
                    );
                }
            }
        }
        traffic.check();
        nodes.runtime.block_on(nodes.stand_in.start_again(node)).unwrap();
    }
}

#[test]
fn a_store_that_is_not_there_or_unfit_ends_the_executable_in_words() {
    let nodes = Nodes::start();
    nodes.stand_in.create_type(
        "lww",
        &serde_json::json!({"last_write_wins": true, "allow_mult": false}),
    );
    let url = format!("{}?type=lww", nodes.url_of(0));
    let (code, _, log) = support::run(BROKERLESS, &["1", "1", "--store", &url]);
    assert_eq!(code, Some(64), "{log}");
    assert!(log.contains("last_write_wins"), "{log}");
    nodes.runtime.block_on(nodes.stand_in.stop(0));
    let (code, _, log) = support::run(BROKERLESS, &["1", "1", "--store", &nodes.url_of(0)]);
    assert_eq!(code, Some(69), "{log}");
    assert!(log.contains("127.0.0.1"), "{log}");
}
