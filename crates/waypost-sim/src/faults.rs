//! What goes wrong in a cluster, and its end.

use core::time::Duration;

use waypost_types::MonoTime;

use crate::net::{ConnId, Item, pair};
use crate::oracle::Trouble;
use crate::process::{Kind, Process, ProcessId};
use crate::store::StoreMode;
use crate::world::{World, name};

/// A link that takes longer than this cannot be expected to carry a takeover in its time.
const SLOW: Duration = Duration::from_millis(100);

impl World {
    /// Whether anything is wrong at this moment.
    pub(crate) fn is_troubled(&self) -> bool {
        !self.net.cut.is_empty()
            || !self.net.stuck.is_empty()
            || !self.net.slow.is_empty()
            || self.net.latency.1 > SLOW
            || self.store.mode != StoreMode::Up
            || self.store.fail_percent > 0
            || self.store.stale_percent > 0
            || self.store.latency.1 > SLOW
            || self
                .processes
                .iter()
                .any(|process| process.is_up() && (process.paused || !process.reads || process.registering))
            || self.processes.iter().any(|process| self.has_no_broker(process))
    }

    /// What goes wrong from now on; the oracle excuses no more than that.
    pub const fn expect(&mut self, trouble: Trouble) {
        self.oracle.expect(self.now, trouble);
    }

    /// Whether none of a server's brokers runs.
    fn has_no_broker(&self, process: &Process) -> bool {
        match &process.kind {
            Kind::Attached(brokers) => process.is_up() && !brokers.iter().any(|broker| self.is_up(*broker)),
            _ => false,
        }
    }

    /// Ends a process as `kill -9` does: its sockets are closed by the system, and nothing is said.
    pub fn crash(&mut self, id: ProcessId) {
        self.note(id, format_args!("crashes"));
        self.oracle.trouble(self.now);
        let process = &mut self.processes[id.0];
        if process.core.take().is_none() {
            return;
        }
        process.paused = false;
        process.wake_at = None;
        process.backlog.clear();
        process.pending.clear();
        process.held.clear();
        process.own_inboxes.clear();
        process.owner = None;
        self.oracle.died((id, process.life));
        let ends: Vec<_> = self.ends_of(id);
        for (conn, at) in ends {
            self.hang_up(conn, at);
        }
    }

    /// The process handles nothing until [`resume`](Self::resume). Its clock goes on.
    pub fn pause(&mut self, id: ProcessId) {
        self.note(id, format_args!("pauses"));
        self.processes[id.0].paused = true;
    }

    /// The process goes on with what came meanwhile.
    pub fn resume(&mut self, id: ProcessId) {
        let now = self.now;
        let process = &mut self.processes[id.0];
        if !core::mem::take(&mut process.paused) || !process.is_up() {
            return;
        }
        process.runs_since = now;
        self.note(id, format_args!("goes on"));
        self.oracle.trouble(now);
        let timers_first = self.rng.chance(50);
        let backlog = core::mem::take(&mut self.processes[id.0].backlog);
        if timers_first {
            self.time_out(id);
        }
        for happening in backlog {
            self.happen(id, happening);
        }
        self.time_out(id);
    }

    /// Since when this life of the process has run without a pause; `None`: it does not run.
    pub(crate) fn runs_since(&self, (id, life): (ProcessId, u64)) -> Option<MonoTime> {
        let process = &self.processes[id.0];
        (process.is_up() && !process.paused && process.life == life).then_some(process.runs_since)
    }

    /// Nothing passes between two processes from now on; links stay, and what is sent waits.
    pub fn cut(&mut self, a: ProcessId, b: ProcessId) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Nothing passes from one process to another from now on; links stay, and what is sent waits.
    pub fn cut_one_way(&mut self, from: ProcessId, to: ProcessId) {
        self.note(from, format_args!("cannot reach {} any more", to.0));
        self.net.cut.insert((from, to));
    }

    /// Ends every [`cut`](Self::cut) between two processes.
    pub fn heal(&mut self, a: ProcessId, b: ProcessId) {
        if self.net.cut.remove(&(a, b)) | self.net.cut.remove(&(b, a)) {
            self.note(a, format_args!("and {} reach each other again", b.0));
            self.oracle.trouble(self.now);
        }
        self.release_held_back();
    }

    /// What goes between two processes takes this long from now on; `None`: as long as everywhere.
    pub fn set_slow(&mut self, a: ProcessId, b: ProcessId, latency: Option<(Duration, Duration)>) {
        self.note(a, format_args!("takes {latency:?} to {}", b.0));
        match latency {
            Some(latency) => drop(self.net.slow.insert(pair(a, b), latency)),
            None => drop(self.net.slow.remove(&pair(a, b))),
        }
        self.oracle.trouble(self.now);
    }

    /// Breaks every link between two processes: a part of what is on its way still arrives.
    pub fn break_links(&mut self, a: ProcessId, b: ProcessId) {
        self.note(a, format_args!("loses its links to {}", b.0));
        self.oracle.trouble(self.now);
        let between: Vec<ConnId> = self
            .net
            .conns
            .iter()
            .filter(|(_, conn)| conn.ends[0].known && conn.ends[1].known)
            .filter(|(_, conn)| pair(conn.ends[0].process, conn.ends[1].process) == pair(a, b))
            .map(|(id, _)| *id)
            .collect();
        for id in between {
            for to in 0..2 {
                if let Some(conn) = self.net.conns.get_mut(&id) {
                    let arrives = self.rng.below(conn.queues[to].len() + 1);
                    // What is not in the queue any more arrives as nothing.
                    conn.queues[to].truncate(arrives);
                    conn.closing = true;
                }
                self.send_item(id, to, Item::End);
            }
        }
    }

    /// The process's sockets take nothing in while `stuck`.
    pub fn set_stuck(&mut self, id: ProcessId, stuck: bool) {
        if stuck {
            self.note(id, format_args!("takes nothing in"));
            self.net.stuck.insert(id);
        } else if self.net.stuck.remove(&id) {
            self.note(id, format_args!("takes things in again"));
            self.oracle.trouble(self.now);
            for other in 0..self.processes.len() {
                self.drive(ProcessId(other));
            }
        }
    }

    /// The store forgets everything.
    pub fn lose_all(&mut self) {
        self.oracle.trouble(self.now);
        self.store.lose_all(self.now);
    }

    /// The store forgets who holds this address, and says that something may have been lost.
    pub fn lose_session(&mut self, address: &str) {
        self.oracle.trouble(self.now);
        self.store.lose_session(self.now, &name(address));
    }

    /// Whether the process's program takes events out of its inbox.
    pub fn set_reads(&mut self, id: ProcessId, reads: bool) {
        self.processes[id.0].reads = reads;
        self.oracle.trouble(self.now);
        self.drive(id);
        self.release_held_back();
    }

    /// Whether the process's program answers requests.
    pub fn set_replies(&mut self, id: ProcessId, replies: bool) {
        self.processes[id.0].replies = replies;
    }

    /// Whether the process's program gives clients that connect from now on inboxes of their own.
    pub fn set_gives_inboxes(&mut self, id: ProcessId, gives: bool) {
        self.processes[id.0].gives_inboxes = gives;
    }
}
