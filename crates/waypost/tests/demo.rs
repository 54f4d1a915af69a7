//! The demo's transcript, word for word and in order, in both topologies.

mod support;

use std::path::Path;

use support::{BROKER, BROKERLESS, Process, SERVER, command, eventually};

/// What server `id` of `total` prints that begins with `Received:`.
fn expected(id: u32, total: u32) -> Vec<String> {
    let before = (id + total - 2) % total + 1;
    [
        ("D", id, "A"),
        ("A", id, "B"),
        ("C", id, "B"),
        ("A", before, "A"),
        ("C", before, "C"),
        ("A", before, "C"),
        ("C", before, "A"),
    ]
    .iter()
    .map(|(from, server, to)| {
        format!("Received: client{from}{server} client{to}{id} Hello from {from} to {to}!")
    })
    .collect()
}

fn play(total: u32, mut spawn: impl FnMut(u32) -> Process) {
    // The last begins first: nobody may count on its neighbour being there.
    let mut servers: Vec<_> = (1..=total).rev().map(|id| (id, spawn(id))).collect();
    for (id, server) in &mut servers {
        let mut all = Vec::new();
        let mut received = Vec::new();
        while received.len() < 7 {
            let line = server
                .line()
                .unwrap_or_else(|| panic!("server {id} has ended after {all:#?}"));
            if line.starts_with("Received:") {
                received.push(line.clone());
            }
            all.push(line);
        }
        assert_eq!(received, expected(*id, total), "server {id}");
        assert_eq!(all[0], format!("Server registered as: server-{id}"));
        for line in [
            format!("Client clientA{id} connected to server server-{id}"),
            format!("Client clientB{id} disconnected from server-{id}"),
        ] {
            assert!(all.contains(&line), "{line} is not in {all:#?}");
        }
    }
    for (_, server) in &servers {
        server.signal("TERM");
    }
    for (id, server) in &mut servers {
        assert_eq!(server.wait().code(), Some(0), "server {id}");
        while let Some(line) = server.line() {
            assert!(
                !line.starts_with("Received:"),
                "server {id} received once too often: {line}"
            );
        }
    }
}

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
    broker.signal("INT");
    assert_eq!(broker.wait().code(), Some(0));
    assert!(!ready.exists(), "the ready file goes with its program");
}
