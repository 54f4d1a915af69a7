//! What one machine does when things come in an order that whole clusters seldom show; frame by frame.

mod back;
mod broadcasts;
mod requests;
mod stopped;
mod unread;

use core::time::Duration;

use bytes::Bytes;
use waypost_router::{Command, Endpoint, Event, LinkId, Router, Settings, StoreOp, StoreReply};
use waypost_session::{Claimed, Renewal, Renewed};
use waypost_types::{
    Address, Identity, Incarnation, Lease, LeaseState, Location, MonoTime, Owner, Seq, Session,
};
use waypost_wire::{Attached, Displaced, Frame, Hello, Message, Role};

const NOW: MonoTime = MonoTime::from_micros(1_000_000);
const TERM_MS: u64 = 10_000;

fn addr(text: &str) -> Address {
    Address::new(text).unwrap()
}

fn owner(identity: &str, incarnation: u64) -> Owner {
    Owner::new(Identity::new(identity).unwrap(), Incarnation(incarnation))
}

fn place(text: &str) -> Location {
    Location::new(text).unwrap()
}

fn to(client: &str, body: &'static str) -> Message {
    let mut message = Message::new("sender", client, Bytes::from_static(body.as_bytes())).unwrap();
    message.ttl_ms = 5000;
    message
}

fn displaced(token: u64, loser: Owner, client: &str, seq: u64, by: &str) -> Frame {
    Frame::Displaced(Displaced {
        token,
        owner: loser,
        address: addr(client),
        seq: Seq(seq),
        by: Identity::new(by).unwrap(),
    })
}

/// Introduces a server on a link, in its first life.
fn named(alias: u32, identity: &str) -> Frame {
    Frame::Name {
        alias,
        owner: owner(identity, 1),
        attachment: 0,
    }
}

fn lease(owner: &Owner, location: &Location) -> Lease {
    Lease {
        owner: owner.clone(),
        location: location.clone(),
        counter: 1,
        state: LeaseState::Live,
        term: Duration::from_millis(TERM_MS),
    }
}

/// What a router says to a server that attaches under its first incarnation.
fn admitted() -> Frame {
    Frame::Attached(Attached::Attached {
        incarnation: Incarnation(1),
        lease_ms: TERM_MS,
        term_ms: TERM_MS,
    })
}

/// The server `me` under its first incarnation, attached.
fn server() -> Endpoint<&'static str> {
    let mut endpoint = Endpoint::new(Settings::default());
    endpoint.link_up(NOW);
    endpoint.register(NOW, Identity::new("me").unwrap(), "registered");
    endpoint.handle_frame(NOW, admitted());
    sent(&mut endpoint);
    endpoint
}

/// The same: it holds `x` by claim 5 and claims it anew; server 1 of its link has been introduced.
fn claiming_anew() -> Endpoint<&'static str> {
    let mut endpoint = server();
    let deadline = NOW + Duration::from_secs(5);
    endpoint.connect(NOW, &addr("x"), deadline, "first");
    assert_eq!(sent(&mut endpoint), [Frame::Claim(vec![addr("x")])]);
    endpoint.handle_frame(NOW, Frame::Claimed(vec![(addr("x"), Some(Seq(5)))]));
    endpoint.connect(NOW, &addr("x"), deadline, "again");
    sent(&mut endpoint);
    endpoint.handle_frame(NOW, named(1, "sender"));
    endpoint
}

fn sent(endpoint: &mut Endpoint<&'static str>) -> Vec<Frame> {
    let mut frames = Vec::new();
    endpoint.flush(NOW);
    endpoint.take_frames(NOW, &mut frames, usize::MAX);
    frames
}

/// A broker with peers; what the store is asked is answered by the test.
struct Broker {
    now: MonoTime,
    router: Router,
    asked: Vec<(u64, StoreOp)>,
    dialled: Vec<LinkId>,
}

impl Broker {
    fn new() -> Self {
        Self {
            now: NOW,
            router: Router::new(Settings::default(), place("tcp://here:1"), true),
            asked: Vec::new(),
            dialled: Vec::new(),
        }
    }

    fn accept(&mut self, role: Role, location: Option<Location>) -> LinkId {
        let link = self.router.new_link_id();
        let hello = Hello {
            role,
            location,
            nonce: [0; 16],
            software: String::new(),
        };
        self.router.link_accepted(self.now, link, &hello);
        link
    }

    fn hear(&mut self, link: LinkId, frame: Frame) {
        self.router.handle_frame(self.now, link, frame);
        self.gather();
    }

    fn gather(&mut self) {
        self.router.flush(self.now);
        while let Some(command) = self.router.poll_command() {
            match command {
                Command::Store { token, op } => self.asked.push((token, op)),
                Command::Dial { link, .. } => self.dialled.push(link),
                _ => {}
            }
        }
    }

    fn attach(&mut self, link: LinkId, identity: &str) {
        let identity = Identity::new(identity).unwrap();
        let resume = None;
        self.hear(
            link,
            Frame::Attach {
                identity,
                resume,
                attachment: 0,
            },
        );
    }

    /// Attaches a server of this name under incarnation 1.
    fn peer(&mut self, identity: &str) -> LinkId {
        let link = self.accept(Role::Peer, None);
        self.attach(link, identity);
        self.answer(is_register, StoreReply::Registered(Incarnation(1)));
        self.written(link);
        link
    }

    /// Answers the first question of this kind that has not been answered; what it was.
    fn answer(&mut self, is_kind: impl Fn(&StoreOp) -> bool, reply: StoreReply) -> StoreOp {
        let at = self.asked.iter().position(|(_, op)| is_kind(op));
        let Some(at) = at else {
            panic!("not asked; asked: {:?}", self.asked)
        };
        let (token, op) = self.asked.remove(at);
        self.router.store_done(self.now, token, Ok(reply));
        self.gather();
        op
    }

    fn written(&mut self, link: LinkId) -> Vec<Frame> {
        let mut frames = Vec::new();
        self.router.take_frames(link, &mut frames, usize::MAX);
        frames
    }

    /// Time goes on, with a store that renews whatever it is asked to and names these leases.
    fn wait(&mut self, span: Duration, leases: &[Lease]) {
        self.now = self.now + span;
        self.router.handle_timeout(self.now);
        self.gather();
        while let Some(at) = self
            .asked
            .iter()
            .position(|(_, op)| matches!(op, StoreOp::Renew { .. } | StoreOp::Peers))
        {
            let (token, op) = self.asked.remove(at);
            let reply = match op {
                StoreOp::Renew { owners, .. } => StoreReply::Renewed(Renewed {
                    renewals: vec![Renewal::Renewed; owners.len()],
                    generation: 1,
                }),
                _ => StoreReply::Peers(leases.to_vec()),
            };
            self.router.store_done(self.now, token, Ok(reply));
            self.gather();
        }
    }
}

const fn is_register(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Register { .. })
}

const fn is_lookup(op: &StoreOp) -> bool {
    matches!(op, StoreOp::Lookup(_))
}

fn bodies<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Vec<&'a [u8]> {
    let body = |frame: &'a Frame| match frame {
        Frame::Message(message) | Frame::Bounce(message) => Some(&*message.body),
        _ => None,
    };
    frames.into_iter().filter_map(body).collect()
}

/// While it claims a client anew, another server takes that over. Its answer says that it is done with what came before.
#[test]
fn what_waits_for_a_claim_goes_back_before_the_winner_is_told() {
    let mut endpoint = claiming_anew();
    let mut message = to("x", "waits");
    message.origin = 1;
    endpoint.handle_frame(NOW, Frame::Message(message));
    assert_eq!(bodies(&sent(&mut endpoint)), [] as [&[u8]; 0]);
    endpoint.handle_frame(NOW, displaced(9, owner("me", 1), "x", 6, "other"));
    let frames = sent(&mut endpoint);
    let at = |is: fn(&Frame) -> bool| frames.iter().position(is);
    let bounce = at(|frame| matches!(frame, Frame::Bounce(_)));
    let echo = at(|frame| matches!(frame, Frame::Echo { token: 9 }));
    assert!(
        bounce.is_some() && bounce < echo,
        "sent back, and then the answer: {frames:?}"
    );
}

/// The link breaks before the registration is answered, and the server asks again by another link.
#[test]
fn a_registration_that_nobody_waits_for_fences_nobody_for_good() {
    let mut broker = Broker::new();
    let first = broker.accept(Role::Peer, None);
    broker.attach(first, "s");
    broker.router.link_closed(NOW, first);
    let second = broker.accept(Role::Peer, None);
    broker.attach(second, "s");
    let late = broker.asked.remove(0);
    broker.answer(is_register, StoreReply::Registered(Incarnation(1)));
    broker.written(second);
    broker
        .router
        .store_done(NOW, late.0, Ok(StoreReply::Registered(Incarnation(2))));
    broker.gather();
    let (incarnation, superseded) = (Incarnation(1), false);
    assert_eq!(
        broker.written(second),
        [Frame::LeaseOver {
            incarnation,
            superseded
        }],
        "it registers anew"
    );
    assert!(
        broker
            .asked
            .iter()
            .any(|(_, op)| *op == StoreOp::Deregister(owner("s", 2))),
        "no other node takes it for a newer process: {:?}",
        broker.asked
    );
}

/// The store names a server for a client that this does not hold: a claim whose answer was lost, say.
#[test]
fn a_record_that_the_server_itself_denies_is_released() {
    let mut broker = Broker::new();
    let here = place("tcp://here:1");
    let leases = [lease(&owner("s", 1), &here)];
    let peer = broker.peer("s");
    broker.wait(Duration::ZERO, &leases);
    broker.hear(peer, Frame::Message(to("x", "one")));
    let stands = Session::new(owner("s", 1), Seq(7));
    broker.answer(is_lookup, StoreReply::Found(vec![Some(stands.clone())]));
    let asked = broker.written(peer);
    let token = asked.iter().find_map(|frame| match frame {
        Frame::Displaced(question) if question.seq == Seq(0) => Some(question.token),
        _ => None,
    });
    let Some(token) = token else {
        panic!("the server is not asked: {asked:?}")
    };
    // It says nothing but that it has heard. (The message that it sends back is still on its way.)
    broker.hear(peer, Frame::Echo { token });
    broker.hear(peer, Frame::Ping { token: 1 });
    broker.wait(Duration::from_secs(4), &leases);
    broker.hear(peer, Frame::Ping { token: 2 });
    broker.wait(Duration::from_secs(4), &leases);
    broker.answer(is_lookup, StoreReply::Found(vec![Some(stands)]));
    assert!(
        broker
            .asked
            .iter()
            .any(|(_, op)| *op == StoreOp::Release(owner("s", 1), vec![(addr("x"), Seq(7))])),
        "{:?}",
        broker.asked
    );
}

/// A link to a node falls silent with messages in its queue, is closed and dialled anew: what follows does not overtake them.
#[test]
fn what_a_silent_link_has_not_written_goes_before_what_comes_later() {
    let mut broker = Broker::new();
    let (here, there) = (place("tcp://here:1"), place("tcp://there:1"));
    let leases = [lease(&owner("s", 1), &here), lease(&owner("far", 1), &there)];
    let peer = broker.peer("s");
    broker.wait(Duration::ZERO, &leases);
    let link = broker.accept(Role::Node, Some(there));
    broker.hear(peer, Frame::Message(to("x", "one")));
    let session = Session::new(owner("far", 1), Seq(7));
    broker.answer(is_lookup, StoreReply::Found(vec![Some(session)]));
    broker.hear(peer, Frame::Message(to("x", "two")));
    for token in 1..=4 {
        broker.wait(Duration::from_secs(4), &leases);
        broker.hear(peer, Frame::Ping { token });
    }
    broker.hear(peer, Frame::Message(to("x", "three")));
    broker.router.link_closed(broker.now, link);
    let [again] = broker.dialled[..] else {
        panic!("dialled {:?}", broker.dialled)
    };
    broker.router.link_dialled(broker.now, again);
    assert_eq!(
        bodies(&broker.written(again)),
        [&b"one"[..], &b"two"[..], &b"three"[..]]
    );
}

/// Its client has been claimed by another server since, which has had later ones; and then the first one is dead.
#[test]
fn what_a_silent_link_has_not_written_does_not_follow_a_client_that_has_moved() {
    let mut broker = Broker::new();
    let (here, there) = (place("tcp://here:1"), place("tcp://there:1"));
    let (sender, next) = (broker.peer("a"), broker.peer("b"));
    let attached = ["a", "b"].map(|name| lease(&owner(name, 1), &here));
    let far = lease(&owner("far", 1), &there);
    broker.wait(Duration::ZERO, &[attached[0].clone(), attached[1].clone(), far]);
    let link = broker.accept(Role::Node, Some(there));
    broker.hear(sender, Frame::Message(to("x", "one")));
    let session = Session::new(owner("far", 1), Seq(5));
    broker.answer(is_lookup, StoreReply::Found(vec![Some(session)]));
    claim(&mut broker, next, "x", 7);
    // The former holder does not answer within the second that a takeover waits.
    broker.wait(Duration::from_secs(2), &attached);
    broker.hear(sender, Frame::Message(to("x", "two")));
    assert_eq!(bodies(&broker.written(next)), [b"two"]);
    broker.written(sender);
    broker.router.link_closed(broker.now, link);
    broker.gather();
    if let [again] = broker.dialled[..] {
        broker.router.dial_failed(broker.now, again);
        broker.wait(Duration::ZERO, &attached);
    }
    assert_eq!(bodies(&broker.written(next)), [] as [&[u8]; 0]);
    let told = broker.written(sender);
    assert!(
        matches!(&told[..], [Frame::Outcomes(outcomes)] if outcomes.failed.iter().any(|failed| failed.id == 0)),
        "it could only come late, and its sender is told: {told:?}"
    );
}

/// A claim of an attached server, answered by the store.
fn claim(broker: &mut Broker, peer: LinkId, client: &str, seq: u64) {
    broker.hear(peer, Frame::Claim(vec![addr(client)]));
    // Claims are asked for at a pace.
    broker.wait(Duration::from_millis(100), &[]);
    let claimed = Claimed {
        seq: Seq(seq),
        displaced: None,
    };
    broker.answer(
        |op| matches!(op, StoreOp::Claim(..)),
        StoreReply::Claimed(vec![claimed]),
    );
}

/// It was given up and claimed again, with a message sent by the older claim already on its way back.
#[test]
fn what_names_an_older_claim_goes_back_although_the_client_is_held_anew() {
    let mut endpoint = server();
    let deadline = NOW + Duration::from_secs(5);
    endpoint.handle_frame(NOW, named(1, "sender"));
    let come = |endpoint: &mut Endpoint<_>, body, claim| {
        let mut message = to("x", body);
        message.origin = 1;
        message.claim = claim;
        endpoint.handle_frame(NOW, Frame::Message(message));
        bodies(&sent(endpoint)).len()
    };
    endpoint.connect(NOW, &addr("x"), deadline, "first");
    endpoint.handle_frame(NOW, Frame::Claimed(vec![(addr("x"), Some(Seq(5)))]));
    assert_eq!(come(&mut endpoint, "held", 5), 0);
    endpoint.connect(NOW, &addr("x"), deadline, "again, without a break");
    endpoint.handle_frame(NOW, Frame::Claimed(vec![(addr("x"), Some(Seq(6)))]));
    assert_eq!(come(&mut endpoint, "held all the time", 5), 0);
    endpoint.disconnect(NOW, &addr("x"), "gone");
    assert_eq!(come(&mut endpoint, "not held", 6), 1);
    endpoint.handle_frame(NOW, Frame::Released(vec![(addr("x"), Seq(6))]));
    endpoint.connect(NOW, &addr("x"), deadline, "after a break");
    endpoint.handle_frame(NOW, Frame::Claimed(vec![(addr("x"), Some(Seq(9)))]));
    assert_eq!(come(&mut endpoint, "would overtake the one that went back", 6), 1);
    assert_eq!(come(&mut endpoint, "for this claim", 9), 0);
    assert_eq!(come(&mut endpoint, "of a node that names none", 0), 0);
}

/// A message comes back that went by an older claim than the route by which later ones go now.
#[test]
fn what_comes_back_of_an_older_claim_does_not_unsettle_the_newer_one() {
    let mut broker = Broker::new();
    let (sender, holder) = (broker.peer("a"), broker.peer("b"));
    claim(&mut broker, holder, "x", 5);
    broker.written(holder);
    broker.hear(sender, Frame::Message(to("x", "best effort")));
    let mut acked = to("x", "acked");
    (acked.id, acked.floor) = (1, 1);
    broker.hear(sender, Frame::Message(acked));
    let went: Vec<Frame> = broker.written(holder);
    assert_eq!(bodies(&went), [&b"best effort"[..], &b"acked"[..]]);
    claim(&mut broker, holder, "x", 7);
    broker.hear(sender, Frame::Message(to("x", "later")));
    broker.written(sender);
    broker.hear(holder, named(1, "a"));
    for frame in went {
        if let Frame::Message(mut message) = frame {
            (message.origin, message.owner) = (1, 0);
            broker.hear(holder, Frame::Bounce(message));
        }
    }
    let goes = broker.written(holder);
    assert_eq!(bodies(&goes), [&b"later"[..], &b"acked"[..]]);
    let claims = goes.iter().filter_map(|frame| match frame {
        Frame::Message(message) => Some(message.claim),
        _ => None,
    });
    assert_eq!(claims.collect::<Vec<_>>(), [7, 7]);
    let told = broker.written(sender);
    assert!(
        matches!(&told[..], [Frame::Outcomes(outcomes)] if outcomes.failed.iter().any(|failed| failed.id == 0)),
        "the best-effort one could only come late, and its sender is told: {told:?}"
    );
}

/// It went by an older claim than later ones did, and comes back while the address is about to move once more.
#[test]
fn what_comes_back_of_an_older_claim_does_not_follow_the_newest_one() {
    let mut broker = Broker::new();
    let (sender, holder, next) = (broker.peer("a"), broker.peer("b"), broker.peer("c"));
    claim(&mut broker, holder, "x", 5);
    broker.hear(sender, Frame::Message(to("x", "best effort")));
    let went = broker.written(holder);
    claim(&mut broker, next, "x", 7);
    // The former holder does not answer within the second that a takeover waits.
    broker.wait(Duration::from_secs(2), &[]);
    broker.hear(sender, Frame::Message(to("x", "later")));
    assert_eq!(bodies(&broker.written(next)), [b"later"]);
    broker.written(sender);
    broker.hear(holder, Frame::Claim(vec![addr("x")]));
    broker.hear(holder, named(1, "a"));
    for frame in went {
        if let Frame::Message(mut message) = frame {
            (message.origin, message.owner) = (1, 0);
            broker.hear(holder, Frame::Bounce(message));
        }
    }
    let told = broker.written(sender);
    assert!(
        matches!(&told[..], [Frame::Outcomes(outcomes)] if outcomes.failed.iter().any(|failed| failed.id == 0)),
        "it could only come late, and its sender is told: {told:?}"
    );
}

/// The echo says that the path is clear, and what came later to another server is delivered then.
#[test]
fn what_waits_for_a_claim_goes_back_before_the_path_is_called_clear() {
    let mut endpoint = server();
    endpoint.connect(NOW, &addr("x"), NOW + Duration::from_secs(5), "first");
    sent(&mut endpoint);
    endpoint.handle_frame(NOW, named(1, "sender"));
    let mut message = to("x", "waits");
    message.origin = 1;
    endpoint.handle_frame(NOW, Frame::Message(message));
    let barrier = |token, client| Frame::Barrier {
        token,
        owner: 0,
        address: Some(addr(client)),
    };
    endpoint.handle_frame(NOW, barrier(1, "y"));
    assert_eq!(sent(&mut endpoint), [Frame::Echo { token: 1 }]);
    endpoint.handle_frame(NOW, barrier(2, "x"));
    let frames = sent(&mut endpoint);
    assert_eq!(bodies(&frames), [b"waits"]);
    assert_eq!(frames.last(), Some(&Frame::Echo { token: 2 }));
}

/// A server has come back and has said that it holds a client, which is checked. What other nodes send to it meanwhile waits.
#[test]
fn what_waits_for_a_check_goes_back_before_the_path_is_called_clear() {
    let mut broker = Broker::new();
    let there = place("tcp://there:1");
    let peer = broker.peer("s");
    let node = broker.accept(Role::Node, Some(there));
    for (alias, name) in [(1, "far"), (2, "s")] {
        let owner = owner(name, 1);
        broker.hear(
            node,
            Frame::Name {
                alias,
                owner,
                attachment: 0,
            },
        );
    }
    broker.hear(peer, Frame::Announce(vec![(addr("x"), Seq(5))]));
    let mut message = to("x", "waits");
    (message.origin, message.owner, message.claim) = (1, 2, 5);
    broker.hear(node, Frame::Message(message));
    assert_eq!(bodies(&broker.written(peer)), [] as [&[u8]; 0]);
    let barrier = Frame::Barrier {
        token: 9,
        owner: 2,
        address: Some(addr("x")),
    };
    broker.hear(node, barrier);
    let passed_on = broker.written(peer);
    let token = passed_on.iter().find_map(|frame| match frame {
        Frame::Barrier { token, .. } => Some(*token),
        _ => None,
    });
    let Some(token) = token else {
        panic!("the server is not asked: {passed_on:?}")
    };
    assert_eq!(bodies(&broker.written(node)), [] as [&[u8]; 0]);
    broker.hear(peer, Frame::Echo { token });
    let frames = broker.written(node);
    assert_eq!(bodies(&frames), [b"waits"]);
    assert_eq!(frames.last(), Some(&Frame::Echo { token: 9 }));
}

/// A broker with the server `r` attached, which holds `y`, and a link from the broker at `location` that has introduced the
/// server `s` as attached there, by its attachment of that number, and `r`.
fn introduced(broker: &mut Broker, location: &str, attachment: u32) -> LinkId {
    let node = broker.accept(Role::Node, Some(place(location)));
    for (alias, name, attachment) in [(1, "s", attachment), (2, "r", 0)] {
        let owner = owner(name, 1);
        broker.hear(
            node,
            Frame::Name {
                alias,
                owner,
                attachment,
            },
        );
    }
    node
}

fn from_s(body: &'static str) -> Frame {
    let mut message = to("y", body);
    (message.origin, message.owner) = (1, 2);
    Frame::Message(message)
}

/// A server has gone from one broker to another, and the former reads, much later, what it had sent there: it would come behind
/// what was sent since.
#[test]
fn what_comes_by_a_broker_that_its_server_has_left_is_late() {
    let mut broker = Broker::new();
    let peer = broker.peer("r");
    let former = introduced(&mut broker, "tcp://former:1", 1);
    broker.hear(former, from_s("in time"));
    assert_eq!(bodies(&broker.written(peer)), [b"in time"]);
    let newer = introduced(&mut broker, "tcp://newer:1", 2);
    broker.hear(newer, from_s("newer"));
    broker.hear(former, from_s("late"));
    assert_eq!(bodies(&broker.written(peer)), [b"newer"]);
    // Its sender is told, by the way on which it is heard now.
    let told = broker.written(newer);
    let is_told = |frame: &Frame| matches!(frame, Frame::Outcomes(told) if told.failed.len() == 1);
    let told_at_former = broker.written(former);
    assert!(
        told.iter().chain(&told_at_former).any(is_told),
        "{told:?}, {told_at_former:?}"
    );
    // It comes back to the former, which says so.
    let former = introduced(&mut broker, "tcp://former:1", 3);
    broker.hear(former, from_s("back again"));
    broker.hear(newer, from_s("late again"));
    assert_eq!(bodies(&broker.written(peer)), [b"back again"]);
}

/// The same when the server has come to this broker itself, and when it has left it.
#[test]
fn what_comes_by_a_link_that_its_server_has_left_is_late() {
    let mut broker = Broker::new();
    let peer = broker.peer("r");
    let former = introduced(&mut broker, "tcp://former:1", 1);
    let link = broker.accept(Role::Peer, None);
    let identity = Identity::new("s").unwrap();
    let attach = Frame::Attach {
        identity,
        resume: Some(Incarnation(1)),
        attachment: 2,
    };
    broker.hear(link, attach);
    let renewed = Renewed {
        renewals: vec![Renewal::Renewed],
        generation: 1,
    };
    broker.answer(
        |op| matches!(op, StoreOp::Renew { owners, .. } if owners[0].identity.as_str() == "s"),
        StoreReply::Renewed(renewed),
    );
    broker.hear(former, from_s("late"));
    assert_eq!(bodies(&broker.written(peer)), [] as [&[u8]; 0]);
    // It is attached elsewhere before this broker has noticed that it is gone.
    let newer = introduced(&mut broker, "tcp://newer:1", 3);
    broker.hear(newer, from_s("newer"));
    broker.hear(link, Frame::Message(to("y", "late")));
    assert_eq!(bodies(&broker.written(peer)), [b"newer"]);
}

/// The node ends while a link is being dialled: once that is open it is closed, and nothing is taken from it.
#[test]
fn a_link_that_opens_after_it_was_to_be_closed_is_closed() {
    let mut broker = Broker::new();
    let sender = broker.peer("a");
    let (there, theirs) = (place("tcp://there:1"), owner("b", 1));
    broker.wait(Duration::from_secs(4), &[lease(&theirs, &there)]);
    broker.hear(sender, Frame::Message(to("x", "goes there")));
    let session = Session::new(theirs, Seq(5));
    broker.answer(is_lookup, StoreReply::Found(vec![Some(session)]));
    let [link] = broker.dialled[..] else {
        panic!("dialled {:?}", broker.dialled)
    };
    broker.router.go_away();
    broker.router.link_dialled(broker.now, link);
    let mut closed = Vec::new();
    while let Some(command) = broker.router.poll_command() {
        if let Command::Close { link, .. } = command {
            closed.push(link);
        }
    }
    assert_eq!(
        closed.iter().filter(|closed| **closed == link).count(),
        2,
        "a driver that was told before it had the link is told again: {closed:?}"
    );
    broker.written(link);
    broker.hear(link, Frame::Ping { token: 1 });
    assert_eq!(broker.written(link), []);
}

/// While a server claims a client, its lease lapses, and what comes then waits for another reason than what came before. The
/// claim fails before the lease is valid again.
#[test]
fn what_waits_for_a_claim_goes_before_what_came_when_the_lease_had_lapsed() {
    let mut endpoint = server();
    let deadline = NOW + Duration::from_secs(60);
    endpoint.connect(NOW, &addr("x"), deadline, "first");
    sent(&mut endpoint);
    endpoint.handle_frame(NOW, Frame::Claimed(vec![(addr("x"), Some(Seq(5)))]));
    endpoint.connect(NOW, &addr("x"), deadline, "again");
    sent(&mut endpoint);
    endpoint.handle_frame(NOW, named(1, "sender"));
    let mut come = |now: MonoTime, body: &'static str| {
        let mut message = to("x", body);
        message.origin = 1;
        endpoint.handle_frame(now, Frame::Message(message));
    };
    come(NOW, "first");
    let lapsed = NOW + Duration::from_millis(TERM_MS);
    come(lapsed, "second");
    endpoint.handle_frame(lapsed, Frame::Claimed(vec![(addr("x"), None)]));
    let mut frames = Vec::new();
    endpoint.take_frames(lapsed, &mut frames, usize::MAX);
    let asked = frames.iter().rev().find_map(|frame| match frame {
        Frame::Ping { token } => Some(*token),
        _ => None,
    });
    let pong = Frame::Pong {
        token: asked.unwrap(),
        lease_ms: TERM_MS,
        store_unavailable: false,
    };
    endpoint.handle_frame(lapsed, pong);
    let mut events = std::collections::VecDeque::new();
    endpoint.take_events(&mut events, usize::MAX);
    let delivered: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Message(message) => Some(&*message.body),
            _ => None,
        })
        .collect();
    assert_eq!(delivered, [b"first" as &[u8], b"second"]);
}
