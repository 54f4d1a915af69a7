//! Links between processes: dialled, written, read and ended.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use waypost_router::{LinkId, Whose};
use waypost_types::{DEFAULT_FRAME_BYTES_MAX, Location, MonoTime};
use waypost_wire::{Chunk, Hello, Role};

use crate::net::{Conn, ConnId, End, Item, unpack};
use crate::process::{Kind, ProcessId};
use crate::world::{Happening, World};

/// After how long a dial that nobody answers is given up.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How soon a link is read again whose reader has to wait for room.
const RETRY: Duration = Duration::from_millis(10);

impl World {
    pub(crate) fn ends_of(&self, id: ProcessId) -> Vec<(ConnId, usize)> {
        let conns = self.net.conns.iter();
        conns
            .flat_map(|(conn, c)| c.ends.iter().enumerate().map(|(at, end)| (*conn, at, end)))
            .filter(|(_, _, end)| end.process == id && end.known && end.life == self.processes[id.0].life)
            .map(|(conn, at, _)| (conn, at))
            .collect()
    }

    fn latency(&mut self, a: ProcessId, b: ProcessId) -> Duration {
        let (from, to) = self.net.latency_between(a, b);
        self.rng.between(from, to)
    }

    /// Puts something on its way; behind everything that is on its way already.
    pub(crate) fn send_item(&mut self, conn: ConnId, to: usize, item: Item) {
        let Some(open) = self.net.conns.get(&conn) else {
            return;
        };
        let [a, b] = [open.ends[0].process, open.ends[1].process];
        let at = self.now + self.latency(a, b);
        let Some(open) = self.net.conns.get_mut(&conn) else {
            return;
        };
        if open.closing && matches!(item, Item::Frame(_)) {
            return;
        }
        let at = at.max(open.newest[to]);
        open.newest[to] = at;
        open.queues[to].push_back((at, item));
        let process = open.ends[to].process;
        self.schedule(at, process, Happening::Arrive { conn, to });
    }

    pub(crate) fn arrive(&mut self, conn: ConnId, to: usize) {
        let Some(open) = self.net.conns.get_mut(&conn) else {
            return;
        };
        let (end, from) = (open.ends[to], open.ends[1 - to].process);
        if self.net.cut.contains(&(from, end.process)) {
            open.held_back[to] += 1;
            return;
        }
        let process = &self.processes[end.process.0];
        let is_there = end.known && process.life == end.life;
        let mut frames = Vec::new();
        // What has arrived together is read together.
        while let Some((at, item)) = open.queues[to].front()
            && (frames.is_empty() || *at <= self.now)
        {
            match item {
                Item::End if frames.is_empty() => {
                    open.queues[to].pop_front();
                    return self.end_of_link(conn, to);
                }
                Item::End => break,
                Item::Frame(bytes) => {
                    frames.push(bytes.clone());
                    open.queues[to].pop_front();
                }
            }
        }
        if frames.is_empty() || !is_there {
            return;
        }
        for frame in &frames {
            self.note(end.process, format_args!("<- {} {:?}", conn.0, unpack(frame)));
        }
        let rest = self.feed(end, &frames);
        self.drive(end.process);
        if rest > 0 {
            self.wait_for_room(conn, to, frames.split_off(frames.len() - rest));
        }
    }

    /// Gives a process what has come to it; how many of the frames, the last ones, have to wait for room.
    fn feed(&mut self, end: End, frames: &[Bytes]) -> usize {
        let process = &mut self.processes[end.process.0];
        let now = process.local(self.now);
        let Some(core) = &mut process.core else {
            return 0;
        };
        let (mut chunk, whose) = (Chunk::new(), end.link.map_or(Whose::Endpoint, Whose::Router));
        let mut bytes = BytesMut::from(frames.concat().as_slice());
        let read = chunk.refill(&mut bytes, DEFAULT_FRAME_BYTES_MAX);
        let taken = core.handle_chunk(now, whose, &mut chunk);
        assert!(
            read.is_ok() && taken.is_ok() && bytes.is_empty(),
            "nothing malformed is sent: {read:?}, {taken:?}"
        );
        chunk.len()
    }

    fn wait_for_room(&mut self, conn: ConnId, to: usize, frames: Vec<Bytes>) {
        self.note_wait(conn, to, frames.len());
        if let Some(open) = self.net.conns.get_mut(&conn) {
            for frame in frames.into_iter().rev() {
                open.queues[to].push_front((self.now, Item::Frame(frame)));
            }
            let process = open.ends[to].process;
            self.schedule(self.now + RETRY, process, Happening::Arrive { conn, to });
        }
    }

    fn note_wait(&mut self, conn: ConnId, to: usize, count: usize) {
        if let Some(open) = self.net.conns.get(&conn) {
            let process = open.ends[to].process;
            self.note(
                process,
                format_args!("{count} frames of {} wait for room", conn.0),
            );
        }
    }

    /// What was held back arrives now, if nothing holds it any more.
    pub(crate) fn release_held_back(&mut self) {
        let conns: Vec<ConnId> = self.net.conns.keys().copied().collect();
        for (conn, to) in conns.into_iter().flat_map(|conn| [(conn, 0), (conn, 1)]) {
            let Some(open) = self.net.conns.get_mut(&conn) else {
                continue;
            };
            let (from, end) = (open.ends[1 - to].process, open.ends[to].process);
            if self.net.cut.contains(&(from, end)) {
                continue;
            }
            let (process, count) = (open.ends[to].process, core::mem::take(&mut open.held_back[to]));
            for _ in 0..count {
                self.schedule(self.now, process, Happening::Arrive { conn, to });
            }
        }
    }

    /// One end closes; the other hears of it behind everything that is on its way to it.
    pub(crate) fn hang_up(&mut self, conn: ConnId, at: usize) {
        if let Some(open) = self.net.conns.get_mut(&conn)
            && !core::mem::replace(&mut open.closing, true)
        {
            self.send_item(conn, 1 - at, Item::End);
        }
    }

    /// The link is closed as far as this end is concerned, and its process is told.
    pub(crate) fn end_of_link(&mut self, conn: ConnId, at: usize) {
        let Some(open) = self.net.conns.get_mut(&conn) else {
            return;
        };
        open.closing = true;
        let end = open.ends[at];
        if !core::mem::replace(&mut open.ends[at].known, false) {
            return;
        }
        let other = open.ends[1 - at];
        if !other.known {
            self.net.conns.remove(&conn);
        } else if open.queues[1 - at]
            .iter()
            .all(|(_, item)| !matches!(item, Item::End))
        {
            self.send_item(conn, 1 - at, Item::End);
        }
        let process = &mut self.processes[end.process.0];
        if process.life != end.life || !process.is_up() {
            return;
        }
        let now = process.local(self.now);
        let Some(core) = &mut process.core else { return };
        match (end.link, &mut core.router, &mut core.endpoint) {
            (Some(link), Some(router), _) => router.link_closed(now, link),
            (None, _, Some(endpoint)) => {
                endpoint.link_down(now);
                let life = end.life;
                let soon = self.now + self.rng.between(Duration::ZERO, Duration::from_millis(50));
                self.schedule(soon, end.process, Happening::Redial { life });
            }
            _ => {}
        }
        self.note(end.process, format_args!("link {} is closed", conn.0));
        self.drive(end.process);
    }

    /// An attached server without link dials its next broker.
    pub(crate) fn dial_broker(&mut self, id: ProcessId) {
        let process = &self.processes[id.0];
        let Kind::Attached(brokers) = &process.kind else {
            return;
        };
        if process.dialling || self.net.find(id, process.life, None).is_some() {
            return;
        }
        let Some(broker) = brokers.get(process.next_broker % brokers.len().max(1)) else {
            return;
        };
        let location = self.processes[broker.0].location.clone();
        self.processes[id.0].dialling = true;

        self.dial(id, None, location);
    }

    pub(crate) fn dial(&mut self, id: ProcessId, link: Option<LinkId>, location: Location) {
        let life = self.processes[id.0].life;
        let at = self.now + self.rng.between(self.net.latency.0, self.net.latency.1);
        self.note(id, format_args!("dials {location}"));
        self.schedule(at, id, Happening::Reach { life, link, location });
    }

    /// A dial comes to where the other side listens, or not.
    pub(crate) fn reach(&mut self, id: ProcessId, life: u64, link: Option<LinkId>, location: &Location) {
        let target = self
            .processes
            .iter()
            .position(|process| process.location == *location)
            .map(ProcessId);
        let refused = Happening::Dialled {
            life,
            link,
            conn: None,
        };
        let later = self.now + DIAL_TIMEOUT;
        let Some(target) = target else {
            return self.schedule(later, id, refused);
        };
        if self.net.is_cut(id, target) || self.processes[target.0].paused {
            return self.schedule(later, id, refused);
        }
        if !self.is_up(target) || self.processes[id.0].life != life {
            let soon = self.now + self.latency(id, target);
            return self.schedule(soon, id, refused);
        }
        let hello = Hello {
            role: if link.is_some() { Role::Node } else { Role::Peer },
            location: link.map(|_| self.processes[id.0].location.clone()),
            nonce: [0; 16],
            software: String::new(),
        };
        let conn = self.net.new_id();
        let mut theirs = LinkId::LOCAL;
        self.with_router(target, |router, now| {
            theirs = router.new_link_id();
            router.link_accepted(now, theirs, &hello);
        });
        let target_life = self.processes[target.0].life;
        let end = |process, life, link, known| End {
            process,
            life,
            link,
            known,
        };
        let open = Conn {
            ends: [
                end(id, life, link, false),
                end(target, target_life, Some(theirs), true),
            ],
            queues: [VecDeque::new(), VecDeque::new()],
            held_back: [0, 0],
            newest: [MonoTime::ZERO; 2],
            closing: false,
        };
        self.net.conns.insert(conn, open);
        let at = self.now + self.latency(id, target);
        if let Some(open) = self.conn(conn) {
            // Nothing arrives before the dialling side knows that the link is open.
            open.newest[0] = at;
        }
        self.schedule(
            at,
            id,
            Happening::Dialled {
                life,
                link,
                conn: Some(conn),
            },
        );
        self.drive(target);
    }

    pub(crate) fn dialled(&mut self, id: ProcessId, link: Option<LinkId>, conn: Option<ConnId>) {
        let process = &mut self.processes[id.0];
        let now = process.local(self.now);
        let open = conn.and_then(|conn| self.net.conns.get_mut(&conn));
        let opened = open.map(|open| open.ends[0].known = true).is_some();
        self.note(id, format_args!("dialled {link:?}: {opened}"));
        let process = &mut self.processes[id.0];
        let Some(core) = &mut process.core else { return };
        match (link, &mut core.router, &mut core.endpoint) {
            (Some(link), Some(router), _) if opened => router.link_dialled(now, link),
            (Some(link), Some(router), _) => router.dial_failed(now, link),
            (None, _, Some(endpoint)) => {
                process.dialling = false;
                if opened {
                    endpoint.link_up(now);
                    process.failed_dials = 0;
                } else {
                    process.next_broker += 1;
                    process.failed_dials += 1;
                    let pause = Duration::from_millis(50) * process.failed_dials.min(10);
                    let (life, at) = (process.life, self.now + pause);
                    self.schedule(at, id, Happening::Redial { life });
                }
            }
            _ => {}
        }
        self.drive(id);
    }
}
