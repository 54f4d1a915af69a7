//! The bounded queue of frames that wait to be written to one link.

use core::time::Duration;
use std::collections::VecDeque;

use waypost_types::MonoTime;
use waypost_wire::{Frame, Message};

/// A queue of frames, bounded in bytes.
///
/// Messages are refused when it is full. Frames of control (answers, claims, outcomes) always go in: there are at most a
/// few for each message or operation that was let in.
///
/// A full queue is worth waiting for only while the other side reads: when it has stayed full for `stall`, it counts as
/// stalled until it has drained to half, and messages for it fail at once instead of holding up those behind them.
#[derive(Debug)]
pub(crate) struct Outbox {
    frames: VecDeque<Frame>,
    queued_bytes: usize,
    writing_bytes: usize,
    bytes_max: usize,
    stall: Duration,
    full_since: Option<MonoTime>,
    stalled: bool,
    writer_idle: bool,
}

/// What a queue holds before its messages are copied out of the buffers into which they were read.
pub(crate) const PIN_BYTES: usize = 128 << 10;
/// Bodies from here on are not copied: they are a good part of the buffer that they keep.
const PIN_BODY_BYTES: usize = 16 << 10;

/// The message for a queue in which it may stay for long: a small one would otherwise keep the whole buffer alive into
/// which it was read, and so use many times the queue's bound.
pub(crate) fn unpinned(message: Message) -> Message {
    if message.body.len() < PIN_BODY_BYTES {
        message.detached()
    } else {
        message
    }
}

/// Whether a message may be put in now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is room.
    Yes,
    /// Full, and worth waiting for.
    Wait,
    /// Full for so long that waiting is no use.
    No,
}

impl Outbox {
    pub(crate) const fn new(bytes_max: usize, stall: Duration) -> Self {
        Self {
            frames: VecDeque::new(),
            queued_bytes: 0,
            writing_bytes: 0,
            bytes_max,
            stall,
            full_since: None,
            stalled: false,
            writer_idle: true,
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.queued_bytes + self.writing_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether a message may be put in. A queue that is empty takes one of any size.
    pub(crate) fn room(&mut self, now: MonoTime) -> Room {
        if self.bytes() < self.bytes_max {
            return Room::Yes;
        }
        let since = *self.full_since.get_or_insert(now);
        if !self.stalled && now.since(since) < self.stall {
            return Room::Wait;
        }
        self.stalled = true;
        Room::No
    }

    /// Puts a frame in; true when the writer was idle and has to be woken.
    pub(crate) fn push(&mut self, mut frame: Frame) -> bool {
        if self.bytes() > PIN_BYTES
            && let Frame::Message(message) = frame
        {
            frame = Frame::Message(unpinned(message));
        }
        self.queued_bytes += frame.cost();
        self.frames.push_back(frame);
        core::mem::take(&mut self.writer_idle)
    }

    /// Moves frames of about `bytes_max` bytes out to the writer, who says with its next call that they are written.
    /// Returns true when room came free that somebody may wait for.
    pub(crate) fn take(&mut self, into: &mut Vec<Frame>, bytes_max: usize) -> bool {
        self.writing_bytes = 0;
        while self.writing_bytes < bytes_max {
            let Some(frame) = self.frames.pop_front() else {
                break;
            };
            let cost = frame.cost();
            self.queued_bytes -= cost.min(self.queued_bytes);
            self.writing_bytes += cost;
            into.push(frame);
        }
        self.writer_idle = into.is_empty();
        self.relieve()
    }

    /// All frames that were never handed to the writer, when the link has ended.
    pub(crate) fn into_unsent(self) -> VecDeque<Frame> {
        self.frames
    }

    fn relieve(&mut self) -> bool {
        if self.bytes() * 2 > self.bytes_max {
            return false;
        }
        self.stalled = false;
        self.full_since.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> MonoTime = |ms| MonoTime::from_micros(ms * 1000);

    #[test]
    fn full_is_waited_for_until_it_stalls_and_opens_again_at_half() {
        let mut outbox = Outbox::new(128, Duration::from_millis(100));
        assert_eq!(outbox.room(MS(0)), Room::Yes);
        assert!(outbox.push(Frame::Drain), "an idle writer is woken");
        assert!(!outbox.push(Frame::Drain), "and only once");
        assert_eq!(outbox.room(MS(0)), Room::Wait);
        assert_eq!(outbox.room(MS(99)), Room::Wait);
        assert_eq!(outbox.room(MS(100)), Room::No);
        let mut taken = Vec::new();
        assert!(!outbox.take(&mut taken, 1), "what is being written still counts");
        assert_eq!(outbox.room(MS(101)), Room::No);
        assert!(outbox.take(&mut taken, 1));
        assert_eq!(taken.len(), 2);
        assert_eq!(outbox.room(MS(102)), Room::Yes);
    }

    #[test]
    fn a_backlog_does_not_keep_the_buffers_alive_into_which_it_was_read() {
        let read = bytes::Bytes::from(vec![0; 64 << 10]);
        let mut outbox = Outbox::new(1 << 20, Duration::from_millis(100));
        let mut kept = Vec::new();
        while outbox.bytes() <= PIN_BYTES * 2 {
            let message = Message::new("a", "b", read.slice(7..107)).unwrap();
            let _ = outbox.push(Frame::Message(message));
        }
        outbox.take(&mut kept, usize::MAX);
        let is_pinned = |frame: &&Frame| matches!(frame, Frame::Message(m) if read.as_ptr_range().contains(&m.body.as_ptr()));
        let cost: usize = kept.iter().filter(is_pinned).map(Frame::cost).sum();
        assert!(
            cost <= PIN_BYTES + 200,
            "{cost} bytes of messages still lie in the buffer"
        );
    }
}
