//! Stories of servers that are nodes themselves.

mod common;

use common::{
    acked, broadcast, connect, disconnect, locate, mesh, ms, outcome, refused_connect, secs, up,
    was_displaced,
};
use waypost_router::{Completion, Event, Refusal};
use waypost_sim::{StoreMode, World};
use waypost_types::Outcome;

#[test]
fn a_message_to_a_client_of_any_server_is_delivered() {
    let mut world = World::new(1);
    let ids = mesh(&mut world, 3);
    connect(&mut world, ids[0], &["a", "a2"]);
    connect(&mut world, ids[1], &["b"]);
    assert_eq!(acked(&mut world, ids[0], "a", "b"), Outcome::Delivered);
    assert_eq!(acked(&mut world, ids[0], "a", "a2"), Outcome::Delivered);
    assert_eq!(acked(&mut world, ids[2], "nobody", "a"), Outcome::Delivered);
    let ticket = world.send(ids[1], "b", "a");
    world.run_for(ms(100));
    assert!(world.oracle().was_delivered(ticket));
    assert_eq!(acked(&mut world, ids[0], "a", "nobody"), Outcome::NotConnected);
}

#[test]
fn a_send_without_identity_is_refused() {
    let mut world = World::new(1);
    let id = world.mesh("1");
    assert_eq!(refused_connect(&mut world, id, "a"), Refusal::NotRegistered);
}

#[test]
fn a_request_gets_its_reply_or_its_outcome() {
    let mut world = World::new(2);
    let ids = mesh(&mut world, 2);
    connect(&mut world, ids[0], &["a"]);
    connect(&mut world, ids[1], &["b"]);
    let ticket = world.request(ids[0], "a", "b");
    assert!(matches!(world.wait(ids[0], ticket), Completion::Reply(Ok(_))));
    let ticket = world.request(ids[0], "a", "nobody");
    assert_eq!(
        world.wait(ids[0], ticket),
        Completion::Reply(Err(Outcome::NotConnected))
    );
    world.set_replies(ids[1], false);
    let ticket = world.request(ids[0], "a", "b");
    assert_eq!(
        world.wait(ids[0], ticket),
        Completion::Reply(Err(Outcome::Delivered))
    );
}

#[test]
fn a_broadcast_reaches_all_clients_but_the_sender_and_names_whom_it_did_not_reach() {
    let mut world = World::new(3);
    let ids = mesh(&mut world, 3);
    connect(&mut world, ids[0], &["a", "a2"]);
    connect(&mut world, ids[1], &["b"]);
    connect(&mut world, ids[2], &["c", "c2", "c3"]);
    let reached = broadcast(&mut world, ids[0], "a");
    assert_eq!(
        (reached.servers, reached.clients, reached.unreached),
        (3, 5, vec![])
    );
    world.crash(ids[2]);
    let reached = broadcast(&mut world, ids[0], "a");
    assert_eq!((reached.servers, reached.clients), (2, 2));
    assert_eq!(
        reached.unreached.iter().map(|i| i.as_str()).collect::<Vec<_>>(),
        ["3"]
    );
}

#[test]
fn locate_names_the_server() {
    let mut world = World::new(4);
    let ids = mesh(&mut world, 2);
    connect(&mut world, ids[1], &["b"]);
    assert_eq!(locate(&mut world, ids[0], "b"), Ok(Some("2".to_owned())));
    assert_eq!(locate(&mut world, ids[0], "nobody"), Ok(None));
    world.store.mode = StoreMode::Down;
    assert_eq!(locate(&mut world, ids[0], "b"), Err(Refusal::StoreUnavailable));
}

#[test]
fn a_late_disconnect_changes_nothing() {
    let mut world = World::new(5);
    let ids = mesh(&mut world, 3);
    connect(&mut world, ids[0], &["x"]);
    connect(&mut world, ids[1], &["x"]);
    assert!(was_displaced(&world, ids[0], "x"));
    assert!(!disconnect(&mut world, ids[0], "x"));
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
    world.assert_store_is_true(["x"]);
}

#[test]
fn a_disconnect_that_races_with_the_takeover_changes_nothing() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        let ids = mesh(&mut world, 2);
        connect(&mut world, ids[0], &["x"]);
        let taken = world.connect(ids[1], "x");
        world.run_for(core::time::Duration::from_micros(seed * 100));
        let left = world.disconnect(ids[0], "x");
        world.wait(ids[0], left);
        assert!(matches!(world.wait(ids[1], taken), Completion::Connected(Ok(_))));
        assert_eq!(acked(&mut world, ids[0], "a", "x"), Outcome::Delivered);
        world.assert_store_is_true(["x"]);
    }
}

#[test]
fn the_loser_is_told_before_the_winner_delivers() {
    let mut world = World::new(6);
    world.set_latency(ms(5), ms(20));
    let ids = mesh(&mut world, 3);
    connect(&mut world, ids[0], &["x"]);
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
    let taken = world.connect(ids[1], "x");
    while world.done(ids[1], taken).is_none() {
        world.step();
    }
    assert_eq!(world.holds(ids[0], "x"), None, "the loser stops first");
    assert!(was_displaced(&world, ids[0], "x"));
}

#[test]
fn a_loser_that_the_winner_has_never_heard_of_is_told_too() {
    let mut world = World::new(7);
    let ids = mesh(&mut world, 1);
    let late = world.mesh("late");
    up(&mut world, late);
    connect(&mut world, late, &["x"]);
    connect(&mut world, ids[0], &["x"]);
    world.run_for(ms(100));
    assert!(was_displaced(&world, late, "x"));
    world.assert_store_is_true(["x"]);
}

#[test]
fn a_loser_that_cannot_be_reached_is_told_when_it_can_be() {
    let mut world = World::new(8);
    let ids = mesh(&mut world, 2);
    connect(&mut world, ids[0], &["x"]);
    world.cut(ids[0], ids[1]);
    connect(&mut world, ids[1], &["x"]);
    world.break_links(ids[0], ids[1]);
    world.run_for(ms(500));
    assert!(!was_displaced(&world, ids[0], "x"));
    world.heal(ids[0], ids[1]);
    world.run_for(secs(15));
    assert!(was_displaced(&world, ids[0], "x"));
    world.assert_store_is_true(["x"]);
}

#[test]
fn messages_stay_in_order_while_the_client_moves_back_and_forth() {
    for seed in 0..30 {
        let mut world = World::new(seed);
        let ids = mesh(&mut world, 4);
        connect(&mut world, ids[0], &["x"]);
        let (mut acks, mut plain) = (Vec::new(), Vec::new());
        for round in 0..200 {
            if round % 20 == 0 {
                world.connect(ids[round / 20 % 2], "x");
            }
            acks.push(world.send_acked(ids[2], "c", "x"));
            plain.push(world.send(ids[3], "d", "x"));
            world.run_for(ms(1));
        }
        for ticket in acks {
            assert_eq!(
                outcome(&mut world, ids[2], ticket),
                Outcome::Delivered,
                "seed {seed} {ticket:?}"
            );
        }
        for ticket in plain {
            assert!(
                world.oracle().was_delivered(ticket),
                "seed {seed}: {ticket:?} was lost"
            );
        }
    }
}

#[test]
fn a_stale_route_costs_one_hop_and_no_message() {
    let mut world = World::new(9);
    let ids = mesh(&mut world, 3);
    connect(&mut world, ids[0], &["x"]);
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
    connect(&mut world, ids[1], &["x"]);
    let before = world.router(ids[2]).unwrap().counters();
    let plain = world.send(ids[2], "c", "x");
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
    assert!(world.oracle().was_delivered(plain));
    let bounced = world.router(ids[2]).unwrap().counters().bounced - before.bounced;
    assert!((1..=2).contains(&bounced), "{bounced}");
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
    assert_eq!(
        world.router(ids[2]).unwrap().counters().bounced - before.bounced,
        bounced,
        "the route is right now"
    );
}

#[test]
fn one_slow_inbox_does_not_hold_up_others() {
    let mut world = World::new(10);
    world.settings().inbox_bytes_max = 4000;
    let ids = mesh(&mut world, 3);
    connect(&mut world, ids[0], &["slow"]);
    connect(&mut world, ids[1], &["fast"]);
    world.set_reads(ids[0], false);
    let slow: Vec<_> = (0..50)
        .map(|_| world.submit(ids[2], "c", "slow", 500, Some(false)))
        .collect();
    let fast: Vec<_> = (0..50)
        .map(|_| world.submit(ids[2], "c", "fast", 500, Some(false)))
        .collect();
    let start = world.now();
    for ticket in fast {
        assert_eq!(outcome(&mut world, ids[2], ticket), Outcome::Delivered);
    }
    assert!(world.now().since(start) < secs(1));
    let outcomes: Vec<_> = slow
        .into_iter()
        .map(|ticket| outcome(&mut world, ids[2], ticket))
        .collect();
    assert!(outcomes.contains(&Outcome::Overloaded), "{outcomes:?}");
    world.set_reads(ids[0], true);
    world.run_for(ms(100));
    assert_eq!(acked(&mut world, ids[2], "c", "slow"), Outcome::Delivered);
}

#[test]
fn a_link_that_takes_nothing_in_overloads_only_those_who_send_over_it() {
    let mut world = World::new(11);
    world.settings().queue_bytes_max = 4000;
    let ids = mesh(&mut world, 3);
    connect(&mut world, ids[0], &["stuck"]);
    connect(&mut world, ids[1], &["fast"]);
    assert_eq!(acked(&mut world, ids[2], "c", "stuck"), Outcome::Delivered);
    world.set_stuck(ids[0], true);
    let stuck: Vec<_> = (0..50)
        .map(|_| world.submit(ids[2], "c", "stuck", 500, Some(false)))
        .collect();
    assert_eq!(acked(&mut world, ids[2], "c", "fast"), Outcome::Delivered);
    world.run_for(ms(500));
    world.set_stuck(ids[0], false);
    let outcomes: Vec<_> = stuck
        .into_iter()
        .map(|ticket| outcome(&mut world, ids[2], ticket))
        .collect();
    assert!(outcomes.contains(&Outcome::Overloaded), "{outcomes:?}");
    assert!(outcomes.contains(&Outcome::Delivered), "{outcomes:?}");
}

#[test]
fn a_broken_link_with_acked_messages_in_flight_loses_none_and_repeats_none() {
    for seed in 0..30 {
        let mut world = World::new(seed);
        world.set_latency(ms(1), ms(10));
        let ids = mesh(&mut world, 2);
        connect(&mut world, ids[0], &["x"]);
        let tickets: Vec<_> = (0..60)
            .map(|n| {
                if n % 20 == 10 {
                    world.break_links(ids[0], ids[1]);
                }
                world.run_for(ms(1));
                world.send_acked(ids[1], "c", "x")
            })
            .collect();
        for ticket in tickets {
            assert_eq!(
                outcome(&mut world, ids[1], ticket),
                Outcome::Delivered,
                "seed {seed} {ticket:?}"
            );
        }
    }
}

#[test]
fn a_drain_loses_no_acked_message_and_ends_the_lease() {
    let mut world = World::new(12);
    let ids = mesh(&mut world, 3);
    connect(&mut world, ids[0], &["a", "x"]);
    let sent: Vec<_> = (0..50).map(|_| world.send_acked(ids[0], "a", "x")).collect();
    let sent_here: Vec<_> = (0..50).map(|_| world.send_acked(ids[2], "c", "x")).collect();
    let drained = world.drain(ids[0]);
    connect(&mut world, ids[1], &["x"]);
    assert_eq!(world.wait(ids[0], drained), Completion::Drained);
    assert!(world.events(ids[0]).contains(&Event::Drained));
    for ticket in sent {
        let outcome = outcome(&mut world, ids[0], ticket);
        assert!(
            matches!(outcome, Outcome::Delivered | Outcome::NotConnected),
            "{outcome}"
        );
    }
    for ticket in sent_here {
        let outcome = outcome(&mut world, ids[2], ticket);
        assert!(
            matches!(outcome, Outcome::Delivered | Outcome::NotConnected),
            "{outcome}"
        );
    }
    assert_eq!(world.store.incarnation(world.now(), "1"), None);
    assert_eq!(acked(&mut world, ids[2], "c", "a"), Outcome::NotConnected);
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
    world.assert_store_is_true(["a", "x"]);
}

#[test]
fn sends_beyond_what_may_be_in_flight_wait_and_none_is_lost() {
    let mut world = World::new(41);
    world.settings().in_flight_max = 2;
    let ids = mesh(&mut world, 2);
    connect(&mut world, ids[0], &["x"]);
    let tickets: Vec<_> = (0..10).map(|_| world.send_acked(ids[1], "b", "x")).collect();
    for ticket in tickets {
        assert_eq!(outcome(&mut world, ids[1], ticket), Outcome::Delivered);
    }
}
