//! Clusters of several nodes, some of which are down, are failed over or come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use waypost_session::{Released, SessionStore};
use waypost_session_couchbase::CouchbaseStore;
use waypost_session_testkit::Rng;
use waypost_session_testkit::servers::couchbase::{CouchbaseCluster, CouchbaseOptions};
use waypost_types::{Address, Identity, Location, Owner, Seq, Session};

const TERM: Duration = Duration::from_secs(600);
/// Within which everything works again after the nodes do: a client asks for the configuration every 2.5 s.
const RECOVERY: Duration = Duration::from_secs(15);

async fn three() -> CouchbaseCluster {
    CouchbaseOptions::new().nodes(3).start().await.unwrap()
}

async fn open(cluster: &CouchbaseCluster) -> CouchbaseStore {
    CouchbaseStore::connect(&format!("{}?timeout=500ms", cluster.url()))
        .await
        .unwrap()
}

/// Registers under a name whose lease is not on `node`.
async fn server(cluster: &CouchbaseCluster, store: &CouchbaseStore, node: usize) -> Owner {
    let identity = (0..)
        .map(|n| format!("server-{n}"))
        .find(|name| cluster.owner_of(&format!("waypost:l:{name}")) != node)
        .unwrap();
    register(store, &identity).await
}

async fn register(store: &CouchbaseStore, identity: &str) -> Owner {
    let identity = Identity::new(identity).unwrap();
    let location = Location::new("tcp://192.0.2.1:4500").unwrap();
    let incarnation = store.register(&identity, &location, TERM).await.unwrap();
    Owner::new(identity, incarnation)
}

/// Looks an address up until there is an answer.
async fn found(store: &CouchbaseStore, address: &Address) -> Option<Session> {
    let start = Instant::now();
    loop {
        match store.lookup(address).await {
            Ok(session) => return session,
            Err(error) => assert!(start.elapsed() < RECOVERY, "{address}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_down_takes_only_its_own_documents_away_until_it_is_failed_over() {
    let cluster = three().await;
    let gone = (cluster.owner_of("waypost:m") + 1) % 3;
    let store = open(&cluster).await;
    let owner = server(&cluster, &store, gone).await;
    let addresses: Vec<_> = (0..60)
        .map(|n| Address::new(&format!("client-{n}")).unwrap())
        .collect();
    let claimed = store.claim_many(&owner, &addresses).await.unwrap();
    let held: Vec<_> = claimed
        .iter()
        .map(|claimed| Some(Session::new(owner.clone(), claimed.seq)))
        .collect();

    cluster.stop_node(gone).await;
    let mut lost = 0;
    for (address, held) in addresses.iter().zip(&held) {
        if cluster.owner_of(&format!("waypost:s:{address}")) != gone {
            assert_eq!(
                &store.lookup(address).await.unwrap(),
                held,
                "{address} is not on the node"
            );
        } else if lost < 2 {
            lost += 1;
            store
                .lookup(address)
                .await
                .expect_err("it is on the node that is down");
        }
    }
    assert_eq!(lost, 2);
    // A server that starts meanwhile gets in.
    let late = open(&cluster).await;
    assert_eq!(late.peers().await.unwrap().len(), 1);

    cluster.fail_over(gone);
    for store in [&store, &late] {
        for (address, held) in addresses.iter().zip(&held) {
            assert_eq!(&found(store, address).await, held, "{address} after the failover");
        }
    }
    cluster.start_node(gone).await.unwrap();
    cluster.rebalance_in(gone);
    for (address, held) in addresses.iter().zip(&held) {
        assert_eq!(
            &found(&store, address).await,
            held,
            "{address} after the rebalance"
        );
    }
}

/// The URL names one node, and that one goes for good: the others are known from before.
#[tokio::test(flavor = "multi_thread")]
async fn the_node_that_the_url_names_may_be_failed_over() {
    let cluster = three().await;
    let gone = cluster.owner_of("waypost:m");
    let url = format!("{}?timeout=500ms", cluster.url_of_node(gone));
    let store = CouchbaseStore::connect(&url).await.unwrap();
    let owner = register(&store, "server").await;
    let address = Address::new("client").unwrap();
    let claimed = store.claim(&owner, &address).await.unwrap();
    cluster.stop_node(gone).await;
    store
        .peers()
        .await
        .expect_err("the list of servers is on the node that is down");
    cluster.fail_over(gone);
    let start = Instant::now();
    while let Err(error) = store.peers().await {
        assert!(start.elapsed() < RECOVERY, "{error}");
    }
    assert_eq!(
        found(&store, &address).await,
        Some(Session::new(owner, claimed.seq))
    );
}

/// What one worker knows of an address of its own.
#[derive(Default, Clone, Copy)]
struct Known {
    /// The greatest seq that it was told.
    seq: Seq,
    is_held: bool,
    /// Whether a write since then may have been applied.
    is_open: bool,
}

/// Claims and releases addresses of its own and shared ones, and checks what it is told, until it is stopped.
async fn work(store: CouchbaseStore, owner: Owner, stop: Arc<AtomicBool>, seed: u64) -> (usize, Vec<Seq>) {
    let mut rng = Rng::new(seed);
    let mut own: BTreeMap<usize, Known> = BTreeMap::new();
    let (mut acked, mut seqs) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let number = rng.below(20);
        let address = Address::new(&format!("{}-{number}", owner.identity)).unwrap();
        let known = own.entry(number).or_default();
        let what = format!("seed {seed}: {address}");
        match rng.below(4) {
            0 | 1 => match store.claim(&owner, &address).await {
                Ok(claimed) => {
                    assert!(claimed.seq > known.seq, "{what} got no greater seq");
                    acked += 1;
                    seqs.push(claimed.seq);
                    *known = Known {
                        seq: claimed.seq,
                        is_held: true,
                        is_open: false,
                    };
                }
                Err(error) => known.is_open |= error.may_have_applied(),
            },
            2 => match store.release(&owner, &address, known.seq).await {
                Ok(Released::Released) => {
                    assert!(known.is_held || known.is_open, "{what} was released twice");
                    known.is_held = false;
                }
                Ok(Released::NotOwner) => {
                    assert!(
                        !known.is_held || known.is_open,
                        "{what}: an acknowledged claim is lost"
                    );
                }
                Err(_) => known.is_open = true,
            },
            _ => match store.lookup(&address).await {
                Ok(Some(session)) => {
                    assert_eq!(session.owner, owner, "{what} is nobody else's");
                    let is_known = session.seq == known.seq && known.is_held;
                    let may_be = known.is_open && session.seq >= known.seq;
                    assert!(
                        is_known || may_be,
                        "{what} is at {session:?}, told was {}",
                        known.seq
                    );
                }
                Ok(None) => assert!(
                    !known.is_held || known.is_open,
                    "{what}: an acknowledged claim is lost"
                ),
                Err(_) => {}
            },
        }
        let shared = Address::new(&format!("shared-{}", rng.below(5))).unwrap();
        if let Ok(claimed) = store.claim(&owner, &shared).await {
            seqs.push(claimed.seq);
            if let Some(displaced) = claimed.displaced {
                assert!(displaced.seq < claimed.seq, "seed {seed}: {shared}");
            }
        }
    }
    (acked, seqs)
}

/// Servers that claim and release while something happens to the nodes.
struct Crowd {
    seed: u64,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<(usize, Vec<Seq>)>>,
}

impl Crowd {
    async fn start(cluster: &CouchbaseCluster, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        for n in 0..4 {
            let store = open(cluster).await;
            let owner = register(&store, &format!("worker-{n}")).await;
            let work = work(store, owner, Arc::clone(&stop), seed.wrapping_add(n));
            workers.push(tokio::spawn(work));
        }
        Self { seed, stop, workers }
    }

    /// Ends them; each must have got something done.
    async fn end(self) {
        let seed = self.seed;
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for worker in self.workers {
            let (acked, seqs) = worker.await.unwrap();
            assert!(acked > 0, "seed {seed}: a worker got nothing done");
            all.extend(seqs);
        }
        assert!(all.len() > 100, "seed {seed}: only {} claims", all.len());
    }
}

/// Nodes are stopped, failed over, started and taken in again, and all together restarted, while servers claim and release.
#[tokio::test(flavor = "multi_thread")]
async fn claims_and_releases_stay_right_while_nodes_come_and_go() {
    let cluster = three().await;
    let seed = Rng::fresh_seed();
    let mut rng = Rng::new(seed);
    let crowd = Crowd::start(&cluster, seed).await;
    let judge = open(&cluster).await;
    let owner = register(&judge, "judge").await;
    for round in 0..6 {
        let node = rng.below(3);
        if round % 3 == 2 {
            cluster.stop().await;
        } else {
            cluster.stop_node(node).await;
        }
        // Long enough for calls to fail.
        let until = Instant::now() + Duration::from_millis(200 + rng.next() % 600);
        while Instant::now() < until {
            let _ = judge.claim(&owner, &Address::new("probe").unwrap()).await;
        }
        if round % 3 == 1 {
            cluster.fail_over(node);
        }
        cluster.start_again().await.unwrap();
        cluster.rebalance_in(node);
        let back = Instant::now();
        for n in 0..30 {
            let probe = Address::new(&format!("probe-{n}")).unwrap();
            while let Err(error) = judge.claim(&owner, &probe).await {
                assert!(back.elapsed() < RECOVERY, "seed {seed}, round {round}: {error}");
            }
        }
    }
    crowd.end().await;
}

/// Nodes stand still and go on, one or all of them, and then do what they were asked for long ago. Here they answer as CAVES.
#[tokio::test(flavor = "multi_thread")]
async fn claims_and_releases_stay_right_while_nodes_stand_still() {
    let latency = Duration::from_millis(2)..Duration::from_millis(5);
    let options = CouchbaseOptions::new().like_caves().with_latency(latency);
    let cluster = options.start().await.unwrap();
    let seed = Rng::fresh_seed();
    let mut rng = Rng::new(seed);
    let crowd = Crowd::start(&cluster, seed).await;
    let judge = open(&cluster).await;
    let owner = register(&judge, "judge").await;
    for round in 0..8 {
        let still = [vec![0], vec![1], vec![0, 1]][rng.below(3)].clone();
        for node in &still {
            cluster.pause_node(*node);
        }
        // Both shorter and longer than a call lasts.
        let until = Instant::now() + Duration::from_millis(100 + rng.next() % 1500);
        while Instant::now() < until {
            let _ = judge.claim(&owner, &Address::new("probe").unwrap()).await;
        }
        for node in &still {
            cluster.resume_node(*node);
        }
        let back = Instant::now();
        for n in 0..30 {
            let probe = Address::new(&format!("probe-{n}")).unwrap();
            while let Err(error) = judge.claim(&owner, &probe).await {
                assert!(back.elapsed() < RECOVERY, "seed {seed}, round {round}: {error}");
            }
        }
    }
    crowd.end().await;
}
