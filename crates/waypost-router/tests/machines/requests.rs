//! When a request is acknowledged, and when a message is sent again.

use core::time::Duration;

use waypost_router::{Endpoint, Event, Refusal, RequestToken, Settings};
use waypost_types::{Incarnation, Outcome, Seq};
use waypost_wire::{Failed, Frame, Outcomes};

use super::{NOW, addr, admitted, bodies, displaced, named, owner, sent, server, to};

/// A server that holds `x` and has had these requests for it.
fn asked(ids: core::ops::Range<u64>) -> (Endpoint<&'static str>, Vec<RequestToken>) {
    let mut endpoint = server();
    endpoint.connect(NOW, &addr("x"), NOW + Duration::from_secs(60), "connected");
    sent(&mut endpoint);
    endpoint.handle_frame(NOW, Frame::Claimed(vec![(addr("x"), Some(Seq(5)))]));
    endpoint.handle_frame(NOW, named(1, "sender"));
    for id in ids {
        let mut message = to("x", "a question");
        (message.origin, message.id, message.floor, message.request) = (1, id, 1, true);
        endpoint.handle_frame(NOW, Frame::Message(message));
    }
    let mut events = std::collections::VecDeque::new();
    endpoint.take_events(&mut events, usize::MAX);
    let token = |event| match event {
        Event::Request { token, .. } => Some(token),
        _ => None,
    };
    (endpoint, events.into_iter().filter_map(token).collect())
}

fn acked(frames: &[Frame]) -> Vec<u64> {
    let delivered = |frame: &Frame| match frame {
        Frame::Outcomes(outcomes) => outcomes.delivered.clone(),
        _ => Vec::new(),
    };
    frames.iter().flat_map(delivered).collect()
}

#[test]
fn a_reply_is_the_acknowledgement_too() {
    let (mut endpoint, tokens) = asked(1..2);
    assert_eq!(acked(&sent(&mut endpoint)), []);
    endpoint.reply(&tokens[0], "an answer".into());
    let frames = sent(&mut endpoint);
    assert!(
        frames
            .iter()
            .any(|frame| matches!(frame, Frame::Reply { id: 1, .. }))
    );
    assert_eq!(acked(&frames), []);
    endpoint.flush(NOW + Duration::from_secs(1));
    assert_eq!(acked(&sent(&mut endpoint)), []);
}

#[test]
fn a_request_without_an_early_reply_is_acknowledged_before_it_would_be_sent_again() {
    let (mut endpoint, _) = asked(1..3);
    let mut ids = acked(&sent(&mut endpoint));
    assert_eq!(ids, []);
    while let Some(due) = endpoint.next_timeout()
        && due < NOW + Settings::default().retransmit_after / 4
    {
        endpoint.handle_timeout(due);
        endpoint.flush(due);
        ids.extend(acked(&sent(&mut endpoint)));
    }
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_request_is_acknowledged_at_once_by_a_server_that_leaves() {
    let (mut endpoint, _) = asked(1..2);
    endpoint.drain(NOW, "drained");
    assert_eq!(acked(&sent(&mut endpoint)), [1]);
}

#[test]
fn a_request_is_acknowledged_at_once_when_a_client_leaves() {
    let (mut endpoint, _) = asked(1..2);
    endpoint.disconnect(NOW, &addr("x"), "disconnected");
    assert_eq!(acked(&sent(&mut endpoint)), [1]);
    let (mut endpoint, _) = asked(1..2);
    endpoint.handle_frame(NOW, displaced(7, owner("me", 1), "x", 9, "another"));
    assert_eq!(acked(&sent(&mut endpoint)), [1]);
}

#[test]
fn a_request_is_acknowledged_together_with_what_is_acknowledged_at_once() {
    let (mut endpoint, _) = asked(1..2);
    let mut message = to("x", "a message");
    (message.origin, message.id, message.floor) = (1, 2, 1);
    endpoint.handle_frame(NOW, Frame::Message(message));
    let mut ids = acked(&sent(&mut endpoint));
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
}

/// Where the client moves meanwhile, two copies could be delivered at two servers.
#[test]
fn one_that_may_still_arrive_is_not_sent_again_for_those_behind_it() {
    let mut endpoint = server();
    let deadline = NOW + Duration::from_secs(5);
    for body in ["first", "second", "third"] {
        endpoint
            .send_acked(NOW, to("x", body), false, deadline, body)
            .unwrap();
    }
    assert_eq!(
        bodies(&sent(&mut endpoint)),
        [b"first" as &[u8], b"second", b"third"]
    );
    let refused = |id| Failed {
        id,
        outcome: Outcome::Unknown,
        to: addr("x"),
        count: 1,
        out_of_order: true,
    };
    let said = |delivered: &[u64], failed: Vec<Failed>| {
        Frame::Outcomes(Outcomes {
            origin: 0,
            delivered: delivered.to_vec(),
            failed,
        })
    };
    let later = NOW + Duration::from_millis(100);
    endpoint.handle_frame(later, said(&[], vec![refused(2), refused(3)]));
    endpoint.handle_timeout(later + Duration::from_millis(100));
    assert_eq!(
        bodies(&sent(&mut endpoint)),
        [] as [&[u8]; 0],
        "all wait for the first one"
    );
    endpoint.handle_frame(later, said(&[1], Vec::new()));
    assert_eq!(
        bodies(&sent(&mut endpoint)),
        [b"second" as &[u8], b"third"],
        "and go on with its outcome, in order"
    );
    endpoint.handle_timeout(NOW + Duration::from_millis(1050));
    assert_eq!(
        bodies(&sent(&mut endpoint)),
        [] as [&[u8]; 0],
        "which have not been on their way for long"
    );
}

#[test]
fn who_is_fenced_for_good_has_nothing_to_move_out_and_says_so() {
    let drained = |endpoint: &mut Endpoint<&'static str>| {
        let mut events = std::collections::VecDeque::new();
        endpoint.take_events(&mut events, usize::MAX);
        events
            .into_iter()
            .filter(|event| *event == Event::Drained)
            .count()
    };
    let fence = |endpoint: &mut Endpoint<&'static str>| {
        endpoint.handle_frame(
            NOW,
            Frame::LeaseOver {
                incarnation: Incarnation(1),
                superseded: true,
            },
        );
    };
    let mut endpoint = server();
    fence(&mut endpoint);
    endpoint.drain(NOW, "drained");
    assert_eq!(drained(&mut endpoint), 1, "asked for afterwards");

    let (mut endpoint, _) = asked(1..2);
    endpoint.drain(NOW, "drained");
    assert_eq!(drained(&mut endpoint), 0);
    fence(&mut endpoint);
    assert_eq!(drained(&mut endpoint), 1, "asked for before");
}

#[test]
fn who_waits_to_send_goes_on_when_its_server_is_attached_again() {
    let mut endpoint = server();
    endpoint.take_room_freed();
    endpoint.link_down(NOW);
    assert_eq!(endpoint.send(NOW, to("x", "hello")), Err(Refusal::Full));
    endpoint.link_up(NOW);
    assert_eq!(endpoint.send(NOW, to("x", "hello")), Err(Refusal::Full));
    assert!(!endpoint.take_room_freed(), "it is not attached yet");
    endpoint.handle_frame(NOW, admitted());
    assert!(endpoint.take_room_freed(), "who waits is told");
    assert_eq!(endpoint.send(NOW, to("x", "hello")), Ok(()));
}
