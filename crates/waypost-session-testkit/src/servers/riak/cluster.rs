//! The nodes together: replicas, quorums, and the time that messages take.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::clock::Clock;
use super::props;
use super::replica::{Content, Name, Object, Replica, Rules};
use crate::Rng;

/// How many replicas an object has.
pub(super) const REPLICAS: usize = 3;
const SIBLINGS_MAX: usize = 100;

/// All nodes.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: usize,
    delay: Duration,
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
}

/// Why a write was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteError {
    TooManySiblings(usize),
    PrimariesMissing { have: usize, need: usize },
}

impl Cluster {
    pub(super) fn new(nodes: usize, delay: Duration, gossip: Duration, seed: u64) -> Self {
        Self {
            nodes,
            delay,
            gossip,
            state: Mutex::new(State {
                replicas: (0..REPLICAS).map(|_| Replica::default()).collect(),
                up: vec![true; nodes],
                rng: Rng::new(seed),
                writes: 0,
                types: HashMap::from([("default".to_owned(), props::defaults())]),
                buckets: vec![HashMap::new(); nodes],
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
        let state = self.state();
        let mut names: Vec<&Name> = state
            .replicas
            .iter()
            .flat_map(Replica::stored)
            .filter(|((_, key), object)| key.starts_with(prefix.as_bytes()) && !object.is_tombstone())
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        names.dedup();
        names.len()
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

    fn pause(&self) -> Duration {
        if self.delay.is_zero() {
            return Duration::ZERO;
        }
        let micros = usize::try_from(self.delay.as_micros()).unwrap_or(usize::MAX);
        Duration::from_micros(self.state().rng.below(micros) as u64)
    }

    /// How many replicas are on nodes that are up.
    pub(super) fn primaries(&self) -> usize {
        self.state()
            .replicas
            .iter()
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

    /// Reads what the first `quorum` replicas to answer have.
    pub(super) async fn read(self: &Arc<Self>, node: usize, name: &Name, quorum: usize) -> Object {
        let rules = self.rules(node, &name.0);
        let (sender, mut answers) = mpsc::unbounded_channel();
        for index in 0..REPLICAS {
            let (cluster, name, sender) = (Arc::clone(self), name.clone(), sender.clone());
            self.after_a_while(move || {
                let object = cluster.state().replicas[index].objects().get(&name).cloned();
                let _ = sender.send(object);
            });
        }
        let mut merged = Object::default();
        for _ in 0..quorum.max(1) {
            if let Some(Some(object)) = answers.recv().await {
                merged.merge(&object, rules);
            }
        }
        merged
    }

    /// Writes through one replica, which is the node's own, to all; returns when `quorum` have it, with what these have then.
    pub(super) async fn write(
        self: &Arc<Self>,
        node: usize,
        name: &Name,
        context: Clock,
        content: Content,
        quorum: usize,
        primaries: usize,
    ) -> Result<Object, WriteError> {
        let rules = self.rules(node, &name.0);
        let coordinator = node % REPLICAS;
        let have = self.primaries();
        if have < primaries {
            return Err(WriteError::PrimariesMissing {
                have,
                need: primaries,
            });
        }
        let written = {
            let mut state = self.state();
            state.writes += 1;
            // Each object at each replica is an actor of its own epoch, so that a forgotten object does not confuse.
            let known = state.replicas[coordinator].objects().contains_key(name);
            let epoch = if known { 0 } else { state.writes };
            let object = state.replicas[coordinator]
                .objects()
                .entry(name.clone())
                .or_default();
            let mut after = object.clone();
            after.write(&format!("v{coordinator}.{epoch}"), &context, content, rules);
            if after.siblings.len() > SIBLINGS_MAX {
                return Err(WriteError::TooManySiblings(after.siblings.len()));
            }
            *object = after.clone();
            after
        };
        let (sender, mut answers) = mpsc::unbounded_channel();
        let _ = sender.send(written.clone());
        for index in (0..REPLICAS).filter(|index| *index != coordinator) {
            let (cluster, name, sender) = (Arc::clone(self), name.clone(), sender.clone());
            let written = written.clone();
            self.after_a_while(move || {
                let mut state = cluster.state();
                let object = state.replicas[index].objects().entry(name).or_default();
                object.merge(&written, rules);
                let _ = sender.send(object.clone());
            });
        }
        let mut merged = Object::default();
        for _ in 0..quorum.max(1) {
            if let Some(object) = answers.recv().await {
                merged.merge(&object, rules);
            }
        }
        Ok(merged)
    }

    /// A tombstone that no write has met is forgotten at last.
    pub(super) fn reap_later(self: &Arc<Self>, name: Name, tombstone: Object) {
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let mut state = cluster.state();
            if state.replicas.iter().any(|replica| replica.down) {
                // Only when all of an object's own replicas have it is a tombstone forgotten.
                return;
            }
            for replica in &mut state.replicas {
                if replica.objects().get(&name) == Some(&tombstone) {
                    replica.objects().remove(&name);
                }
            }
        });
    }

    fn after_a_while(self: &Arc<Self>, what: impl FnOnce() + Send + 'static) {
        let pause = self.pause();
        if pause.is_zero() {
            return what();
        }
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            what();
        });
    }

    /// A value that is written now.
    pub(super) fn content(&self, value: Vec<u8>, content_type: &str, meta: Vec<(String, String)>) -> Content {
        Content {
            value,
            content_type: content_type.to_owned(),
            meta,
            vtag: self.vtag(),
            modified: SystemTime::now(),
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
