//! An endpoint whose process was stopped: its time-outs have come, and what it has been told waits to be read.

use core::time::Duration;

use waypost_router::{Completion, Endpoint};
use waypost_types::{MonoTime, Outcome};
use waypost_wire::{Frame, Outcomes};

use super::{NOW, server, to};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Has sent a message, which is number 1, with 5 s for it.
fn sender() -> Endpoint<&'static str> {
    let mut endpoint = server();
    let sent = endpoint.send_acked(NOW, to("x", "one"), false, NOW + ms(5000), "outcome");
    assert_eq!((sent, copies(&mut endpoint)), (Ok(()), 1));
    endpoint
}

/// How often the message has been written since the last call.
fn copies(endpoint: &mut Endpoint<&'static str>) -> usize {
    let frames = super::sent(endpoint);
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
