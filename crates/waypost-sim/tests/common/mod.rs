//! What the stories share.
#![allow(dead_code, reason = "not every file of stories needs all of it")]

use core::time::Duration;

use waypost_router::{BroadcastOutcome, Completion, Event, Refusal};
use waypost_sim::{ProcessId, Ticket, World};
use waypost_types::Outcome;

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Mesh servers `1`, `2`, ... that have registered and know of each other.
pub(crate) fn mesh(world: &mut World, count: usize) -> Vec<ProcessId> {
    let ids: Vec<ProcessId> = (1..=count).map(|n| world.mesh(&n.to_string())).collect();
    for id in &ids {
        up(world, *id);
    }
    ids
}

/// One broker and its attached, registered servers.
pub(crate) fn brokered(world: &mut World, count: usize) -> (ProcessId, Vec<ProcessId>) {
    let broker = world.broker("b1");
    let ids: Vec<ProcessId> = (1..=count)
        .map(|n| world.attached(&n.to_string(), &[broker]))
        .collect();
    for id in &ids {
        up(world, *id);
    }
    (broker, ids)
}

/// Registers.
pub(crate) fn up(world: &mut World, id: ProcessId) {
    let ticket = world.register(id);
    let done = world.wait(id, ticket);
    assert!(matches!(done, Completion::Registered(Ok(_))), "{done:?}");
}

/// Connects clients.
pub(crate) fn connect(world: &mut World, id: ProcessId, addresses: &[&str]) {
    for address in addresses {
        let ticket = world.connect(id, address);
        let done = world.wait(id, ticket);
        assert!(
            matches!(done, Completion::Connected(Ok(_))),
            "{address}: {done:?}"
        );
    }
}

pub(crate) fn refused_connect(world: &mut World, id: ProcessId, address: &str) -> Refusal {
    let ticket = world.connect(id, address);
    match world.wait(id, ticket) {
        Completion::Connected(Err(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn disconnect(world: &mut World, id: ProcessId, address: &str) -> bool {
    let ticket = world.disconnect(id, address);
    match world.wait(id, ticket) {
        Completion::Disconnected(was) => was,
        other => panic!("{other:?}"),
    }
}

/// Sends and waits for the outcome.
pub(crate) fn acked(world: &mut World, id: ProcessId, from: &str, to: &str) -> Outcome {
    let ticket = world.send_acked(id, from, to);
    outcome(world, id, ticket)
}

pub(crate) fn outcome(world: &mut World, id: ProcessId, ticket: Ticket) -> Outcome {
    match world.wait(id, ticket) {
        Completion::Outcome(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn broadcast(world: &mut World, id: ProcessId, from: &str) -> BroadcastOutcome {
    let ticket = world.broadcast(id, from);
    match world.wait(id, ticket) {
        Completion::Broadcast(Ok(outcome)) => outcome,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn locate(world: &mut World, id: ProcessId, address: &str) -> Result<Option<String>, Refusal> {
    let ticket = world.locate(id, address);
    match world.wait(id, ticket) {
        Completion::Located(result) => result.map(|held| held.map(|identity| identity.to_string())),
        other => panic!("{other:?}"),
    }
}

/// Whether the program was told that this client is another server's now.
pub(crate) fn was_displaced(world: &World, id: ProcessId, address: &str) -> bool {
    world
        .events(id)
        .iter()
        .any(|event| matches!(event, Event::Displaced { client, .. } if client.as_str() == address))
}

/// How often the program was told that its lease is over; superseded or not.
pub(crate) fn fences(world: &World, id: ProcessId, by_newer: bool) -> usize {
    let is = |event: &&Event| matches!(event, Event::Fenced { superseded } if *superseded == by_newer);
    world.events(id).iter().filter(is).count()
}
