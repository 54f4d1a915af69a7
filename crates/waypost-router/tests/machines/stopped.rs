//! Processes that were stopped: their time-outs have come, and what they have been told waits to be read. And copies of messages that
//! others have sent meanwhile.

use core::time::Duration;

use waypost_router::{Completion, Endpoint, StoreOp, StoreReply};
use waypost_session::Claimed;
use waypost_types::{MonoTime, Outcome, Seq, Session};
use waypost_wire::{Frame, Message, Outcomes};

use super::{Broker, NOW, addr, bodies, claim, displaced, named, owner, sent, server, to};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Has sent a message, which is number 1, with 5 s for it.
fn sender() -> Endpoint<&'static str> {
    let mut endpoint = server();
    let taken = endpoint.send_acked(NOW, to("x", "one"), false, NOW + ms(5000), "outcome");
    assert_eq!((taken, copies(&mut endpoint)), (Ok(()), 1));
    endpoint
}

/// How often the message has been written since the last call.
fn copies(endpoint: &mut Endpoint<&'static str>) -> usize {
    let frames = sent(endpoint);
    frames
        .iter()
        .filter(|frame| matches!(frame, Frame::Message(_)))
        .count()
}

/// The process runs from one point to another, and its time-outs come in time.
fn run(endpoint: &mut Endpoint<&'static str>, from: MonoTime, until: MonoTime) {
    let mut now = from;
    while let Some(due) = endpoint.next_timeout()
        && due <= until
    {
        now = due.max(now);
        endpoint.handle_timeout(now);
        assert!(endpoint.next_timeout() > Some(now), "it is not called in vain");
    }
}

/// What waits in the socket is read.
fn hears_of_it(endpoint: &mut Endpoint<&'static str>, now: MonoTime) {
    let outcomes = Outcomes {
        delivered: vec![1],
        ..Outcomes::default()
    };
    endpoint.handle_frame(now, Frame::Outcomes(outcomes));
}

fn outcomes(endpoint: &mut Endpoint<&'static str>) -> Vec<Outcome> {
    let mut done = Vec::new();
    endpoint.take_done(&mut done);
    let outcome = |(_, completion)| match completion {
        Completion::Outcome(outcome) => Some(outcome),
        _ => None,
    };
    done.into_iter().filter_map(outcome).collect()
}

#[test]
fn one_that_runs_sends_again_on_time() {
    let mut endpoint = sender();
    run(&mut endpoint, NOW, NOW + ms(999));
    assert_eq!(copies(&mut endpoint), 0);
    run(&mut endpoint, NOW + ms(999), NOW + ms(1000));
    assert_eq!(copies(&mut endpoint), 1);
    run(&mut endpoint, NOW + ms(1000), NOW + ms(2999));
    assert_eq!(copies(&mut endpoint), 0);
    run(&mut endpoint, NOW + ms(2999), NOW + ms(3000));
    assert_eq!(copies(&mut endpoint), 1);
}

#[test]
fn one_that_was_stopped_reads_before_it_sends_again() {
    // Also where it goes on just before or after the message comes due.
    for woken in [ms(995), ms(1000), ms(1005), ms(1500), ms(4500)].map(|stop| NOW + stop) {
        let mut endpoint = sender();
        run(&mut endpoint, NOW, NOW + ms(100));
        endpoint.handle_timeout(woken);
        run(&mut endpoint, woken, woken + ms(50));
        assert_eq!(copies(&mut endpoint), 0, "at {woken}");
        hears_of_it(&mut endpoint, woken + ms(50));
        run(&mut endpoint, woken + ms(50), woken + ms(9000));
        assert_eq!(copies(&mut endpoint), 0, "at {woken}");
        assert_eq!(outcomes(&mut endpoint), [Outcome::Delivered]);
    }
}

#[test]
fn one_that_was_stopped_and_hears_nothing_sends_again() {
    let mut endpoint = sender();
    let woken = NOW + ms(1500);
    endpoint.handle_timeout(woken);
    run(&mut endpoint, woken, woken + ms(999));
    assert_eq!(copies(&mut endpoint), 0);
    run(&mut endpoint, woken + ms(999), woken + ms(1000));
    assert_eq!(copies(&mut endpoint), 1);
}

#[test]
fn one_that_was_stopped_beyond_the_deadline_reads_before_it_says_what_became_of_it() {
    let woken = NOW + ms(6000);
    for (is_told, outcome) in [(true, Outcome::Delivered), (false, Outcome::Unknown)] {
        let mut endpoint = sender();
        endpoint.handle_timeout(woken);
        run(&mut endpoint, woken, woken + ms(50));
        assert_eq!(outcomes(&mut endpoint), []);
        if is_told {
            hears_of_it(&mut endpoint, woken + ms(50));
        }
        run(&mut endpoint, woken + ms(50), woken + ms(100));
        assert_eq!(outcomes(&mut endpoint), [outcome]);
        assert_eq!(copies(&mut endpoint), 0);
    }
}

fn acked(id: u64, body: &'static str) -> Message {
    let mut message = to("x", body);
    (message.id, message.floor) = (id, 1);
    message
}

/// The server that holds the client was stopped, and reads a message and that the client is another's now, or who asks for it.
#[test]
fn what_a_server_has_delivered_is_told_before_others_deliver() {
    let barrier = Frame::Barrier {
        token: 9,
        owner: 0,
        address: Some(addr("x")),
    };
    for asked in [displaced(9, owner("me", 1), "x", 6, "other"), barrier] {
        for request in [false, true] {
            let mut endpoint = server();
            endpoint.connect(NOW, &addr("x"), NOW + ms(5000), "connected");
            endpoint.handle_frame(NOW, Frame::Claimed(vec![(addr("x"), Some(Seq(5)))]));
            endpoint.handle_frame(NOW, named(1, "sender"));
            sent(&mut endpoint);
            let mut message = acked(1, "one");
            (message.origin, message.request) = (1, request);
            endpoint.handle_frame(NOW, Frame::Message(message));
            endpoint.handle_frame(NOW, asked.clone());
            let frames = sent(&mut endpoint);
            let at = |is: fn(&Frame) -> bool| frames.iter().position(is);
            let told = at(|frame| matches!(frame, Frame::Outcomes(outcomes) if outcomes.delivered == [1]));
            let echo = at(|frame| matches!(frame, Frame::Echo { token: 9 }));
            assert!(told.is_some() && told < echo, "{frames:?}");
        }
    }
}

/// The server that held the client was stopped, and the sender has sent a message again while the client moves.
#[test]
fn a_copy_that_waits_ends_when_the_first_one_has_been_delivered() {
    let mut broker = Broker::new();
    let (sender, holder, winner) = (broker.peer("a"), broker.peer("b"), broker.peer("c"));
    claim(&mut broker, holder, "x", 5);
    broker.hear(sender, Frame::Message(acked(1, "one")));
    broker.hear(winner, Frame::Claim(vec![addr("x")]));
    broker.wait(ms(100), &[]);
    let claimed = Claimed {
        seq: Seq(6),
        displaced: Some(Session::new(owner("b", 1), Seq(5))),
    };
    broker.answer(
        |op| matches!(op, StoreOp::Claim(..)),
        StoreReply::Claimed(vec![claimed]),
    );
    broker.hear(sender, Frame::Message(acked(1, "one")));
    broker.hear(sender, Frame::Message(acked(2, "two")));
    let frames = broker.written(holder);
    assert_eq!(bodies(&frames), [b"one"]);
    let token = frames.iter().find_map(|frame| match frame {
        Frame::Displaced(displaced) => Some(displaced.token),
        _ => None,
    });
    broker.hear(holder, named(1, "a"));
    let outcomes = Outcomes {
        origin: 1,
        delivered: vec![1],
        failed: Vec::new(),
    };
    broker.hear(holder, Frame::Outcomes(outcomes));
    let token = token.expect("it is told that the client is another's now");
    broker.hear(holder, Frame::Echo { token });
    assert_eq!(bodies(&broker.written(winner)), [b"two"]);
    let told = broker.written(sender);
    assert!(
        told.iter()
            .any(|frame| matches!(frame, Frame::Outcomes(outcomes) if outcomes.delivered == [1])),
        "{told:?}"
    );
}
