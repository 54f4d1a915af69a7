//! Servers that claim, release and look up a few addresses at random through all nodes, while nodes stop, stand still and start
//! again under them. When it is quiet again all handles agree, whoever lost an address has learnt it, and nothing that was
//! acknowledged and not superseded is gone.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;
use waypost_session::{Released, Restored, SessionStore};
use waypost_session_riak::RiakStore;
use waypost_session_testkit::Rng;
use waypost_session_testkit::servers::riak::{RiakFault, RiakOptions, RiakStandIn};
use waypost_types::{Address, Identity, Location, Owner, Seq};

const TERM: Duration = Duration::from_secs(600);
const NODES: usize = 3;
const SERVERS: usize = 4;
const ADDRESSES: usize = 3;
const STEPS: usize = 40;
/// Nothing that is waited for takes longer, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one server believes, by address.
type Table = BTreeMap<Address, Seq>;

struct Server {
    store: RiakStore,
    owner: Owner,
    holds: Mutex<Table>,
    /// The greatest claims of others that it was told of: also while its own were under way, which were then beaten before they
    /// were answered.
    beaten: Mutex<Table>,
    /// Addresses of which a claim ended in an error, so that it may stand all the same.
    unsure: Mutex<BTreeSet<Address>>,
    generation: Mutex<u64>,
}

fn address(n: usize) -> Address {
    Address::new(&format!("client-{n}")).unwrap()
}

fn location() -> Location {
    Location::new("tcp://192.0.2.1:4500").unwrap()
}

impl Server {
    async fn new(nodes: &RiakStandIn, index: usize, parameters: &str) -> Self {
        let store = RiakStore::connect(&[&*nodes.url(), parameters].concat())
            .await
            .unwrap();
        let identity = Identity::new(&format!("server-{index}")).unwrap();
        let incarnation = store.register(&identity, &location(), TERM).await.unwrap();
        Self {
            store,
            owner: Owner::new(identity, incarnation),
            holds: Mutex::default(),
            beaten: Mutex::default(),
            unsure: Mutex::default(),
            generation: Mutex::default(),
        }
    }

    /// Somebody else has a greater claim.
    async fn hear(&self, address: &Address, winner: Seq) {
        let mut beaten = self.beaten.lock().await;
        let newest = beaten.entry(address.clone()).or_insert(winner);
        *newest = winner.max(*newest);
        let mut holds = self.holds.lock().await;
        if holds.get(address).is_some_and(|seq| *seq < winner) {
            holds.remove(address);
        }
    }

    /// A heartbeat, and the check of what it holds that another generation asks for.
    async fn heartbeat(&self) -> Result<(), waypost_session::StoreError> {
        let renewed = self
            .store
            .renew(std::slice::from_ref(&self.owner), &location())
            .await?;
        if *self.generation.lock().await == renewed.generation {
            return Ok(());
        }
        let held: Vec<(Address, Seq)> = self.holds.lock().await.clone().into_iter().collect();
        let restored = self.store.restore_many(&self.owner, &held).await?;
        for ((address, _), restored) in held.iter().zip(restored) {
            if let Restored::Lost(winner) = restored {
                self.hear(address, winner.seq).await;
            }
        }
        *self.generation.lock().await = renewed.generation;
        Ok(())
    }

    async fn claim(&self, all: &[Arc<Self>], address: &Address) {
        match self.store.claim(&self.owner, address).await {
            Ok(claimed) => {
                let mine = claimed.seq;
                let beaten = self.beaten.lock().await;
                if beaten.get(address).is_none_or(|winner| *winner < mine) {
                    self.holds.lock().await.insert(address.clone(), mine);
                }
                drop(beaten);
                let Some(other) = claimed.displaced else { return };
                if other.seq > mine {
                    return self.hear(address, other.seq).await;
                }
                for server in all.iter().filter(|server| server.owner == other.owner) {
                    server.hear(address, mine).await;
                }
            }
            Err(_) => drop(self.unsure.lock().await.insert(address.clone())),
        }
    }

    async fn release(&self, address: &Address) {
        let Some(seq) = self.holds.lock().await.remove(address) else {
            return;
        };
        // Where one replica answers for all it may not have heard of the claim yet.
        if !matches!(
            self.store.release(&self.owner, address, seq).await,
            Ok(Released::Released)
        ) {
            self.unsure.lock().await.insert(address.clone());
        }
    }
}

/// Does something to a node, and keeps what is wrong in `down`: one node at most.
async fn disturb(nodes: &RiakStandIn, rng: &mut Rng, down: &mut Option<(usize, bool)>) {
    match *down {
        Some((node, suspended)) => {
            if suspended {
                nodes.resume(node);
            } else {
                nodes.start_again(node).await.unwrap();
            }
            *down = None;
        }
        None => {
            let (node, suspended) = (rng.below(NODES), rng.below(2) == 0);
            if suspended {
                nodes.suspend(node);
            } else {
                nodes.stop(node).await;
            }
            *down = Some((node, suspended));
        }
    }
}

async fn storm(seed: u64, parameters: &str) {
    let nodes = RiakOptions::new()
        .nodes(NODES)
        .delay(Duration::from_millis(3))
        .latency(Duration::from_millis(1), Duration::from_millis(4))
        .seed(seed)
        .start()
        .await
        .unwrap();
    let mut servers = Vec::new();
    for index in 0..SERVERS {
        servers.push(Arc::new(Server::new(&nodes, index, parameters).await));
    }
    for node in 0..NODES {
        nodes.disturb(node, RiakFault::CutAnswer, 0.01);
        nodes.disturb(node, RiakFault::WriteFailures, 0.01);
        nodes.disturb(node, RiakFault::Crash, 0.01);
    }
    let mut rng = Rng::new(seed);
    let mut down = None;
    for _ in 0..STEPS {
        if rng.below(4) == 0 {
            disturb(&nodes, &mut rng, &mut down).await;
        }
        let mut tasks = Vec::new();
        for server in &servers {
            let (server, all) = (Arc::clone(server), servers.clone());
            let (address, what) = (address(rng.below(ADDRESSES)), rng.below(8));
            tasks.push(tokio::spawn(async move {
                match what {
                    0..4 => server.claim(&all, &address).await,
                    4 | 5 => server.release(&address).await,
                    6 => drop(server.store.lookup(&address).await),
                    _ => drop(server.heartbeat().await),
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
    if down.is_some() {
        disturb(&nodes, &mut rng, &mut down).await;
    }
    nodes.calm();
    settle(&nodes, &servers, seed).await;
}

/// Waits until all agree, and checks on what.
async fn settle(nodes: &RiakStandIn, servers: &[Arc<Server>], seed: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        nodes.settled().await;
        let complaint = complaint(servers).await;
        let Some(complaint) = complaint else { return };
        assert!(Instant::now() < deadline, "seed {seed}: {complaint}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What is still wrong after everybody's heartbeat.
async fn complaint(servers: &[Arc<Server>]) -> Option<String> {
    for server in servers {
        if let Err(error) = server.heartbeat().await {
            return Some(format!("{} does not renew: {error}", server.owner));
        }
    }
    for address in (0..ADDRESSES).map(address) {
        let mut seen = BTreeSet::new();
        for server in servers {
            match server.store.lookup(&address).await {
                Ok(held) => drop(seen.insert(held.map(|session| (session.seq, session.owner)))),
                Err(error) => return Some(format!("{address} cannot be looked up: {error}")),
            }
        }
        if seen.len() > 1 {
            return Some(format!("they disagree on {address}: {seen:?}"));
        }
        let standing = seen.pop_first().flatten();
        for server in servers {
            let holds = server.holds.lock().await.get(&address).copied();
            let stands = standing
                .as_ref()
                .filter(|(_, owner)| *owner == server.owner)
                .map(|(seq, _)| *seq);
            let unsure = server.unsure.lock().await.contains(&address);
            match (holds, stands) {
                (Some(seq), other) if other != Some(seq) => {
                    return Some(format!(
                        "{} believes to hold {address} by {seq:?}, and there stands {standing:?}",
                        server.owner
                    ));
                }
                (None, Some(seq)) if !unsure => {
                    return Some(format!(
                        "{} holds {address} by {seq:?} and knows nothing of it",
                        server.owner
                    ));
                }
                _ => {}
            }
        }
    }
    None
}

fn seeds() -> Vec<u64> {
    let given = std::env::var("WAYPOST_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    given.map_or_else(|| (1..=2).collect(), |seed| vec![seed])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_agree_when_nodes_that_stopped_and_stood_still_are_back() {
    for seed in seeds() {
        storm(seed, "?timeout=1s").await;
    }
}

/// One replica alone answers, so that claims made at the same time often do not see each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_agree_also_where_quorums_did_not_overlap() {
    for seed in seeds() {
        storm(seed, "?timeout=1s&r=1&w=1").await;
    }
}
