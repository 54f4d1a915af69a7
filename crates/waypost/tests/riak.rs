//! The executables on the stand-in for Riak nodes: the demo in both topologies, and what they say when there is no store.

mod support;

use std::time::Duration;

use support::scenario::play;
use support::{BROKER, BROKERLESS, Process, SERVER, command, eventually};
use tokio::runtime::Runtime;
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
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("broker.sock").display());
    let ready = directory.path().join("ready");
    let mut broker = Process::spawn(
        command(BROKER)
            .args(["--listen", &socket, "--store", &nodes.stand_in.url()])
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
