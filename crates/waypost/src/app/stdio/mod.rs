//! `--stdio`: JSON lines, so that a program in any language can be a server.
//!
//! One task owns everything: it reads lines, starts operations in their order, takes the peer's events and writes
//! lines. So what stdout says has one order, in which an operation's end comes before whatever follows from it. When
//! stdout's reader is slow that task waits, the peer's inbox fills, and its bound makes the senders wait.

mod admit;
mod event;
mod input;
mod op;
mod perform;
mod sequence;
mod session;

use core::future::ready;

use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep_until};
use waypost_peer::Event;

use super::config::Config;
use super::exit::Failure;
use super::leave::leave;
use super::output::Output;
use super::server::Registered;
use super::signals::Signals;
use input::Line;
use session::Session;

/// What the program waits for when nothing else is to be done.
enum Next {
    Event(Option<Event>),
    Batch(Option<Vec<Line>>),
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
    let mut input = input::stdin(config.settings.frame_bytes_max.saturating_mul(2))?;
    let mut lines = std::collections::VecDeque::new();
    let mut session = Session::new(server.peer.clone(), output);
    let Registered {
        peer,
        events,
        identity,
        incarnation,
    } = server;
    session.registered(identity, *incarnation).await;
    events.include_operations().await;

    // Set once: when nothing more is read, by when what is under way must have ended.
    let mut closing: Option<Instant> = None;
    let mut signalled = false;
    loop {
        session.settle().await;
        if session.wants_to_quit() && closing.is_none() {
            lines.clear();
            input.close();
            let by = Instant::now() + session.grace(config);
            closing = Some(by);
            output.patience().ends_at(by + config.drain_deadline);
        }
        if session.stdout_is_gone() || (closing.is_some() && session.is_idle()) {
            break;
        }
        let reads = closing.is_none() && session.admits();
        let next = async {
            tokio::select! {
                event = events.recv() => Next::Event(event),
                batch = input.recv(), if reads && lines.is_empty() => Next::Batch(batch),
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
                closing = Some(closing.map_or(half, |closing| closing.min(half)));
                lines.clear();
                continue;
            }
            () = sleep_until(closing.unwrap_or_else(Instant::now)), if closing.is_some() => break,
            () = output.closed() => break,
            Some(ended) = session.running.next(), if !session.running.is_empty() => {
                session.ended(ended);
                continue;
            }
            next = next => next,
        };
        match next {
            Next::Event(Some(event)) => {
                // What has ended by now ended before this event.
                session.settle().await;
                session.show(event).await;
            }
            Next::Event(None) => break,
            Next::Batch(Some(batch)) => lines.extend(batch),
            Next::Batch(None) => session.quit(),
            Next::Line => {
                if let Some(line) = lines.pop_front() {
                    session.obey(line).await;
                }
            }
        }
    }
    session.give_up().await;
    let since = signals.requested_at().unwrap_or_else(Instant::now);
    let until = since + config.drain_deadline;
    leave(peer, events, session.is_drained(), until, async |event| {
        session.show(event).await
    })
    .await;
    Ok(until)
}
