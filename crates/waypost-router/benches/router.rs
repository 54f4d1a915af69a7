//! How long a message takes through the machines, its route known: `cargo bench -p waypost-router`.

use std::collections::VecDeque;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use waypost_router::{Command, Core, LinkId, Settings, StoreFailure, StoreOp, StoreReply};
use waypost_session::{MemoryState, Renewed};
use waypost_types::{Address, Identity, Location, MonoTime};
use waypost_wire::{Frame, Hello, Message, Role};

/// How many clients the receiving server holds.
const CLIENTS: [usize; 4] = [10, 1000, 100_000, 1_000_000];
/// Messages handled under one lock.
const BATCH: usize = 64;
const CLAIM_BATCH: usize = 1024;

fn main() {
    divan::main();
}

fn now() -> MonoTime {
    MonoTime::from_micros(1)
}

fn name(at: usize) -> String {
    format!("b/{at:08}")
}

/// A broker and the links of two servers, of which the second holds the clients.
struct Broker {
    core: Core<()>,
    store: MemoryState,
    sender: LinkId,
    receiver: LinkId,
    frames: Vec<Frame>,
}

impl Broker {
    fn new(clients: usize) -> Self {
        let location = Location::new("memory:broker").unwrap_or_else(|error| panic!("{error}"));
        let mut core = Core::broker(Settings::default(), location);
        let mut attach = || {
            let router = core
                .router
                .as_mut()
                .unwrap_or_else(|| panic!("a broker has a router"));
            let id = router.new_link_id();
            let hello = Hello {
                role: Role::Peer,
                location: None,
                nonce: [0; 16],
                software: String::new(),
            };
            router.link_accepted(now(), id, &hello);
            id
        };
        let (sender, receiver) = (attach(), attach());
        let mut broker = Self {
            core,
            store: MemoryState::new(),
            sender,
            receiver,
            frames: Vec::new(),
        };
        for (link, identity) in [(sender, "one"), (receiver, "two")] {
            let identity = Identity::new(identity).unwrap_or_else(|error| panic!("{error}"));
            broker.hear(
                link,
                Frame::Attach {
                    attachment: 0,
                    identity,
                    resume: None,
                },
            );
            broker.settle();
        }
        for from in (0..clients).step_by(CLAIM_BATCH) {
            let addresses = (from..clients.min(from + CLAIM_BATCH))
                .map(|at| Address::new(&name(at)).unwrap_or_else(|error| panic!("{error}")))
                .collect();
            broker.hear(receiver, Frame::Claim(addresses));
            broker.settle();
        }
        // Each client once, so that every route is known.
        for at in 0..clients {
            broker.hear(sender, message(at));
            if at % CLAIM_BATCH == 0 {
                broker.settle();
            }
        }
        broker.settle();
        broker
    }

    fn hear(&mut self, link: LinkId, frame: Frame) {
        if let Some(router) = &mut self.core.router {
            router.handle_frame(now(), link, frame);
        }
    }

    /// Carries out what the router wants until it wants nothing, and drops what it writes.
    fn settle(&mut self) {
        loop {
            self.core.pump(now());
            let Some(router) = &mut self.core.router else {
                return;
            };
            let mut commands = VecDeque::new();
            while let Some(command) = router.poll_command() {
                commands.push_back(command);
            }
            if commands.is_empty() {
                break;
            }
            for command in commands {
                if let Command::Store { token, op } = command {
                    let reply = ask(&mut self.store, op);
                    router.store_done(now(), token, reply);
                }
            }
        }
        self.written(self.sender);
        self.written(self.receiver);
    }

    /// How many frames go out on this link.
    fn written(&mut self, link: LinkId) -> usize {
        if let Some(router) = &mut self.core.router {
            router.take_frames(link, &mut self.frames, usize::MAX);
            let count = self.frames.len();
            self.frames.clear();
            // A call that finds nothing says that the frames before it are written.
            router.take_frames(link, &mut self.frames, usize::MAX);
            return count;
        }
        0
    }
}

fn message(at: usize) -> Frame {
    let body = Bytes::from_static(&[7; 128]);
    Frame::Message(Message::new("a/00000017", &name(at), body).unwrap_or_else(|error| panic!("{error}")))
}

fn ask(store: &mut MemoryState, op: StoreOp) -> Result<StoreReply, StoreFailure> {
    Ok(match op {
        StoreOp::Register {
            identity,
            location,
            term,
        } => StoreReply::Registered(
            store
                .register(now(), &identity, &location, term)
                .map_err(|_| StoreFailure)?,
        ),
        StoreOp::Renew { owners, location } => StoreReply::Renewed(Renewed {
            renewals: owners
                .iter()
                .map(|owner| store.renew(now(), owner, &location))
                .collect(),
            generation: 0,
        }),
        StoreOp::Peers => StoreReply::Peers(store.peers(now())),
        StoreOp::Claim(owner, addresses) => {
            let claimed: Result<_, _> = addresses
                .iter()
                .map(|address| store.claim(&owner, address))
                .collect();
            StoreReply::Claimed(claimed.map_err(|_| StoreFailure)?)
        }
        StoreOp::Lookup(addresses) => StoreReply::Found(
            addresses
                .iter()
                .map(|address| store.lookup(now(), address))
                .collect(),
        ),
        _ => return Err(StoreFailure),
    })
}

/// Clients far apart in memory, in an order that no cache foresees.
fn scattered(clients: usize, round: &mut usize) -> Vec<Frame> {
    (0..BATCH)
        .map(|_| {
            *round = round
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            message((*round >> 33) % clients)
        })
        .collect()
}

/// From one server's link to the other's, through the route table.
#[divan::bench(args = CLIENTS)]
fn broker_forwards(bencher: Bencher<'_, '_>, clients: usize) {
    let mut broker = Broker::new(clients);
    let mut round = 1;
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| scattered(clients, &mut round))
        .bench_local_values(|messages| {
            let (sender, receiver) = (broker.sender, broker.receiver);
            for message in messages {
                broker.hear(sender, message);
            }
            broker.core.pump(now());
            assert_eq!(broker.written(receiver), BATCH);
        });
}

/// The route look-up alone, as it is asked for room.
#[divan::bench(args = CLIENTS)]
fn route_lookup(bencher: Bencher<'_, '_>, clients: usize) {
    let mut broker = Broker::new(clients);
    let mut round = 1;
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| scattered(clients, &mut round))
        .bench_local_refs(|messages| {
            for message in messages {
                if let Frame::Message(message) = message {
                    divan::black_box(broker.core.room_to_take(now(), message.to()));
                }
            }
        });
}
