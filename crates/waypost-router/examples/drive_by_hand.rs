//! Two servers of a mesh in one thread, driven by hand: no async runtime, no sockets, a store in memory.
//!
//! Every frame between them goes through a queue here; a real driver would write it to a socket.

use std::collections::VecDeque;

use bytes::Bytes;
use waypost_router::{Command, Completion, Core, Event, LinkId, Settings, StoreFailure, StoreOp, StoreReply};
use waypost_session::{MemoryState, Renewed};
use waypost_types::{Address, Identity, Location, MonoTime};
use waypost_wire::{Frame, Hello, Message, Role};

struct Server {
    core: Core<&'static str>,
    location: Location,
    /// The links that are open: ours, the other server, and its number for the same link.
    links: Vec<(LinkId, usize, LinkId)>,
}

struct Cluster {
    now: MonoTime,
    store: MemoryState,
    servers: Vec<Server>,
    wire: VecDeque<(usize, LinkId, Frame)>,
}

impl Cluster {
    /// Carries out everything that the machines want, until they want nothing more.
    fn drive(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for at in 0..self.servers.len() {
                self.servers[at].core.pump(self.now);
                busy |= self.carry_out(at);
                busy |= self.write(at);
            }
            while let Some((to, link, frame)) = self.wire.pop_front() {
                if let Some(router) = &mut self.servers[to].core.router {
                    router.handle_frame(self.now, link, frame);
                }
                busy = true;
            }
        }
    }

    fn carry_out(&mut self, at: usize) -> bool {
        let mut any = false;
        while let Some(command) = self.servers[at]
            .core
            .router
            .as_mut()
            .and_then(|r| r.poll_command())
        {
            any = true;
            match command {
                Command::Store { token, op } => {
                    let reply = ask(&mut self.store, self.now, op);
                    if let Some(router) = &mut self.servers[at].core.router {
                        router.store_done(self.now, token, reply);
                    }
                }
                Command::Dial { link, location } => self.dial(at, link, &location),
                _ => {}
            }
        }
        any
    }

    fn dial(&mut self, at: usize, link: LinkId, location: &Location) {
        let target = self
            .servers
            .iter()
            .position(|server| server.location == *location);
        let hello = Hello {
            role: Role::Node,
            location: Some(self.servers[at].location.clone()),
            nonce: [0; 16],
            software: "by hand".to_owned(),
        };
        let Some(target) = target else { return };
        if let Some(router) = &mut self.servers[target].core.router {
            let theirs = router.new_link_id();
            router.link_accepted(self.now, theirs, &hello);
            self.servers[target].links.push((theirs, at, link));
            self.servers[at].links.push((link, target, theirs));
        }
        if let Some(router) = &mut self.servers[at].core.router {
            router.link_dialled(self.now, link);
        }
    }

    fn write(&mut self, at: usize) -> bool {
        let Server { core, links, .. } = &mut self.servers[at];
        let Some(router) = &mut core.router else {
            return false;
        };
        let (mut frames, mut any) = (Vec::new(), false);
        for (link, to, theirs) in links {
            router.take_frames(*link, &mut frames, usize::MAX);
            for frame in frames.drain(..) {
                any = true;
                self.wire.push_back((*to, *theirs, frame));
            }
        }
        any
    }

    /// What has ended and what has come since the last call.
    fn told(&mut self, at: usize) -> (Vec<(&'static str, Completion)>, VecDeque<Event>) {
        let (mut done, mut events) = (Vec::new(), VecDeque::new());
        if let Some(endpoint) = &mut self.servers[at].core.endpoint {
            endpoint.take_done(&mut done);
            endpoint.take_events(&mut events, usize::MAX);
        }
        (done, events)
    }
}

/// One call of the session store.
fn ask(store: &mut MemoryState, now: MonoTime, op: StoreOp) -> Result<StoreReply, StoreFailure> {
    Ok(match op {
        StoreOp::Register {
            identity,
            location,
            term,
        } => StoreReply::Registered(
            store
                .register(now, &identity, &location, term)
                .map_err(|_| StoreFailure)?,
        ),
        StoreOp::Renew { owners, location } => StoreReply::Renewed(Renewed {
            renewals: owners
                .iter()
                .map(|owner| store.renew(now, owner, &location))
                .collect(),
            generation: 0,
        }),
        StoreOp::Peers => StoreReply::Peers(store.peers(now)),
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
                .map(|address| store.lookup(now, address))
                .collect(),
        ),
        // A real driver answers all of them.
        _ => return Err(StoreFailure),
    })
}

#[expect(clippy::print_stdout, reason = "an example shows what happens")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = MonoTime::from_micros(1);
    let mut cluster = Cluster {
        now,
        store: MemoryState::new(),
        servers: Vec::new(),
        wire: VecDeque::new(),
    };
    for name in ["one", "two"] {
        let location = Location::new(&format!("memory:{name}"))?;
        let mut core = Core::mesh(now, Settings::default(), location.clone());
        if let Some(endpoint) = &mut core.endpoint {
            endpoint.register(now, Identity::new(name)?, "register");
        }
        cluster.servers.push(Server {
            core,
            location,
            links: Vec::new(),
        });
    }
    cluster.drive();

    let deadline = now + Settings::default().send_deadline;
    for (at, client) in ["alice", "bob"].into_iter().enumerate() {
        if let Some(endpoint) = &mut cluster.servers[at].core.endpoint {
            endpoint.connect(now, &Address::new(client)?, deadline, "connect");
        }
    }
    cluster.drive();

    if let Some(endpoint) = &mut cluster.servers[0].core.endpoint {
        let message = Message::new("alice", "bob", Bytes::from_static(b"hello"))?;
        endpoint
            .send_acked(now, message, false, deadline, "send")
            .map_err(|_| "there is no room")?;
    }
    cluster.drive();

    for at in 0..2 {
        let (done, events) = cluster.told(at);
        println!("server {at}: done {done:?}, events {events:?}");
    }
    Ok(())
}
