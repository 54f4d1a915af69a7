//! Messages for servers that live and whose nodes cannot be reached: such a server is on its way to another broker, as a
//! rule, and its messages follow it there.
//!
//! They wait in the queues of their addresses, so that they stay in order and whoever claims a client meanwhile gets what
//! waits for it; what waits for one server is bounded in bytes and in time, and others do not wait for it.

use core::time::Duration;
use std::collections::BTreeSet;

use waypost_types::{Address, Location, MonoTime, Outcome};

use super::routes::Waiting;
use super::{OwnerKey, Route, Router};

/// How soon the leases are read anew for servers that are away. The pause doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(40);
const PAUSE_MAX: Duration = Duration::from_millis(320);

/// A live server whose node cannot be reached.
#[derive(Debug)]
pub(crate) struct Away {
    since: MonoTime,
    location: Location,
    held: Vec<Address>,
    bytes: usize,
}

impl Away {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct AwayServers {
    keys: BTreeSet<OwnerKey>,
    bytes: usize,
    next_look: Option<MonoTime>,
    pause: Duration,
}

impl AwayServers {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn next_timeout(&self) -> Option<MonoTime> {
        self.next_look
    }
}

impl Router {
    /// Keeps what waits for a client whose server's location is down, for as long as a server may take to attach
    /// elsewhere.
    pub(super) fn keep_for_away(
        &mut self,
        now: MonoTime,
        address: &Address,
        key: OwnerKey,
        seq: waypost_types::Seq,
    ) {
        let (wait, bytes_max) = (self.settings.reattach_wait, self.settings.queue_bytes_max);
        let all_bytes = self.away.bytes;
        let entry = self.entry_mut(key);
        let Some(location) = entry.location.clone() else {
            return self.nobody(now, address, Outcome::NotConnected);
        };
        let away = entry.away.get_or_insert_with(|| Away {
            since: now,
            location,
            held: Vec::new(),
            bytes: 0,
        });
        if now.since(away.since) >= wait {
            return self.nobody(now, address, Outcome::Unreachable);
        }
        if away.bytes >= bytes_max || all_bytes >= bytes_max * 16 {
            return self.nobody(now, address, Outcome::Overloaded);
        }
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) else {
            return;
        };
        waiting.learn(key, seq, true);
        waiting.away = Some(key);
        let bytes = waiting.held_bytes;
        if let Some(away) = &mut self.owners[key.0 as usize].away {
            away.held.push(address.clone());
            away.bytes += bytes;
        }
        self.queues.held_bytes -= bytes.min(self.queues.held_bytes);
        self.away.bytes += bytes;
        self.away.keys.insert(key);
        if self.away.next_look.is_none() {
            self.away.pause = PAUSE_FIRST;
            self.away.next_look = Some(now + PAUSE_FIRST);
            self.refresh_peers();
        }
    }

    /// Whether there is room for a message that would wait for this server.
    pub(super) fn has_room_for_away(&self, key: OwnerKey) -> bool {
        let bytes_max = self.settings.queue_bytes_max;
        let bytes = self.entry(key).away.as_ref().map_or(0, |away| away.bytes);
        bytes < bytes_max && self.away.bytes < bytes_max * 16
    }

    /// Bytes have come into the queue of an address or have left it: whoever they wait for is charged.
    pub(super) fn charge(&mut self, away: Option<OwnerKey>, more: usize, less: usize) {
        let charge = |bytes: &mut usize| *bytes = (*bytes + more).saturating_sub(less);
        match away {
            None => charge(&mut self.queues.held_bytes),
            Some(key) => {
                charge(&mut self.away.bytes);
                if let Some(away) = self
                    .owners
                    .get_mut(key.0 as usize)
                    .and_then(|entry| entry.away.as_mut())
                {
                    charge(&mut away.bytes);
                }
            }
        }
    }

    /// An address does not wait for its server to come back any more.
    pub(super) fn wait_no_more(&mut self, address: &Address) -> Option<&mut Waiting> {
        let Some(Route::Waiting(waiting)) = self.routes.get_mut(address) else {
            return None;
        };
        let (away, bytes) = (waiting.away.take(), waiting.held_bytes);
        if away.is_some() {
            self.charge(away, 0, bytes);
            self.charge(None, bytes, 0);
        }
        match self.routes.get_mut(address) {
            Some(Route::Waiting(waiting)) => Some(waiting),
            _ => None,
        }
    }

    /// A link to a node is open: those who are there can be reached again.
    pub(super) fn is_back(&mut self, now: MonoTime, location: &Location) {
        let back: Vec<OwnerKey> = self.away.keys.iter().copied().collect();
        for key in back {
            if self
                .entry(key)
                .away
                .as_ref()
                .is_some_and(|away| away.location == *location)
            {
                self.release_away(now, key);
            }
        }
    }

    /// What waits for a server goes on to where that is now.
    pub(super) fn release_away(&mut self, now: MonoTime, key: OwnerKey) {
        let Some(away) = &mut self.entry_mut(key).away else {
            return;
        };
        let held = core::mem::take(&mut away.held);
        for address in &held {
            self.wait_no_more(address);
        }
        self.entry_mut(key).away = None;
        self.away.keys.remove(&key);
        for address in held {
            self.settle(now, &address);
        }
    }

    /// The leases have been read: servers that are elsewhere now, or dead, are not waited for any more.
    pub(super) fn follow_away(&mut self, now: MonoTime) {
        let keys: Vec<OwnerKey> = self.away.keys.iter().copied().collect();
        for key in keys {
            let entry = self.entry(key);
            let location = entry.away.as_ref().map(|away| &away.location);
            if entry.attached.is_some() || location != entry.location.as_ref() {
                self.release_away(now, key);
            }
        }
    }

    /// Looks after servers that are away: tries their nodes, reads the leases, and gives up what has waited for too long.
    pub(super) fn look_after_away(&mut self, now: MonoTime) {
        if self.away.next_look.is_none_or(|due| due > now) {
            return;
        }
        let wait = self.settings.reattach_wait;
        let mut is_waited_for = false;
        let keys: Vec<OwnerKey> = self.away.keys.iter().copied().collect();
        for key in keys {
            let Some(away) = &mut self.entry_mut(key).away else {
                continue;
            };
            if away.held.is_empty() {
                continue;
            }
            if now.since(away.since) < wait {
                is_waited_for = true;
                let location = away.location.clone();
                self.link_to(now, &location);
                continue;
            }
            // The client may have gone to another server, which the store knows.
            for address in core::mem::take(&mut away.held) {
                if let Some(waiting) = self.wait_no_more(&address) {
                    if waiting.known.is_some_and(|(known, _)| known == key) {
                        waiting.known = None;
                    }
                    self.settle(now, &address);
                }
            }
        }
        self.away.pause = (self.away.pause * 2).min(PAUSE_MAX);
        self.away.next_look = is_waited_for.then(|| now + self.away.pause);
        if is_waited_for {
            self.refresh_peers();
        }
    }
}
