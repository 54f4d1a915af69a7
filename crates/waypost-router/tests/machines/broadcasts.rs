//! Broadcasts that cannot go out, and those that wait.

use core::time::Duration;

use bytes::Bytes;
use waypost_router::{Completion, Endpoint, Refusal, Settings};
use waypost_types::Incarnation;
use waypost_wire::Frame;

use super::{NOW, addr, sent, server};

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
