//! Links between processes: two first-in-first-out queues each, of encoded frames.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use waypost_router::LinkId;
use waypost_types::{DEFAULT_FRAME_BYTES_MAX, MonoTime};
use waypost_wire::{Frame, decode, encode, split_frame};

use crate::process::ProcessId;

/// A connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnId(pub(crate) u64);

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) process: ProcessId,
    pub(crate) life: u64,
    /// The router's link; `None`: the endpoint of an attached server.
    pub(crate) link: Option<LinkId>,
    /// The process has been told that it is open, and not that it is closed.
    pub(crate) known: bool,
}

/// What is on its way.
#[derive(Debug)]
pub(crate) enum Item {
    Frame(Bytes),
    /// The other end has closed.
    End,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) ends: [End; 2],
    /// What is on its way to each end, and when it arrives there.
    pub(crate) queues: [VecDeque<(MonoTime, Item)>; 2],
    /// How many arrivals have been announced to each end and wait for the link to be healed.
    pub(crate) held_back: [usize; 2],
    /// When the newest thing arrives at each end.
    pub(crate) newest: [MonoTime; 2],
    /// An end has closed: what is on its way still arrives, and then the other end closes too.
    pub(crate) closing: bool,
}

/// All connections, and what stands between processes.
#[derive(Debug, Default)]
pub(crate) struct Net {
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    pub(crate) last: u64,
    /// From whom to whom nothing passes.
    pub(crate) cut: BTreeSet<(ProcessId, ProcessId)>,
    /// Processes whose sockets take nothing in.
    pub(crate) stuck: BTreeSet<ProcessId>,
    pub(crate) latency: (Duration, Duration),
    /// Pairs of processes with a latency of their own.
    pub(crate) slow: BTreeMap<(ProcessId, ProcessId), (Duration, Duration)>,
}

pub(crate) fn pair(a: ProcessId, b: ProcessId) -> (ProcessId, ProcessId) {
    (a.min(b), a.max(b))
}

impl Net {
    pub(crate) fn new_id(&mut self) -> ConnId {
        self.last += 1;
        ConnId(self.last)
    }

    /// Whether two processes cannot shake hands.
    pub(crate) fn is_cut(&self, a: ProcessId, b: ProcessId) -> bool {
        self.cut.contains(&(a, b)) || self.cut.contains(&(b, a))
    }

    pub(crate) fn latency_between(&self, a: ProcessId, b: ProcessId) -> (Duration, Duration) {
        self.slow.get(&pair(a, b)).copied().unwrap_or(self.latency)
    }

    /// The connection and end index of a process's link.
    pub(crate) fn find(
        &self,
        process: ProcessId,
        life: u64,
        link: Option<LinkId>,
    ) -> Option<(ConnId, usize)> {
        self.conns.iter().find_map(|(id, conn)| {
            let at = conn.ends.iter().position(|end| {
                end.process == process && end.life == life && end.link == link && end.known
            })?;
            Some((*id, at))
        })
    }
}

/// The frame as bytes, as it would go through a socket.
///
/// # Panics
/// When it cannot be encoded: the router must not make such a frame.
pub(crate) fn pack(frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    if let Err(error) = encode(frame, &mut out, DEFAULT_FRAME_BYTES_MAX) {
        panic!("a frame that cannot be encoded: {error}: {frame:?}");
    }
    out.freeze()
}

/// The bytes as a frame again.
///
/// # Panics
/// When they cannot be decoded.
pub(crate) fn unpack(bytes: &Bytes) -> Frame {
    let mut buf = BytesMut::from(&bytes[..]);
    match split_frame(&mut buf, DEFAULT_FRAME_BYTES_MAX) {
        Ok(Some(frame)) => match decode(frame) {
            Ok(frame) => frame,
            Err(error) => panic!("a frame that cannot be decoded: {error}"),
        },
        other => panic!("a frame that cannot be split off: {other:?}"),
    }
}
