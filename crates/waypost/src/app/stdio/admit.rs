//! How much may be under way at once. Beyond it, stdin is read later.

use super::acked::AckedSends;
use super::map::Map;
use super::op::{Id, Op};
use super::sequence::OpId;

/// Most operations under way.
pub(super) const OPS_MAX: usize = 8192;
/// Most bytes of bodies under way, before the operation that goes beyond it.
const BYTES_MAX: usize = 16 << 20;
/// Most requests under way. A request may wait for a reply that is still to be read from stdin, so that reading must go
/// on: one request more than this is `overloaded` at once.
const REQUESTS_MAX: usize = 4096;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    ops: Map<OpId, Entry>,
    bytes: usize,
    requests: usize,
}

#[derive(Debug)]
struct Entry {
    bytes: usize,
    is_request: bool,
    /// Whether somebody waits for an outcome, and under which id.
    owed: Option<Option<Id>>,
}

impl Admitted {
    /// Whether there is room for another operation beside those that are not noted here.
    pub(super) fn has_room_beside(&self, others: &AckedSends) -> bool {
        self.ops.len() + others.len() < OPS_MAX && self.bytes + others.bytes() < BYTES_MAX
    }

    /// Whether there is room for another request.
    pub(super) const fn has_room_for_request(&self) -> bool {
        self.requests < REQUESTS_MAX
    }

    /// Notes that `op` is under way.
    pub(super) fn insert(&mut self, id: OpId, op: &Op) {
        let (bytes, owed) = match op {
            Op::Send { body, ack, id, .. } => (body.len(), ack.then(|| id.clone())),
            Op::Request { body, id, .. } => (body.len(), Some(id.clone())),
            Op::Broadcast { body, .. } => (body.len(), None),
            _ => (0, None),
        };
        let is_request = matches!(op, Op::Request { .. });
        self.bytes += bytes;
        self.requests += usize::from(is_request);
        self.ops.insert(
            id,
            Entry {
                bytes,
                is_request,
                owed,
            },
        );
    }

    /// Notes that an operation has ended and has had its outcome.
    pub(super) fn remove(&mut self, id: OpId) {
        if let Some(entry) = self.ops.remove(&id) {
            self.bytes -= entry.bytes;
            self.requests -= usize::from(entry.is_request);
        }
    }

    /// Takes the outcome that an operation owes, if it does: under which id.
    pub(super) fn settle(&mut self, id: OpId) -> Option<Option<Id>> {
        self.ops.get_mut(&id)?.owed.take()
    }

    /// Takes all that is still under way and owes an outcome.
    pub(super) fn take_owed(&mut self) -> impl Iterator<Item = (OpId, Option<Id>)> + use<> {
        let all = core::mem::take(self).ops.into_iter();
        all.filter_map(|(id, entry)| Some((id, entry.owed?)))
    }
}
