//! As much HTTP/1.1 as the client needs.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::cluster::Cluster;
use super::dates::http_date;
use super::fault::{Faults, RiakFault};
use super::response::Response;
use super::routes;
use crate::Rng;

/// The longest request line and the longest header that are taken.
const LINE_MAX: usize = 8192;
const HEAD_MAX: usize = 100_000;
const BODY_MAX: usize = 64 << 20;

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) index: usize,
    pub(super) cluster: Arc<Cluster>,
    authorization: Option<String>,
    acceptor: Option<Acceptor>,
    faults: Faults,
    requests: AtomicU64,
    deletes: AtomicU64,
    accepted: AtomicU64,
    /// Requests under way, and the most that there were.
    under_way: AtomicU64,
    most: AtomicU64,
    /// Until when a node that starts knows no route, and until when it is not ready.
    starting: Mutex<Option<(Instant, Instant)>>,
    connections: Mutex<Vec<AbortHandle>>,
    /// The process stands still.
    suspended: watch::Sender<bool>,
    chunked: bool,
    latency: (Duration, Duration),
    rng: Mutex<Rng>,
}

/// How a node is to behave.
pub(super) struct Manner {
    /// What a request has to show.
    pub(super) authorization: Option<String>,
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) chunked: bool,
    /// The least and the most that a request takes before anything is done about it.
    pub(super) latency: (Duration, Duration),
    pub(super) seed: u64,
}

struct Acceptor(TlsAcceptor);

impl core::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Acceptor")
    }
}

/// What a client asked.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// Still percent-encoded.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn param(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Node {
    pub(super) fn new(index: usize, cluster: Arc<Cluster>, manner: Manner) -> Self {
        Self {
            index,
            cluster,
            authorization: manner.authorization,
            acceptor: manner.acceptor.map(Acceptor),
            faults: Faults::new(index as u64 + 1),
            requests: AtomicU64::new(0),
            deletes: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            most: AtomicU64::new(0),
            starting: Mutex::default(),
            connections: Mutex::default(),
            suspended: watch::Sender::new(false),
            chunked: manner.chunked,
            latency: manner.latency,
            rng: Mutex::new(Rng::new(manner.seed.wrapping_add(index as u64))),
        }
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn most_at_once(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// What a request costs that comes now.
    fn latency(&self) -> Duration {
        let (least, most) = self.latency;
        let spread = usize::try_from(most.saturating_sub(least).as_micros()).unwrap_or(usize::MAX);
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        least + Duration::from_micros(rng.below(spread) as u64)
    }

    pub(super) fn suspend(&self, suspended: bool) {
        self.suspended.send_replace(suspended);
    }

    fn encode(&self, response: &Response, head_only: bool) -> Vec<u8> {
        let date = http_date(self.cluster.now(self.index));
        response.encode(&date, head_only, self.chunked)
    }

    pub(super) const fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn deletes(&self) -> u64 {
        self.deletes.load(Ordering::Relaxed)
    }

    /// The node begins to start: for so long it knows no route, and for so long after it is not ready.
    pub(super) fn starts(&self, no_route: Duration, not_ready: Duration) {
        let routes = Instant::now() + no_route;
        *self.starting.lock().unwrap_or_else(PoisonError::into_inner) = Some((routes, routes + not_ready));
    }

    /// What a node that starts does to requests.
    fn start_up(&self, is_ping: bool) -> Option<RiakFault> {
        let (routes, ready) = (*self.starting.lock().unwrap_or_else(PoisonError::into_inner))?;
        let now = Instant::now();
        if now < routes {
            Some(RiakFault::NoRoute)
        } else {
            (now < ready && !is_ping).then_some(RiakFault::NotReady)
        }
    }

    /// Breaks all connections.
    pub(super) fn hang_up(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in connections.drain(..) {
            connection.abort();
        }
    }
}

/// The header that these credentials make.
pub(super) fn basic(user: &str, password: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("Basic ");
    for chunk in format!("{user}:{password}").as_bytes().chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = if place <= chunk.len() {
                char::from(LETTERS[bits >> (18 - 6 * place) & 63])
            } else {
                '='
            };
            text.push(letter);
        }
    }
    text
}

pub(super) async fn serve(listener: TcpListener, node: Arc<Node>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        node.accepted.fetch_add(1, Ordering::Relaxed);
        let task = tokio::spawn({
            let node = Arc::clone(&node);
            async move {
                // A client that is gone needs no answer.
                let _ = match &node.acceptor {
                    None => converse(stream, &node).await,
                    Some(Acceptor(acceptor)) => match acceptor.accept(stream).await {
                        Ok(stream) => converse(stream, &node).await,
                        Err(error) => Err(error),
                    },
                };
            }
        });
        let mut connections = node.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !connection.is_finished());
        connections.push(task.abort_handle());
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, node: &Node) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let request = match read(&mut stream, &mut buffer).await? {
            Incoming::Request(request) => request,
            Incoming::Refused(response) => {
                return stream.write_all(&node.encode(&response, false)).await;
            }
            Incoming::End => return Ok(()),
        };
        // Fails when the node is gone.
        let _ = node.suspended.subscribe().wait_for(|suspended| !suspended).await;
        node.requests.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay::of(node);
        if request.method == "DELETE" {
            node.deletes.fetch_add(1, Ordering::Relaxed);
        }
        let latency = node.latency();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let is_ping = request.path == "/ping";
        let fault = node.start_up(is_ping).or_else(|| node.faults.draw(is_ping));
        let fault = fault.filter(|fault| *fault != RiakFault::TooManySiblings || request.method == "PUT");
        match fault {
            Some(RiakFault::HangUp) => return Ok(()),
            Some(RiakFault::TimedOut | RiakFault::Hang | RiakFault::CutAnswer | RiakFault::WriteFailures)
                if request.method == "GET" => {}
            Some(RiakFault::TimedOut | RiakFault::Hang | RiakFault::WriteFailures) => {
                drop(routes::answer(node, &request).await)
            }
            _ => {}
        }
        let keep_alive = request.header("connection") != Some("close");
        let head_only = request.method == "HEAD";
        let response = match fault {
            Some(RiakFault::Hang) => return core::future::pending().await,
            Some(RiakFault::CutAnswer) => {
                let answer = node.encode(&routes::answer(node, &request).await, head_only);
                return stream.write_all(&answer[..answer.len().saturating_sub(5)]).await;
            }
            Some(fault) => routes::of_fault(fault, &request),
            None if node.authorization.is_some() && node.acceptor.is_none() => routes::insecure(),
            None if node
                .authorization
                .as_deref()
                .is_some_and(|wanted| request.header("authorization") != Some(wanted)) =>
            {
                routes::unauthorized()
            }
            None => routes::answer(node, &request).await,
        };
        let close = !keep_alive || response.close;
        let answer = node.encode(&response, head_only);
        drop(under_way);
        stream.write_all(&answer).await?;
        if close {
            return Ok(());
        }
    }
}

/// Counts a request as long as it lives.
struct UnderWay<'a>(&'a Node);

impl<'a> UnderWay<'a> {
    fn of(node: &'a Node) -> Self {
        let now = node.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        node.most.fetch_max(now, Ordering::Relaxed);
        Self(node)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Incoming {
    Request(Request),
    Refused(Response),
    End,
}

async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<Incoming> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if buffer.len() > HEAD_MAX || stream.read_buf(buffer).await? == 0 {
            return Ok(Incoming::End);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    if line.len() > LINE_MAX {
        return Ok(Incoming::Refused(Response::new(400, "Bad Request").closing()));
    }
    let mut headers = Vec::new();
    for line in lines {
        if line.len() > LINE_MAX {
            return Ok(Incoming::Refused(
                Response::new(431, "Request Header Fields Too Large").closing(),
            ));
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut parts = line.split(' ');
    let (method, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').filter(|pair| !pair.is_empty());
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        headers,
        body: Vec::new(),
    };
    let length: usize = request
        .header("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let body_at = head_end + 4;
    while buffer.len() < body_at + length.min(BODY_MAX) {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(Incoming::End);
        }
    }
    request.body = buffer[body_at..body_at + length.min(BODY_MAX)].to_vec();
    buffer.drain(..body_at + request.body.len());
    Ok(Incoming::Request(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_encoded_as_the_standard_says() {
        assert_eq!(
            basic("Aladdin", "open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert_eq!(basic("a", ""), "Basic YTo=");
        assert_eq!(basic("", ""), "Basic Og==");
    }
}
