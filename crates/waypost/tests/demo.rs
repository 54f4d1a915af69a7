//! The demo's transcript, word for word and in order, in both topologies.

mod support;

use std::path::Path;

use support::scenario::play;
use support::{BROKER, BROKERLESS, Process, SERVER, Signal, command, eventually};

fn mesh(store: &Path, id: u32, total: u32) -> Process {
    let store = format!("embedded:{}", store.display());
    Process::spawn(command(BROKERLESS).args([&id.to_string(), &total.to_string(), "--store", &store]))
}

#[test]
fn three_servers_of_a_mesh_play_the_demo_in_order() {
    let directory = tempfile::tempdir().unwrap();
    play(3, |id| mesh(&directory.path().join("store"), id, 3));
}

#[test]
fn one_server_alone_is_its_own_neighbour() {
    let directory = tempfile::tempdir().unwrap();
    play(1, |id| mesh(&directory.path().join("store"), id, 1));
}

#[test]
fn seven_servers_of_a_mesh_play_the_demo_in_order() {
    let directory = tempfile::tempdir().unwrap();
    play(7, |id| mesh(&directory.path().join("store"), id, 7));
}

#[test]
fn three_servers_of_a_broker_play_the_demo_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("broker.sock").display());
    let store = format!("embedded:{}", directory.path().join("store").display());
    let ready = directory.path().join("ready");
    let mut broker = Process::spawn(
        command(BROKER)
            .args(["--listen", &socket, "--store", &store])
            .args(["--ready-file".as_ref(), ready.as_os_str()]),
    );
    eventually("the broker is ready", || ready.exists().then_some(()));
    play(3, |id| {
        Process::spawn(command(SERVER).args([&id.to_string(), "3", "--broker", &socket]))
    });
    broker.signal(Signal::INT);
    assert_eq!(broker.wait().code(), Some(0));
    assert!(!ready.exists(), "the ready file goes with its program");
}
