//! Broadcasts that cannot go out, and those that wait.

use core::time::Duration;

use bytes::Bytes;
use waypost_router::{Completion, Endpoint, LinkId, Refusal, Settings, StoreOp, StoreReply};
use waypost_types::Incarnation;
use waypost_wire::{Broadcast, Frame};

use super::{Broker, NOW, addr, lease, owner, place, sent, server};

const DEADLINE: Duration = Duration::from_secs(5);

/// Sends one from `x`; what has ended since.
fn ended(endpoint: &mut Endpoint<&'static str>, body: Bytes) -> Vec<(&'static str, Completion)> {
    endpoint.broadcast(NOW, addr("x"), body, NOW + DEADLINE, "broadcast");
    let mut done = Vec::new();
    endpoint.take_done(&mut done);
    done.retain(|(token, _)| *token == "broadcast");
    done
}

fn refused(why: Refusal) -> Vec<(&'static str, Completion)> {
    vec![("broadcast", Completion::Broadcast(Err(why)))]
}

#[test]
fn a_broadcast_that_cannot_go_out_is_refused_and_says_why() {
    let body = || Bytes::from_static(b"all");
    let mut endpoint = Endpoint::new(Settings::default());
    assert_eq!(ended(&mut endpoint, body()), refused(Refusal::NotRegistered));

    let mut endpoint = server();
    endpoint.link_down(NOW);
    assert_eq!(ended(&mut endpoint, body()), refused(Refusal::NotAttached));

    let mut endpoint = server();
    endpoint.handle_frame(
        NOW,
        Frame::LeaseOver {
            incarnation: Incarnation(1),
            superseded: true,
        },
    );
    assert_eq!(ended(&mut endpoint, body()), refused(Refusal::Fenced));

    let mut endpoint = server();
    endpoint.leave("left");
    assert_eq!(ended(&mut endpoint, body()), refused(Refusal::Draining));

    let mut endpoint = server();
    let refusal = (0..100).map(|_| ended(&mut endpoint, Bytes::from(vec![0; 1 << 20])));
    let refusal = refusal.into_iter().find(|ended| !ended.is_empty());
    assert_eq!(refusal, Some(refused(Refusal::Full)), "the queue is bounded");
}

#[test]
fn a_broadcast_whose_link_is_lost_ends_in_time_and_does_not_say_that_it_reached_nobody() {
    let mut endpoint = server();
    assert_eq!(ended(&mut endpoint, Bytes::from_static(b"all")), []);
    let frames = sent(&mut endpoint);
    assert!(matches!(frames[..], [Frame::Broadcast(_)]), "{frames:?}");
    endpoint.link_down(NOW);
    endpoint.handle_timeout(NOW + DEADLINE);
    let mut done = Vec::new();
    endpoint.take_done(&mut done);
    let timed_out = refused(Refusal::TimedOut);
    assert!(done.ends_with(&timed_out), "{done:?}");
}

/// A broker with the servers `a` and `b`.
fn two() -> (Broker, [LinkId; 2]) {
    let mut broker = Broker::new();
    let peers = [broker.peer("a"), broker.peer("b")];
    (broker, peers)
}

/// `a` broadcasts, and the broker waits for the leases to be read.
fn ask(broker: &mut Broker, a: LinkId, token: u64) {
    let broadcast = Broadcast {
        token,
        origin: 0,
        from: addr("x"),
        body: Bytes::from_static(b"all"),
        ttl_ms: 5000,
    };
    broker.hear(a, Frame::Broadcast(broadcast));
}

/// The leases are read, as often as that was asked for.
fn read(broker: &mut Broker) {
    let here = place("tcp://here:1");
    let leases = || vec![lease(&owner("a", 1), &here), lease(&owner("b", 1), &here)];
    let is_peers = |op: &StoreOp| matches!(op, StoreOp::Peers);
    while broker.asked.iter().any(|(_, op)| is_peers(op)) {
        broker.answer(is_peers, StoreReply::Peers(leases()));
    }
}

fn has_broadcast(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| matches!(frame, Frame::Broadcast(_)))
}

#[test]
fn a_broadcast_that_has_waited_beyond_its_deadline_reaches_nobody_and_its_sender_hears_so() {
    for is_timed in [true, false] {
        let (mut broker, [a, b]) = two();
        ask(&mut broker, a, 1);
        assert!(!has_broadcast(&broker.written(b)), "it waits");
        read(&mut broker);
        for peer in [a, b] {
            assert!(has_broadcast(&broker.written(peer)), "it goes out");
        }
        // The store hangs until the next one's time is over.
        ask(&mut broker, a, 2);
        broker.now = broker.now + DEADLINE;
        if is_timed {
            broker.router.handle_timeout(broker.now);
            broker.gather();
        }
        read(&mut broker);
        assert!(!has_broadcast(&broker.written(b)));
        let to_sender = broker.written(a);
        assert!(!has_broadcast(&to_sender));
        let done = to_sender.into_iter().find_map(|frame| match frame {
            Frame::BroadcastDone {
                token: 2,
                reached,
                unreached,
            } => Some((reached, unreached)),
            _ => None,
        });
        let unreached = ["a", "b"].map(|name| owner(name, 1).identity).to_vec();
        assert_eq!(done, Some((Vec::new(), unreached)), "timed: {is_timed}");
    }
}
