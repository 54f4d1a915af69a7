//! The bounded queue of frames that wait to be written to one link.

use core::time::Duration;
use std::collections::VecDeque;

use waypost_types::MonoTime;
use waypost_wire::{Frame, Message};

use crate::gate::{Gate, Room};

/// A queue of frames, bounded in bytes.
///
/// Messages are refused when it is full. Frames of control (answers, claims, outcomes) always go in: there are at most a
/// few for each message or operation that was let in.
#[derive(Debug)]
pub(crate) struct Outbox {
    frames: VecDeque<Frame>,
    queued_bytes: usize,
    writing_bytes: usize,
    gate: Gate,
    pins: Pins,
    writer_idle: bool,
}

/// What a queue holds before its messages are copied out of the buffers into which they were read.
const PIN_BYTES: usize = 128 << 10;
/// Bodies from here on are not copied: they are a good part of the buffer that they keep.
const PIN_BODY_BYTES: usize = 16 << 10;

/// Watches that a queue of small messages does not keep many times its bound alive in read buffers.
#[derive(Debug)]
pub(crate) struct Pins {
    last: usize,
}

impl Pins {
    pub(crate) const fn new() -> Self {
        Self { last: 0 }
    }

    /// The message as it goes into a queue that holds `bytes`. In a backlog it is copied out of its buffer, unless it lay
    /// close behind the one before it: then the queue keeps most of that buffer for good reason.
    pub(crate) fn keep(&mut self, message: Message, bytes: usize) -> Message {
        let position = message.position();
        let gap = position.wrapping_sub(core::mem::replace(&mut self.last, position));
        if bytes > PIN_BYTES && gap > 4 * message.cost() {
            unpinned(message)
        } else {
            message
        }
    }
}

/// The message for a queue in which it may stay for long: a small one would otherwise keep the whole buffer alive into
/// which it was read, and so use many times the queue's bound.
pub(crate) fn unpinned(message: Message) -> Message {
    if message.body.len() < PIN_BODY_BYTES {
        message.detached()
    } else {
        message
    }
}

impl Outbox {
    pub(crate) const fn new(bytes_max: usize, stall: Duration) -> Self {
        Self {
            frames: VecDeque::new(),
            queued_bytes: 0,
            writing_bytes: 0,
            gate: Gate::new(bytes_max, stall),
            pins: Pins::new(),
            writer_idle: true,
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.queued_bytes + self.writing_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether a message may be put in.
    pub(crate) fn room(&mut self, now: MonoTime) -> Room {
        self.gate.room(now, self.bytes())
    }

    /// Puts a frame in; true when the writer was idle and has to be woken.
    pub(crate) fn push(&mut self, mut frame: Frame) -> bool {
        if let Frame::Message(message) = frame {
            frame = Frame::Message(self.pins.keep(message, self.queued_bytes + self.writing_bytes));
        }
        self.queued_bytes += frame.cost();
        self.frames.push_back(frame);
        core::mem::take(&mut self.writer_idle)
    }

    /// Moves frames of about `bytes_max` bytes out to the writer, who says with its next call that they are written.
    /// Returns true when room came free that somebody may wait for.
    pub(crate) fn take(&mut self, into: &mut Vec<Frame>, bytes_max: usize) -> bool {
        let written = core::mem::take(&mut self.writing_bytes);
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
        self.gate.took(written, self.bytes())
    }

    /// All frames that were never handed to the writer, when the link has ended.
    pub(crate) fn into_unsent(self) -> VecDeque<Frame> {
        self.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_written_still_counts_and_an_idle_writer_is_woken_once() {
        let mut outbox = Outbox::new(128, Duration::from_millis(100));
        assert_eq!(outbox.room(MonoTime::ZERO), Room::Yes);
        assert!(outbox.push(Frame::Drain));
        assert!(!outbox.push(Frame::Drain));
        assert_eq!(outbox.room(MonoTime::ZERO), Room::Wait);
        let mut taken = Vec::new();
        assert!(!outbox.take(&mut taken, 1));
        assert_eq!(outbox.room(MonoTime::ZERO), Room::Wait);
        assert!(outbox.take(&mut taken, 1), "the first is written now");
        assert_eq!(taken.len(), 2);
        assert_eq!(outbox.room(MonoTime::ZERO), Room::Yes);
    }

    /// Messages read from one buffer, of which the queue gets every `every`th; how many bytes of them lie in it.
    fn backlog(every: usize) -> usize {
        let mut outbox = Outbox::new(1 << 20, Duration::from_millis(100));
        let mut buffers = Vec::new();
        while outbox.bytes() <= PIN_BYTES * 2 {
            let mut read = bytes::BytesMut::new();
            while read.len() < 64 << 10 {
                let message = Message::new("from", "to", vec![7; 100].into()).unwrap();
                waypost_wire::encode(&Frame::Message(message), &mut read, 1 << 20).unwrap();
            }
            buffers.push(read.as_ptr_range());
            let mut number = 0;
            while let Some(frame) = waypost_wire::split_frame(&mut read, 1 << 20).unwrap() {
                if number % every == 0 {
                    let _ = outbox.push(waypost_wire::decode(frame).unwrap());
                }
                number += 1;
            }
        }
        let mut kept = Vec::new();
        outbox.take(&mut kept, usize::MAX);
        let lies_in = |frame: &Frame| match frame {
            Frame::Message(message) => buffers
                .iter()
                .any(|buffer| buffer.contains(&message.body.as_ptr())),
            _ => false,
        };
        kept.iter().filter(|frame| lies_in(frame)).map(Frame::cost).sum()
    }

    #[test]
    fn a_backlog_keeps_no_read_buffers_alive_for_single_messages() {
        let kept = backlog(20);
        assert!(
            kept <= PIN_BYTES + 200,
            "{kept} bytes of messages still lie in the buffers"
        );
    }

    #[test]
    fn a_backlog_of_all_that_was_read_is_not_copied() {
        let kept = backlog(1);
        assert!(
            kept > PIN_BYTES * 3 / 2,
            "only {kept} bytes of messages still lie in the buffers"
        );
    }
}
