//! The nodes together: replicas, quorums, and the time that messages take.

mod coordinate;

use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::network::Network;
use super::props;
use super::replica::{Content, Name, Replica, Rules};
use crate::Rng;

/// How many replicas an object has at most.
pub(super) const REPLICAS: usize = 3;

/// All nodes.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: usize,
    network: Arc<Network>,
    gossip: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    replicas: Vec<Replica>,
    up: Vec<bool>,
    rng: Rng,
    writes: u64,
    types: HashMap<String, Map<String, Value>>,
    /// Properties that were set, by bucket with its type, as each node knows them.
    buckets: Vec<HashMap<String, Map<String, Value>>>,
    /// How far each node's clock is ahead.
    ahead: Vec<Duration>,
}

/// Why a write was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteError {
    TooManySiblings(usize),
    PrimariesMissing { have: usize, need: usize },
}

/// How a read is to be answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quorum {
    /// How many replicas must answer.
    pub(super) r: usize,
    /// Whether one that has nothing counts as one that answers.
    pub(super) notfound_ok: bool,
}

impl Cluster {
    pub(super) fn new(nodes: usize, delay: Duration, gossip: Duration, seed: u64) -> Self {
        Self {
            nodes,
            network: Arc::new(Network::new(nodes, delay, seed)),
            gossip,
            state: Mutex::new(State {
                replicas: (0..REPLICAS).map(|_| Replica::default()).collect(),
                up: vec![true; nodes],
                rng: Rng::new(seed),
                writes: 0,
                types: HashMap::from([("default".to_owned(), props::defaults())]),
                buckets: vec![HashMap::new(); nodes],
                ahead: vec![Duration::ZERO; nodes],
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_up(&self, node: usize, up: bool) {
        let mut state = self.state();
        state.up[node] = up;
        let (types, buckets) = (state.types.clone(), state.buckets[node].clone());
        let any = state.up.contains(&true);
        for (index, replica) in state.replicas.iter_mut().enumerate() {
            if index % self.nodes != node {
                continue;
            }
            if up {
                replica.rise(|(bucket, _)| {
                    props::rules(&effective(&types, &buckets, bucket).unwrap_or_default())
                });
            } else {
                // Without any other node there is no fallback, and nobody asks.
                replica.down = any;
            }
        }
    }

    pub(super) fn lose_everything(&self) {
        for replica in &mut self.state().replicas {
            replica.clear();
        }
    }

    pub(super) fn objects(&self, prefix: &str) -> usize {
        self.keys().iter().filter(|key| key.starts_with(prefix)).count()
    }

    pub(super) fn keys(&self) -> Vec<String> {
        let state = self.state();
        let mut names: Vec<&Name> = state
            .replicas
            .iter()
            .flat_map(Replica::stored)
            .filter(|(_, object)| !object.is_tombstone())
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        names.dedup();
        let key = |(_, key): &Name| String::from_utf8_lossy(key).into_owned();
        names.into_iter().map(key).collect()
    }

    pub(super) fn create_type(&self, name: &str, wanted: &Value) {
        let mut all = props::defaults();
        all.insert("allow_mult".to_owned(), Value::Bool(true));
        all.insert("dvv_enabled".to_owned(), Value::Bool(true));
        if let Value::Object(wanted) = wanted {
            all.extend(wanted.clone());
        }
        self.state().types.insert(name.to_owned(), all);
    }

    /// The properties in force as far as a node knows; `None` for an unknown type.
    pub(super) fn props(&self, node: usize, bucket: &str) -> Option<Map<String, Value>> {
        let state = self.state();
        effective(&state.types, &state.buckets[node], bucket)
    }

    pub(super) fn buckets_with_props(&self, node: usize) -> usize {
        self.state().buckets[node].len()
    }

    /// `None` sets them back. The other nodes learn it later.
    pub(super) fn set_props(self: &Arc<Self>, node: usize, bucket: &str, set: Option<Map<String, Value>>) {
        self.learn(node, bucket, set.clone());
        for other in (0..self.nodes).filter(|other| *other != node) {
            if self.gossip.is_zero() {
                self.learn(other, bucket, set.clone());
                continue;
            }
            let (cluster, bucket, set) = (Arc::clone(self), bucket.to_owned(), set.clone());
            tokio::spawn(async move {
                tokio::time::sleep(cluster.gossip).await;
                cluster.learn(other, &bucket, set);
            });
        }
    }

    fn learn(&self, node: usize, bucket: &str, set: Option<Map<String, Value>>) {
        let buckets = &mut self.state().buckets[node];
        match set {
            None => drop(buckets.remove(bucket)),
            Some(set) => buckets.entry(bucket.to_owned()).or_default().extend(set),
        }
    }

    fn rules(&self, node: usize, bucket: &str) -> Rules {
        props::rules(&self.props(node, bucket).unwrap_or_default())
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// A node's clock goes ahead of the others' by so much more.
    pub(super) fn advance(&self, node: usize, by: Duration) {
        self.state().ahead[node] += by;
    }

    /// What a node's clock shows.
    pub(super) fn now(&self, node: usize) -> SystemTime {
        SystemTime::now() + self.state().ahead[node]
    }

    /// The disk of a node is lost.
    pub(super) fn forget(&self, node: usize) {
        let nodes = self.nodes;
        let mut state = self.state();
        let replicas = state.replicas.iter_mut().enumerate();
        for (_, replica) in replicas.filter(|(index, _)| index % nodes == node) {
            replica.clear();
        }
    }

    /// How many replicas an object of this bucket has: as its property says, and no more than there are here.
    fn replicas(&self, node: usize, bucket: &str) -> usize {
        let props = self.props(node, bucket).unwrap_or_default();
        let n = props.get("n_val").and_then(Value::as_u64);
        n.and_then(|n| usize::try_from(n).ok())
            .map_or(REPLICAS, |n| n.clamp(1, REPLICAS))
    }

    /// How many of them are on nodes that are up.
    pub(super) fn primaries(&self, node: usize, bucket: &str) -> usize {
        let n = self.replicas(node, bucket);
        self.state()
            .replicas
            .iter()
            .take(n)
            .filter(|replica| !replica.down)
            .count()
    }

    /// A name for the next value, 22 characters as Riak's are, or one fewer.
    pub(super) fn vtag(&self) -> String {
        let mut state = self.state();
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..22)
            .map(|_| char::from(letters[state.rng.below(letters.len())]))
            .collect()
    }

    /// A value that is written now, by the clock of a node.
    pub(super) fn content(
        &self,
        node: usize,
        value: Vec<u8>,
        content_type: &str,
        meta: Vec<(String, String)>,
    ) -> Content {
        Content {
            value,
            content_type: content_type.to_owned(),
            meta,
            vtag: self.vtag(),
            modified: self.now(node),
            deleted: false,
        }
    }
}

fn effective(
    types: &HashMap<String, Map<String, Value>>,
    buckets: &HashMap<String, Map<String, Value>>,
    bucket: &str,
) -> Option<Map<String, Value>> {
    let (name_of_type, _) = bucket.split_once('\n')?;
    let mut all = types.get(name_of_type)?.clone();
    if let Some(set) = buckets.get(bucket) {
        all.extend(set.clone());
    }
    Some(all)
}
