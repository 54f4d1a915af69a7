//! `--stdio`: JSON lines, so that a program in any language can be a server.
//!
//! One task owns everything: it reads lines, starts operations in their order, takes the peer's events and writes
//! lines. So what stdout says has one order, in which an operation's end comes before whatever follows from it. When
//! stdout's reader is slow that task waits, the peer's inbox fills, and its bound makes the senders wait.

mod acked;
mod admit;
mod event;
mod input;
mod map;
mod op;
mod perform;
mod sequence;
mod session;

use core::future::ready;

use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep_until, timeout_at};
use waypost_peer::Event;

use super::config::Config;
use super::exit::Failure;
use super::leave::leave;
use super::output::Output;
use super::server::Registered;
use super::signals::Signals;
use input::{Batch, Input};
use session::Session;

/// How many lines of stdin, or events, are taken in a row before anything else is looked at.
const IN_A_ROW: usize = 64;

/// What the program waits for when nothing else is to be done.
enum Next {
    Event(Option<Event>),
    Batch(Option<Batch>),
    Line,
}

/// Serves until `quit`, the end of stdin, a signal, or until stdout's reader is gone; then leaves the cluster. Returns by
/// when the program should have ended.
pub(crate) async fn run(
    server: &mut Registered,
    output: &Output,
    signals: &Signals,
    config: &Config,
) -> Result<Instant, Failure> {
    // A frame's worth of text may take more room as JSON.
    let mut input = Input::stdin(config.settings.frame_bytes_max.saturating_mul(2))?;
    let mut lines = std::collections::VecDeque::new();
    let mut session = Session::new(server.peer.clone(), output, config.settings.send_deadline);
    let Registered {
        peer,
        events,
        identity,
        incarnation,
    } = server;
    session.registered(identity, *incarnation).await;
    session.write().await;
    events.include_operations().await;

    // Set once: by when what is under way must have ended.
    let mut closing: Option<Instant> = None;
    // How far stdin has been read, and how far it is still read once that is set.
    let (mut bytes, mut bytes_due) = (0, 0);
    let mut signalled = false;
    loop {
        session.settle().await;
        if session.wants_to_quit() {
            lines.clear();
            bytes_due = 0;
            if closing.is_none() {
                input.close();
                let by = Instant::now() + session.grace(config);
                closing = Some(by);
                output.patience().ends_at(by + config.drain_deadline);
            }
        }
        let is_read = closing.is_some() && lines.is_empty() && bytes >= bytes_due;
        if session.stdout_is_gone() || (is_read && session.is_idle()) {
            break;
        }
        session.write().await;
        let reads = !is_read && session.admits();
        let expires_at = session.expires_at();
        let next = async {
            tokio::select! {
                event = events.recv() => Next::Event(event),
                batch = input.next(), if reads && lines.is_empty() => Next::Batch(batch),
                () = ready(()), if reads && !lines.is_empty() => Next::Line,
            }
        };
        let next = tokio::select! {
            biased;
            () = signals.requested(), if !signalled => {
                let since = signals.requested_at().unwrap_or_else(Instant::now);
                signalled = true;
                // Half of the time is for what is under way, the rest for leaving.
                let half = since + config.drain_deadline / 2;
                if closing.is_none() {
                    // What was written before the signal is still done.
                    bytes_due = input.bytes_written();
                }
                closing = Some(closing.map_or(half, |closing| closing.min(half)));
                continue;
            }
            () = sleep_until(closing.unwrap_or_else(Instant::now)), if closing.is_some() => break,
            () = output.closed() => break,
            () = sleep_until(expires_at.unwrap_or_else(Instant::now)), if expires_at.is_some() => {
                session.expire().await;
                continue;
            }
            Some(ended) = session.running.next(), if !session.running.is_empty() => {
                session.ended(ended);
                continue;
            }
            (sent, outcome) = session.acked.next(), if !session.acked.is_empty() => {
                session.acked_ended(sent, outcome).await;
                continue;
            }
            next = next => next,
        };
        match next {
            Next::Event(Some(event)) => {
                let more = core::iter::from_fn(|| events.try_recv()).take(IN_A_ROW);
                for event in core::iter::once(event).chain(more) {
                    // What has ended by now ended before this event.
                    session.settle().await;
                    session.show(event).await;
                }
            }
            Next::Event(None) => break,
            Next::Batch(Some(batch)) => {
                bytes = batch.bytes;
                lines.extend(batch.lines);
            }
            Next::Batch(None) => session.quit(),
            Next::Line => {
                for _ in 0..IN_A_ROW {
                    let Some(line) = lines.pop_front() else { break };
                    session.obey(line).await;
                    session.settle().await;
                    if !session.admits() || session.stdout_is_gone() {
                        break;
                    }
                }
            }
        }
    }
    let since = || signals.requested_at().unwrap_or_else(Instant::now);
    session.give_up().await;
    session.write().await;
    // Of what was written before the signal, that for which there was no time.
    while !session.stdout_is_gone() {
        for line in lines.drain(..) {
            session.turn_away(line).await;
        }
        session.write().await;
        if bytes >= bytes_due {
            break;
        }
        // It is there, and to read it takes no longer than the machine is busy, unless another process has read it. Leaving needs
        // time too.
        let Ok(Some(batch)) = timeout_at(since() + config.drain_deadline / 4 * 3, input.next()).await else {
            break;
        };
        bytes = batch.bytes;
        lines.extend(batch.lines);
    }
    let until = since() + config.drain_deadline;
    leave(peer, events, session.is_drained(), until, &mut session).await;
    Ok(until)
}
