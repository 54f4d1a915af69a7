//! Broadcast: one frame a node, fanned out there to its servers, and by them to their clients.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use waypost_types::{Identity, MonoTime};
use waypost_wire::{Broadcast, Frame};

use super::{LinkId, LinkKind, OwnerKey, Router};
use crate::outbox::UNASKED;

#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    /// Those of attached peers, which wait for a fresh view of the leases.
    waiting: Vec<(u64, Collect, Broadcast)>,
    waiting_bytes: usize,
    collecting: BTreeMap<u64, Collect>,
    /// Which collection an answer belongs to, by the token of our question.
    asked: BTreeMap<u64, (u64, LinkId, Vec<Identity>)>,
}

impl Broadcasts {
    /// How many have not been answered.
    pub(super) fn open(&self) -> usize {
        self.waiting.len() + self.collecting.len()
    }
}

/// Answers on their way back to whoever asked.
#[derive(Debug)]
struct Collect {
    link: LinkId,
    token: u64,
    origin: OwnerKey,
    deadline: MonoTime,
    open: usize,
    reached: Vec<(Identity, u64)>,
    unreached: Vec<Identity>,
}

/// How long before the asker's deadline the answer goes back, with those who have not answered as unreached.
const MARGIN: core::time::Duration = core::time::Duration::from_millis(100);

/// What a broadcast that waits counts, in bytes: as much as on a link.
fn cost(broadcast: &Broadcast) -> usize {
    Frame::Broadcast(broadcast.clone()).cost()
}

/// The same without the buffer that it was read into, which may be larger by far.
fn detached(broadcast: Broadcast) -> Broadcast {
    let body = Bytes::copy_from_slice(&broadcast.body);
    Broadcast { body, ..broadcast }
}

impl Router {
    pub(super) fn on_broadcast(&mut self, now: MonoTime, id: LinkId, broadcast: Broadcast) {
        let Some(link) = self.links.get(&id) else { return };
        let from_peer = link.kind == LinkKind::Peer;
        let origin = if from_peer {
            link.owner
        } else {
            link.names.heard(broadcast.origin)
        };
        let Some(origin) = origin else { return };
        let ttl = match broadcast.ttl_ms {
            0 => self.settings.send_deadline,
            ttl_ms => core::time::Duration::from_millis(ttl_ms.into()),
        };
        let collect = Collect {
            link: id,
            token: broadcast.token,
            origin,
            deadline: now + ttl.saturating_sub(MARGIN),
            open: 0,
            reached: Vec::new(),
            unreached: Vec::new(),
        };
        if from_peer {
            let round = self.refresh_peers();
            self.broadcasts.waiting_bytes += cost(&broadcast);
            self.broadcasts
                .waiting
                .push((round, collect, detached(broadcast)));
            self.want_tick(now);
            if self.broadcasts.waiting_bytes >= self.settings.queue_bytes_max.saturating_mul(UNASKED) {
                // The leases are long in coming, and no link takes more than this: the last view must do.
                self.view_is_fresh(now, u64::MAX);
            }
        } else {
            self.fan_out(now, collect, &broadcast, false);
        }
    }

    /// The leases have been read (or could not be, and the last view must do): broadcasts that waited for it go out.
    pub(super) fn view_is_fresh(&mut self, now: MonoTime, round: u64) {
        self.expire_broadcasts(now);
        let waiting = core::mem::take(&mut self.broadcasts.waiting);
        let (ready, rest) = waiting.into_iter().partition(|(asked, _, _)| *asked <= round);
        self.broadcasts.waiting = rest;
        let ready: Vec<_> = ready;
        for (_, collect, broadcast) in ready {
            self.broadcasts.waiting_bytes -= cost(&broadcast);
            self.fan_out(now, collect, &broadcast, true);
        }
    }

    fn fan_out(&mut self, now: MonoTime, mut collect: Collect, broadcast: &Broadcast, to_nodes: bool) {
        let id = self.token();
        let mut targets: Vec<(LinkId, Vec<Identity>)> = self
            .owners
            .iter()
            .filter_map(|entry| Some((entry.attached?, vec![entry.owner.identity.clone()])))
            .collect();
        if to_nodes {
            let mut nodes: BTreeMap<_, Vec<Identity>> = BTreeMap::new();
            for (identity, lease) in &self.leases.view {
                if lease.location != self.location {
                    nodes
                        .entry(lease.location.clone())
                        .or_default()
                        .push(identity.clone());
                }
            }
            for (location, mut identities) in nodes {
                identities.sort();
                match self.link_to(now, &location) {
                    Some(link) => targets.push((link, identities)),
                    None => collect.unreached.extend(identities),
                }
            }
        }
        // Servers of this node whose links are broken, while their leases last.
        for (identity, lease) in &self.leases.view {
            let key = self.owner_index.get(&lease.owner);
            let is_attached = key.is_some_and(|key| self.entry(*key).attached.is_some());
            if lease.location == self.location && !is_attached {
                collect.unreached.push(identity.clone());
            }
        }
        collect.unreached.sort();
        // Zero says nothing.
        let ttl_ms = u32::try_from(collect.deadline.since(now).as_millis())
            .unwrap_or(u32::MAX)
            .max(1);
        for (link, identities) in targets {
            let Some(origin) = self.alias(link, collect.origin) else {
                collect.unreached.extend(identities);
                continue;
            };
            let token = self.token();
            collect.open += 1;
            self.broadcasts.asked.insert(token, (id, link, identities));
            self.push(
                link,
                Frame::Broadcast(Broadcast {
                    token,
                    origin,
                    ttl_ms,
                    ..broadcast.clone()
                }),
            );
        }
        self.broadcasts.collecting.insert(id, collect);
        self.finish_broadcast(id, false);
        self.want_tick(now);
    }

    pub(super) fn on_broadcast_done(
        &mut self,
        id: LinkId,
        token: u64,
        reached: Vec<(Identity, u64)>,
        unreached: Vec<Identity>,
    ) {
        if self
            .broadcasts
            .asked
            .get(&token)
            .is_none_or(|(_, link, _)| *link != id)
        {
            return;
        }
        let Some((collection, _, expected)) = self.broadcasts.asked.remove(&token) else {
            return;
        };
        if let Some(collect) = self.broadcasts.collecting.get_mut(&collection) {
            collect.open -= 1;
            let missing = expected.into_iter().filter(|identity| {
                !reached.iter().any(|(name, _)| name == identity) && !unreached.contains(identity)
            });
            collect.unreached.extend(missing);
            collect.unreached.extend(unreached);
            collect.reached.extend(reached);
        }
        self.finish_broadcast(collection, false);
    }

    /// A link is gone: the servers behind it were not reached.
    pub(super) fn broadcast_link_gone(&mut self, id: LinkId) {
        let lost: Vec<u64> = self
            .broadcasts
            .asked
            .iter()
            .filter(|(_, (_, link, _))| *link == id)
            .map(|(token, _)| *token)
            .collect();
        for token in lost {
            self.on_broadcast_done(id, token, Vec::new(), Vec::new());
        }
    }

    fn finish_broadcast(&mut self, id: u64, now_or_never: bool) {
        let over = self
            .broadcasts
            .collecting
            .get(&id)
            .is_some_and(|collect| collect.open == 0 || now_or_never);
        if !over {
            return;
        }
        let Some(mut collect) = self.broadcasts.collecting.remove(&id) else {
            return;
        };
        if collect.open > 0 {
            self.broadcasts.asked.retain(|_, (collection, _, expected)| {
                if *collection == id {
                    collect.unreached.append(expected);
                }
                *collection != id
            });
        }
        collect.unreached.sort();
        collect.unreached.dedup();
        // One that has gone to another node meanwhile may have been reached by both.
        let mut counted = BTreeSet::new();
        collect
            .reached
            .retain(|(identity, _)| counted.insert(identity.clone()));
        let Collect {
            link,
            token,
            reached,
            unreached,
            ..
        } = collect;
        self.push(
            link,
            Frame::BroadcastDone {
                token,
                reached,
                unreached,
            },
        );
    }

    /// Answers those whose deadline has passed. One that has not gone out by then does not, and has reached nobody.
    pub(super) fn expire_broadcasts(&mut self, now: MonoTime) {
        let is_over = |waiting: &mut (u64, Collect, Broadcast)| waiting.1.deadline <= now;
        let unsent: Vec<_> = self.broadcasts.waiting.extract_if(.., is_over).collect();
        for (_, mut collect, broadcast) in unsent {
            self.broadcasts.waiting_bytes -= cost(&broadcast);
            collect.unreached = self.leases.view.keys().cloned().collect();
            let id = self.token();
            self.broadcasts.collecting.insert(id, collect);
            self.finish_broadcast(id, true);
        }
        let over: Vec<u64> = self
            .broadcasts
            .collecting
            .iter()
            .filter(|(_, collect)| collect.deadline <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.finish_broadcast(id, true);
        }
        if self.broadcasts.open() > 0 {
            self.want_tick(now);
        }
    }
}
