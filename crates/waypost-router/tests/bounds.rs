//! Bounds of the machines, fed by hand: what is too much, and what becomes of it.

use core::time::Duration;

use bytes::Bytes;
use waypost_router::{
    Command, Completion, Core, LinkId, Refusal, Room, Router, Settings, StoreOp, StoreReply,
};
use waypost_session::Claimed;
use waypost_types::{Address, Identity, Incarnation, Location, MonoTime, Outcome, Owner, Seq};
use waypost_wire::{Attached, CloseCode, Displaced, Frame, Hello, Message, Role};

const DEADLINE: Duration = Duration::from_secs(5);

/// A server of the mesh whose store answers when the test wants it to. Its callers are numbers.
struct Server {
    core: Core<usize>,
    now: MonoTime,
}

impl Server {
    fn registered(settings: Settings) -> Self {
        let now = MonoTime::from_micros(1);
        let location = Location::new("tcp://here:1").unwrap();
        let mut server = Self {
            core: Core::mesh(now, settings, location),
            now,
        };
        let identity = Identity::new("server").unwrap();
        server
            .core
            .endpoint
            .as_mut()
            .unwrap()
            .register(now, identity, usize::MAX);
        for (token, op) in server.asked() {
            assert!(matches!(op, StoreOp::Register { .. }), "{op:?}");
            server.answer(token, StoreReply::Registered(Incarnation(1)));
        }
        assert_eq!(server.ended().len(), 1);
        server
    }

    /// What the store is asked for.
    fn asked(&mut self) -> Vec<(u64, StoreOp)> {
        self.core.pump(self.now);
        let mut asked = Vec::new();
        while let Some(command) = self.core.router.as_mut().unwrap().poll_command() {
            if let Command::Store { token, op } = command {
                asked.push((token, op));
            }
        }
        asked
    }

    fn answer(&mut self, token: u64, reply: StoreReply) {
        let router = self.core.router.as_mut().unwrap();
        router.store_done(self.now, token, Ok(reply));
        self.core.pump(self.now);
    }

    fn connect(&mut self, address: &str, token: usize) {
        let endpoint = self.core.endpoint.as_mut().unwrap();
        endpoint.connect(
            self.now,
            &Address::new(address).unwrap(),
            self.now + DEADLINE,
            token,
        );
    }

    fn ended(&mut self) -> Vec<(usize, Completion)> {
        let mut ended = Vec::new();
        self.core.endpoint.as_mut().unwrap().take_done(&mut ended);
        ended
    }

    /// Answers the claims among what was asked, and those that follow; the addresses claimed.
    fn answer_claims(&mut self, asked: Vec<(u64, StoreOp)>) -> Vec<Address> {
        let (mut claimed, mut asked) = (Vec::new(), asked);
        while !asked.is_empty() {
            for (token, op) in core::mem::take(&mut asked) {
                if let StoreOp::Claim(_, addresses) = op {
                    let one = Claimed {
                        seq: Seq(1),
                        displaced: None,
                    };
                    self.answer(token, StoreReply::Claimed(vec![one; addresses.len()]));
                    claimed.extend(addresses);
                }
            }
            asked.extend(self.asked());
        }
        claimed
    }
}

#[test]
fn a_connect_that_times_out_before_its_turn_is_never_claimed() {
    let mut server = Server::registered(Settings::default());
    for n in 0..8192 {
        server.connect(&format!("early{n}"), n);
    }
    server.connect("late", 8192);
    let asked = server.asked();
    assert_eq!(
        server.core.router.as_ref().map(Router::claims_waiting),
        Some(8192 - 2 * 1024),
        "two batches are under way, and one claim waits where nobody is behind it"
    );
    server.now = server.now + DEADLINE;
    server.core.handle_timeout(server.now);
    let ended = server.ended();
    let timed_out = Completion::Connected(Err(Refusal::TimedOut));
    assert!(ended.len() == 8193 && ended.iter().all(|(_, end)| *end == timed_out));
    server.connect("after", 1);
    let claimed = server.answer_claims(asked);
    assert_eq!(
        claimed.len(),
        8193,
        "all that had been handed over, and the new one"
    );
    assert!(claimed.iter().all(|address| address.as_str() != "late"));
    assert!(matches!(server.ended()[..], [(1, Completion::Connected(Ok(_)))]));
}

const WELCOME: Attached = Attached::Attached {
    incarnation: Incarnation(1),
    lease_ms: 10_000,
    term_ms: 10_000,
};

/// A server that is attached to a broker and holds the client `own`.
fn attached(settings: Settings) -> (Core<usize>, MonoTime) {
    let now = MonoTime::from_micros(1);
    let mut core = Core::attached(settings);
    let endpoint = core.endpoint.as_mut().unwrap();
    endpoint.link_up(now);
    endpoint.register(now, Identity::new("me").unwrap(), 0);
    endpoint.connect(now, &Address::new("own").unwrap(), now + DEADLINE, 1);
    endpoint.handle_frame(now, Frame::Attached(WELCOME));
    endpoint.connect(now, &Address::new("own").unwrap(), now + DEADLINE, 2);
    endpoint.flush(now);
    let claimed = vec![(Address::new("own").unwrap(), Some(Seq(1)))];
    endpoint.handle_frame(now, Frame::Claimed(claimed));
    assert!(endpoint.holds("own").is_some());
    (core, now)
}

fn message(to: &str, bytes: usize) -> Message {
    Message::new("sender", to, Bytes::from(vec![b'x'; bytes])).unwrap()
}

/// The broker is who such a message waits for, not this server's own inbox: on the long way as on the short one.
#[test]
fn an_attached_server_sends_to_its_own_client_however_full_its_inbox_is() {
    let mut settings = Settings::default();
    settings.inbox_bytes_max = 1000;
    let (mut core, now) = attached(settings);
    let endpoint = core.endpoint.as_mut().unwrap();
    let owner = Owner::new(Identity::new("other").unwrap(), Incarnation(1));
    endpoint.handle_frame(
        now,
        Frame::Name {
            alias: 1,
            owner,
            attachment: 0,
        },
    );
    for _ in 0..2 {
        let mut message = message("own", 1000);
        message.origin = 1;
        endpoint.handle_frame(now, Frame::Message(message));
    }
    assert_eq!(endpoint.inbox_room(now, "own"), Room::Wait);
    assert!(core.send_now("own", "sender", b"short"));
    assert_eq!(core.send(now, &mut Some(message("own", 4))), Ok(()));
    assert_eq!(
        core.send_acked(now, &mut Some(message("own", 4)), false, now + DEADLINE, || 3),
        Ok(())
    );
}

/// What lacks its outcome goes to the new broker as its link is read, in order and each message once.
#[test]
fn a_server_that_attaches_again_sends_within_the_bound_of_its_link() {
    let mut settings = Settings::default();
    settings.queue_bytes_max = 3000;
    let (mut core, mut now) = attached(settings);
    let endpoint = core.endpoint.as_mut().unwrap();
    let mut frames = Vec::new();
    endpoint.take_frames(now, &mut frames, usize::MAX);
    for n in 0..40 {
        let sent = endpoint.send_acked(now, message("theirs", 500), false, now + DEADLINE, n);
        assert_eq!(sent, Ok(()));
        endpoint.take_frames(now, &mut frames, usize::MAX);
    }
    endpoint.link_down(now);
    now = now + Duration::from_millis(1);
    endpoint.link_up(now);
    endpoint.handle_frame(now, Frame::Attached(WELCOME));
    let mut again = Vec::new();
    for taken in 0..40 {
        endpoint.queues(&mut |name, bytes, max| assert!(bytes <= max + 700, "{name}: {bytes}"));
        if taken == 1 {
            let behind = endpoint.send_acked(now, message("theirs", 500), false, now + DEADLINE, 40);
            assert_eq!(behind, Err(Refusal::Full), "before the others it overtakes them");
        }
        frames.clear();
        endpoint.take_frames(now, &mut frames, 1000);
        again.extend(frames.iter().filter_map(|frame| match frame {
            Frame::Message(message) => Some(message.id),
            _ => None,
        }));
    }
    assert!(again.iter().copied().eq(1..=40), "{again:?}");
    assert_eq!(
        endpoint.send_acked(now, message("theirs", 500), false, now + DEADLINE, 40),
        Ok(())
    );
}

#[test]
fn what_waits_for_claims_is_bounded_for_all_clients_together() {
    let mut settings = Settings::default();
    settings.queue_bytes_max = 10_000;
    let (mut core, now) = attached(settings);
    let endpoint = core.endpoint.as_mut().unwrap();
    let owner = Owner::new(Identity::new("other").unwrap(), Incarnation(1));
    endpoint.handle_frame(
        now,
        Frame::Name {
            alias: 1,
            owner,
            attachment: 0,
        },
    );
    for n in 0..100 {
        let client = Address::new(&format!("claimed{n}")).unwrap();
        endpoint.connect(now, &client, now + DEADLINE, n);
    }
    let mut frames = Vec::new();
    endpoint.take_frames(now, &mut frames, usize::MAX);
    frames.clear();
    for n in 0..400 {
        let mut message = message(&format!("claimed{}", n % 100), 1000);
        (message.origin, message.id, message.floor) = (1, n + 1, 1);
        endpoint.handle_frame(now, Frame::Message(message));
    }
    endpoint.flush(now);
    endpoint.take_frames(now, &mut frames, usize::MAX);
    let refused: Vec<_> = frames
        .iter()
        .filter_map(|frame| match frame {
            Frame::Outcomes(outcomes) => Some(&outcomes.failed),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(refused.iter().all(|failed| failed.outcome == Outcome::Overloaded));
    let kept = 400 - refused.len();
    assert!((140..160).contains(&kept), "16 queues of 10,000 bytes: {kept}");
    // What they hold is free again once they are answered.
    let claimed = (0..100).map(|n| (Address::new(&format!("claimed{n}")).unwrap(), Some(Seq(n + 1))));
    endpoint.handle_frame(now, Frame::Claimed(claimed.collect()));
    endpoint.queues(&mut |name, bytes, max| {
        assert!(bytes <= max + 2000, "{name}: {bytes}");
        assert!(name != "all claimed clients'" || bytes == 0);
    });
}

/// A router with a link from another node.
fn node(settings: Settings) -> (Router, LinkId, MonoTime) {
    let now = MonoTime::from_micros(1);
    let mut router = Router::new(settings, Location::new("tcp://here:1").unwrap(), true);
    let link = router.new_link_id();
    let hello = Hello {
        role: Role::Node,
        location: Some(Location::new("tcp://there:1").unwrap()),
        nonce: [0; 16],
        software: String::new(),
    };
    router.link_accepted(now, link, &hello);
    (router, link, now)
}

#[test]
fn a_link_that_introduces_more_servers_than_are_kept_is_closed() {
    let mut settings = Settings::default();
    settings.servers_max = 3;
    let (mut router, link, now) = node(settings);
    for (alias, life) in [(1, 1), (2, 2), (3, 3), (4, 1), (5, 4)] {
        assert!(router.poll_command().is_none(), "three lives are kept");
        let owner = Owner::new(Identity::new("s").unwrap(), Incarnation(life));
        let name = Frame::Name {
            alias,
            owner,
            attachment: 0,
        };
        router.handle_frame(now, link, name);
    }
    let closed = router.poll_command();
    assert!(
        matches!(
            closed,
            Some(Command::Close {
                code: CloseCode::Overloaded,
                ..
            })
        ),
        "{closed:?}"
    );
}

#[test]
fn servers_that_are_not_attached_here_take_no_number_by_being_displaced() {
    let mut settings = Settings::default();
    settings.servers_max = 1;
    let (mut router, link, now) = node(settings);
    let owner = |life| Owner::new(Identity::new("s").unwrap(), Incarnation(life));
    for life in 1..100 {
        let displaced = Displaced {
            token: life,
            owner: owner(life),
            address: Address::new("client").unwrap(),
            seq: Seq(1),
            by: Identity::new("other").unwrap(),
        };
        router.handle_frame(now, link, Frame::Displaced(displaced));
    }
    let mut answers = Vec::new();
    router.take_frames(link, &mut answers, usize::MAX);
    assert!(
        answers
            .into_iter()
            .eq((1..100).map(|token| Frame::Echo { token }))
    );
    let name = Frame::Name {
        alias: 1,
        owner: owner(100),
        attachment: 0,
    };
    router.handle_frame(now, link, name);
    assert_eq!(router.poll_command(), None, "there is room for one");
}

#[test]
fn a_link_on_which_nobody_reads_the_answers_is_closed() {
    let (mut router, link, now) = node(Settings::default());
    let mut asked = 0;
    let closed = loop {
        router.handle_frame(now, link, Frame::Ping { token: asked });
        asked += 1;
        match router.poll_command() {
            Some(Command::Close { link, code, .. }) => break (link, code),
            Some(other) => panic!("{other:?}"),
            None => assert!(asked < 1_000_000, "nothing bounds what nobody reads"),
        }
    };
    assert_eq!(closed, (link, CloseCode::Overloaded));
    assert!(asked > 200_000, "16 MiB: {asked}");
}

#[test]
fn questions_for_clients_that_wait_for_the_store_are_bounded() {
    const WAITING_MAX: usize = 65_536;
    /// Two batches, of one question each.
    const UNDER_WAY: usize = 2;
    let mut server = Server::registered(Settings::default());
    let all = UNDER_WAY + WAITING_MAX + 10;
    for n in 0..all {
        let endpoint = server.core.endpoint.as_mut().unwrap();
        endpoint.locate(Address::new(&format!("c{n}")).unwrap(), server.now + DEADLINE, n);
        server.core.pump(server.now);
    }
    let ended = server.ended();
    assert_eq!(ended.len(), 10, "those beyond the bound, at once");
    assert!(
        ended.iter().all(|(n, end)| {
            *n >= all - 10 && *end == Completion::Located(Err(Refusal::StoreUnavailable))
        })
    );
}

#[test]
fn broadcasts_that_wait_for_the_leases_are_bounded_in_bytes_and_go_out_in_order() {
    let mut settings = Settings::default();
    settings.queue_bytes_max = 1000;
    let bytes_max = 4 * settings.queue_bytes_max;
    let mut server = Server::registered(settings);
    let sender = Address::new("sender").unwrap();
    server.connect("receiver", 0);
    let asked = server.asked();
    server.answer_claims(asked);
    server.ended();
    let sent = bytes_max / 500 + 10;
    for n in 0..sent {
        let mut body = vec![b'x'; 500];
        body[0] = u8::try_from(n).unwrap();
        let endpoint = server.core.endpoint.as_mut().unwrap();
        endpoint.broadcast(server.now, sender.clone(), body.into(), server.now + DEADLINE, n);
        // Nobody answers the question for the leases.
        server.core.pump(server.now);
    }
    let mut events = std::collections::VecDeque::new();
    server
        .core
        .endpoint
        .as_mut()
        .unwrap()
        .take_events(&mut events, usize::MAX);
    let came: Vec<u8> = events
        .iter()
        .filter_map(|event| match event {
            waypost_router::Event::Broadcast { body, .. } => Some(body[0]),
            _ => None,
        })
        .collect();
    assert!(
        (bytes_max / 1000..sent).contains(&came.len()),
        "as many as a link takes, each time that so many wait: {came:?}"
    );
    assert!(
        came.iter().copied().eq(0..u8::try_from(came.len()).unwrap()),
        "{came:?}"
    );
}

#[test]
fn a_node_that_does_not_read_what_comes_back_loses_its_link() {
    let (mut router, link, now) = node(Settings::default());
    for (alias, name) in [(1, "sender"), (2, "not here")] {
        let owner = Owner::new(Identity::new(name).unwrap(), Incarnation(1));
        let name = Frame::Name {
            alias,
            owner,
            attachment: 0,
        };
        router.handle_frame(now, link, name);
    }
    let mut sent = 0;
    let closed = loop {
        let mut message = message("client", 1000);
        (message.origin, message.owner) = (1, 2);
        router.handle_frame(now, link, Frame::Message(message));
        sent += 1;
        match router.poll_command() {
            Some(Command::Close { link, code, .. }) => break (link, code),
            Some(Command::Store { .. } | Command::Dial { .. }) => {}
            Some(other) => panic!("{other:?}"),
            None => assert!(sent < 100_000, "nothing bounds what comes back"),
        }
    };
    assert_eq!(closed, (link, CloseCode::Overloaded));
    assert!(sent > 10_000, "16 MiB: {sent}");
}

#[test]
fn two_connects_of_one_client_at_one_moment_each_end_in_time() {
    let mut server = Server::registered(Settings::default());
    server.connect("x", 1);
    server.connect("x", 2);
    for (token, op) in server.asked() {
        if let StoreOp::Claim(..) = op {
            let claimed = Claimed {
                seq: Seq(1),
                displaced: None,
            };
            server.answer(token, StoreReply::Claimed(vec![claimed]));
        }
    }
    assert_eq!(server.ended().len(), 1);
    server.asked(); // The second claim, which the store does not answer.
    server.now = server.now + DEADLINE;
    server.core.handle_timeout(server.now);
    let ended = server.ended();
    assert!(
        matches!(ended[..], [(2, Completion::Connected(Err(Refusal::TimedOut)))]),
        "{ended:?}"
    );
}

#[test]
fn who_waits_behind_messages_that_have_expired_hears_of_room() {
    let mut settings = Settings::default();
    settings.queue_bytes_max = 1000;
    let mut server = Server::registered(settings);
    // The store does not answer the look-up.
    let mut count = 0;
    while server.core.send(server.now, &mut Some(message("nobody", 100))) == Ok(()) {
        server.asked();
        count += 1;
        assert!(count < 100, "what waits for a look-up is bounded");
    }
    let router = server.core.router.as_mut().unwrap();
    router.take_room_freed();
    server.now = server.now + DEADLINE;
    server.core.handle_timeout(server.now);
    assert!(server.core.router.as_mut().unwrap().take_room_freed());
    let mut next = Some(message("nobody", 100));
    assert_eq!(server.core.send(server.now, &mut next), Ok(()));
}
