//! The demo's transcript.

use super::{Process, Signal};

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

/// Has all servers play it, and holds them to every line that they receive.
pub(crate) fn play(total: u32, mut spawn: impl FnMut(u32) -> Process) {
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
        server.signal(Signal::TERM);
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
