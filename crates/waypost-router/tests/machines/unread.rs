//! What a program is told that reads nothing for long.

use core::time::Duration;
use std::collections::VecDeque;

use waypost_router::{Endpoint, Event};
use waypost_types::{Identity, Incarnation, Seq};
use waypost_wire::{Attached, Frame};

use super::{NOW, TERM_MS, addr, displaced, owner, sent, server};

fn read(endpoint: &mut Endpoint<&'static str>) -> Vec<Event> {
    let mut events = VecDeque::new();
    endpoint.take_events(&mut events, usize::MAX);
    events.into()
}

fn registered(incarnation: u64) -> Event {
    Event::Registered {
        identity: Identity::new("me").unwrap(),
        incarnation: Incarnation(incarnation),
    }
}

/// Its link breaks and comes back.
fn blink(endpoint: &mut Endpoint<&'static str>, incarnation: u64) {
    endpoint.link_down(NOW);
    endpoint.link_up(NOW);
    endpoint.handle_frame(NOW, attached(incarnation));
}

fn attached(incarnation: u64) -> Frame {
    Frame::Attached(Attached::Attached {
        incarnation: Incarnation(incarnation),
        lease_ms: TERM_MS,
        term_ms: TERM_MS,
    })
}

/// Its lease is over, and it registers anew.
fn fenced(endpoint: &mut Endpoint<&'static str>, incarnation: u64) {
    let over = Frame::LeaseOver {
        incarnation: Incarnation(incarnation - 1),
        superseded: false,
    };
    endpoint.handle_frame(NOW, over);
    endpoint.handle_frame(NOW, attached(incarnation));
}

#[test]
fn a_link_that_blinks_while_nobody_reads_leaves_no_more_than_the_last_word() {
    let mut endpoint = server();
    assert_eq!(read(&mut endpoint), [registered(1)]);
    for _ in 0..10 {
        blink(&mut endpoint, 1);
    }
    let told = read(&mut endpoint);
    assert_eq!(told.len(), 20, "a few are told one by one");
    for _ in 0..10_000 {
        blink(&mut endpoint, 1);
    }
    assert!(endpoint.unread().count() < 100, "{}", endpoint.unread().count());
    endpoint.link_down(NOW);
    let told = read(&mut endpoint);
    assert_eq!(told.last(), Some(&Event::Disconnected), "as it is");
}

#[test]
fn who_reads_at_last_knows_its_incarnation_and_what_it_has_lost() {
    let mut endpoint = server();
    endpoint.connect(NOW, &addr("x"), NOW + Duration::from_secs(60), "connected");
    sent(&mut endpoint);
    endpoint.handle_frame(NOW, Frame::Claimed(vec![(addr("x"), Some(Seq(5)))]));
    endpoint.handle_frame(NOW, displaced(1, owner("me", 1), "x", 9, "other"));
    let mut incarnation = 1;
    for _ in 0..1000 {
        blink(&mut endpoint, incarnation);
        incarnation += 1;
        fenced(&mut endpoint, incarnation);
    }
    assert!(endpoint.unread().count() < 100, "{}", endpoint.unread().count());
    let told = read(&mut endpoint);
    assert!(
        told.ends_with(&[Event::Fenced { superseded: false }, registered(incarnation)]),
        "{told:?}"
    );
    let lost = |event: &Event| matches!(event, Event::Displaced { client, .. } if *client == addr("x"));
    assert!(told.iter().any(lost), "what is not of the link stays: {told:?}");
}
