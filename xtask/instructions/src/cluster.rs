//! A cluster in one thread, driven by hand, with all routes known: two servers of a mesh, or a broker and two attached
//! servers of which only the frames are real.

use std::collections::VecDeque;

use waypost_router::{Command, Core, LinkId, Settings, StoreFailure, StoreOp, StoreReply, Whose};
use waypost_session::{MemoryState, Renewed};
use waypost_types::{Address, Identity, Location, MonoTime};
use waypost_wire::{Chunk, Frame, Hello, Numbers, Role};

use super::{FRAME_BYTES_MAX, encoded, message};

/// Clients connected at once.
const CLAIM_BATCH: usize = 1024;

/// A node and its links: ours, the other node, and its number for the same link.
pub(super) struct Node {
    pub(super) core: Core<()>,
    location: Location,
    links: Vec<(LinkId, usize, LinkId)>,
}

pub(super) struct Cluster {
    pub(super) now: MonoTime,
    pub(super) nodes: Vec<Node>,
    /// The links of a broker's servers.
    pub(super) attached: Vec<LinkId>,
    store: MemoryState,
    wire: VecDeque<(usize, LinkId, Frame)>,
    /// The last message that crossed a link between nodes.
    last: Option<Numbers>,
}

fn sound<T, E: core::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn name(at: usize) -> String {
    format!("b/{at:08}")
}

fn hello(role: Role, location: Option<Location>) -> Hello {
    Hello {
        role,
        location,
        nonce: [0; 16],
        software: String::new(),
    }
}

impl Cluster {
    fn new() -> Self {
        Self {
            now: MonoTime::from_micros(1),
            nodes: Vec::new(),
            attached: Vec::new(),
            store: MemoryState::new(),
            wire: VecDeque::new(),
            last: None,
        }
    }

    /// Two servers, of which the second has the clients.
    pub(super) fn mesh(clients: usize) -> Self {
        let mut cluster = Self::new();
        for name in ["one", "two"] {
            let location = sound(Location::new(&format!("memory:{name}")));
            let mut core = Core::mesh(cluster.now, Settings::default(), location.clone());
            if let Some(endpoint) = &mut core.endpoint {
                endpoint.register(cluster.now, sound(Identity::new(name)), ());
            }
            cluster.nodes.push(Node {
                core,
                location,
                links: Vec::new(),
            });
        }
        cluster.drive();
        let deadline = cluster.now + Settings::default().send_deadline;
        for at in 0..clients {
            if let Some(endpoint) = &mut cluster.nodes[1].core.endpoint {
                endpoint.connect(cluster.now, &sound(Address::new(&name(at))), deadline, ());
            }
            if at % CLAIM_BATCH == 0 {
                cluster.drive();
            }
        }
        cluster.drive();
        for at in 0..clients {
            let mut message = Some(message("a/00000017", &name(at)));
            assert!(
                cluster.nodes[0].core.send(cluster.now, &mut message).is_ok(),
                "there is room"
            );
            cluster.drive();
        }
        cluster.drive();
        cluster
    }

    /// A broker and two servers, of which the second has the clients.
    pub(super) fn brokered(clients: usize) -> Self {
        let mut cluster = Self::new();
        let location = sound(Location::new("memory:broker"));
        cluster.nodes.push(Node {
            core: Core::broker(Settings::default(), location.clone()),
            location,
            links: Vec::new(),
        });
        for name in ["one", "two"] {
            if let Some(router) = &mut cluster.nodes[0].core.router {
                let link = router.new_link_id();
                router.link_accepted(cluster.now, link, &hello(Role::Peer, None));
                cluster.attached.push(link);
            }
            let attach = Frame::Attach {
                attachment: 1,
                identity: sound(Identity::new(name)),
                resume: None,
            };
            let link = cluster.attached[cluster.attached.len() - 1];
            cluster.hear(0, link, &attach);
            cluster.drive();
        }
        let (from, to) = (cluster.attached[0], cluster.attached[1]);
        let all: Vec<Address> = (0..clients).map(|at| sound(Address::new(&name(at)))).collect();
        for addresses in all.chunks(CLAIM_BATCH) {
            cluster.hear(0, to, &Frame::Claim(addresses.to_vec()));
            cluster.drive();
        }
        for address in &all {
            cluster.hear(0, from, &Frame::Message(message("a/00000017", address.as_str())));
            cluster.drive();
        }
        cluster
    }

    /// The first server's link to the second.
    pub(super) fn link(&self) -> LinkId {
        self.nodes[0].links[0].0
    }

    /// The second server's end of it.
    pub(super) fn link_back(&self) -> LinkId {
        self.nodes[0].links[0].2
    }

    /// The numbers of a message on that link.
    pub(super) fn numbers(&self) -> Numbers {
        self.last
            .unwrap_or_else(|| panic!("messages have crossed the link"))
    }

    fn hear(&mut self, node: usize, link: LinkId, frame: &Frame) {
        let mut chunk = Chunk::new();
        sound(chunk.refill(&mut encoded(frame), FRAME_BYTES_MAX));
        if let Some(waypost_wire::Item::Message(message)) = chunk.front() {
            self.last = Some(message.numbers());
        }
        let taken = self.nodes[node]
            .core
            .handle_chunk(self.now, Whose::Router(link), &mut chunk);
        assert!(sound(taken), "there is room");
    }

    /// Carries out everything that the machines want, until they want nothing more.
    fn drive(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for at in 0..self.nodes.len() {
                self.nodes[at].core.pump(self.now);
                busy |= self.carry_out(at);
                self.write(at);
            }
            while let Some((to, link, frame)) = self.wire.pop_front() {
                self.hear(to, link, &frame);
                busy = true;
            }
        }
        let mut events = VecDeque::new();
        for node in &mut self.nodes {
            if let Some(endpoint) = &mut node.core.endpoint {
                endpoint.take_events(&mut events, usize::MAX);
                endpoint.take_done(&mut Vec::new());
            }
        }
    }

    fn carry_out(&mut self, at: usize) -> bool {
        let mut any = false;
        while let Some(command) = self.nodes[at].core.router.as_mut().and_then(|r| r.poll_command()) {
            any = true;
            match command {
                Command::Store { token, op } => {
                    let reply = ask(&mut self.store, self.now, op);
                    if let Some(router) = &mut self.nodes[at].core.router {
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
        let Some(target) = self.nodes.iter().position(|node| node.location == *location) else {
            return;
        };
        let from = hello(Role::Node, Some(self.nodes[at].location.clone()));
        if let Some(router) = &mut self.nodes[target].core.router {
            let theirs = router.new_link_id();
            router.link_accepted(self.now, theirs, &from);
            self.nodes[target].links.push((theirs, at, link));
            self.nodes[at].links.push((link, target, theirs));
        }
        if let Some(router) = &mut self.nodes[at].core.router {
            router.link_dialled(self.now, link);
        }
    }

    /// Puts what a node writes on the wire; what a broker writes to its servers is dropped.
    fn write(&mut self, at: usize) {
        let Node { core, links, .. } = &mut self.nodes[at];
        let Some(router) = &mut core.router else { return };
        let mut frames = Vec::new();
        for (link, to, theirs) in links {
            router.take_frames(*link, &mut frames, usize::MAX);
            self.wire
                .extend(frames.drain(..).map(|frame| (*to, *theirs, frame)));
            // A call that finds nothing says that the frames before it are written.
            router.take_frames(*link, &mut frames, usize::MAX);
        }
        for link in &self.attached {
            router.take_frames(*link, &mut frames, usize::MAX);
            frames.clear();
            router.take_frames(*link, &mut frames, usize::MAX);
        }
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
        _ => return Err(StoreFailure),
    })
}
