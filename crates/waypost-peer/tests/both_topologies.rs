//! The same program against a mesh and against a broker, on real sockets: the handle makes no difference.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use waypost_node::Broker;
use waypost_peer::{Event, EventBatch, Events, Peer, PeerError, RequestError, Settings};
use waypost_session::{MemoryStore, SessionStore};
use waypost_types::{Address, Outcome};

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster in one process.
struct Cluster {
    store: Arc<dyn SessionStore>,
    broker: Option<Broker>,
    settings: Settings,
}

impl Cluster {
    async fn mesh() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            broker: None,
            settings: Settings::default(),
        }
    }

    async fn brokered() -> Self {
        let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::new());
        let broker = Broker::builder(store.clone())
            .listen("tcp://127.0.0.1:0")
            .start()
            .await
            .unwrap();
        Self {
            store,
            broker: Some(broker),
            settings: Settings::default(),
        }
    }

    async fn server(&self, identity: &str) -> (Peer, Events) {
        let builder = match &self.broker {
            None => Peer::mesh(self.store.clone()).listen("tcp://127.0.0.1:0"),
            Some(broker) => {
                let urls = broker.listen_urls();
                Peer::attached(&urls.iter().map(String::as_str).collect::<Vec<_>>())
            }
        };
        let (peer, mut events) = builder.settings(self.settings.clone()).start().await.unwrap();
        peer.register_identity(identity).await.unwrap();
        assert!(matches!(next(&mut events).await, Event::Registered { .. }));
        (peer, events)
    }
}

async fn next(events: &mut Events) -> Event {
    timeout(PATIENCE, events.recv())
        .await
        .expect("an event in time")
        .expect("the peer is running")
}

async fn next_body(events: &mut Events) -> Bytes {
    match next(events).await {
        Event::Message(message) => message.into_body(),
        event => panic!("a message was due, not {event:?}"),
    }
}

/// One test for each topology from one function.
macro_rules! both {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        mod mesh {
            $( $(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Cluster::mesh().await).await; } )*
        }
        mod brokered {
            $( $(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Cluster::brokered().await).await; } )*
        }
    };
}

both! {
    message_reaches_a_client_of_another_server,
    nobody_is_not_connected,
    request_gets_its_reply,
    broadcast_reaches_all_but_the_sender,
    takeover_tells_the_loser_and_late_disconnect_changes_nothing,
    one_senders_messages_come_in_order,
    many_clients_connect_in_batches,
    messages_sent_together_come_in_order_and_a_bad_one_harms_no_other,
    messages_lent_given_and_left_are_all_the_messages_in_their_order,
    connects_beyond_the_bound_are_overloaded,
    who_waits_for_the_bytes_of_acked_messages_goes_on_when_they_have_their_outcomes,
    client_with_a_stream_of_its_own_holds_nobody_up,
    sender_of_many_gets_one_outcome_for_each_and_no_more_than_its_bound,
    acked_messages_sent_together_have_numbers_in_a_row_and_stop_at_the_bound_and_at_a_bad_one,
    sender_of_many_hears_that_the_peer_has_ended,
    bad_input_is_refused_with_its_reason,
    drain_loses_no_acked_message,
    newer_process_of_the_same_identity_fences_the_older,
}

async fn message_reaches_a_client_of_another_server(cluster: Cluster) {
    let (one, _one_events) = cluster.server("one").await;
    let (two, mut events) = cluster.server("two").await;
    one.connect_client("alice").await.unwrap();
    two.connect_client("bob").await.unwrap();
    assert_eq!(
        one.send_acked("alice", "bob", "acked".into()).await,
        Ok(Outcome::Delivered)
    );
    assert_eq!(next_body(&mut events).await, "acked");
    one.send_message("alice", "bob", "best effort".into())
        .await
        .unwrap();
    let Event::Message(message) = next(&mut events).await else {
        panic!("a message was due")
    };
    assert_eq!(
        (message.from(), message.to(), &message.body()[..]),
        ("alice", "bob", &b"best effort"[..])
    );
    assert_eq!(one.locate("bob").await.unwrap().unwrap().as_str(), "two");
}

async fn nobody_is_not_connected(cluster: Cluster) {
    let (one, _events) = cluster.server("one").await;
    assert_eq!(
        one.send_acked("alice", "nobody", Bytes::new()).await,
        Ok(Outcome::NotConnected)
    );
    assert_eq!(
        one.request("alice", "nobody", Bytes::new()).await,
        Err(RequestError::Outcome(Outcome::NotConnected))
    );
    assert_eq!(one.locate("nobody").await, Ok(None));
    one.connect_client("alice").await.unwrap();
    one.disconnect_client("alice").await.unwrap();
    assert_eq!(
        one.send_acked("bob", "alice", Bytes::new()).await,
        Ok(Outcome::NotConnected)
    );
}

async fn request_gets_its_reply(cluster: Cluster) {
    let (one, _one_events) = cluster.server("one").await;
    let (two, mut events) = cluster.server("two").await;
    two.connect_client("bob").await.unwrap();
    let answer = tokio::spawn(async move {
        let Event::Request { token, message } = next(&mut events).await else {
            panic!("a request was due")
        };
        assert_eq!(message.body(), "ping");
        two.reply(token, "pong".into()).unwrap();
        (two, events)
    });
    assert_eq!(
        one.request("alice", "bob", "ping".into()).await,
        Ok("pong".into())
    );
    answer.await.unwrap();
}

async fn broadcast_reaches_all_but_the_sender(cluster: Cluster) {
    let (one, mut one_events) = cluster.server("one").await;
    let (two, mut two_events) = cluster.server("two").await;
    for client in ["a", "b"] {
        one.connect_client(client).await.unwrap();
    }
    two.connect_client("c").await.unwrap();
    let outcome = one.broadcast("a", "all".into()).await.unwrap();
    assert_eq!(
        (outcome.servers, outcome.clients, outcome.unreached),
        (2, 2, vec![])
    );
    for (events, expected) in [(&mut one_events, "b"), (&mut two_events, "c")] {
        let Event::Broadcast { from, to, body } = next(events).await else {
            panic!("a broadcast was due")
        };
        assert_eq!(
            (from.as_str(), to.as_str(), &body[..]),
            ("a", expected, &b"all"[..])
        );
    }
}

async fn takeover_tells_the_loser_and_late_disconnect_changes_nothing(cluster: Cluster) {
    let (one, mut one_events) = cluster.server("one").await;
    let (two, mut two_events) = cluster.server("two").await;
    let before = one.connect_client("bob").await.unwrap();
    // The sender's route leads to the server that is about to lose the client.
    assert_eq!(
        one.send_acked("x", "bob", "first".into()).await,
        Ok(Outcome::Delivered)
    );
    assert_eq!(next_body(&mut one_events).await, "first");
    let after = two.connect_client("bob").await.unwrap();
    assert!(after > before);
    let Event::Displaced { client, by } = next(&mut one_events).await else {
        panic!("a displacement was due")
    };
    assert_eq!((client.as_str(), by.as_str()), ("bob", "two"));
    one.disconnect_client("bob").await.unwrap();
    assert_eq!(
        one.send_acked("x", "bob", "second".into()).await,
        Ok(Outcome::Delivered)
    );
    assert_eq!(next_body(&mut two_events).await, "second");
    assert!(one_events.try_recv().is_none(), "nothing comes to the loser");
}

async fn one_senders_messages_come_in_order(cluster: Cluster) {
    const COUNT: u32 = 2_000;
    let (one, _one_events) = cluster.server("one").await;
    let (two, mut events) = cluster.server("two").await;
    two.connect_client("bob").await.unwrap();
    let sender = tokio::spawn(async move {
        for number in 0..COUNT {
            one.send_message("alice", "bob", number.to_string().into())
                .await
                .unwrap();
        }
        one
    });
    for number in 0..COUNT {
        assert_eq!(next_body(&mut events).await, number.to_string());
    }
    sender.await.unwrap();
}

async fn many_clients_connect_in_batches(cluster: Cluster) {
    let (one, _one_events) = cluster.server("one").await;
    let (two, mut events) = cluster.server("two").await;
    let addresses: Vec<Address> = (0..3_000)
        .map(|n| Address::new(&format!("client-{n}")).unwrap())
        .collect();
    let seqs = two.connect_clients(&addresses).await;
    assert!(seqs.iter().all(Result::is_ok));
    for address in ["client-0", "client-1500", "client-2999"] {
        assert_eq!(
            one.send_acked("x", address, Bytes::new()).await,
            Ok(Outcome::Delivered)
        );
        assert!(matches!(next(&mut events).await, Event::Message(message) if message.to() == address));
    }
}

async fn messages_sent_together_come_in_order_and_a_bad_one_harms_no_other(cluster: Cluster) {
    const COUNT: usize = 2_000;
    let (one, _one_events) = cluster.server("one").await;
    let (two, mut events) = cluster.server("two").await;
    let clients: Vec<String> = (0..3).map(|n| format!("client-{n}")).collect();
    for client in &clients {
        two.connect_client(client).await.unwrap();
    }
    let (bodies, bad): (Vec<Bytes>, _) = (
        (0..COUNT).map(|n| n.to_string().into()).collect(),
        "x".repeat(256),
    );
    let is_bad = |at: usize| at % 100 == 17;
    let messages: Vec<(&str, &str, &Bytes)> = (bodies.iter().enumerate())
        .map(|(at, body)| {
            let to = if is_bad(at) {
                &bad
            } else {
                &clients[at % clients.len()]
            };
            ("alice", to.as_str(), body)
        })
        .collect();
    let failed = one.send_messages(&messages).await;
    assert_eq!(failed.len(), COUNT / 100);
    for (at, error) in failed {
        assert!(is_bad(at) && matches!(error, PeerError::Name(_)), "{at}: {error}");
    }
    let mut newest = vec![None; clients.len()];
    for _ in 0..COUNT - COUNT / 100 {
        let Event::Message(message) = next(&mut events).await else {
            panic!("a message was due")
        };
        let number: usize = str::from_utf8(message.body()).unwrap().parse().unwrap();
        let at = number % clients.len();
        assert_eq!(message.to(), clients[at]);
        assert!(
            newest[at].replace(number) < Some(number),
            "{newest:?} before {number}"
        );
    }
}

async fn messages_lent_given_and_left_are_all_the_messages_in_their_order(cluster: Cluster) {
    const COUNT: usize = 3_000;
    let (one, _one_events) = cluster.server("one").await;
    let (two, mut events) = cluster.server("two").await;
    two.connect_client("bob").await.unwrap();
    let bodies: Vec<Bytes> = (0..COUNT).map(|n| n.to_string().into()).collect();
    let messages: Vec<_> = bodies.iter().map(|body| ("alice", "bob", body)).collect();
    assert!(one.send_messages(&messages).await.is_empty());
    let (mut got, mut lent) = (Vec::new(), 0);
    while got.len() < COUNT {
        match timeout(PATIENCE, events.recv_batch()).await.unwrap().unwrap() {
            EventBatch::Messages(mut messages) => {
                assert!(!messages.is_empty());
                // Some are lent, one is kept, and the rest is left.
                for _ in 0..5 {
                    let Some(message) = messages.next() else { break };
                    assert_eq!((message.from(), message.to()), ("alice", "bob"));
                    got.push(Bytes::copy_from_slice(message.body()));
                    lent += 1;
                }
                got.extend(messages.next().map(|message| message.to_message().into_body()));
            }
            EventBatch::Event(Event::Message(message)) => got.push(message.into_body()),
            EventBatch::Event(event) => panic!("a message was due, not {event:?}"),
        }
        if got.len() % 3 == 0 && got.len() < COUNT {
            got.push(next_body(&mut events).await);
        }
    }
    assert_eq!(got, bodies);
    assert!(lent > 0);
    // The last batch has been read to its end and still lies there: what comes next is found at once all the same.
    assert!(one.send_messages(&messages[..3]).await.is_empty());
    let mut read = 0;
    while read < 3 {
        match timeout(PATIENCE, events.recv_batch()).await.unwrap().unwrap() {
            EventBatch::Messages(mut messages) => {
                while messages.next().is_some() {
                    read += 1;
                }
            }
            EventBatch::Event(_) => read += 1,
        }
    }
    two.connect_client("carol").await.unwrap();
    events.include_operations().await;
    two.disconnect_client("carol").await.unwrap();
    let given_up = events.try_recv();
    assert!(matches!(given_up, Some(Event::GivenUp { .. })), "{given_up:?}");
    two.shutdown().await;
    assert!(matches!(
        events.recv_batch().await,
        Some(EventBatch::Event(Event::Closed))
    ));
    assert!(events.recv_batch().await.is_none());
}

async fn client_with_a_stream_of_its_own_holds_nobody_up(cluster: Cluster) {
    let (one, _one_events) = cluster.server("one").await;
    let (two, mut events) = cluster.server("two").await;
    for client in ["slow", "other"] {
        two.connect_client(client).await.unwrap();
    }
    let mut slow = two.client_events("slow").unwrap().expect("it is connected");
    assert!(two.client_events("nobody").unwrap().is_none());
    let body = Bytes::from(vec![7; 100_000]);
    let mut delivered = 0;
    while one.send_acked("x", "slow", body.clone()).await == Ok(Outcome::Delivered) {
        delivered += 1;
        assert!(delivered < 1_000, "its inbox is bounded");
    }
    assert_eq!(
        one.send_acked("x", "slow", body.clone()).await,
        Ok(Outcome::Overloaded)
    );
    assert_eq!(
        one.send_acked("x", "other", "hello".into()).await,
        Ok(Outcome::Delivered)
    );
    assert_eq!(next_body(&mut events).await, "hello");
    two.disconnect_client("slow").await.unwrap();
    for _ in 0..delivered {
        let event = timeout(PATIENCE, slow.recv()).await.unwrap();
        assert!(matches!(event, Some(Event::Message(message)) if *message.body() == body));
    }
    assert!(
        timeout(PATIENCE, slow.recv()).await.unwrap().is_none(),
        "it ends with the client"
    );
}

async fn bad_input_is_refused_with_its_reason(cluster: Cluster) {
    let (one, _events) = cluster.server("one").await;
    assert!(matches!(one.connect_client("").await, Err(PeerError::Name(_))));
    assert!(matches!(
        one.send_acked("a", &"x".repeat(256), Bytes::new()).await,
        Err(PeerError::Name(_))
    ));
    let body = Bytes::from(vec![0; 1 << 20]);
    assert!(matches!(
        one.send_message("a", "b", body).await,
        Err(PeerError::TooLarge { .. })
    ));
}

async fn drain_loses_no_acked_message(cluster: Cluster) {
    let (one, _one_events) = cluster.server("one").await;
    let (two, mut events) = cluster.server("two").await;
    two.connect_client("bob").await.unwrap();
    let sends: Vec<_> = (0..200)
        .map(|n| {
            let one = one.clone();
            tokio::spawn(async move {
                one.send_acked("alice", "bob", n.to_string().into())
                    .await
                    .unwrap()
            })
        })
        .collect();
    assert!(!next_body(&mut events).await.is_empty());
    two.drain().await.unwrap();
    let mut delivered = 0;
    for send in sends {
        match send.await.unwrap() {
            Outcome::Delivered => delivered += 1,
            outcome => assert_eq!(outcome, Outcome::NotConnected),
        }
    }
    let mut received = 1;
    loop {
        match next(&mut events).await {
            Event::Message(_) => received += 1,
            Event::Drained => break,
            event => panic!("unexpected {event:?}"),
        }
    }
    assert_eq!(received, delivered);
    assert_eq!(two.connect_client("carol").await, Err(PeerError::NotRegistered));
    let broadcast = two.broadcast("bob", "all".into()).await;
    assert_eq!(broadcast, Err(PeerError::NotRegistered));
}

async fn who_waits_for_the_bytes_of_acked_messages_goes_on_when_they_have_their_outcomes(
    mut cluster: Cluster,
) {
    cluster.settings.queue_bytes_max = 64 << 10;
    cluster.settings.frame_bytes_max = 64 << 10;
    cluster.settings.send_deadline = Duration::from_secs(60);
    let (one, _one_events) = cluster.server("one").await;
    let (two, mut events) = cluster.server("two").await;
    two.connect_client("bob").await.unwrap();
    let body = Bytes::from(vec![b'x'; 16 << 10]);
    let mut asked = Vec::new();
    for _ in 0..80 {
        let (one, body) = (one.clone(), body.clone());
        asked.push(tokio::spawn(
            async move { one.request("alice", "bob", body).await },
        ));
    }
    let mut answered = 0;
    while answered < asked.len() {
        // 16 queues of 64 KiB have room for 64 of them; the others wait for these to be answered.
        let mut open = Vec::new();
        while open.len() < 64.min(asked.len() - answered) {
            let Event::Request { token, .. } = next(&mut events).await else {
                panic!("a request was due")
            };
            open.push(token);
        }
        answered += open.len();
        for token in open {
            two.reply(token, "yes".into()).unwrap();
        }
    }
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok("yes".into()));
    }
}

async fn connects_beyond_the_bound_are_overloaded(mut cluster: Cluster) {
    cluster.settings.connects_max = 10;
    let (one, _events) = cluster.server("one").await;
    let addresses: Vec<Address> = (0..12).map(|n| Address::new(&format!("c{n}")).unwrap()).collect();
    let results = one.connect_clients(&addresses).await;
    assert!(results[..10].iter().all(Result::is_ok), "{results:?}");
    assert_eq!(
        results[10..],
        [Err(PeerError::Overloaded), Err(PeerError::Overloaded)]
    );
    one.connect_client("c11").await.unwrap();
}

async fn newer_process_of_the_same_identity_fences_the_older(mut cluster: Cluster) {
    cluster.settings.lease_term = Duration::from_secs(1);
    let (older, mut older_events) = cluster.server("one").await;
    older.connect_client("bob").await.unwrap();
    let (newer, mut newer_events) = cluster.server("one").await;
    assert!(matches!(
        next(&mut older_events).await,
        Event::Fenced { superseded: true }
    ));
    assert_eq!(older.connect_client("bob").await, Err(PeerError::Fenced));
    newer.connect_client("bob").await.unwrap();
    assert_eq!(
        newer.send_acked("x", "bob", "hello".into()).await,
        Ok(Outcome::Delivered)
    );
    assert_eq!(next_body(&mut newer_events).await, "hello");
}

async fn sender_of_many_gets_one_outcome_for_each_and_no_more_than_its_bound(cluster: Cluster) {
    let (one, _one_events) = cluster.server("one").await;
    let (two, mut events) = cluster.server("two").await;
    two.connect_client("bob").await.unwrap();
    let mut sender = one.acked_sender(8);
    assert_eq!(sender.next_outcome().await, Ok(None));
    let (mut sent, mut outcomes) = (Vec::new(), std::collections::BTreeMap::new());
    for n in 0..100 {
        while sender.is_full() {
            let (ticket, outcome) = sender.next_outcome().await.unwrap().unwrap();
            assert_eq!(outcomes.insert(ticket, outcome), None);
        }
        // Every tenth has nobody to go to.
        let to = if n % 10 == 3 { "nobody" } else { "bob" };
        sent.push((sender.send("alice", to, n.to_string().into()).await.unwrap(), to));
        assert!(sender.unread() <= 8);
    }
    while !sender.is_full() {
        sent.push((sender.send("alice", "bob", Bytes::new()).await.unwrap(), "bob"));
    }
    assert_eq!(
        sender.send("alice", "bob", Bytes::new()).await,
        Err(PeerError::Overloaded),
        "what has not been read is bounded"
    );
    while let Some((ticket, outcome)) = sender.next_outcome().await.unwrap() {
        assert_eq!(outcomes.insert(ticket, outcome), None);
    }
    assert_eq!(sender.unread(), 0);
    assert_eq!(outcomes.len(), sent.len());
    for (ticket, to) in &sent {
        let due = if *to == "bob" {
            Outcome::Delivered
        } else {
            Outcome::NotConnected
        };
        assert_eq!(outcomes[ticket], due);
    }
    for n in (0..100).filter(|n| n % 10 != 3) {
        assert_eq!(
            next_body(&mut events).await,
            n.to_string(),
            "in the order of the calls"
        );
    }
    assert!(matches!(
        sender.send("", "bob", Bytes::new()).await,
        Err(PeerError::Name(_))
    ));
    assert_eq!(sender.unread(), 0, "what was refused has no outcome");
}

async fn acked_messages_sent_together_have_numbers_in_a_row_and_stop_at_the_bound_and_at_a_bad_one(
    cluster: Cluster,
) {
    const BOUND: usize = 20;
    let (one, _one_events) = cluster.server("one").await;
    let (two, mut events) = cluster.server("two").await;
    two.connect_client("bob").await.unwrap();
    let bodies: Vec<Bytes> = (0..100).map(|n| n.to_string().into()).collect();
    let bad = "x".repeat(256);
    let messages: Vec<_> = bodies.iter().map(|body| ("alice", "bob", body)).collect();
    let mut sender = one.acked_sender(BOUND);
    assert_eq!(sender.send_many(&[]).await, Ok(1..1));
    let mut sent = 0;
    while sent < messages.len() {
        while !sender.is_full() && sent < messages.len() {
            let numbers = sender.send_many(&messages[sent..]).await.unwrap();
            assert_eq!(numbers.start, sent as u64 + 1);
            assert!(!numbers.is_empty() && sender.unread() <= BOUND);
            sent = usize::try_from(numbers.end).unwrap() - 1;
        }
        if sender.is_full() {
            assert_eq!(sender.send_many(&messages).await, Err(PeerError::Overloaded));
        }
        let (_, outcome) = sender.next_outcome().await.unwrap().unwrap();
        assert_eq!(outcome, Outcome::Delivered);
    }
    while let Some((_, outcome)) = sender.next_outcome().await.unwrap() {
        assert_eq!(outcome, Outcome::Delivered);
        while let Some((_, outcome)) = sender.try_next_outcome() {
            assert_eq!(outcome, Outcome::Delivered);
        }
    }
    assert_eq!((sender.unread(), sender.try_next_outcome()), (0, None));
    let with_a_bad_one = [messages[0], ("alice", &bad, &bodies[1]), messages[2]];
    assert_eq!(sender.send_many(&with_a_bad_one).await, Ok(101..102));
    assert!(matches!(
        sender.send_many(&with_a_bad_one[1..]).await,
        Err(PeerError::Name(_))
    ));
    assert_eq!(sender.next_outcome().await, Ok(Some((101, Outcome::Delivered))));
    assert_eq!(sender.next_outcome().await, Ok(None));
    for body in bodies.iter().chain(&bodies[..1]) {
        assert_eq!(next_body(&mut events).await, body);
    }
}

async fn sender_of_many_hears_that_the_peer_has_ended(cluster: Cluster) {
    let (one, _one_events) = cluster.server("one").await;
    let (two, mut events) = cluster.server("two").await;
    two.connect_client("bob").await.unwrap();
    let mut sender = one.acked_sender(8);
    sender.send("alice", "bob", "last".into()).await.unwrap();
    assert_eq!(next_body(&mut events).await, "last");
    one.shutdown().await;
    // Its outcome has come in time, or never comes.
    assert!(matches!(
        timeout(PATIENCE, sender.next_outcome()).await.unwrap(),
        Ok(Some((1, _))) | Err(PeerError::Closed)
    ));
    assert_eq!(
        sender.send("alice", "bob", Bytes::new()).await,
        Err(PeerError::Closed)
    );
}
