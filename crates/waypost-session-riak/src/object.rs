//! Objects: read with all their siblings, written with the vclock of what was read, deleted; again where a node fails.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use reqwest::Method;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use waypost_session::{ErrorKind, StoreError};

use crate::age;
use crate::bucket;
use crate::fault::{Again, Fault, of_status};
use crate::hosts::{Host, Hosts};
use crate::http::{Answer, Http, Request};
use crate::key::percent_encode;
use crate::multipart;
use crate::names::contended;
use crate::settings::Settings;

/// Before the same node is asked again; doubles up to sixteen times that.
const PAUSE: Duration = Duration::from_millis(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Picks a sibling by its name.
const SIBLING: &str = "&vtag=";
/// Most bytes of siblings that are read one by one: a page of a journal, the largest that is ours, has less than 100 KiB, and Riak by
/// default takes no more than a hundred siblings.
const SIBLINGS_BYTES_MAX: usize = 32 << 20;
/// How often siblings are read one by one while others change them.
const ROUNDS: usize = 8;
/// As long as a node that starts is waited for, unless the time-out is longer.
const OPENING_MAX: Duration = Duration::from_secs(20);

/// What is stored under a key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Object {
    /// The values of all siblings; none when nothing is there.
    pub(crate) values: Vec<Bytes>,
    /// To be sent with what is written over it; tombstones have one too.
    pub(crate) vclock: Option<String>,
    /// How long ago it was written, by the datastore's clock, to the second.
    pub(crate) age: Option<Duration>,
}

impl Object {
    /// What all siblings say. One that cannot be read was written by another program: it counts for nothing, and is gone with the
    /// next write. Nobody could mend what it was, and an address must not stay unreachable for it.
    pub(crate) fn readable<T: DeserializeOwned>(&self, what: &str) -> Vec<T> {
        self.readable_by(what, |value| serde_json::from_slice(value).ok())
    }

    /// The same with another way to read a value.
    pub(crate) fn readable_by<T>(&self, what: &str, read: impl Fn(&[u8]) -> Option<T>) -> Vec<T> {
        let values: Vec<T> = self.values.iter().filter_map(|value| read(value)).collect();
        let foreign = self.values.len() - values.len();
        if foreign > 0 {
            tracing::warn!(
                foreign,
                "values of {what} cannot be read and count for nothing: does another program use this bucket?"
            );
        }
        values
    }
}

/// The objects of one bucket.
pub(crate) struct Objects {
    http: Arc<Http>,
    hosts: Hosts,
    slots: Semaphore,
    timeout: Duration,
    /// How often a node was there again of which replicas may have been apart from others.
    reunions: AtomicU64,
    /// The first wait is told while the store opens: it may be a long one.
    tells_waits: AtomicBool,
    /// `/types/T/buckets/B` or `/buckets/B`.
    bucket: String,
    read: String,
    write: String,
}

impl Objects {
    pub(crate) fn new(settings: &Settings, turn: usize) -> Result<Self, StoreError> {
        let scheme = if settings.tls { "https" } else { "http" };
        let host = |(name, port): &(String, u16)| {
            let shown = if name.contains(':') {
                format!("[{name}]:{port}")
            } else {
                format!("{name}:{port}")
            };
            Arc::new(Host::new(format!("{scheme}://{shown}"), shown))
        };
        let mut bucket = String::new();
        if let Some(name) = &settings.bucket_type {
            bucket.push_str("/types/");
            percent_encode(name, &mut bucket);
        }
        bucket.push_str("/buckets/");
        percent_encode(&settings.bucket, &mut bucket);
        let q = &settings.quorums;
        Ok(Self {
            http: Arc::new(Http::new(settings)?),
            hosts: Hosts::new(settings.hosts.iter().map(host).collect(), turn),
            slots: Semaphore::new(settings.connections),
            timeout: settings.timeout,
            reunions: AtomicU64::new(0),
            tells_waits: AtomicBool::new(true),
            bucket,
            // Absence is an answer, whatever the bucket type says: else a replica that is behind fails reads.
            read: format!("?r={}&pr={}&notfound_ok=true", q.r, q.pr),
            write: format!("?w={}&dw={}&pw={}", q.w, q.dw, q.pw),
        })
    }

    /// Until when a call that begins now may take.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Until when the store may take to open: nodes that are there may only just be starting, which takes them ten seconds or
    /// more, or not have heard of the bucket's properties yet.
    pub(crate) fn opening_deadline(&self) -> Instant {
        Instant::now() + (self.timeout * 8).min(OPENING_MAX).max(self.timeout)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn reunions(&self) -> u64 {
        self.reunions.load(Ordering::Relaxed)
    }

    /// The store is open: from now on those who call learn how it goes.
    pub(crate) fn opened(&self) {
        self.tells_waits.store(false, Ordering::Relaxed);
    }

    pub(crate) fn close(&self) {
        self.http.close();
        self.slots.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.http.is_closed()
    }

    pub(crate) fn hosts(&self) -> &[Arc<Host>] {
        self.hosts.all()
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }

    fn target(&self, key: &str, query: &str) -> String {
        let mut target = String::with_capacity(self.bucket.len() + key.len() * 2 + query.len() + 32);
        target.push_str(&self.bucket);
        target.push_str("/keys/");
        percent_encode(key, &mut target);
        target.push_str(query);
        target
    }

    /// Reads an object with all its siblings.
    pub(crate) async fn get(&self, key: &str, deadline: Instant) -> Result<Object, Fault> {
        let target = self.target(key, &self.read);
        let answer = match self.send(Request::get(target), deadline).await {
            Ok(answer) => answer,
            Err(fault) if fault.headers => return Ok(foreign_alone(key)),
            Err(fault) => return Err(fault),
        };
        if answer.left_out && answer.is_multipart() {
            return self.get_one_by_one(key, deadline).await;
        }
        object(&answer)?.ok_or_else(inseparable)
    }

    /// The same for an object whose siblings are too large together: each by its name, those that are too large left out.
    async fn get_one_by_one(&self, key: &str, deadline: Instant) -> Result<Object, Fault> {
        for _ in 0..ROUNDS {
            let request = Request::names(self.target(key, &self.read));
            let names = match self.send(request, deadline).await {
                Ok(names) => names,
                Err(fault) if fault.headers => return Ok(foreign_alone(key)),
                Err(fault) => return Err(fault),
            };
            if names.status != 300 || names.is_multipart() {
                // One value is left.
                return object(&names)?.ok_or_else(inseparable);
            }
            if let Some(values) = self.siblings(key, &names.text(), deadline).await? {
                return Ok(Object {
                    values,
                    ..read(&names)
                });
            }
        }
        Err(contended())
    }

    /// The siblings of these names; `None` when one of them is there no longer.
    async fn siblings(&self, key: &str, names: &str, deadline: Instant) -> Result<Option<Vec<Bytes>>, Fault> {
        let (mut values, mut bytes) = (Vec::new(), 0);
        for name in names.lines().skip(1).filter(|name| !name.is_empty()) {
            let mut query = [&*self.read, SIBLING].concat();
            percent_encode(name, &mut query);
            let request = Request::get(self.target(key, &query));
            match self.send(request, deadline).await {
                Ok(answer) if answer.status == 404 => return Ok(None),
                // Empty where it was left out, which is none of ours.
                Ok(answer) => {
                    bytes += answer.body.len();
                    if bytes > SIBLINGS_BYTES_MAX {
                        let message = format!(
                            "the siblings of {key} have more than {SIBLINGS_BYTES_MAX} bytes, which another program must have \
                             written: remove it"
                        );
                        return Err(Fault::new(ErrorKind::LimitExceeded, message));
                    }
                    values.push(answer.body);
                }
                Err(fault) if fault.headers => values.push(Bytes::new()),
                Err(fault) => return Err(fault),
            }
        }
        Ok(Some(values))
    }

    /// Writes an object and reads it back as the replicas have it then: concurrent writes show as siblings.
    pub(crate) async fn put(
        &self,
        key: &str,
        vclock: Option<String>,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Object, Fault> {
        let target = self.target(key, &[&*self.write, "&returnbody=true"].concat());
        let answer = self.send(put(target, vclock, body), deadline).await?;
        let object = match object(&answer) {
            _ if answer.left_out => self.get(key, deadline).await,
            Ok(Some(object)) => Ok(object),
            // Siblings, of which this answer has the names alone.
            Ok(None) => self.get(key, deadline).await,
            Err(fault) => Err(fault),
        };
        object.map_err(|fault| fault.sent(true))
    }

    /// Writes an object without reading it back.
    pub(crate) async fn put_blind(
        &self,
        key: &str,
        vclock: Option<String>,
        body: Bytes,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let target = self.target(key, &self.write);
        self.send(put(target, vclock, body), deadline).await.map(drop)
    }

    /// Deletes what was read under that vclock. What was written since stays, beside the tombstone.
    pub(crate) async fn delete(
        &self,
        key: &str,
        vclock: Option<String>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let target = self.target(key, &self.write);
        let request = Request::write(Method::DELETE, target, vclock, None);
        self.send(request, deadline).await.map(drop)
    }

    /// Sends a request to one node after the other until one has answered properly.
    pub(crate) async fn send(&self, mut request: Request, deadline: Instant) -> Result<Answer, Fault> {
        let mut tried: Vec<usize> = Vec::new();
        let mut sent = false;
        let mut pause = PAUSE;
        let mut hope = false;
        let mut last: Option<Fault> = None;
        let bare = request.target.clone();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left < Duration::from_millis(1) {
                return Err(last.unwrap_or_else(Fault::out_of_time).sent(sent));
            }
            let Some((index, host)) = self.hosts.pick(&tried) else {
                return Err(Fault::new(
                    ErrorKind::ConfigInvalid,
                    "the store url names no host",
                ));
            };
            let slot = match tokio::time::timeout(left, self.slots.acquire()).await {
                Ok(Ok(slot)) => slot,
                Ok(Err(_)) => {
                    return Err(Fault::new(ErrorKind::Unavailable, "the store is closed").sent(sent));
                }
                Err(_) => return Err(last.unwrap_or_else(Fault::out_of_time).sent(sent)),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            // One request takes no longer than a call, and a node that hangs must leave time for another.
            let share = left.min(self.timeout);
            let share = if self.hosts.all().len() > tried.len() + 1 {
                share / 2
            } else {
                share
            };
            let of_object = bare.contains("/keys/");
            let of_sibling = bare.contains(SIBLING);
            if of_object {
                // The node gives up shortly before we do: so one whose replicas are silent is told from one that hangs.
                request.target = format!("{bare}&timeout={}", (share - share / 8).as_millis().max(1));
            }
            let answer = self.http.send(&host, &request, share).await;
            drop(slot);
            let answer = answer.and_then(|answer| understood(&host.shown, answer, of_object, of_sibling));
            let mut fault = match answer {
                Ok(answer) => {
                    if host.succeeded() {
                        self.reunions.fetch_add(1, Ordering::Relaxed);
                    }
                    return Ok(answer);
                }
                Err(fault) => fault,
            };
            sent |= fault.sent && request.is_write();
            fault.sent = sent;
            if fault.apart {
                host.came_apart();
            }
            if !tried.contains(&index) {
                tried.push(index);
            }
            match fault.again {
                Again::Never | Again::AfterReading => return Err(fault),
                Again::Later => hope = true,
                Again::Elsewhere => {}
            }
            self.eject(&host);
            if tried.len() == self.hosts.all().len() {
                // Where no node listens, whoever asked knows best when to try again.
                if !hope || Instant::now() + pause >= deadline {
                    return Err(fault);
                }
                hope = false;
                if self.tells_waits.swap(false, Ordering::Relaxed) {
                    tracing::info!(why = %fault.message, "waits for Riak");
                }
                tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())).await;
                pause = (pause * 2).min(PAUSE * 16);
                tried.clear();
                last = Some(fault);
            }
        }
    }

    /// Leaves the node out while there are others, and probes it until it answers.
    pub(crate) fn eject(&self, host: &Arc<Host>) {
        if self.hosts.all().len() < 2 {
            return;
        }
        if let Some(pause) = host.failed() {
            tracing::warn!(node = %host.shown, "a Riak node fails and is left out until it answers again");
            let props = bucket::target(&self.bucket);
            tokio::spawn(probe(Arc::downgrade(&self.http), Arc::clone(host), props, pause));
        }
    }

    /// Sends to one node alone, once.
    pub(crate) async fn send_to(
        &self,
        host: &Host,
        request: &Request,
        deadline: Instant,
    ) -> Result<Answer, Fault> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Fault::out_of_time());
        }
        self.http.send(host, request, left).await
    }
}

/// Asks until the node answers and allows siblings, or the store is closed. A node that was away when the bucket's properties were
/// set may answer before it has learnt them.
async fn probe(http: Weak<Http>, host: Arc<Host>, props: String, mut pause: Duration) {
    let ping = Request::get("/ping".to_owned());
    let props = Request::get(props);
    loop {
        tokio::time::sleep(pause.mul_f64(0.75 + rand::random::<f64>() / 2.0)).await;
        let Some(http) = http.upgrade().filter(|http| !http.is_closed()) else {
            return host.answers();
        };
        let answer = http.send(&host, &ping, PROBE_TIMEOUT).await;
        if answer.is_ok_and(|answer| answer.status == 200 && answer.body.starts_with(b"OK")) {
            let answer = http.send(&host, &props, PROBE_TIMEOUT).await;
            if answer.is_ok_and(|answer| bucket::allow_mult(&answer) == Some(true)) {
                tracing::info!(node = %host.shown, "the Riak node answers again");
                return host.answers();
            }
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

fn put(target: String, vclock: Option<String>, body: Bytes) -> Request {
    Request::write(Method::PUT, target, vclock, Some(body))
}

/// Stands for one value that another program wrote with more headers than the HTTP client takes: its vclock cannot be read, so what is
/// written becomes its sibling, and then both come in one body.
fn foreign_alone(key: &str) -> Object {
    let kind = key.split(':').next().unwrap_or_default();
    tracing::warn!(
        kind,
        "an object has more headers than any of ours and counts for nothing: does another program use this bucket?"
    );
    Object::default()
}

/// Whether the answer is one of those that mean what they say; `of_object` says that an object was asked for, or written, and
/// `of_sibling` that one of its siblings was.
fn understood(host: &str, answer: Answer, of_object: bool, of_sibling: bool) -> Result<Answer, Fault> {
    // Riak shows no object without its vclock. What does is a page of something in between, and not a value that counts for nothing.
    if of_object && answer.status == 200 && answer.vclock.is_none() {
        let message =
            format!("{host}: 200 without a vclock: is this Riak's HTTP interface, and nothing in between?");
        return Err(Fault::new(ErrorKind::Unexpected, message)
            .again(Again::Later)
            .sent(true));
    }
    let absent = answer.status == 404 && answer.is_text() && answer.body.starts_with(b"not found");
    if matches!(answer.status, 200 | 204 | 300) || absent || (of_sibling && answer.status == 404) {
        return Ok(answer);
    }
    Err(of_status(host, answer.status, !answer.is_html(), &answer.text()))
}

/// What an answer shows of an object; `None` when it is siblings and has only their names. Riak before its HTTP interface was
/// rewritten says 300 to siblings, and shows them whenever the request takes that; after it says 200 to those that it shows, and 300
/// to a write whatever the request takes.
fn object(answer: &Answer) -> Result<Option<Object>, Fault> {
    let siblings = || multipart::values(&answer.content_type, &answer.body);
    let is_multipart = answer.is_multipart();
    let values = match answer.status {
        200 if is_multipart => siblings().unwrap_or_else(|| vec![answer.body.clone()]),
        200 => vec![answer.body.clone()],
        300 if is_multipart => siblings().ok_or_else(inseparable)?,
        300 => return Ok(None),
        _ => Vec::new(),
    };
    Ok(Some(Object {
        values,
        ..read(answer)
    }))
}

/// What the headers say.
fn read(answer: &Answer) -> Object {
    Object {
        values: Vec::new(),
        vclock: answer.vclock.clone(),
        age: age::between(answer.last_modified.as_deref(), answer.date.as_deref()),
    }
}

fn inseparable() -> Fault {
    Fault::new(ErrorKind::Corrupt, "siblings that cannot be told apart")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(status: u16, content_type: &str, body: &'static str) -> Option<Vec<Bytes>> {
        let answer = Answer {
            status,
            content_type: content_type.to_owned(),
            vclock: None,
            last_modified: None,
            date: None,
            body: Bytes::from_static(body.as_bytes()),
            left_out: false,
        };
        object(&answer).unwrap().map(|object| object.values)
    }

    #[test]
    fn siblings_are_seen_whatever_the_status_and_their_names_alone_are_none() {
        const TYPE: &str = "multipart/mixed; boundary=b";
        const BOTH: &str = "\r\n--b\r\nEtag: x\r\n\r\none\r\n--b\r\nEtag: y\r\n\r\ntwo\r\n--b--\r\n";
        for status in [200, 300] {
            assert_eq!(values(status, TYPE, BOTH).unwrap(), ["one", "two"], "{status}");
        }
        assert_eq!(values(300, "text/plain", "Siblings:\nx\ny\n"), None);
        assert_eq!(values(200, "text/plain", "Siblings:").unwrap(), ["Siblings:"]);
        // A single value of somebody else's.
        assert_eq!(values(200, TYPE, "{}").unwrap(), ["{}"]);
        assert!(values(404, "text/plain", "not found\n").unwrap().is_empty());
    }
}
