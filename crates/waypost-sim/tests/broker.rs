//! Stories of servers attached to brokers.

mod common;

use common::{
    acked, broadcast, brokered, connect, disconnect, fences, locate, mesh, ms, outcome, refused_connect,
    secs, up, was_displaced,
};
use waypost_router::{Completion, Event, Refusal};
use waypost_sim::{ProcessId, StoreMode, World};
use waypost_types::Outcome;

fn reconnections(world: &World, id: ProcessId) -> usize {
    world
        .events(id)
        .iter()
        .filter(|event| **event == Event::Reconnected)
        .count()
}

#[test]
fn everything_that_the_mesh_does_goes_through_a_broker_too() {
    let mut world = World::new(1);
    let (_, ids) = brokered(&mut world, 3);
    connect(&mut world, ids[0], &["a", "a2"]);
    connect(&mut world, ids[1], &["b"]);
    assert_eq!(acked(&mut world, ids[0], "a", "b"), Outcome::Delivered);
    assert_eq!(acked(&mut world, ids[0], "a", "a2"), Outcome::Delivered);
    assert_eq!(acked(&mut world, ids[0], "a", "nobody"), Outcome::NotConnected);
    let plain = world.send(ids[1], "b", "a");
    let ticket = world.request(ids[2], "c", "b");
    assert!(matches!(world.wait(ids[2], ticket), Completion::Reply(Ok(_))));
    assert!(world.oracle().was_delivered(plain));
    assert_eq!(locate(&mut world, ids[2], "b"), Ok(Some("2".to_owned())));
    let reached = broadcast(&mut world, ids[0], "a");
    assert_eq!(
        (reached.servers, reached.clients, reached.unreached),
        (3, 2, vec![])
    );
    connect(&mut world, ids[2], &["b"]);
    assert!(was_displaced(&world, ids[1], "b"));
    assert!(!disconnect(&mut world, ids[1], "b"));
    assert_eq!(acked(&mut world, ids[0], "a", "b"), Outcome::Delivered);
    let drained = world.drain(ids[0]);
    assert_eq!(world.wait(ids[0], drained), Completion::Drained);
    assert_eq!(acked(&mut world, ids[2], "b", "a"), Outcome::NotConnected);
    world.assert_store_is_true(["a", "a2", "b"]);
}

#[test]
fn two_brokers_forward_to_each_other_in_one_hop() {
    let mut world = World::new(2);
    let (b1, b2) = (world.broker("b1"), world.broker("b2"));
    let (one, two) = (world.attached("1", &[b1]), world.attached("2", &[b2]));
    up(&mut world, one);
    up(&mut world, two);
    connect(&mut world, one, &["x"]);
    connect(&mut world, two, &["y"]);
    assert_eq!(acked(&mut world, one, "x", "y"), Outcome::Delivered);
    let forwarded = |world: &World, id| world.router(id).unwrap().counters().forwarded;
    let before = (forwarded(&world, b1), forwarded(&world, b2));
    assert_eq!(acked(&mut world, one, "x", "y"), Outcome::Delivered);
    assert_eq!(
        (forwarded(&world, b1) - before.0, forwarded(&world, b2) - before.1),
        (1, 1)
    );
    connect(&mut world, two, &["x"]);
    assert!(was_displaced(&world, one, "x"));
    assert_eq!(acked(&mut world, one, "c", "x"), Outcome::Delivered);
    let reached = broadcast(&mut world, one, "z");
    assert_eq!(
        (reached.servers, reached.clients, reached.unreached),
        (2, 2, vec![])
    );
}

#[test]
fn mesh_servers_and_attached_ones_are_one_cluster() {
    let mut world = World::new(3);
    let nodes = mesh(&mut world, 2);
    let broker = world.broker("b1");
    let attached = world.attached("9", &[broker]);
    up(&mut world, attached);
    connect(&mut world, nodes[0], &["m"]);
    connect(&mut world, attached, &["a"]);
    assert_eq!(acked(&mut world, nodes[0], "m", "a"), Outcome::Delivered);
    assert_eq!(acked(&mut world, attached, "a", "m"), Outcome::Delivered);
    connect(&mut world, attached, &["m"]);
    assert!(was_displaced(&world, nodes[0], "m"));
    assert_eq!(acked(&mut world, nodes[1], "n", "m"), Outcome::Delivered);
    let reached = broadcast(&mut world, nodes[1], "n");
    assert_eq!(
        (reached.servers, reached.clients, reached.unreached),
        (3, 2, vec![])
    );
}

#[test]
fn a_server_whose_link_breaks_comes_back_under_the_same_incarnation() {
    for seed in 0..30 {
        let mut world = World::new(seed);
        let (broker, ids) = brokered(&mut world, 2);
        connect(&mut world, ids[0], &["x"]);
        connect(&mut world, ids[1], &["y"]);
        let before = world.store.incarnation(world.now(), "1");
        let tickets: Vec<_> = (0..60)
            .map(|n| {
                if n % 30 == 15 {
                    world.break_links(ids[0], broker);
                }
                world.run_for(ms(1));
                [
                    (ids[0], world.send_acked(ids[0], "x", "y")),
                    (ids[1], world.send_acked(ids[1], "y", "x")),
                ]
            })
            .collect();
        for (id, ticket) in tickets.into_iter().flatten() {
            assert_eq!(
                outcome(&mut world, id, ticket),
                Outcome::Delivered,
                "seed {seed} {ticket:?}"
            );
        }
        assert!(reconnections(&world, ids[0]) >= 1);
        assert_eq!(world.store.incarnation(world.now(), "1"), before);
        assert_eq!(fences(&world, ids[0], false) + fences(&world, ids[0], true), 0);
        world.assert_store_is_true(["x", "y"]);
    }
}

#[test]
fn a_broker_that_crashes_and_starts_again_has_all_its_servers_and_clients_back() {
    for (seed, away) in [(1, 0), (2, 300), (3, 3000), (4, 15000)] {
        let mut world = World::new(seed);
        let (broker, ids) = brokered(&mut world, 3);
        let names: Vec<String> = (0..100).map(|n| format!("x{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for (at, name) in names.iter().enumerate() {
            connect(&mut world, ids[at % 2], &[name]);
        }
        let asked = world.send_acked(ids[2], "c", "x5");
        world.crash(broker);
        world.run_for(ms(away));
        world.start(broker);
        world.run_for(secs(5));
        for name in &names {
            assert_eq!(
                acked(&mut world, ids[2], "c", name),
                Outcome::Delivered,
                "away {away} ms: {name}"
            );
        }
        assert!(world.done(ids[2], asked).is_some());
        world.assert_store_is_true(names);
    }
}

#[test]
fn servers_go_to_another_broker_when_theirs_is_gone() {
    let mut world = World::new(5);
    let (b1, b2) = (world.broker("b1"), world.broker("b2"));
    let one = world.attached("1", &[b1, b2]);
    let two = world.attached("2", &[b2]);
    up(&mut world, one);
    up(&mut world, two);
    connect(&mut world, one, &["x"]);
    connect(&mut world, two, &["y"]);
    assert_eq!(acked(&mut world, two, "y", "x"), Outcome::Delivered);
    let before = world.store.incarnation(world.now(), "1");
    world.crash(b1);
    let back = world.run_until(secs(5), |world| reconnections(world, one) == 1);
    assert!(back, "it comes back by the other broker");
    assert_eq!(acked(&mut world, two, "y", "x"), Outcome::Delivered);
    assert_eq!(acked(&mut world, one, "x", "y"), Outcome::Delivered);
    assert_eq!(world.store.incarnation(world.now(), "1"), before);
    world.start(b1);
    world.run_for(secs(15));
    assert_eq!(acked(&mut world, two, "y", "x"), Outcome::Delivered);
    world.assert_store_is_true(["x", "y"]);
}

#[test]
fn a_client_that_moved_while_its_server_was_away_is_lost_to_it() {
    let mut world = World::new(6);
    let (broker, ids) = brokered(&mut world, 3);
    connect(&mut world, ids[0], &["x", "stays"]);
    world.cut(ids[0], broker);
    world.break_links(ids[0], broker);
    world.run_for(ms(200));
    connect(&mut world, ids[1], &["x"]);
    world.heal(ids[0], broker);
    world.run_for(secs(12));
    assert!(was_displaced(&world, ids[0], "x"));
    assert!(!was_displaced(&world, ids[0], "stays"));
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
    assert_eq!(acked(&mut world, ids[2], "c", "stays"), Outcome::Delivered);
    world.assert_store_is_true(["x", "stays"]);
}

#[test]
fn with_the_store_down_a_broker_goes_on_and_says_what_it_cannot_do() {
    for mode in [StoreMode::Down, StoreMode::Stalled, StoreMode::AnswersLost] {
        let mut world = World::new(7);
        let (broker, ids) = brokered(&mut world, 2);
        connect(&mut world, ids[0], &["x"]);
        connect(&mut world, ids[1], &["y"]);
        world.store.mode = mode;
        assert_eq!(
            refused_connect(&mut world, ids[0], "new"),
            Refusal::StoreUnavailable
        );
        for _ in 0..80 {
            let start = world.now();
            assert_eq!(
                acked(&mut world, ids[1], "y", "x"),
                Outcome::Delivered,
                "{mode:?}"
            );
            assert!(
                world.now().since(start) < ms(100),
                "{mode:?} at {}: known routes go on",
                world.now()
            );
            world.run_for(ms(250));
        }
        world.break_links(ids[0], broker);
        world.run_for(secs(3));
        world.store.mode = StoreMode::Up;
        world.run_for(secs(20));
        assert_eq!(
            acked(&mut world, ids[1], "y", "x"),
            Outcome::Delivered,
            "{mode:?}"
        );
        assert_eq!(
            acked(&mut world, ids[0], "x", "y"),
            Outcome::Delivered,
            "{mode:?}"
        );
        world.assert_store_is_true(["x", "y", "new"]);
    }
}

/// A lease is shorter than the broker takes to learn that its store does not answer. The broker answers all the same, so that its
/// servers do not look for another one, which could not take them in.
#[test]
fn a_broker_whose_store_hangs_for_longer_than_a_lease_is_not_left() {
    let mut world = World::new(7);
    world.settings().lease_term = secs(1);
    world.settings().heartbeat = ms(333);
    let brokers = [world.broker("b1"), world.broker("b2")];
    let ids = ["1", "2"].map(|name| world.attached(name, &brokers));
    for (id, client) in ids.into_iter().zip(["x", "y"]) {
        up(&mut world, id);
        connect(&mut world, id, &[client]);
    }
    assert_eq!(acked(&mut world, ids[1], "y", "x"), Outcome::Delivered);
    world.store.mode = StoreMode::Stalled;
    for _ in 0..40 {
        assert_eq!(
            acked(&mut world, ids[1], "y", "x"),
            Outcome::Delivered,
            "at {}",
            world.now()
        );
        world.run_for(ms(250));
    }
    assert_eq!(reconnections(&world, ids[0]) + reconnections(&world, ids[1]), 0);
    world.store.mode = StoreMode::Up;
    world.run_for(secs(5));
    assert_eq!(acked(&mut world, ids[0], "x", "y"), Outcome::Delivered);
    world.assert_store_is_true(["x", "y"]);
}

#[test]
fn of_two_attached_servers_with_one_identity_the_newer_wins() {
    let mut world = World::new(8);
    let (broker, ids) = brokered(&mut world, 2);
    connect(&mut world, ids[0], &["x"]);
    let newer = world.attached("1", &[broker]);
    up(&mut world, newer);
    world.run_for(secs(5));
    assert_eq!(fences(&world, ids[0], true), 1);
    connect(&mut world, newer, &["x"]);
    world.break_links(ids[0], broker);
    world.run_for(secs(15));
    assert_eq!(fences(&world, newer, true), 0, "the older one stays out");
    assert_eq!(acked(&mut world, ids[1], "y", "x"), Outcome::Delivered);
}

#[test]
fn a_server_that_crashes_behind_its_broker_is_gone_within_the_lease() {
    let mut world = World::new(9);
    let (b1, b2) = (world.broker("b1"), world.broker("b2"));
    let one = world.attached("1", &[b1]);
    let two = world.attached("2", &[b2]);
    up(&mut world, one);
    up(&mut world, two);
    connect(&mut world, one, &["x"]);
    assert_eq!(acked(&mut world, two, "y", "x"), Outcome::Delivered);
    world.crash(one);
    let outcome = acked(&mut world, two, "y", "x");
    assert!(
        matches!(outcome, Outcome::Unreachable | Outcome::NotConnected),
        "{outcome}"
    );
    world.run_for(secs(15));
    assert_eq!(acked(&mut world, two, "y", "x"), Outcome::NotConnected);
    connect(&mut world, two, &["x"]);
    assert_eq!(acked(&mut world, two, "y", "x"), Outcome::Delivered);
}

#[test]
fn a_paused_attached_server_delivers_nothing_to_clients_that_have_moved() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        let (b1, b2) = (world.broker("b1"), world.broker("b2"));
        let one = world.attached("1", &[b1]);
        let two = world.attached("2", &[b2]);
        up(&mut world, one);
        up(&mut world, two);
        connect(&mut world, one, &["x"]);
        assert_eq!(acked(&mut world, two, "y", "x"), Outcome::Delivered);
        let got = world.messages(one).len();
        world.pause(one);
        let early = world.send_acked(two, "y", "x");
        world.run_for(secs(11 + seed % 14));
        connect(&mut world, two, &["x"]);
        let late = world.send_acked(two, "y", "x");
        world.resume(one);
        world.run_for(secs(20));
        let got: Vec<_> = world.messages(one).into_iter().skip(got).collect();
        assert_eq!(got, [], "seed {seed}: x had moved; {early:?} {late:?}");
        assert_eq!(outcome(&mut world, two, late), Outcome::Delivered, "seed {seed}");
        world.assert_store_is_true(["x"]);
    }
}

#[test]
fn a_hung_attached_server_is_dead_within_two_lease_terms_and_goes_on_anew_when_it_wakes() {
    let mut world = World::new(3);
    let (_, ids) = brokered(&mut world, 2);
    connect(&mut world, ids[0], &["x"]);
    assert_eq!(acked(&mut world, ids[1], "y", "x"), Outcome::Delivered);
    world.pause(ids[0]);
    world.run_for(secs(24));
    assert_eq!(locate(&mut world, ids[1], "x"), Ok(None));
    assert_eq!(acked(&mut world, ids[1], "y", "x"), Outcome::NotConnected);
    world.resume(ids[0]);
    world.run_for(secs(10));
    assert_eq!(fences(&world, ids[0], false), 1);
    assert_eq!(acked(&mut world, ids[1], "y", "x"), Outcome::Delivered);
    world.assert_store_is_true(["x"]);
}

/// The numbers of the best-effort messages that the program was told have failed.
fn failed_sends(world: &World, id: ProcessId) -> u64 {
    let count = |event: &Event| match event {
        Event::SendFailed { count, .. } => *count,
        _ => 0,
    };
    world.events(id).iter().map(count).sum()
}

/// Sends while the broker of the receiving server goes away: `goes_away` says how.
fn messages_follow_a_server_to_another_broker(goes_away: impl Fn(&mut World, ProcessId)) {
    for seed in 0..30 {
        let mut world = World::new(seed);
        let (b1, b2, b3) = (world.broker("b1"), world.broker("b2"), world.broker("b3"));
        let one = world.attached("1", &[b1, b3]);
        let two = world.attached("2", &[b2]);
        let bystander = world.attached("3", &[b2]);
        for id in [one, two, bystander] {
            up(&mut world, id);
        }
        connect(&mut world, one, &["x", "x2"]);
        connect(&mut world, two, &["y"]);
        connect(&mut world, bystander, &["z"]);
        assert_eq!(acked(&mut world, two, "y", "x"), Outcome::Delivered);
        let mut sent = Vec::new();
        for n in 0..200 {
            if n == 20 {
                goes_away(&mut world, b1);
            }
            // To clients of their own: a best-effort message is refused behind an acked one that was lost.
            let ticket = if n % 2 == 0 {
                world.send_acked(two, "y", "x")
            } else {
                world.send(two, "y", "x2")
            };
            sent.push((n, ticket));
            let start = world.now();
            if n % 20 == 0 {
                assert_eq!(acked(&mut world, two, "y", "z"), Outcome::Delivered);
                assert!(
                    world.now().since(start) < ms(50),
                    "seed {seed}: others do not wait"
                );
            }
            world.run_for(ms(3));
        }
        world.run_for(secs(6));
        assert!(reconnections(&world, one) >= 1, "seed {seed}");
        for (n, ticket) in sent {
            // What was on its way over the link that broke is lost, and an acked message is sent again.
            let was_on_its_way = (18..22).contains(&n);
            if n % 2 == 0 {
                assert_eq!(
                    outcome(&mut world, two, ticket),
                    Outcome::Delivered,
                    "seed {seed}: message {n}"
                );
            } else {
                assert!(
                    was_on_its_way || world.oracle().was_delivered(ticket),
                    "seed {seed}: best-effort message {n}"
                );
            }
        }
        assert_eq!(failed_sends(&world, two), 0, "seed {seed}");
    }
}

#[test]
fn messages_for_a_server_whose_broker_crashes_follow_it_to_another_one() {
    messages_follow_a_server_to_another_broker(|world, broker| world.crash(broker));
}

#[test]
fn messages_for_a_server_whose_broker_ends_follow_it_to_another_one() {
    messages_follow_a_server_to_another_broker(|world, broker| world.go_away(broker));
}

#[test]
fn what_waits_for_a_server_whose_broker_is_gone_is_bounded_in_bytes_and_in_time() {
    let mut world = World::new(3);
    world.settings().queue_bytes_max = 3000;
    let (b1, b2) = (world.broker("b1"), world.broker("b2"));
    let one = world.attached("1", &[b1]);
    let two = world.attached("2", &[b2]);
    up(&mut world, one);
    up(&mut world, two);
    let clients: Vec<String> = (0..10).map(|n| format!("x{n}")).collect();
    let names: Vec<&str> = clients.iter().map(String::as_str).collect();
    connect(&mut world, one, &names);
    for name in &names {
        assert_eq!(acked(&mut world, two, "y", name), Outcome::Delivered);
    }
    world.crash(b1);
    world.run_for(ms(20));
    let start = world.now();
    let mut tickets = Vec::new();
    for _ in 0..10 {
        for name in &names {
            tickets.push(world.submit(two, "y", name, 100, Some(false)));
            world.run_for(ms(1));
        }
    }
    let mut outcomes = std::collections::BTreeMap::new();
    for ticket in tickets {
        *outcomes
            .entry(outcome(&mut world, two, ticket).as_str())
            .or_insert(0) += 1;
    }
    assert!(world.now().since(start) < secs(4), "{outcomes:?}");
    assert_eq!(
        outcomes.keys().copied().collect::<Vec<_>>(),
        ["overloaded", "unreachable"]
    );
    assert!(
        (15..=40).contains(&outcomes["unreachable"]),
        "3000 bytes and what one address had: {outcomes:?}"
    );
    let start = world.now();
    assert_eq!(acked(&mut world, two, "y", "x0"), Outcome::Unreachable);
    assert!(world.now().since(start) < ms(300), "not waited for again");
}

#[test]
fn what_a_broker_leaves_undone_in_the_store_is_seen_to_by_the_next_one() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        let (b1, b2) = (world.broker("b1"), world.broker("b2"));
        let one = world.attached("1", &[b1, b2]);
        up(&mut world, one);
        connect(&mut world, one, &["left", "stays"]);
        // The answers are lost: a claim that is refused stands, and a release is yet to be done.
        world.store.mode = StoreMode::AnswersLost;
        assert_eq!(refused_connect(&mut world, one, "new"), Refusal::StoreUnavailable);
        world.store.mode = StoreMode::Down;
        assert!(disconnect(&mut world, one, "left"));
        world.crash(b1);
        world.store.mode = StoreMode::Up;
        assert!(world.store.lookup(world.now(), &"new".parse().unwrap()).is_some());
        assert!(
            world
                .store
                .lookup(world.now(), &"left".parse().unwrap())
                .is_some()
        );
        world.run_for(secs(12));
        assert!(reconnections(&world, one) >= 1, "seed {seed}");
        world.assert_store_is_true(["new", "left", "stays"]);
    }
}

#[test]
fn a_claim_that_the_store_carries_out_after_its_broker_has_gone_does_not_stay() {
    let mut world = World::new(4);
    let (b1, b2) = (world.broker("b1"), world.broker("b2"));
    let one = world.attached("1", &[b1, b2]);
    up(&mut world, one);
    for n in 0..20 {
        world.store.mode = StoreMode::Stalled;
        world.connect(one, &format!("x{n}"));
        world.run_for(ms(10));
    }
    world.crash(b1);
    world.store.mode = StoreMode::Up;
    world.run_for(ms(500));
    for n in 0..20 {
        world.disconnect(one, &format!("x{n}"));
    }
    world.run_for(secs(15));
    let names: Vec<String> = (0..20).map(|n| format!("x{n}")).collect();
    world.assert_store_is_true(names.iter().map(String::as_str));
}

/// The server of the client has not read the leases since the sender's broker crashed: its answers go where the messages
/// come from.
#[test]
fn what_is_sent_while_a_broker_crashes_is_delivered_and_its_sender_told() {
    for pause in (0..12).map(|n| ms(300 * n)) {
        let mut world = World::new(6);
        let (b1, b2) = (world.broker("b1"), world.broker("b2"));
        let holder = world.mesh("m");
        let sender = world.attached("1", &[b1, b2]);
        up(&mut world, holder);
        up(&mut world, sender);
        connect(&mut world, holder, &["x"]);
        assert_eq!(acked(&mut world, sender, "y", "x"), Outcome::Delivered);
        world.run_for(secs(5) + pause);
        world.crash(b1);
        assert_eq!(
            acked(&mut world, sender, "y", "x"),
            Outcome::Delivered,
            "{pause:?}"
        );
    }
}
