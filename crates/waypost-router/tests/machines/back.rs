//! What comes back, and what is looked up meanwhile.

use core::time::Duration;

use waypost_router::{Event, LinkId, StoreFailure, StoreOp, StoreReply};
use waypost_session::{Claimed, Renewal, Renewed};
use waypost_types::{Incarnation, MonoTime, Outcome, Seq, Session};
use waypost_wire::Frame;

use super::{
    Broker, NOW, addr, bodies, claim, claiming_anew, displaced, is_lookup, is_register, lease, named, owner,
    place, sent, server, to,
};

const fn is_claim(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Claim(..))
}

const fn is_renew(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Renew { .. })
}

const fn is_restore(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Restore(..))
}

/// Its sender claims the client itself and is beaten, when one of two messages has come back and the other has not.
#[test]
fn nothing_goes_again_to_a_server_before_all_has_come_back_from_it() {
    let mut broker = Broker::new();
    let (sender, holder) = (broker.peer("a"), broker.peer("b"));
    claim(&mut broker, holder, "x", 5);
    broker.hear(sender, Frame::Message(to("x", "first")));
    broker.hear(sender, Frame::Message(to("x", "second")));
    let went = broker.written(holder);
    broker.hear(sender, Frame::Claim(vec![addr("x")]));
    broker.wait(Duration::from_millis(100), &[]);
    broker.hear(sender, Frame::Message(to("x", "third")));
    broker.hear(holder, named(1, "a"));
    let mut backs = went.into_iter().filter_map(|frame| match frame {
        Frame::Message(mut message) => {
            (message.origin, message.owner) = (1, 0);
            Some(Frame::Bounce(message))
        }
        _ => None,
    });
    broker.hear(holder, backs.next().unwrap());
    let beaten = Claimed {
        seq: Seq(7),
        displaced: Some(Session::new(owner("elsewhere", 1), Seq(8))),
    };
    broker.answer(is_claim, StoreReply::Claimed(vec![beaten]));
    let to_holder = broker.written(holder);
    assert_eq!(
        bodies(&to_holder),
        [] as [&[u8]; 0],
        "the second is on its way back"
    );
    let token = to_holder.iter().find_map(|frame| match frame {
        Frame::Barrier { token, .. } => Some(*token),
        _ => None,
    });
    broker.hear(holder, backs.next().unwrap());
    broker.hear(
        holder,
        Frame::Echo {
            token: token.expect("it asks whether all has come back"),
        },
    );
    let session = Session::new(owner("a", 1), Seq(9));
    broker.answer(is_lookup, StoreReply::Found(vec![Some(session)]));
    assert_eq!(
        bodies(&broker.written(sender)),
        [&b"first"[..], b"second", b"third"]
    );
}

/// It went to a former holder. Later ones went to the next one, which has given the client up since, and nobody has a route.
#[test]
fn what_comes_back_when_its_route_is_forgotten_does_not_follow_what_went_by_a_newer_one() {
    let mut broker = Broker::new();
    let (sender, holder, next) = (broker.peer("a"), broker.peer("b"), broker.peer("c"));
    claim(&mut broker, holder, "x", 5);
    broker.hear(sender, Frame::Message(to("x", "first")));
    let went = broker.written(holder);
    claim(&mut broker, next, "x", 7);
    broker.hear(sender, Frame::Message(to("x", "later")));
    assert_eq!(bodies(&broker.written(next)), [b"later"]);
    broker.hear(next, Frame::Release(vec![(addr("x"), Seq(7))]));
    broker.answer(
        |op| matches!(op, StoreOp::Release(..)),
        StoreReply::Released(vec![waypost_session::Released::Released]),
    );
    assert_eq!(broker.router.routes_len(), 0);
    broker.hear(holder, named(1, "a"));
    for frame in went {
        if let Frame::Message(mut message) = frame {
            (message.origin, message.owner) = (1, 0);
            broker.hear(holder, Frame::Bounce(message));
        }
    }
    assert_eq!(
        told(&mut broker, sender),
        [Outcome::Unreachable],
        "it could only come late"
    );
}

/// The store has answered its claim already, and its sender has been told by the store; the server hears at the same time of a
/// claim by another one that came before.
#[test]
fn what_means_the_claim_under_way_does_not_go_back_for_an_older_one() {
    let mut endpoint = claiming_anew();
    for (body, claim) in [("old", 5), ("first", 7)] {
        let mut message = to("x", body);
        (message.origin, message.claim) = (1, claim);
        endpoint.handle_frame(NOW, Frame::Message(message));
    }
    endpoint.handle_frame(NOW, displaced(9, owner("me", 1), "x", 6, "other"));
    assert_eq!(bodies(&sent(&mut endpoint)), [b"old"]);
    endpoint.handle_frame(NOW, Frame::Claimed(vec![(addr("x"), Some(Seq(7)))]));
    let mut message = to("x", "second");
    (message.origin, message.claim) = (1, 7);
    endpoint.handle_frame(NOW, Frame::Message(message));
    let mut events = std::collections::VecDeque::new();
    endpoint.take_events(&mut events, usize::MAX);
    let delivered: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Message(message) => Some(&*message.body),
            _ => None,
        })
        .collect();
    assert_eq!(delivered, [&b"first"[..], b"second"]);
    assert_eq!(bodies(&sent(&mut endpoint)), [] as [&[u8]; 0]);
}

/// What a server was told of its acked message.
fn told(broker: &mut Broker, peer: LinkId) -> Vec<Outcome> {
    let frames = broker.written(peer);
    let outcomes = frames.into_iter().filter_map(|frame| match frame {
        Frame::Outcomes(outcomes) => Some(outcomes.failed),
        _ => None,
    });
    outcomes.flatten().map(|failed| failed.outcome).collect()
}

fn acked(broker: &mut Broker, peer: LinkId, client: &str, id: u64) {
    let mut message = to(client, "acked");
    (message.id, message.floor) = (id, 1);
    broker.hear(peer, Frame::Message(message));
}

/// Its server has just registered anew, and announces it before the store's answer comes.
#[test]
fn who_is_announced_while_the_store_is_asked_is_not_called_unconnected() {
    let mut broker = Broker::new();
    let (sender, holder) = (broker.peer("a"), broker.peer("b"));
    acked(&mut broker, sender, "x", 1);
    broker.hear(holder, Frame::Announce(vec![(addr("x"), Seq(5))]));
    broker.answer(is_lookup, StoreReply::Found(vec![None]));
    assert_eq!(told(&mut broker, sender), []);
    broker.answer(
        is_restore,
        StoreReply::Restored(vec![waypost_session::Restored::Held]),
    );
    assert_eq!(bodies(&broker.written(holder)), [b"acked"]);
}

/// The node at which the client's server was cannot be dialled, and the store fails when it is asked where that is now.
#[test]
fn a_server_whose_lease_cannot_be_read_is_not_called_unreachable() {
    let mut broker = Broker::new();
    let sender = broker.peer("a");
    let far = owner("far", 1);
    broker.wait(Duration::from_secs(3), &[lease(&far, &place("tcp://far:1"))]);
    acked(&mut broker, sender, "x", 1);
    broker.answer(
        is_lookup,
        StoreReply::Found(vec![Some(Session::new(far, Seq(5)))]),
    );
    let link = broker.dialled.pop().expect("it dials");
    broker.router.dial_failed(broker.now, link);
    broker.gather();
    let peers = |(_, op): &(u64, StoreOp)| matches!(op, StoreOp::Peers);
    let at = broker
        .asked
        .iter()
        .position(peers)
        .expect("it asks for the leases");
    let (token, _) = broker.asked.remove(at);
    broker.router.store_done(broker.now, token, Err(StoreFailure));
    broker.gather();
    assert_eq!(told(&mut broker, sender), [Outcome::StoreUnavailable]);
}

/// The store comes back when all leases have lapsed. Each server puts back what it holds once it has noticed.
#[test]
fn while_leases_come_back_nobody_is_called_unconnected() {
    let mut broker = Broker::new();
    let (sender, holder) = (broker.peer("a"), broker.peer("b"));
    claim(&mut broker, holder, "x", 5);
    broker.wait(Duration::from_secs(3), &[]);
    let heartbeat = |broker: &mut Broker, answers: bool| {
        broker.now = broker.now + Duration::from_secs(4);
        for peer in [sender, holder] {
            broker.hear(peer, Frame::Ping { token: 1 });
        }
        broker.router.handle_timeout(broker.now);
        broker.gather();
        while let Some(at) = broker.asked.iter().position(|(_, op)| is_renew(op)) {
            let (token, op) = broker.asked.remove(at);
            let count = if let StoreOp::Renew { owners, .. } = op {
                owners.len()
            } else {
                0
            };
            let gone = StoreReply::Renewed(Renewed {
                renewals: vec![Renewal::Gone; count],
                generation: 1,
            });
            let reply = if answers { Ok(gone) } else { Err(StoreFailure) };
            broker.router.store_done(broker.now, token, reply);
            broker.gather();
        }
    };
    for _ in 0..3 {
        heartbeat(&mut broker, false);
    }
    heartbeat(&mut broker, true);
    for (peer, identity) in [(sender, "a"), (holder, "b")] {
        assert!(
            broker
                .written(peer)
                .iter()
                .any(|frame| matches!(frame, Frame::LeaseOver { .. }))
        );
        broker.attach(peer, identity);
        broker.answer(is_register, StoreReply::Registered(Incarnation(2)));
    }
    acked(&mut broker, sender, "x", 1);
    broker.answer(is_lookup, StoreReply::Found(vec![None]));
    assert_eq!(told(&mut broker, sender), []);
    broker.hear(holder, Frame::Announce(vec![(addr("x"), Seq(5))]));
    broker.answer(
        is_restore,
        StoreReply::Restored(vec![waypost_session::Restored::Held]),
    );
    broker.wait(Duration::from_millis(200), &[]);
    let session = Session::new(owner("b", 2), Seq(5));
    broker.answer(is_lookup, StoreReply::Found(vec![Some(session)]));
    assert_eq!(bodies(&broker.written(holder)), [b"acked"]);

    // A lease term later the store's word is believed again.
    for _ in 0..4 {
        for peer in [sender, holder] {
            broker.hear(peer, Frame::Ping { token: 2 });
        }
        broker.wait(Duration::from_secs(3), &[]);
    }
    broker.written(sender);
    acked(&mut broker, sender, "nobody", 2);
    broker.answer(is_lookup, StoreReply::Found(vec![None]));
    assert_eq!(told(&mut broker, sender), [Outcome::NotConnected]);
}

/// It did not hold the client, left, claimed it by another broker, and is back; it has not said yet what it holds.
#[test]
fn what_a_server_has_denied_before_it_left_is_not_held_against_it() {
    let mut broker = Broker::new();
    let leases = [lease(&owner("s", 1), &place("tcp://here:1"))];
    let peer = broker.peer("s");
    broker.wait(Duration::ZERO, &leases);
    broker.hear(peer, Frame::Message(to("x", "one")));
    let stands = |seq| StoreReply::Found(vec![Some(Session::new(owner("s", 1), Seq(seq)))]);
    broker.answer(is_lookup, stands(7));
    let asked = broker.written(peer);
    let token = asked.iter().find_map(|frame| match frame {
        Frame::Displaced(question) if question.seq == Seq(0) => Some(question.token),
        _ => None,
    });
    broker.hear(
        peer,
        Frame::Echo {
            token: token.expect("it is asked"),
        },
    );
    broker.router.link_closed(broker.now, peer);
    let peer = broker.accept(waypost_wire::Role::Peer, None);
    broker.hear(
        peer,
        Frame::Attach {
            identity: waypost_types::Identity::new("s").unwrap(),
            resume: Some(Incarnation(1)),
            attachment: 3,
        },
    );
    broker.wait(Duration::ZERO, &leases);
    for token in 1..3 {
        broker.hear(peer, Frame::Ping { token });
        broker.wait(Duration::from_secs(4), &leases);
    }
    broker.written(peer);
    while broker.asked.iter().any(|(_, op)| is_lookup(op)) {
        broker.answer(is_lookup, stands(9));
    }
    assert!(
        !broker
            .asked
            .iter()
            .any(|(_, op)| matches!(op, StoreOp::Release(..))),
        "{:?}",
        broker.asked
    );
    let asked = broker.written(peer);
    assert!(
        asked
            .iter()
            .any(|frame| matches!(frame, Frame::Displaced(question) if question.seq == Seq(0))),
        "it is asked anew: {asked:?}"
    );
}

/// A process that was stopped finds the answers that lay there for it.
mod asleep {
    use super::*;

    fn pong(token: u64) -> Frame {
        Frame::Pong {
            token,
            lease_ms: 0,
            store_unavailable: true,
        }
    }

    /// The newest question about its lease that a server has written.
    fn asked(frames: &[Frame]) -> Option<u64> {
        let token = |frame: &Frame| match frame {
            Frame::Ping { token } => Some(*token),
            _ => None,
        };
        frames.iter().rev().find_map(token)
    }

    #[test]
    fn an_answer_from_before_its_sleep_does_not_let_a_server_go_on() {
        let mut endpoint = server();
        let at = |ms: u64| MonoTime::from_micros(1_000_000 + ms * 1000);
        endpoint.connect(NOW, &addr("x"), at(60_000), "connected");
        endpoint.handle_frame(NOW, Frame::Claimed(vec![(addr("x"), Some(Seq(5)))]));
        endpoint.handle_frame(NOW, named(1, "sender"));
        let mut message = to("x", "late");
        message.origin = 1;
        // While it runs it is called as often as it wants to be, and asks at every heartbeat.
        let mut now = at(0);
        let before = loop {
            now = endpoint.next_timeout().unwrap().max(now);
            endpoint.handle_timeout(now);
            if let Some(token) = asked(&sent(&mut endpoint)) {
                break token;
            }
        };
        let woken = now + Duration::from_secs(30);
        endpoint.handle_frame(woken, pong(before));
        endpoint.handle_frame(woken, Frame::Message(message));
        let is_delivered = |endpoint: &mut waypost_router::Endpoint<_>| {
            let mut events = std::collections::VecDeque::new();
            endpoint.take_events(&mut events, usize::MAX);
            events.iter().any(|event| matches!(event, Event::Message(_)))
        };
        assert!(
            !is_delivered(&mut endpoint),
            "the store may answer again, and the lease be gone"
        );
        let anew = asked(&sent(&mut endpoint)).expect("it asks anew");
        endpoint.handle_frame(woken + Duration::from_millis(5), pong(anew));
        assert!(
            is_delivered(&mut endpoint),
            "the store cannot be reached, and it goes on"
        );
    }

    #[test]
    fn a_failure_of_the_store_from_before_its_sleep_is_no_answer_of_a_node() {
        let mut broker = Broker::new();
        let peer = broker.peer("a");
        broker.wait(Duration::from_secs(1), &[]);
        broker.now = broker.now + Duration::from_secs(4);
        broker.router.handle_timeout(broker.now);
        broker.gather();
        let fail = |broker: &mut Broker| {
            let at = broker.asked.iter().position(|(_, op)| is_renew(op)).unwrap();
            let (token, _) = broker.asked.remove(at);
            broker.router.store_done(broker.now, token, Err(StoreFailure));
            broker.gather();
        };
        let answers = |broker: &mut Broker| {
            let frames = broker.written(peer);
            frames
                .iter()
                .filter(|frame| matches!(frame, Frame::Pong { .. }))
                .count()
        };
        assert!(broker.asked.iter().any(|(_, op)| is_renew(op)));
        broker.now = broker.now + Duration::from_secs(30);
        broker.hear(peer, Frame::Ping { token: 7 });
        answers(&mut broker);
        fail(&mut broker);
        assert_eq!(answers(&mut broker), 0);
        fail(&mut broker);
        assert_eq!(
            answers(&mut broker),
            1,
            "the store was asked anew, and failed again"
        );
    }
}
