//! Reads and writes of objects through a node: the replicas are asked, and enough of them must answer.

use core::time::Duration;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::super::clock::Clock;
use super::super::replica::{Content, Name, Object};
use super::{Cluster, Quorum, REPLICAS, WriteError};

const SIBLINGS_MAX: usize = 100;

impl Cluster {
    /// Reads what the first replicas to answer have; an error is how many had anything, where that was not enough.
    pub(in crate::servers::riak) async fn read(
        self: &Arc<Self>,
        node: usize,
        name: &Name,
        quorum: Quorum,
    ) -> Result<Object, usize> {
        let rules = self.rules(node, &name.0);
        let (sender, mut answers) = mpsc::unbounded_channel();
        let n = self.replicas(node, &name.0);
        for index in 0..n {
            let (cluster, name, sender) = (Arc::clone(self), name.clone(), sender.clone());
            self.network.send(index % self.nodes, move || {
                let object = cluster.state().replicas[index].objects().get(&name).cloned();
                let _ = sender.send(object);
            });
        }
        drop(sender);
        let mut merged = Object::default();
        let (mut found, mut absent) = (0, 0);
        while let Some(answer) = answers.recv().await {
            match answer {
                Some(object) => {
                    merged.merge(&object, rules);
                    found += 1;
                }
                None => absent += 1,
            }
            let counted = if quorum.notfound_ok { found + absent } else { found };
            if counted >= quorum.r {
                return Ok(merged);
            }
            if !quorum.notfound_ok && absent > n.saturating_sub(quorum.r) {
                break;
            }
        }
        // Where all of what was found is deleted, that is the answer, without its vclock.
        if merged.is_tombstone() {
            Ok(Object::default())
        } else {
            Err(found)
        }
    }

    /// Writes through one replica, which is the node's own, to all; returns when `quorum` have it, with what these have then.
    pub(in crate::servers::riak) async fn write(
        self: &Arc<Self>,
        node: usize,
        name: &Name,
        context: Clock,
        content: Content,
        quorum: usize,
        primaries: usize,
    ) -> Result<Object, WriteError> {
        let rules = self.rules(node, &name.0);
        let n = self.replicas(node, &name.0);
        // A node that has none of them hands the write to one that has.
        let coordinator = if node % REPLICAS < n { node % REPLICAS } else { 0 };
        let have = self.primaries(node, &name.0);
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
        for index in (0..n).filter(|index| *index != coordinator) {
            let (cluster, name, sender) = (Arc::clone(self), name.clone(), sender.clone());
            let written = written.clone();
            self.network.send(index % self.nodes, move || {
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
    pub(in crate::servers::riak) fn reap_later(self: &Arc<Self>, name: Name, tombstone: Object) {
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
}
