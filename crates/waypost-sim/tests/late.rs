//! Stories of a datastore that answers late or from the past, and of what nodes remember for too long.

mod common;

use common::{acked, connect, disconnect, fences, mesh, ms, refused_connect, secs, up};
use waypost_router::{Completion, Refusal};
use waypost_sim::{StoreMode, World};
use waypost_types::Outcome;

/// Another broker has a route to a client of a server that is not attached there, as the store once said. The server
/// gives the client up, and attaches to that broker later: the old route is not what it holds.
#[test]
fn what_a_broker_once_heard_of_a_server_is_not_what_it_holds_when_it_attaches_there() {
    let mut world = World::new(1);
    let (b1, b2) = (world.broker("b1"), world.broker("b2"));
    let one = world.attached("1", &[b1, b2]);
    let two = world.attached("2", &[b2]);
    up(&mut world, one);
    up(&mut world, two);
    connect(&mut world, one, &["x"]);
    assert_eq!(acked(&mut world, two, "y", "x"), Outcome::Delivered);
    assert!(disconnect(&mut world, one, "x"));
    // A claim of it stands of which nobody knows, and whoever sees to that releases it.
    world.store.mode = StoreMode::AnswersLost;
    assert_eq!(refused_connect(&mut world, one, "x"), Refusal::StoreUnavailable);
    world.crash(b1);
    world.store.mode = StoreMode::Up;
    world.run_for(secs(20));
    world.assert_store_is_true(["x"]);
    assert_eq!(acked(&mut world, two, "y", "x"), Outcome::NotConnected);
    // Nor is it put back when the store has lost everything.
    world.lose_all();
    world.run_for(secs(20));
    world.assert_store_is_true(["x"]);
}

/// The newer process of an identity sends something by a stale route to the older one, before that has renewed its lease.
#[test]
fn an_older_process_that_hears_from_the_newer_one_is_fenced_and_told() {
    let mut world = World::new(2);
    let ids = mesh(&mut world, 2);
    connect(&mut world, ids[0], &["x"]);
    world.run_for(secs(4));
    world.store.stale_percent = 100;
    let newer = world.mesh("1");
    up(&mut world, newer);
    let mut tickets = Vec::new();
    while world.messages(ids[0]).is_empty() {
        assert!(tickets.len() < 30, "the older one gets nothing");
        tickets.push(world.send_acked(newer, "n", "x"));
        world.run_for(ms(10));
    }
    world.store.stale_percent = 0;
    world.run_for(secs(5));
    assert_eq!(fences(&world, ids[0], true), 1);
    assert_eq!(world.holds(ids[0], "x"), None);
    for ticket in tickets {
        world.wait(newer, ticket);
    }
    assert_eq!(acked(&mut world, ids[1], "b", "x"), Outcome::NotConnected);
}

/// The store carries a registration out that was given up, and then reads the leases from before it did.
#[test]
fn a_registration_that_is_carried_out_late_fences_nobody_for_good() {
    let mut ghosts = 0;
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.store.mode = StoreMode::Stalled;
        let one = world.mesh("1");
        let given_up = world.register(one);
        world.store.mode = StoreMode::Up;
        world.store.stale_percent = 100;
        assert_eq!(
            world.wait(one, given_up),
            Completion::Registered(Err(Refusal::StoreUnavailable))
        );
        up(&mut world, one);
        world.run_for(ms(500));
        ghosts += u32::from(world.store.applied["register"] == 2);
        world.store.stale_percent = 0;
        world.run_for(secs(10));
        assert_eq!(fences(&world, one, true), 0, "seed {seed}");
        connect(&mut world, one, &["x"]);
        assert_eq!(acked(&mut world, one, "y", "x"), Outcome::Delivered);
    }
    assert!(ghosts > 3, "the store carries out some of them: {ghosts}");
}

/// The same at a broker that the server has left before: nobody there knows of it, and at the other one it looks like a
/// newer process.
#[test]
fn a_registration_that_another_broker_left_behind_fences_nobody_for_good() {
    let mut ghosts = 0;
    for seed in 0..10 {
        let mut world = World::new(seed);
        let (b1, b2) = (world.broker("b1"), world.broker("b2"));
        let one = world.attached("1", &[b1, b2]);
        world.store.mode = StoreMode::Stalled;
        let ticket = world.register(one);
        world.run_for(ms(100));
        world.crash(b1);
        world.store.mode = StoreMode::Up;
        let done = world.wait(one, ticket);
        assert!(matches!(done, Completion::Registered(Ok(_))), "{done:?}");
        world.run_for(secs(3));
        ghosts += u32::from(world.store.applied["register"] == 2);
        world.run_for(secs(20));
        assert_eq!(fences(&world, one, true), 0, "seed {seed}");
        connect(&mut world, one, &["x"]);
        assert_eq!(acked(&mut world, one, "y", "x"), Outcome::Delivered);
    }
    assert!(ghosts > 2, "the store carries out some of them: {ghosts}");
}

#[test]
fn a_newer_process_at_another_broker_fences_the_older_within_two_heartbeats() {
    let mut world = World::new(6);
    let (b1, b2) = (world.broker("b1"), world.broker("b2"));
    let one = world.attached("1", &[b1]);
    up(&mut world, one);
    // A broker that renews for others already.
    let other = world.attached("2", &[b2]);
    up(&mut world, other);
    world.run_for(secs(7));
    let newer = world.attached("1", &[b2]);
    up(&mut world, newer);
    assert!(
        world.run_until(secs(7), |world| fences(world, one, true) == 1),
        "it has not been told"
    );
}

/// A server attaches to the broker at which it has taken a client over, and reads nothing for a while: it has not said yet
/// what it holds, and the broker does not conclude that it holds nothing.
#[test]
fn what_a_server_that_has_just_attached_has_not_spoken_of_is_not_released() {
    for pause in (0..40).map(|n| ms(100 * n)) {
        let mut world = World::new(7);
        let (b1, b2) = (world.broker("b1"), world.broker("b2"));
        let one = world.attached("1", &[b1, b2]);
        let two = world.attached("2", &[b2]);
        up(&mut world, one);
        up(&mut world, two);
        connect(&mut world, two, &["x"]);
        connect(&mut world, one, &["x"]);
        world.run_for(pause);
        world.crash(b1);
        world.run_for(ms(1));
        world.set_stuck(one, true);
        world.run_for(secs(5));
        // The oracle cries out where a session is released by which a server holds its client.
        world.set_stuck(one, false);
        world.run_for(secs(5));
        assert_eq!(acked(&mut world, two, "y", "x"), Outcome::Delivered);
    }
}
