//! The bounded queue of what waits to be written to one link.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use waypost_types::MonoTime;
use waypost_wire::{Batch, Chunk, EncodeError, Frame, Message, Page};

use crate::gate::{Gate, Room};

/// Something to write to a link.
#[derive(Debug)]
pub enum Outgoing {
    /// A frame that is still to be encoded.
    Frame(Frame),
    /// Whole frames, each preceded by its length.
    Encoded(Bytes),
}

impl Outgoing {
    fn cost(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.cost(),
            Self::Encoded(bytes) => bytes.len(),
        }
    }

    /// What it counts against the bound of frames that always go in.
    fn control_cost(&self) -> usize {
        match self {
            Self::Frame(Frame::Message(_) | Frame::Reply { .. } | Frame::Broadcast(_)) | Self::Encoded(_) => {
                0
            }
            Self::Frame(frame) => frame.cost(),
        }
    }

    /// Appends the frames, for whoever carries frames and not bytes.
    fn unpack(self, into: &mut impl Extend<Frame>) {
        match self {
            Self::Frame(frame) => into.extend([frame]),
            Self::Encoded(bytes) => {
                let (mut chunk, max_bytes) = (Chunk::new(), bytes.len());
                let mut bytes = BytesMut::from(bytes);
                // What this crate has encoded can be read.
                while chunk.refill(&mut bytes, max_bytes).is_ok() && !chunk.is_empty() {
                    while let Some(item) = chunk.front() {
                        into.extend(item.decode().ok());
                        chunk.advance();
                    }
                }
            }
        }
    }
}

/// The queue, bounded in bytes.
///
/// Messages are refused when it is full. Replies and broadcasts, which are not asked before, have four times that. Frames of
/// control (answers, claims, outcomes) and messages on their way back always go in: there are at most a few for each message
/// or operation that was let in.
/// A link in whose queue so many have gathered all the same is one that nobody reads, and to be closed.
///
/// A message whose way is known is encoded where it will be written from; others wait as frames. One order holds for all.
#[derive(Debug)]
pub(crate) struct Outbox {
    items: VecDeque<Outgoing>,
    /// Frames encoded since the last item.
    tail: Page,
    /// How large it was when it was empty; 0 at rest.
    page_bytes: usize,
    /// Pieces that were handed out whole, oldest first: memory to use again once they are written.
    spare: VecDeque<Bytes>,
    /// How often the queue has been found empty since such a piece was filled.
    found_empty: u32,
    queued_bytes: usize,
    /// Frames of control among these.
    control_bytes: usize,
    writing_bytes: usize,
    /// Whether somebody waits for the outcome of a message among these, and how many bytes were queued when the writer was last told
    /// of such.
    is_awaited: bool,
    awaited_from: usize,
    gate: Gate,
    pins: Pins,
    writer_idle: bool,
}

/// The bound of frames of control, unless the queue's own is a good part of it.
const CONTROL_BYTES: usize = 16 << 20;
/// As many times the queue's bound may be in it because of frames that are not refused.
pub(crate) const UNASKED: usize = 4;
/// Encoded frames are handed out in pieces of about this size, while there are many.
const TAIL_BYTES: usize = 64 << 10;
/// And so large is the first piece on a link that was at rest.
const FIRST_TAIL_BYTES: usize = 8 << 10;
/// So much is enough for a write of its own.
const WRITE_BYTES: usize = 48 << 10;
/// And so much when somebody waits for the outcome of what is in it. Whoever has so many messages under way and no more sends the
/// next ones when the first have their outcome: written all at once, they would leave either side idle while the other works.
const AWAITED_BYTES: usize = 16 << 10;
/// Pieces that are kept to be used again: as many as wait at once where senders are a little ahead of their link. Memory that
/// goes back to the allocator in between often goes back to the system, and each of its pages then costs a fault.
const SPARE_MAX: usize = 32;
/// A link is at rest when its queue has been found empty so often with little in between, which takes some heartbeats at the most.
const RESTS_AFTER: u32 = 16;
/// What a queue holds before its messages are copied out of the buffers into which they were read.
const PIN_BYTES: usize = 128 << 10;
/// Bodies from here on are not copied: they are a good part of the buffer that they keep.
const PIN_BODY_BYTES: usize = 16 << 10;

/// As many bytes of messages are a good part of any buffer.
const PIN_BATCH_BYTES: usize = 64 << 10;

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

    /// The same for messages that were read together.
    pub(crate) fn keep_batch(&mut self, batch: Batch, bytes: usize) -> Batch {
        let position = batch.position();
        let gap = position
            .start
            .wrapping_sub(core::mem::replace(&mut self.last, position.end));
        let is_most = batch.cost() * 4 >= batch.chunk_len();
        if is_most && (bytes <= PIN_BYTES || gap <= 4 * batch.cost() || batch.cost() >= PIN_BATCH_BYTES) {
            batch
        } else {
            batch.detached()
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
    pub(crate) fn new(bytes_max: usize, stall: Duration) -> Self {
        Self {
            items: VecDeque::new(),
            tail: Page::new(),
            page_bytes: 0,
            spare: VecDeque::new(),
            found_empty: 0,
            queued_bytes: 0,
            control_bytes: 0,
            writing_bytes: 0,
            is_awaited: false,
            awaited_from: 0,
            gate: Gate::new(bytes_max, stall),
            pins: Pins::new(),
            writer_idle: true,
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.queued_bytes + self.writing_bytes
    }

    /// Bytes of the messages among what waits.
    pub(crate) fn message_bytes(&self) -> usize {
        let is_message =
            |item: &&Outgoing| !matches!(item, Outgoing::Frame(frame) if !matches!(frame, Frame::Message(_)));
        let items = self.items.iter().filter(is_message);
        items.map(Outgoing::cost).sum::<usize>() + self.tail.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.tail.is_empty()
    }

    /// Whether a message may be put in.
    pub(crate) fn room(&mut self, now: MonoTime) -> Room {
        self.gate.room(now, self.bytes())
    }

    /// Whether it is below its bound; unlike [`room`](Self::room) this does not judge the writer.
    pub(crate) const fn has_room(&self) -> bool {
        self.bytes() < self.gate.bytes_max()
    }

    /// Whether a reply or a broadcast may be put in.
    pub(crate) fn takes(&self, frame: &Frame) -> bool {
        !matches!(frame, Frame::Reply { .. } | Frame::Broadcast(_))
            || self.bytes() < self.gate.bytes_max().saturating_mul(UNASKED)
    }

    /// Whether more frames of control have gathered than a link that is read ever has.
    pub(crate) fn is_given_up(&self) -> bool {
        self.control_bytes > CONTROL_BYTES.max(self.gate.bytes_max().saturating_mul(UNASKED))
    }

    /// Puts a frame in; true when the writer was idle and has to be woken.
    pub(crate) fn push(&mut self, mut frame: Frame) -> bool {
        self.close_tail();
        if let Frame::Message(message) = frame {
            frame = Frame::Message(self.pins.keep(message, self.bytes()));
        }
        self.queued_bytes += frame.cost();
        let item = Outgoing::Frame(frame);
        self.control_bytes += item.control_cost();
        self.items.push_back(item);
        core::mem::take(&mut self.writer_idle)
    }

    /// Lets a message be encoded to the end of the queue; true when the writer was idle and has to be woken, and when enough has
    /// gathered for a write of its own. `is_awaited`: somebody waits for its outcome.
    #[inline]
    pub(crate) fn push_encoded(
        &mut self,
        is_awaited: bool,
        encode: impl FnOnce(&mut Page) -> Result<(), EncodeError>,
    ) -> Result<bool, EncodeError> {
        if !self.tail.has_room() {
            self.renew_tail();
        }
        let before = self.tail.len();
        encode(&mut self.tail)?;
        self.queued_bytes += self.tail.len() - before;
        let is_full = !self.tail.has_room() && self.tail.len() >= WRITE_BYTES;
        if is_full {
            self.renew_tail();
        }
        let is_enough = is_full || (is_awaited && self.await_one());
        Ok(core::mem::take(&mut self.writer_idle) || is_enough)
    }

    /// Notes that somebody waits for the outcome of what was put in last; true when so much of it has gathered.
    fn await_one(&mut self) -> bool {
        let is_enough = self.queued_bytes >= self.awaited_from + AWAITED_BYTES;
        if is_enough {
            self.awaited_from = self.queued_bytes;
        }
        self.is_awaited = true;
        is_enough
    }

    /// Closes the page that is full and begins another, in the memory of one that is written if there is any.
    #[cold]
    fn renew_tail(&mut self) {
        let is_large = self.page_bytes == TAIL_BYTES;
        self.page_bytes = (2 * self.page_bytes).clamp(FIRST_TAIL_BYTES, TAIL_BYTES);
        if !self.tail.is_empty() {
            let full = self.tail.take();
            if is_large {
                self.found_empty = 0;
            }
            if is_large && self.spare.len() < SPARE_MAX {
                self.spare.push_back(full.clone());
            }
            self.items.push_back(Outgoing::Encoded(full));
        }
        // What is left of it would keep the memory of what was taken.
        self.tail = Page::new();
        // Of those that are written the last one, which lies nearest to the core.
        let written = self.spare.iter().take_while(|page| page.is_unique()).count();
        let newest = written.checked_sub(1).and_then(|at| self.spare.remove(at));
        let spare = newest
            .and_then(|page| page.try_into_mut().ok())
            .unwrap_or_default();
        self.tail = Page::in_memory_of(spare, self.page_bytes);
    }

    /// Whether enough waits for a write of its own, however busy the writer is.
    pub(crate) const fn is_worth_a_write(&self) -> bool {
        self.queued_bytes
            >= if self.is_awaited {
                AWAITED_BYTES
            } else {
                WRITE_BYTES
            }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.items.push_back(Outgoing::Encoded(self.tail.take()));
        }
    }

    /// Moves about `bytes_max` bytes out to the writer, who says with its next call that they are written.
    /// Returns true when room came free that somebody may wait for.
    pub(crate) fn take(&mut self, into: &mut Vec<Outgoing>, bytes_max: usize) -> bool {
        let written = core::mem::take(&mut self.writing_bytes);
        while self.writing_bytes < bytes_max {
            if self.items.is_empty() {
                self.close_tail();
            }
            let Some(item) = self.items.pop_front() else {
                break;
            };
            let cost = item.cost();
            self.queued_bytes -= cost.min(self.queued_bytes);
            self.control_bytes -= item.control_cost();
            self.writing_bytes += cost;
            into.push(item);
        }
        if self.queued_bytes == 0 {
            self.is_awaited = false;
        }
        self.awaited_from = self.queued_bytes;
        self.writer_idle = into.is_empty();
        self.found_empty = self.found_empty.saturating_add(self.writer_idle.into());
        if self.writer_idle && self.found_empty >= RESTS_AFTER {
            // A link that rests keeps no memory for what it may carry again. That of a busy one is found empty now and then, too.
            self.tail = Page::new();
            self.page_bytes = 0;
            self.spare = VecDeque::new();
            self.found_empty = 0;
        }
        self.gate.took(written, self.bytes())
    }

    /// The same as frames.
    pub(crate) fn take_frames(&mut self, into: &mut Vec<Frame>, bytes_max: usize) -> bool {
        let mut items = Vec::new();
        let freed = self.take(&mut items, bytes_max);
        for item in items {
            item.unpack(into);
        }
        freed
    }

    /// Takes the messages back that were never handed to the writer. Other frames stay.
    pub(crate) fn take_back(&mut self) -> Vec<Message> {
        self.close_tail();
        let mut frames = Vec::new();
        for item in core::mem::take(&mut self.items) {
            item.unpack(&mut frames);
        }
        self.queued_bytes = 0;
        self.awaited_from = 0;
        let mut messages = Vec::new();
        for frame in frames {
            match frame {
                Frame::Message(message) => messages.push(message),
                frame => {
                    self.queued_bytes += frame.cost();
                    self.items.push_back(Outgoing::Frame(frame));
                }
            }
        }
        messages
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

    #[test]
    fn replies_are_bounded_and_control_frames_without_a_reader_give_the_link_up() {
        let mut outbox = Outbox::new(1000, Duration::from_millis(100));
        let reply = || Frame::Reply {
            origin: 0,
            id: 1,
            body: vec![0; 1000].into(),
        };
        while outbox.takes(&reply()) {
            outbox.push(reply());
            assert!(outbox.bytes() < 6000);
        }
        assert!(outbox.takes(&Frame::Drain) && outbox.bytes() >= 4000);
        while !outbox.is_given_up() {
            outbox.push(Frame::Drain);
            assert!(outbox.bytes() <= CONTROL_BYTES + 6000);
        }
        assert!(outbox.bytes() > CONTROL_BYTES);
        outbox.take(&mut Vec::new(), 6000);
        assert!(!outbox.is_given_up() && outbox.control_bytes > 0);
        outbox.take(&mut Vec::new(), usize::MAX);
        assert_eq!(outbox.control_bytes, 0);
    }

    /// Messages read from one buffer, of which the queue gets every `every`th; how many bytes of them lie in it.
    fn backlog(every: usize) -> usize {
        let mut outbox = Outbox::new(1 << 20, Duration::from_millis(100));
        let (mut buffers, mut whole) = (Vec::new(), Vec::new());
        while outbox.bytes() <= PIN_BYTES * 2 {
            let mut read = BytesMut::new();
            while read.len() < 64 << 10 {
                let message = Message::new("from", "to", vec![7; 100].into()).unwrap();
                waypost_wire::encode(&Frame::Message(message), &mut read, 1 << 20).unwrap();
            }
            read.extend_from_slice(&[0]);
            // The allocator gives nobody else its place while this lives.
            whole.push(read.split_off(read.len() - 1));
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
        outbox.take_frames(&mut kept, usize::MAX);
        let lies_in = |frame: &Frame| match frame {
            Frame::Message(message) => buffers
                .iter()
                .any(|buffer| buffer.contains(&message.body.as_ptr())),
            _ => false,
        };
        let bytes = kept.iter().filter(|frame| lies_in(frame)).map(Frame::cost).sum();
        drop(whole);
        bytes
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

    fn encoded(outbox: &mut Outbox, to: &str) -> bool {
        outbox
            .push_encoded(false, |page| {
                page.push_message([to, "from"], b"body", &waypost_wire::Numbers::default())
            })
            .unwrap()
    }

    /// The next page that is full, as its writer gets it.
    fn full_page(outbox: &mut Outbox) -> Bytes {
        while outbox.items.is_empty() {
            encoded(outbox, "to");
        }
        let mut taken = Vec::new();
        outbox.take(&mut taken, 1);
        match taken.pop() {
            Some(Outgoing::Encoded(page)) => page,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn memory_of_what_is_written_is_used_again_and_let_go_at_rest() {
        let mut outbox = Outbox::new(4 << 20, Duration::from_millis(100));
        let first = loop {
            let page = full_page(&mut outbox);
            if outbox.spare.len() == 1 {
                break page;
            }
        };
        let place = first.as_ptr();
        drop(first);
        // Were it free, the allocator would give it to the next who asks for as much.
        let others: Vec<_> = (0..8).map(|_| vec![1_u8; TAIL_BYTES]).collect();
        let places: Vec<_> = (0..4).map(|_| full_page(&mut outbox).as_ptr()).collect();
        assert!(places.contains(&place), "{places:?} {place:?}");
        assert!(outbox.spare.len() <= SPARE_MAX);
        drop(others);
        let write_all = |outbox: &mut Outbox| {
            while !outbox.is_empty() {
                outbox.take(&mut Vec::new(), usize::MAX);
            }
            outbox.take(&mut Vec::new(), usize::MAX);
        };
        write_all(&mut outbox);
        encoded(&mut outbox, "whoever writes it finds nothing behind it");
        write_all(&mut outbox);
        assert!(!outbox.spare.is_empty(), "it may go on at once");
        for _ in 0..RESTS_AFTER {
            encoded(&mut outbox, "a heartbeat");
            write_all(&mut outbox);
        }
        assert!(outbox.spare.is_empty() && outbox.tail.capacity() <= FIRST_TAIL_BYTES);
    }

    #[test]
    fn whoever_fills_a_page_is_told_that_it_is_worth_a_write() {
        let mut outbox = Outbox::new(4 << 20, Duration::from_millis(100));
        assert!(encoded(&mut outbox, "1") && !outbox.is_worth_a_write());
        let mut count = 0;
        while !encoded(&mut outbox, "more") {
            count += 1;
            assert!(count < TAIL_BYTES, "no page is ever full");
        }
        assert!(outbox.is_worth_a_write());
        outbox.take(&mut Vec::new(), usize::MAX);
        assert!(!outbox.is_worth_a_write());
    }

    #[test]
    fn of_what_is_waited_for_less_is_worth_a_write() {
        let push = |outbox: &mut Outbox, is_awaited| {
            let encode = |page: &mut Page| {
                page.push_message(["to", "from"], b"body", &waypost_wire::Numbers::default())
            };
            outbox.push_encoded(is_awaited, encode).unwrap()
        };
        let mut outbox = Outbox::new(4 << 20, Duration::from_millis(100));
        assert!(push(&mut outbox, true), "the writer was idle");
        for times in 1..=3 {
            while !push(&mut outbox, true) {
                assert!(
                    outbox.queued_bytes < times * (AWAITED_BYTES + 100),
                    "nobody is told"
                );
            }
            assert!(outbox.is_worth_a_write());
        }
        outbox.take(&mut Vec::new(), usize::MAX);
        outbox.take(&mut Vec::new(), usize::MAX);
        push(&mut outbox, false);
        while outbox.queued_bytes < AWAITED_BYTES {
            assert!(!push(&mut outbox, false));
        }
        assert!(!outbox.is_worth_a_write(), "nobody waits for these");
    }

    fn addressees(frames: impl IntoIterator<Item = Frame>) -> Vec<String> {
        let to = |frame| match frame {
            Frame::Message(message) => message.to().to_owned(),
            other => format!("{other:?}"),
        };
        frames.into_iter().map(to).collect()
    }

    #[test]
    fn encoded_messages_and_frames_keep_one_order_and_one_bound() {
        let mut outbox = Outbox::new(150, Duration::from_millis(100));
        assert!(encoded(&mut outbox, "1"));
        assert!(!encoded(&mut outbox, "2"));
        assert!(!outbox.push(Frame::Drain));
        assert!(!encoded(&mut outbox, "3"));
        assert!(outbox.has_room());
        outbox.push(Frame::Drain);
        assert!(!outbox.has_room());
        let mut taken = Vec::new();
        outbox.take_frames(&mut taken, usize::MAX);
        assert!(!outbox.has_room(), "what is being written still counts");
        assert_eq!(addressees(taken.drain(..)), ["1", "2", "Drain", "3", "Drain"]);
        outbox.take_frames(&mut taken, usize::MAX);
        assert!(outbox.has_room() && outbox.is_empty() && outbox.bytes() == 0);
    }

    #[test]
    fn encoded_messages_that_were_never_written_come_back_as_frames() {
        let mut outbox = Outbox::new(1 << 20, Duration::from_millis(100));
        encoded(&mut outbox, "written");
        outbox.take(&mut Vec::new(), usize::MAX);
        for to in 0..2000 {
            encoded(&mut outbox, &to.to_string());
        }
        outbox.push(Frame::Ping { token: 1 });
        let expected: Vec<String> = (0..2000).map(|to| to.to_string()).collect();
        assert_eq!(
            addressees(outbox.take_back().into_iter().map(Frame::Message)),
            expected
        );
        let mut left = Vec::new();
        outbox.take_frames(&mut left, usize::MAX);
        assert_eq!(left, [Frame::Ping { token: 1 }], "other frames stay");
        assert_eq!(outbox.bytes(), Frame::Ping { token: 1 }.cost());
    }
}
