//! Sees everything that goes in and comes out, and knows what must never be.
//!
//! A process holds a client from the moment the `connect` line is written until it says `displaced`, `disconnected`, or
//! that the connect failed. Nothing else is assumed about when things happen, so that a complaint is always a bug.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::server::ServerId;

mod accounts;
mod claims;
mod order;

use claims::Claims;
use order::{Newest, Suspect};

/// How many lines are kept as evidence.
const LINES_MAX: usize = 400_000;
/// How many lines are shown for one broken promise.
const EVIDENCE_MAX: usize = 40;
/// How many broken promises are noted.
const VIOLATIONS_MAX: usize = 20;
/// How many of them are shown.
const SHOWN_MAX: usize = 4;

/// How many sends had which outcome.
pub type Outcomes = BTreeMap<String, u64>;

/// What a process has said of itself.
#[derive(Debug, Default)]
struct Process {
    identity: String,
    incarnations: Vec<u64>,
    /// Clients that it says it holds, and by which claim.
    holds: HashMap<String, u64>,
    /// Connects that have been written and not answered.
    pending: HashMap<String, u32>,
    connect_lines: HashMap<u64, String>,
    lines: u64,
    deliveries: u64,
    /// The last line of a send that has its outcome: it and all before it have been read.
    answered_line: u64,
    fenced: u32,
    is_fenced: bool,
    drained: bool,
    ended: bool,
    killed: bool,
    /// How many lines had been written to it when a signal told it to end: what comes later it need not read.
    told_to_end: Option<u64>,
    /// The newest message of each (server, sending client, receiving client) that was delivered here.
    newest: HashMap<(ServerId, String, String), Newest>,
    displaced: HashMap<String, u32>,
    errors: Vec<(u64, String)>,
}

#[derive(Debug)]
struct Sent {
    by: ServerId,
    from: String,
    to: String,
    is_acked: bool,
    outcome: Option<String>,
    written_at: Instant,
    /// Until it had its outcome, or was delivered for the first time, where nobody asked for that.
    took: Option<Duration>,
    /// The number of its line among those of its process.
    line: u64,
    /// Where it was delivered: process and incarnation.
    at: Vec<(ServerId, u64)>,
}

/// A line as evidence.
#[derive(Debug)]
struct Line {
    at: Duration,
    process: ServerId,
    heard: bool,
    text: String,
}

/// How far a broadcast came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) servers: u64,
    pub(crate) clients: u64,
    pub(crate) unreached: Vec<String>,
}

/// Sees every line, and notes every broken promise.
#[derive(Debug, Default)]
pub struct Oracle {
    processes: Vec<Process>,
    sent: BTreeMap<u64, Sent>,
    located: HashMap<u64, Option<String>>,
    /// Locates that ended without an answer.
    unlocated: HashMap<u64, String>,
    broadcasts: HashMap<u64, Reached>,
    broadcast_at: HashMap<u64, HashSet<(ServerId, u64, String)>>,
    last_body: HashMap<u64, String>,
    next_id: u64,
    violations: Vec<String>,
    /// Acked messages that came behind best-effort ones.
    suspects: Vec<Suspect>,
    claims: Claims,
    lines: VecDeque<Line>,
    started: Option<Instant>,
    /// Something has been broken on purpose: a message may be delivered to two incarnations.
    disturbed: bool,
    /// Clients of killed processes, whose inboxes are gone, and of servers that nobody looks into.
    lost_inboxes: HashSet<String>,
}

impl Oracle {
    // ---- what happens

    pub(crate) fn start(&mut self, identity: &str) -> ServerId {
        self.processes.push(Process {
            identity: identity.to_owned(),
            ..Process::default()
        });
        ServerId(self.processes.len() - 1)
    }

    /// Notes that something is broken on purpose from now on.
    pub fn disturb(&mut self) {
        self.disturbed = true;
    }

    /// Notes that what is delivered to a client is not seen here.
    pub fn cannot_see(&mut self, client: &str) {
        self.lost_inboxes.insert(client.to_owned());
    }

    pub(crate) fn kill(&mut self, id: ServerId) {
        self.disturbed = true;
        let process = &mut self.processes[id.0];
        process.killed = true;
        self.lost_inboxes
            .extend(process.holds.keys().chain(process.pending.keys()).cloned());
    }

    /// A signal tells a process to end when so many lines have been written to it: each of these has its outcome, whether it
    /// has been read by then or not.
    pub(crate) fn told_to_end(&mut self, id: ServerId, written: u64) {
        self.processes[id.0].told_to_end.get_or_insert(written);
    }

    pub(crate) fn ended(&mut self, id: ServerId) {
        let process = &mut self.processes[id.0];
        process.ended = true;
        process.holds.clear();
        process.pending.clear();
    }

    pub(crate) const fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A line is about to be written.
    pub(crate) fn wrote(&mut self, id: ServerId, line: &str) {
        self.keep(id, false, line);
        let process = &mut self.processes[id.0];
        process.lines += 1;
        if line.contains("\n") {
            process.lines += u64::try_from(line.matches('\n').count()).unwrap_or(0);
        }
    }

    pub(crate) fn wrote_connect(&mut self, id: ServerId, client: &str) {
        let process = &mut self.processes[id.0];
        process.connect_lines.insert(process.lines, client.to_owned());
        *process.pending.entry(client.to_owned()).or_default() += 1;
        self.claim_asked(id, client);
    }

    pub(crate) fn wrote_send(&mut self, by: ServerId, id: u64, from: &str, to: &str, is_acked: bool) {
        let sent = Sent {
            by,
            from: from.to_owned(),
            to: to.to_owned(),
            is_acked,
            outcome: None,
            written_at: Instant::now(),
            took: None,
            line: self.processes[by.0].lines,
            at: Vec::new(),
        };
        self.sent.insert(id, sent);
    }

    fn keep(&mut self, id: ServerId, heard: bool, line: &str) {
        if self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
        }
        let end = line.char_indices().nth(300).map_or(line.len(), |(at, _)| at);
        let at = self.started.get_or_insert_with(Instant::now).elapsed();
        self.lines.push_back(Line {
            at,
            process: id,
            heard,
            text: line[..end].to_owned(),
        });
    }

    /// A process has printed a line.
    pub(crate) fn heard(&mut self, id: ServerId, line: &str) {
        self.keep(id, true, line);
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            return self.violation(
                &format!("{} printed a line that is no JSON", self.name(id)),
                &[line],
            );
        };
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str().unwrap_or_default() {
            "registered" => {
                let incarnation = event["incarnation"].as_u64().unwrap_or(0);
                let process = &mut self.processes[id.0];
                process.is_fenced = false;
                let older = process.incarnations.last().copied();
                process.incarnations.push(incarnation);
                let identity = process.identity.clone();
                if older.is_some_and(|older| older >= incarnation) || text("identity") != identity {
                    self.violation(
                        "registered again, and not as a greater incarnation of itself",
                        &[line],
                    );
                }
            }
            "connected" => {
                let client = text("client");
                let process = &mut self.processes[id.0];
                process.answer(&client);
                let seq = event["seq"].as_u64().unwrap_or(0);
                process.holds.insert(client.clone(), seq);
                self.claimed(id, &client, seq);
            }
            "disconnected" => {
                self.processes[id.0].holds.remove(&text("client"));
            }
            "displaced" => {
                let process = &mut self.processes[id.0];
                process.holds.remove(&text("client"));
                *process.displaced.entry(text("client")).or_default() += 1;
                self.taken_over(&text("client"), &text("by"));
            }
            "fenced" => {
                let process = &mut self.processes[id.0];
                process.fenced += 1;
                process.is_fenced = true;
            }
            "drained" => {
                let process = &mut self.processes[id.0];
                process.drained = true;
                // It has moved out.
                process.holds.clear();
            }
            "message" | "request" => self.delivered(id, &event, line),
            "broadcast" => self.broadcast(id, &event, line),
            "outcome" => self.outcome(id, &event, line),
            "reply" => self.outcome_is(&event, "replied", line),
            "located" => {
                let identity = event["identity"].as_str().map(str::to_owned);
                self.located.insert(event["id"].as_u64().unwrap_or(0), identity);
            }
            "broadcast_outcome" => {
                let names = event["unreached"].as_array().cloned().unwrap_or_default();
                let reached = Reached {
                    servers: event["servers"].as_u64().unwrap_or(0),
                    clients: event["clients"].as_u64().unwrap_or(0),
                    unreached: names
                        .iter()
                        .filter_map(|name| name.as_str().map(str::to_owned))
                        .collect(),
                };
                self.broadcasts.insert(event["id"].as_u64().unwrap_or(0), reached);
            }
            "error" => {
                let process = &mut self.processes[id.0];
                let number = event["line"].as_u64().unwrap_or(0);
                process.errors.push((number, text("message")));
                if let Some(client) = process.connect_lines.remove(&number) {
                    process.answer(&client);
                    self.claim_failed(id, &client);
                }
            }
            _ => self.violation("an event of an unknown kind", &[line]),
        }
    }

    fn delivered(&mut self, id: ServerId, event: &Value, line: &str) {
        let (from, to) = (
            event["from"].as_str().unwrap_or_default(),
            event["to"].as_str().unwrap_or_default(),
        );
        self.check_held(id, to, line);
        self.processes[id.0].deliveries += 1;
        let body = event["body"]
            .as_str()
            .or_else(|| event["body_b64"].as_str())
            .unwrap_or_default();
        let Some(number) = message_number(body) else {
            // A body of a test that looks at it itself.
            self.last_body.insert(0, body.to_owned());
            return;
        };
        let incarnation = self.processes[id.0].incarnations.last().copied().unwrap_or(0);
        let Some(sent) = self.sent.get_mut(&number) else {
            return self.violation("a message that nobody sent", &[line]);
        };
        let is_right = sent.from == from && sent.to == to;
        let twice = sent.at.contains(&(id, incarnation)) || (!sent.at.is_empty() && !self.disturbed);
        sent.at.push((id, incarnation));
        if !sent.is_acked && sent.took.is_none() {
            sent.took = Some(sent.written_at.elapsed());
        }
        let key = (sent.by, sent.from.clone(), sent.to.clone());
        let denied = sent.outcome.as_deref().is_some_and(is_certainly_undelivered);
        if !is_right {
            self.violation(
                "a message with another sender or receiver than it was sent with",
                &[line],
            );
        }
        let tag = format!("m{number}\"");
        let tag_long = format!("m{number}:");
        if twice {
            self.violation("a message delivered twice", &[&tag, &tag_long]);
        }
        if denied {
            self.violation(
                "a message delivered although its outcome denies it",
                &[&tag, &tag_long],
            );
        }
        self.check_order(id, key, number);
    }

    fn broadcast(&mut self, id: ServerId, event: &Value, line: &str) {
        let to = event["to"].as_str().unwrap_or_default().to_owned();
        self.check_held(id, &to, line);
        let Some(number) = event["body"].as_str().and_then(message_number) else {
            return;
        };
        let incarnation = self.processes[id.0].incarnations.last().copied().unwrap_or(0);
        let is_first = self
            .broadcast_at
            .entry(number)
            .or_default()
            .insert((id, incarnation, to));
        // A server that goes to another broker may get it from both.
        if !is_first && !self.disturbed {
            self.violation("a broadcast delivered twice to one client", &[line]);
        }
    }

    fn check_held(&mut self, id: ServerId, client: &str, line: &str) {
        let process = &self.processes[id.0];
        if process.is_fenced {
            self.violation(
                &format!("{} delivered while it was fenced", self.name(id)),
                &[line],
            );
        } else if !process.holds.contains_key(client) && !process.pending.contains_key(client) {
            let tag = format!("\"{client}\"");
            self.violation(
                &format!("{} delivered to {client}, which it does not hold", self.name(id)),
                &[&tag],
            );
        }
    }

    fn outcome(&mut self, id: ServerId, event: &Value, line: &str) {
        let outcome = event["outcome"].as_str().unwrap_or_default().to_owned();
        let number = event["id"].as_u64().unwrap_or(0);
        if self.sent.contains_key(&number) {
            self.outcome_is(event, &outcome, line);
        } else {
            self.unlocated.insert(number, outcome);
        }
        let _ = id;
    }

    fn outcome_is(&mut self, event: &Value, outcome: &str, line: &str) {
        let number = event["id"].as_u64().unwrap_or(0);
        let Some(sent) = self.sent.get_mut(&number) else {
            return self.violation("an outcome of what nobody sent", &[line]);
        };
        let before = sent.outcome.replace(outcome.to_owned());
        if sent.is_acked {
            sent.took = Some(sent.written_at.elapsed());
        }
        let process = &mut self.processes[sent.by.0];
        process.answered_line = process.answered_line.max(sent.line);
        let denied = is_certainly_undelivered(outcome) && !sent.at.is_empty();
        let (tag, tag_long) = (format!("m{number}\""), format!("m{number}:"));
        let id_tag = format!("\"id\":{number},");
        if before.is_some() {
            self.violation("a second outcome of one send", &[&tag, &tag_long, &id_tag]);
        }
        if denied {
            self.violation(
                &format!("outcome {outcome} of a message that was delivered"),
                &[&tag, &tag_long, &id_tag],
            );
        }
        if outcome == "replied" {
            let body = event["body"].as_str().unwrap_or_default().to_owned();
            if message_number(&body).is_some_and(|replied| replied != number) {
                self.violation("a reply to another request", &[&tag, &tag_long, &id_tag]);
            }
        }
    }

    // ---- verdicts

    fn violation(&mut self, what: &str, about: &[&str]) {
        if self.violations.len() >= VIOLATIONS_MAX {
            return;
        }
        let text = format!(
            "broken promise: {what}:\n{}",
            self.lines_with(|line| about.iter().any(|part| line.contains(part)))
        );
        self.violations.push(text);
    }

    fn name(&self, id: ServerId) -> String {
        format!("{}#{}", self.processes[id.0].identity, id.0)
    }

    /// Whether every promise has been kept so far.
    ///
    /// # Errors
    /// With the lines that prove which were not.
    pub fn verdict(&self) -> Result<()> {
        if self.violations.is_empty() {
            return Ok(());
        }
        let more = self.violations.len().saturating_sub(SHOWN_MAX);
        let shown = self.violations[..self.violations.len() - more].join("\n");
        bail!(
            "{shown}{}",
            if more > 0 {
                format!("\n  and {more} more")
            } else {
                String::new()
            }
        );
    }

    /// Adds up what became of these sends.
    pub fn outcomes_of(&self, ids: &[u64]) -> Option<Outcomes> {
        let mut outcomes = Outcomes::new();
        for id in ids {
            let outcome = self.sent.get(id)?.outcome.clone()?;
            *outcomes.entry(outcome).or_default() += 1;
        }
        Some(outcomes)
    }

    /// Whether every message that was acknowledged has been printed, where its process lives.
    pub fn all_delivered_were_seen(&self) -> bool {
        self.unseen().next().is_none()
    }

    /// The same for these sends.
    pub fn were_seen(&self, ids: &[u64]) -> bool {
        ids.iter()
            .all(|id| self.sent.get(id).is_none_or(|sent| !self.is_unseen(sent)))
    }

    fn unseen(&self) -> impl Iterator<Item = (u64, &Sent)> {
        self.sent
            .iter()
            .filter_map(|(id, sent)| self.is_unseen(sent).then_some((*id, sent)))
    }

    fn is_unseen(&self, sent: &Sent) -> bool {
        let is_due = matches!(sent.outcome.as_deref(), Some("delivered" | "replied"));
        is_due && sent.at.is_empty() && !self.lost_inboxes.contains(&sent.to)
    }

    /// How many messages were delivered to two incarnations, which only failures may cause.
    #[must_use]
    pub fn redelivered(&self) -> usize {
        self.sent.values().filter(|sent| sent.at.len() > 1).count()
    }

    /// The lines that speak of something.
    #[must_use]
    pub fn evidence(&self, about: &str) -> String {
        let quoted = format!("\"{about}\"");
        self.lines_with(|line| line.contains(&quoted))
    }

    fn lines_with(&self, is_meant: impl Fn(&str) -> bool) -> String {
        let lines: Vec<&Line> = self.lines.iter().filter(|line| is_meant(&line.text)).collect();
        let mut text = String::new();
        for line in lines.iter().skip(lines.len().saturating_sub(EVIDENCE_MAX)) {
            let arrow = if line.heard { '>' } else { '<' };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "  {:9.3} {} {arrow} {}",
                line.at.as_secs_f64(),
                self.name(line.process),
                line.text
            );
        }
        text
    }

    // ---- what is known

    /// A process's name in the cluster.
    #[must_use]
    pub fn identity(&self, id: ServerId) -> &str {
        &self.processes[id.0].identity
    }

    /// Whether a process of that number says that it holds the client.
    #[must_use]
    pub fn holds(&self, id: ServerId, client: &str) -> bool {
        self.processes[id.0].holds.contains_key(client)
    }

    /// The living processes that say they hold the client.
    #[must_use]
    pub fn holders(&self, client: &str) -> Vec<ServerId> {
        let holding = |(_, process): &(usize, &Process)| process.holds.contains_key(client);
        self.processes
            .iter()
            .enumerate()
            .filter(holding)
            .map(|(id, _)| ServerId(id))
            .collect()
    }

    /// Whether no connect of that process awaits its answer.
    #[must_use]
    pub fn is_connected_up(&self, id: ServerId) -> bool {
        self.processes[id.0].pending.is_empty()
    }

    /// Clients that the process says it holds.
    #[must_use]
    pub fn clients_of(&self, id: ServerId) -> Vec<String> {
        let mut clients: Vec<String> = self.processes[id.0].holds.keys().cloned().collect();
        clients.sort_unstable();
        clients
    }

    /// All clients that any process has ever been asked to connect and that somebody holds.
    #[must_use]
    pub fn held(&self) -> BTreeMap<String, Vec<ServerId>> {
        let mut held: BTreeMap<String, Vec<ServerId>> = BTreeMap::new();
        for (id, process) in self.processes.iter().enumerate() {
            for client in process.holds.keys() {
                held.entry(client.clone()).or_default().push(ServerId(id));
            }
        }
        held
    }

    /// The incarnations under which the process has registered.
    #[must_use]
    pub fn incarnations(&self, id: ServerId) -> Vec<u64> {
        self.processes[id.0].incarnations.clone()
    }

    /// How many messages and requests it has printed.
    #[must_use]
    pub fn deliveries(&self, id: ServerId) -> u64 {
        self.processes[id.0].deliveries
    }

    /// How often it has been fenced, and whether it is now.
    #[must_use]
    pub fn fenced(&self, id: ServerId) -> (u32, bool) {
        (self.processes[id.0].fenced, self.processes[id.0].is_fenced)
    }

    /// How often the process lost that client to another.
    #[must_use]
    pub fn displaced(&self, id: ServerId, client: &str) -> u32 {
        self.processes[id.0].displaced.get(client).copied().unwrap_or(0)
    }

    /// Whether it has said `drained`.
    #[must_use]
    pub fn is_drained(&self, id: ServerId) -> bool {
        self.processes[id.0].drained
    }

    /// Whether its stdout has ended.
    #[must_use]
    pub fn has_ended(&self, id: ServerId) -> bool {
        self.processes[id.0].ended
    }

    /// Its error events: line number and message.
    #[must_use]
    pub fn errors(&self, id: ServerId) -> Vec<(u64, String)> {
        self.processes[id.0].errors.clone()
    }

    /// The answer to a locate, once there is one: `Err` with the outcome that came instead.
    #[must_use]
    pub fn located(&self, id: u64) -> Option<Result<Option<String>, String>> {
        let answer = self.located.get(&id).cloned().map(Ok);
        answer.or_else(|| self.unlocated.get(&id).cloned().map(Err))
    }

    /// Servers and clients that a broadcast reached, and the servers that it did not, once that is known.
    #[must_use]
    pub fn reached(&self, id: u64) -> Option<(u64, u64, Vec<String>)> {
        let Reached {
            servers,
            clients,
            unreached,
        } = self.broadcasts.get(&id)?.clone();
        Some((servers, clients, unreached))
    }

    /// How many clients a broadcast was printed for.
    #[must_use]
    pub fn broadcast_seen(&self, id: u64) -> usize {
        self.broadcast_at.get(&id).map_or(0, HashSet::len)
    }

    /// Where a message was printed.
    #[must_use]
    pub fn seen_at(&self, id: u64) -> Vec<ServerId> {
        self.sent
            .get(&id)
            .map_or_else(Vec::new, |sent| sent.at.iter().map(|(at, _)| *at).collect())
    }

    /// The last body that was not one of the oracle's own.
    #[must_use]
    pub fn last_body(&self) -> Option<&str> {
        self.last_body.get(&0).map(String::as_str)
    }

    /// The number of what was asked last.
    #[must_use]
    pub const fn last_id(&self) -> u64 {
        self.next_id
    }

    /// How many messages were sent, acked or not.
    #[must_use]
    pub fn sent_len(&self) -> usize {
        self.sent.len()
    }
}

impl Process {
    fn answer(&mut self, client: &str) {
        if let Some(count) = self.pending.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                self.pending.remove(client);
            }
        }
    }
}

/// The number in a body such as `m17` or `m17:padding`.
fn message_number(body: &str) -> Option<u64> {
    body.strip_prefix('m')?.split(':').next()?.parse().ok()
}

fn is_certainly_undelivered(outcome: &str) -> bool {
    !matches!(outcome, "delivered" | "replied" | "unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn two() -> (Oracle, ServerId, ServerId) {
        let mut oracle = Oracle::default();
        let (a, b) = (oracle.start("a"), oracle.start("b"));
        oracle.heard(a, r#"{"event":"registered","identity":"a","incarnation":1}"#);
        oracle.heard(b, r#"{"event":"registered","identity":"b","incarnation":2}"#);
        for (id, client) in [(a, "x"), (b, "y")] {
            oracle.wrote(id, "connect");
            oracle.wrote_connect(id, client);
            oracle.heard(
                id,
                &format!(r#"{{"event":"connected","client":"{client}","seq":1}}"#),
            );
        }
        (oracle, a, b)
    }

    pub(super) fn message(number: u64) -> String {
        format!(r#"{{"event":"message","from":"x","to":"y","body":"m{number}"}}"#)
    }

    pub(super) fn outcome(number: u64, outcome: &str) -> String {
        format!(r#"{{"event":"outcome","id":{number},"outcome":"{outcome}"}}"#)
    }

    #[test]
    fn what_is_right_is_not_complained_of() {
        let (mut oracle, a, b) = two();
        oracle.wrote_send(a, 1, "x", "y", true);
        oracle.heard(b, &message(1));
        oracle.heard(a, &outcome(1, "delivered"));
        assert_eq!(
            oracle.close_accounts().unwrap(),
            Outcomes::from([("delivered".to_owned(), 1)])
        );
    }

    #[test]
    fn each_broken_promise_is_noticed() {
        type Wrong = fn(&mut Oracle, ServerId, ServerId);
        let wrongs: [(&str, Wrong); 10] = [
            ("does not hold", |oracle, a, _| oracle.heard(a, &message(1))),
            ("does not hold", |oracle, _, b| {
                oracle.heard(b, r#"{"event":"displaced","client":"y","by":"a"}"#);
                oracle.heard(b, &message(1));
            }),
            ("twice", |oracle, _, b| {
                oracle.heard(b, &message(1));
                oracle.heard(b, &message(1));
            }),
            ("denies", |oracle, a, b| {
                oracle.heard(a, &outcome(1, "not_connected"));
                oracle.heard(b, &message(1));
            }),
            ("of a message that was delivered", |oracle, a, b| {
                oracle.heard(b, &message(1));
                oracle.heard(a, &outcome(1, "expired"));
            }),
            ("second outcome", |oracle, a, _| {
                oracle.heard(a, &outcome(1, "unknown"));
                oracle.heard(a, &outcome(1, "unknown"));
            }),
            ("after 2", |oracle, _, b| {
                oracle.heard(b, &message(2));
                oracle.heard(b, &message(1));
            }),
            ("fenced", |oracle, _, b| {
                oracle.heard(b, r#"{"event":"fenced"}"#);
                oracle.heard(b, &message(1));
            }),
            ("without outcome", |_, _, _| {}),
            ("was not printed", |oracle, a, _| {
                oracle.heard(a, &outcome(1, "delivered"));
                oracle.heard(a, &outcome(2, "expired"));
            }),
        ];
        for (part, wrong) in wrongs {
            let (mut oracle, a, b) = two();
            oracle.wrote_send(a, 1, "x", "y", true);
            oracle.wrote_send(a, 2, "x", "y", true);
            wrong(&mut oracle, a, b);
            let error = oracle.close_accounts().expect_err(part).to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
