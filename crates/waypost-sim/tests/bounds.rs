//! Stories of what is bounded, and of what becomes of that which is more.

mod common;

use common::{acked, brokered, connect, mesh, ms, secs, up};
use waypost_router::{Completion, Refusal};
use waypost_sim::{Ticket, World};
use waypost_types::{MonoTime, Outcome};

/// `PREFIX0`, `PREFIX1`, ...
fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

#[test]
fn a_storm_of_claims_waits_its_turn_at_a_broker_through_which_messages_pass() {
    let mut world = World::new(1);
    world.settings().claims_per_second = 1000;
    let (_, ids) = brokered(&mut world, 4);
    connect(&mut world, ids[0], &["a"]);
    connect(&mut world, ids[1], &["b"]);
    assert_eq!(acked(&mut world, ids[0], "a", "b"), Outcome::Delivered);
    world.send(ids[0], "a", "b");
    world.run_for(ms(1));
    let start = world.now();
    let storm: Vec<Ticket> = names("storm", 1000)
        .iter()
        .map(|name| world.connect(ids[2], name))
        .collect();
    let mut single: Option<(Ticket, MonoTime)> = None;
    let mut single_took = None;
    while storm.iter().any(|ticket| world.done(ids[2], *ticket).is_none()) {
        world.send(ids[0], "a", "b");
        world.run_for(ms(5));
        let (ticket, asked) = *single.get_or_insert_with(|| (world.connect(ids[3], "other"), world.now()));
        if single_took.is_none() && world.done(ids[3], ticket).is_some() {
            single_took = Some(world.now().since(asked));
        }
    }
    let took = world.now().since(start);
    assert!(took >= ms(600) && took < secs(2), "{took:?} for 1000 clients");
    assert!(
        single_took.is_some_and(|took| took < ms(400)),
        "another server's client has its turn among them: {single_took:?}"
    );
    world.run_for(secs(1));
    // While no message passes nobody has to wait.
    let start = world.now();
    let storm: Vec<Ticket> = names("more", 1000)
        .iter()
        .map(|name| world.connect(ids[2], name))
        .collect();
    world.run_until(secs(9), |world| {
        storm.iter().all(|ticket| world.done(ids[2], *ticket).is_some())
    });
    let took = world.now().since(start);
    assert!(took < ms(400), "{took:?} for 1000 clients");
}

#[test]
fn messages_to_a_client_whose_claim_waits_for_its_turn_go_to_its_server() {
    let mut world = World::new(1);
    world.settings().claims_per_second = 100;
    let (_, ids) = brokered(&mut world, 3);
    connect(&mut world, ids[0], &["a"]);
    connect(&mut world, ids[1], &["moves"]);
    assert_eq!(acked(&mut world, ids[0], "a", "moves"), Outcome::Delivered);
    for name in names("first", 256) {
        world.connect(ids[2], &name);
    }
    let moves = world.connect(ids[2], "moves");
    let mut before = 0;
    while world.done(ids[2], moves).is_none() {
        let start = world.now();
        assert_eq!(acked(&mut world, ids[0], "a", "moves"), Outcome::Delivered);
        let took = world.now().since(start);
        before += 1;
        assert!(took < ms(500), "{took:?}");
    }
    assert!(before > 10, "it was moved after {before} messages");
    assert!(world.holds(ids[2], "moves").is_some() && world.holds(ids[1], "moves").is_none());
}

#[test]
fn connects_beyond_the_bound_are_refused_and_change_nothing() {
    let mut world = World::new(1);
    world.settings().connects_max = 2;
    let ids = mesh(&mut world, 1);
    let tickets: Vec<Ticket> = ["x", "y", "z"]
        .iter()
        .map(|name| world.connect(ids[0], name))
        .collect();
    let ends: Vec<Completion> = tickets.iter().map(|ticket| world.wait(ids[0], *ticket)).collect();
    assert!(
        matches!(
            ends[..],
            [
                Completion::Connected(Ok(_)),
                Completion::Connected(Ok(_)),
                Completion::Connected(Err(Refusal::Full))
            ]
        ),
        "{ends:?}"
    );
    connect(&mut world, ids[0], &["z"]);
    world.assert_store_is_true(["x", "y", "z"]);
}

#[test]
fn routes_to_clients_of_others_are_bounded_also_those_of_a_server_that_has_left() {
    let mut world = World::new(5);
    world.settings().routes_max = 10;
    let (b1, b2) = (world.broker("b1"), world.broker("b2"));
    let one = world.attached("1", &[b1, b2]);
    let (two, three) = (world.attached("2", &[b2]), world.attached("3", &[b1]));
    for id in [one, two, three] {
        up(&mut world, id);
    }
    let clients = names("x", 100);
    let clients: Vec<&str> = clients.iter().map(String::as_str).collect();
    connect(&mut world, one, &clients);
    connect(&mut world, two, &["y"]);
    for client in &clients {
        assert_eq!(acked(&mut world, two, "y", client), Outcome::Delivered);
    }
    let routes = |world: &World, id| world.router(id).unwrap().routes_len();
    assert!(routes(&world, b1) >= 100, "those of its own server are no cache");
    assert!(routes(&world, b2) <= 11, "{}", routes(&world, b2));
    // All of them are clients of another node's server now.
    world.cut(one, b1);
    world.break_links(one, b1);
    world.run_for(secs(20));
    assert_eq!(acked(&mut world, three, "z", "y"), Outcome::Delivered);
    assert!(routes(&world, b1) <= 10, "{}", routes(&world, b1));
    for client in &clients {
        assert_eq!(acked(&mut world, three, "z", client), Outcome::Delivered);
    }
    assert!(routes(&world, b1) <= 10, "{}", routes(&world, b1));
}
