//! Stories of processes that are stopped for a while and go on with what came meanwhile. No link breaks, so no acknowledgement is
//! lost, and nothing is delivered at two servers.

mod common;

use core::time::Duration;

use common::{acked, brokered, connect, mesh, ms, outcome, secs};
use waypost_sim::{ProcessId, World};
use waypost_types::Outcome;

/// Worlds of three servers and a broker, or of three servers alone, in which the second one holds `x` and all have a link to each
/// other.
fn worlds(seeds: u64) -> impl Iterator<Item = (World, Vec<ProcessId>, Vec<ProcessId>)> {
    (0..2 * seeds).map(|seed| {
        let mut world = World::new(seed);
        let (all, servers) = if seed % 2 == 0 {
            let servers = mesh(&mut world, 3);
            (servers.clone(), servers)
        } else {
            let (broker, servers) = brokered(&mut world, 3);
            let all = servers.iter().copied().chain([broker]).collect();
            (all, servers)
        };
        for holder in [servers[0], servers[2], servers[1]] {
            connect(&mut world, holder, &["x"]);
            for sender in &servers {
                assert_eq!(acked(&mut world, *sender, "a", "x"), Outcome::Delivered);
            }
        }
        (world, all, servers)
    })
}

/// For how long processes are stopped: shorter than a lease, and more or less longer than it takes until a message is sent again.
const STOPS: [Duration; 4] = [ms(999), ms(1001), ms(1500), ms(4000)];

/// The acknowledgement waits in the socket of a sender that was stopped, and the client has moved.
#[test]
fn a_sender_that_was_stopped_reads_what_became_of_a_message_before_it_sends_it_again() {
    for stop in STOPS {
        for (mut world, _, servers) in worlds(20) {
            let ticket = world.send_acked(servers[0], "a", "x");
            world.pause(servers[0]);
            let woken = world.now() + stop;
            world.run_for(ms(500));
            connect(&mut world, servers[2], &["x"]);
            world.run_for(woken.since(world.now()));
            world.resume(servers[0]);
            assert_eq!(outcome(&mut world, servers[0], ticket), Outcome::Delivered);
            world.run_for(secs(3));
            assert_eq!(world.oracle().repeated(), [], "after {stop:?}");
        }
    }
}

/// The deadline has passed meanwhile.
#[test]
fn a_sender_that_was_stopped_beyond_a_deadline_hears_of_what_was_delivered_in_time() {
    for (mut world, _, servers) in worlds(20) {
        let ticket = world.send_acked(servers[0], "a", "x");
        world.pause(servers[0]);
        world.run_for(secs(6));
        world.resume(servers[0]);
        assert_eq!(outcome(&mut world, servers[0], ticket), Outcome::Delivered);
    }
}

/// It delivers a message when it goes on, and meanwhile the sender has sent that again to a client on its way to another server.
#[test]
fn a_server_that_was_stopped_delivers_what_its_client_does_not_get_again_elsewhere() {
    for (mut world, _, servers) in worlds(20) {
        let ticket = world.send_acked(servers[0], "a", "x");
        world.pause(servers[1]);
        world.run_for(ms(900));
        world.connect(servers[2], "x");
        world.run_for(ms(600));
        world.resume(servers[1]);
        assert_eq!(outcome(&mut world, servers[0], ticket), Outcome::Delivered);
        world.run_for(secs(3));
        assert_eq!(world.oracle().repeated(), []);
    }
}

/// As when a whole machine stands still: messages, acknowledgements and moves are under way, and then all go on.
#[test]
fn what_is_on_its_way_while_all_are_stopped_arrives_once() {
    for stop in STOPS {
        for (mut world, all, servers) in worlds(40) {
            let sent: Vec<_> = (0..20)
                .map(|n| {
                    let sender = servers[n % 3];
                    let ticket = world.send_acked(sender, "a", "x");
                    if n % 5 == 2 {
                        world.connect(servers[(n / 5 + 2) % 3], "x");
                    }
                    world.run_for(Duration::from_micros(300));
                    (sender, ticket)
                })
                .collect();
            for id in &all {
                world.pause(*id);
            }
            world.run_for(stop);
            for id in &all {
                world.resume(*id);
            }
            for (sender, ticket) in sent {
                assert_eq!(outcome(&mut world, sender, ticket), Outcome::Delivered);
            }
            world.run_for(secs(3));
            assert_eq!(world.oracle().repeated(), [], "after {stop:?}");
        }
    }
}
