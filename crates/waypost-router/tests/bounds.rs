//! Bounds of the machines, fed by hand: what is too much, and what becomes of it.

use core::time::Duration;

use waypost_router::{Command, Completion, Core, Refusal, Settings, StoreOp, StoreReply};
use waypost_session::Claimed;
use waypost_types::{Address, Identity, Incarnation, Location, MonoTime, Seq};

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
        server
            .core
            .router
            .as_ref()
            .map(waypost_router::Router::claims_waiting),
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
