//! Stories of crashes, pauses and a datastore that fails, in the mesh.

mod common;

use common::{acked, connect, fences, locate, mesh, ms, outcome, refused_connect, secs, up, was_displaced};
use waypost_router::{Completion, Event, Refusal};
use waypost_sim::{StoreMode, World};
use waypost_types::Outcome;

#[test]
fn clients_of_a_crashed_server_are_gone_within_the_lease_and_connect_elsewhere_at_once() {
    let mut world = World::new(1);
    let ids = mesh(&mut world, 3);
    connect(&mut world, ids[0], &["x", "y"]);
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
    world.crash(ids[0]);
    world.run_for(ms(100));
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Unreachable);
    connect(&mut world, ids[1], &["x"]);
    assert_eq!(acked(&mut world, ids[1], "b", "x"), Outcome::Delivered);
    world.run_for(secs(14));
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
    assert_eq!(acked(&mut world, ids[2], "c", "y"), Outcome::NotConnected);
    world.start(ids[0]);
    up(&mut world, ids[0]);
    connect(&mut world, ids[0], &["y"]);
    assert_eq!(acked(&mut world, ids[2], "c", "y"), Outcome::Delivered);
    world.run_for(secs(60));
    world.assert_store_is_true(["x", "y"]);
    assert_eq!(world.store.records(), 2, "records of the dead are removed");
}

#[test]
fn a_server_that_is_restarted_at_once_serves_under_a_new_incarnation() {
    let mut world = World::new(2);
    let ids = mesh(&mut world, 2);
    connect(&mut world, ids[0], &["x"]);
    assert_eq!(acked(&mut world, ids[1], "b", "x"), Outcome::Delivered);
    let before = world.store.incarnation(world.now(), "1");
    world.crash(ids[0]);
    world.start(ids[0]);
    up(&mut world, ids[0]);
    assert!(world.store.incarnation(world.now(), "1") > before);
    assert_eq!(acked(&mut world, ids[1], "b", "x"), Outcome::NotConnected);
    connect(&mut world, ids[0], &["x"]);
    assert_eq!(acked(&mut world, ids[1], "b", "x"), Outcome::Delivered);
}

#[test]
fn of_two_servers_with_one_identity_the_newer_wins_and_the_older_stays_out() {
    let mut world = World::new(3);
    let ids = mesh(&mut world, 2);
    connect(&mut world, ids[0], &["x"]);
    let newer = world.mesh("1");
    up(&mut world, newer);
    world.run_for(secs(5));
    assert_eq!(fences(&world, ids[0], true), 1);
    assert_eq!(world.endpoint(ids[0]).unwrap().owner(), None);
    assert_eq!(world.holds(ids[0], "x"), None);
    assert_eq!(refused_connect(&mut world, ids[0], "x"), Refusal::Fenced);
    let again = world.register(ids[0]);
    assert_eq!(
        world.wait(ids[0], again),
        Completion::Registered(Err(Refusal::Fenced))
    );
    connect(&mut world, newer, &["x"]);
    assert_eq!(acked(&mut world, ids[1], "b", "x"), Outcome::Delivered);
    world.run_for(secs(30));
    assert_eq!(fences(&world, newer, true), 0);
    world.assert_store_is_true(["x"]);
}

#[test]
fn while_the_store_is_down_known_routes_go_on_and_the_rest_says_so() {
    for mode in [StoreMode::Down, StoreMode::Stalled, StoreMode::AnswersLost] {
        let mut world = World::new(4);
        let ids = mesh(&mut world, 2);
        connect(&mut world, ids[0], &["x", "left"]);
        connect(&mut world, ids[1], &["b", "unknown"]);
        assert_eq!(acked(&mut world, ids[1], "b", "x"), Outcome::Delivered);
        world.store.mode = mode;
        assert_eq!(
            acked(&mut world, ids[0], "a", "unknown"),
            Outcome::StoreUnavailable,
            "{mode:?}"
        );
        assert_eq!(
            refused_connect(&mut world, ids[0], "new"),
            Refusal::StoreUnavailable,
            "{mode:?}"
        );
        let left = world.disconnect(ids[0], "left");
        for _ in 0..80 {
            let start = world.now();
            assert_eq!(
                acked(&mut world, ids[1], "b", "x"),
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
        assert!(world.done(ids[0], left).is_some());
        world.store.mode = StoreMode::Up;
        world.run_for(secs(20));
        assert_eq!(
            acked(&mut world, ids[0], "a", "unknown"),
            Outcome::Delivered,
            "{mode:?}"
        );
        assert_eq!(
            acked(&mut world, ids[1], "b", "x"),
            Outcome::Delivered,
            "{mode:?}"
        );
        assert_eq!(
            acked(&mut world, ids[1], "b", "left"),
            Outcome::NotConnected,
            "{mode:?}"
        );
        assert_eq!(
            acked(&mut world, ids[1], "b", "new"),
            Outcome::NotConnected,
            "{mode:?}"
        );
        world.assert_store_is_true(["x", "left", "b", "unknown", "new"]);
    }
}

#[test]
fn a_claim_without_answer_is_given_back() {
    let mut world = World::new(5);
    let ids = mesh(&mut world, 2);
    connect(&mut world, ids[0], &["y"]);
    world.store.mode = StoreMode::AnswersLost;
    assert_eq!(
        refused_connect(&mut world, ids[0], "x"),
        Refusal::StoreUnavailable
    );
    assert_eq!(
        refused_connect(&mut world, ids[0], "y"),
        Refusal::StoreUnavailable
    );
    world.store.mode = StoreMode::Up;
    assert!(
        world.store.lookup(world.now(), &"x".parse().unwrap()).is_some(),
        "it stands"
    );
    world.run_for(secs(20));
    assert!(world.holds(ids[0], "y").is_some(), "the older claim goes on");
    world.assert_store_is_true(["x", "y"]);
}

#[test]
fn a_release_that_failed_is_done_later() {
    for mode in [StoreMode::Down, StoreMode::AnswersLost] {
        let mut world = World::new(6);
        let ids = mesh(&mut world, 2);
        connect(&mut world, ids[0], &["x"]);
        world.store.mode = mode;
        let left = world.disconnect(ids[0], "x");
        world.wait(ids[0], left);
        world.store.mode = StoreMode::Up;
        world.run_for(secs(10));
        world.assert_store_is_true(["x"]);
    }
}

#[test]
fn sessions_under_a_lapsed_lease_are_restored_and_not_claimed_over_others_heads() {
    let mut world = World::new(7);
    let ids = mesh(&mut world, 3);
    connect(&mut world, ids[0], &["stays", "moves"]);
    let before = world.store.incarnation(world.now(), "1");
    // Server 1 sleeps for longer than its lease, and one of its clients moves meanwhile.
    world.pause(ids[0]);
    world.run_for(secs(12));
    connect(&mut world, ids[1], &["moves"]);
    world.resume(ids[0]);
    world.run_for(secs(10));
    assert!(world.store.incarnation(world.now(), "1") > before);
    assert_eq!(fences(&world, ids[0], false), 1);
    assert!(world.holds(ids[0], "stays").is_some());
    assert!(was_displaced(&world, ids[0], "moves"));
    assert!(!was_displaced(&world, ids[0], "stays"));
    assert_eq!(acked(&mut world, ids[2], "c", "stays"), Outcome::Delivered);
    assert_eq!(acked(&mut world, ids[2], "c", "moves"), Outcome::Delivered);
    world.assert_store_is_true(["stays", "moves"]);
}

#[test]
fn a_paused_server_delivers_nothing_to_clients_that_have_moved() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        let ids = mesh(&mut world, 3);
        connect(&mut world, ids[0], &["x", "own"]);
        assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
        let got = world.messages(ids[0]).len();
        world.pause(ids[0]);
        let early = world.send_acked(ids[2], "c", "x");
        world.run_for(secs(11 + seed % 12));
        let own = world.send_acked(ids[0], "own", "x");
        connect(&mut world, ids[1], &["x"]);
        let late = world.send_acked(ids[2], "c", "x");
        world.resume(ids[0]);
        let own_later = world.send_acked(ids[0], "own", "x");
        world.run_for(secs(20));
        let got: Vec<_> = world.messages(ids[0]).into_iter().skip(got).collect();
        assert_eq!(
            got,
            [],
            "seed {seed}: x had moved; {early:?} {own:?} {late:?} {own_later:?}"
        );
        assert_eq!(
            outcome(&mut world, ids[2], late),
            Outcome::Delivered,
            "seed {seed}"
        );
        world.assert_store_is_true(["x", "own"]);
    }
}

#[test]
fn what_the_store_has_lost_is_put_back() {
    let mut world = World::new(8);
    let ids = mesh(&mut world, 3);
    connect(&mut world, ids[0], &["x", "y"]);
    connect(&mut world, ids[1], &["z"]);
    // One session is lost, and the leases stand.
    world.lose_session("x");
    world.run_for(secs(5));
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
    // Everything is lost.
    world.lose_all();
    world.run_for(secs(15));
    for address in ["x", "y", "z"] {
        assert_eq!(
            acked(&mut world, ids[2], "c", address),
            Outcome::Delivered,
            "{address}"
        );
    }
    world.assert_store_is_true(["x", "y", "z"]);
}

#[test]
fn a_server_that_the_store_has_forgotten_registers_anew_although_the_store_fails_again() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let ids = mesh(&mut world, 3);
        connect(&mut world, ids[0], &["x"]);
        connect(&mut world, ids[1], &["y"]);
        world.lose_all();
        world.store.fail_percent = 60;
        assert!(
            world.run_until(secs(60), |world| ids
                .iter()
                .all(|id| fences(world, *id, false) > 0)),
            "seed {seed}: nobody has noticed"
        );
        world.store.fail_percent = 0;
        world.run_for(secs(15));
        for id in &ids {
            assert!(world.endpoint(*id).unwrap().is_attached(), "seed {seed}: {id:?}");
            for (address, identity) in [("x", "1"), ("y", "2")] {
                assert_eq!(
                    locate(&mut world, *id, address),
                    Ok(Some(identity.to_owned())),
                    "seed {seed}: {address} from {id:?}"
                );
                assert_eq!(
                    acked(&mut world, *id, "c", address),
                    Outcome::Delivered,
                    "seed {seed}"
                );
            }
        }
        world.assert_store_is_true(["x", "y"]);
    }
}

#[test]
fn what_a_fenced_server_is_asked_meanwhile_is_done_when_it_has_registered_anew() {
    let mut world = World::new(31);
    let ids = mesh(&mut world, 2);
    connect(&mut world, ids[0], &["x"]);
    connect(&mut world, ids[1], &["y"]);
    world.pause(ids[0]);
    world.run_for(secs(15));
    world.store.latency = (ms(200), ms(300));
    world.resume(ids[0]);
    assert!(world.run_until(secs(20), |world| fences(world, ids[0], false) > 0));
    assert!(!world.endpoint(ids[0]).unwrap().is_attached());
    let (connected, sent) = (world.connect(ids[0], "z"), world.send_acked(ids[0], "x", "y"));
    let located = world.locate(ids[0], "x");
    assert!(matches!(
        world.wait(ids[0], connected),
        Completion::Connected(Ok(_))
    ));
    assert_eq!(outcome(&mut world, ids[0], sent), Outcome::Delivered);
    assert!(matches!(world.wait(ids[0], located), Completion::Located(Ok(_))));
}

#[test]
fn a_server_that_is_drained_while_it_is_fenced_does_not_come_back() {
    for down in [false, true] {
        let mut world = World::new(32);
        let ids = mesh(&mut world, 2);
        connect(&mut world, ids[0], &["x"]);
        world.lose_all();
        world.store.latency = (ms(200), ms(300));
        assert!(world.run_until(secs(20), |world| fences(world, ids[0], false) > 0));
        if down {
            world.store.mode = StoreMode::Down;
            world.run_for(secs(1));
        }
        let drained = world.drain(ids[0]);
        world.run_for(secs(1));
        world.store.mode = StoreMode::Up;
        assert_eq!(world.wait(ids[0], drained), Completion::Drained);
        world.run_for(secs(15));
        assert!(world.endpoint(ids[0]).unwrap().owner().is_none());
        assert_eq!(locate(&mut world, ids[1], "x"), Ok(None));
    }
}

#[test]
fn a_client_that_moved_after_the_store_lost_everything_stays_where_it_is() {
    let mut world = World::new(9);
    let ids = mesh(&mut world, 2);
    connect(&mut world, ids[0], &["x"]);
    world.lose_all();
    world.run_for(ms(1));
    let ticket = world.connect(ids[1], "x");
    world.run_for(secs(20));
    assert!(world.done(ids[1], ticket).is_some());
    if !matches!(world.done(ids[1], ticket), Some(Completion::Connected(Ok(_)))) {
        connect(&mut world, ids[1], &["x"]);
    }
    world.run_for(secs(5));
    assert!(world.holds(ids[1], "x").is_some());
    world.assert_store_is_true(["x"]);
}

#[test]
fn a_server_cut_off_from_others_catches_up_when_it_is_back() {
    let mut world = World::new(10);
    let ids = mesh(&mut world, 3);
    connect(&mut world, ids[0], &["x"]);
    connect(&mut world, ids[2], &["c"]);
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
    for other in [ids[1], ids[2]] {
        world.cut(ids[0], other);
    }
    let lost = world.send_acked(ids[2], "c", "x");
    world.run_for(secs(20));
    assert!(world.done(ids[2], lost).is_some());
    for other in [ids[1], ids[2]] {
        world.heal(ids[0], other);
    }
    world.run_for(secs(5));
    assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::Delivered);
    assert_eq!(acked(&mut world, ids[0], "x", "c"), Outcome::Delivered);
    assert_eq!(
        world
            .events(ids[0])
            .iter()
            .filter(|e| matches!(e, Event::Fenced { .. }))
            .count(),
        0
    );
}

#[test]
fn one_failure_of_the_store_heals_without_an_outage() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        let ids = mesh(&mut world, 2);
        connect(&mut world, ids[0], &["x", "y", "z"]);
        world.store.fail_percent = 60;
        let tickets = [
            world.connect(ids[1], "x"),
            world.connect(ids[0], "y"),
            world.connect(ids[1], "w"),
        ];
        let left = world.disconnect(ids[0], "z");
        world.run_for(ms(20));
        world.store.fail_percent = 0;
        world.run_for(secs(1));
        assert!(world.done(ids[1], tickets[0]).is_some() && world.done(ids[0], left).is_some());
        // Whoever could not connect tries again, as a program does.
        connect(&mut world, ids[1], &["x"]);
        world.run_for(secs(40));
        world.assert_store_is_true(["x", "y", "z", "w"]);
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("x{n}")).collect()
}

#[test]
fn at_rest_a_heartbeat_is_one_renewal_and_a_reading_of_the_leases() {
    let mut world = World::new(11);
    let ids = mesh(&mut world, 2);
    for name in names(2000) {
        world.connect(ids[0], &name);
    }
    world.run_for(secs(40));
    let before = world.store.applied.clone();
    world.run_for(secs(100));
    let done = |kind| world.store.applied.get(kind).unwrap_or(&0) - before.get(kind).unwrap_or(&0);
    let heartbeats = 30 * 2;
    assert!(done("renew").abs_diff(heartbeats) <= 2, "{}", done("renew"));
    assert!(done("peers").abs_diff(heartbeats) <= 2, "{}", done("peers"));
    assert!(
        done("lookup") <= 11,
        "a few addresses now and then: {}",
        done("lookup")
    );
    assert!(done("reclaim") <= 2, "{}", done("reclaim"));
    for kind in ["restore", "claim", "release", "register", "other"] {
        assert_eq!(done(kind), 0, "{kind}");
    }
}

#[test]
fn records_that_are_lost_unnoticed_are_found_by_samples_and_then_all_are_checked() {
    let mut world = World::new(12);
    let ids = mesh(&mut world, 2);
    let names = names(2000);
    for name in &names {
        world.connect(ids[0], name);
    }
    world.run_for(secs(40));
    for name in names.iter().step_by(4) {
        world.store.lose_unnoticed(world.now(), &name.parse().unwrap());
    }
    world.run_for(secs(45));
    world.assert_store_is_true(names.iter().map(String::as_str));
}

#[test]
fn what_a_server_that_died_had_to_tell_comes_out_by_a_check_of_all() {
    let mut world = World::new(13);
    let ids = mesh(&mut world, 3);
    let names = names(1000);
    for name in &names {
        world.connect(ids[0], name);
    }
    world.run_for(secs(30));
    // Server 2 takes a client over, cannot tell it, and dies.
    world.cut(ids[0], ids[1]);
    connect(&mut world, ids[1], &["x500"]);
    assert!(!was_displaced(&world, ids[0], "x500"));
    world.crash(ids[1]);
    world.heal(ids[0], ids[1]);
    world.run_for(secs(45));
    assert!(was_displaced(&world, ids[0], "x500"));
    assert!(world.holds(ids[0], "x501").is_some());
}

#[test]
fn whom_a_claim_without_answer_displaced_has_its_record_back() {
    let mut world = World::new(14);
    let ids = mesh(&mut world, 3);
    for name in names(200) {
        world.connect(ids[0], &name);
    }
    world.run_for(secs(30));
    world.store.mode = StoreMode::AnswersLost;
    let ticket = world.connect(ids[1], "x100");
    world.run_for(ms(10));
    world.store.mode = StoreMode::Up;
    assert_eq!(
        world.wait(ids[1], ticket),
        Completion::Connected(Err(Refusal::StoreUnavailable))
    );
    world.run_for(secs(12));
    assert_eq!(acked(&mut world, ids[2], "c", "x100"), Outcome::Delivered);
    world.assert_store_is_true(["x100"]);
}

#[test]
fn a_registration_that_is_asked_for_during_a_drain_is_answered() {
    let mut world = World::new(15);
    let (broker, ids) = common::brokered(&mut world, 1);
    connect(&mut world, ids[0], &["x"]);
    world.cut(ids[0], broker);
    let drained = world.drain(ids[0]);
    world.run_for(ms(100));
    world.break_links(ids[0], broker);
    let again = world.register(ids[0]);
    world.heal(ids[0], broker);
    assert_eq!(world.wait(ids[0], drained), Completion::Drained);
    assert!(matches!(
        world.wait(ids[0], again),
        Completion::Registered(Ok(_) | Err(Refusal::Draining))
    ));
}

/// A server sleeps for longer than its lease. A client of it connects elsewhere and leaves again, so that nobody holds it.
#[test]
fn a_client_that_came_and_left_elsewhere_while_its_server_slept_is_lost_to_it() {
    for is_early in [true, false] {
        let mut world = World::new(21);
        let ids = mesh(&mut world, 3);
        connect(&mut world, ids[0], &["x", "stays"]);
        world.pause(ids[0]);
        world.run_for(secs(if is_early { 2 } else { 14 }));
        connect(&mut world, ids[1], &["x"]);
        world.run_for(secs(14));
        let left = world.disconnect(ids[1], "x");
        world.wait(ids[1], left);
        world.resume(ids[0]);
        world.run_for(secs(8));
        assert_eq!(fences(&world, ids[0], false), 1);
        assert!(was_displaced(&world, ids[0], "x"), "early: {is_early}");
        assert_eq!(world.holds(ids[0], "x"), None);
        assert_eq!(acked(&mut world, ids[2], "c", "stays"), Outcome::Delivered);
        world.run_for(secs(20));
        assert_eq!(acked(&mut world, ids[2], "c", "x"), Outcome::NotConnected);
        world.assert_store_is_true(["x", "stays"]);
    }
}
