//! One HTTP request to one node.

use core::time::Duration;
use std::sync::{PoisonError, RwLock};

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, HeaderName, LAST_MODIFIED};
use reqwest::{Client, Method};
use waypost_session::{ErrorKind, Secret, StoreError};

use crate::fault::{Again, Fault};
use crate::hosts::Host;
use crate::settings::Settings;

/// The greatest answer that is read, in bytes. A hundred siblings of our largest object are far below it.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Siblings as one multipart answer; a single value in whatever type it has.
const ACCEPT_SIBLINGS: &str = "multipart/mixed, */*;q=0.5";
/// The names of siblings; a single value in whatever type it has.
const ACCEPT_NAMES: &str = "text/plain, */*;q=0.5";
const VCLOCK: HeaderName = HeaderName::from_static("x-riak-vclock");

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query, percent-encoded.
    pub(crate) target: String,
    /// What the answer to a read may be.
    accept: &'static str,
    /// The vclock of what the sender has read.
    pub(crate) vclock: Option<String>,
    pub(crate) body: Option<Bytes>,
}

impl Request {
    pub(crate) fn get(target: String) -> Self {
        Self {
            method: Method::GET,
            target,
            accept: ACCEPT_SIBLINGS,
            vclock: None,
            body: None,
        }
    }

    /// Asks for the names of an object's siblings, and not for what they are.
    pub(crate) fn names(target: String) -> Self {
        Self {
            accept: ACCEPT_NAMES,
            ..Self::get(target)
        }
    }

    /// Writes, under the vclock of what the sender has read.
    pub(crate) fn write(method: Method, target: String, vclock: Option<String>, body: Option<Bytes>) -> Self {
        Self {
            method,
            vclock,
            body,
            ..Self::get(target)
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        self.method != Method::GET
    }
}

/// What came back, whole but for a body that is too large.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) vclock: Option<String>,
    pub(crate) last_modified: Option<String>,
    pub(crate) date: Option<String>,
    /// Empty where it was left out.
    pub(crate) body: Bytes,
    /// The body is too large to be ours, and was not read.
    pub(crate) left_out: bool,
}

impl Answer {
    pub(crate) fn is_multipart(&self) -> bool {
        self.content_type.starts_with("multipart/mixed")
    }

    pub(crate) fn is_text(&self) -> bool {
        self.content_type.is_empty() || self.content_type.starts_with("text/plain")
    }

    pub(crate) fn is_html(&self) -> bool {
        self.content_type.starts_with("text/html")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Keep-alive connections to all nodes.
pub(crate) struct Http {
    /// `None` once closed.
    client: RwLock<Option<Client>>,
    username: Option<String>,
    password: Option<Secret>,
}

impl Http {
    pub(crate) fn new(settings: &Settings) -> Result<Self, StoreError> {
        let builder = Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(settings.timeout / 2)
            .pool_max_idle_per_host(settings.connections)
            // Riak closes a silent connection after 300 s.
            .pool_idle_timeout(Duration::from_secs(60))
            .user_agent(concat!("waypost/", env!("CARGO_PKG_VERSION")));
        let builder = with_tls(builder, settings)?;
        let client = builder.build().map_err(|error| {
            StoreError::new(
                ErrorKind::ConfigInvalid,
                "open",
                "the HTTP client cannot be set up: check `ca-file`",
            )
            .with_source(error.without_url())
        })?;
        Ok(Self {
            client: RwLock::new(Some(client)),
            username: settings.username.clone(),
            password: settings.password.clone(),
        })
    }

    /// Ends all idle connections; requests under way end in their own time.
    pub(crate) fn close(&self) {
        self.client.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// Sends the request and reads the whole answer.
    pub(crate) async fn send(
        &self,
        host: &Host,
        request: &Request,
        timeout: Duration,
    ) -> Result<Answer, Fault> {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        let client = client.ok_or_else(|| Fault::new(ErrorKind::Unavailable, "the store is closed"))?;
        let url = [&*host.base, &*request.target].concat();
        let mut builder = client.request(request.method.clone(), url).timeout(timeout);
        if !request.is_write() {
            builder = builder.header(ACCEPT, request.accept);
        }
        if let Some(vclock) = &request.vclock {
            builder = builder.header(VCLOCK, vclock);
        }
        if let Some(body) = &request.body {
            builder = builder
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        if let Some(username) = &self.username {
            builder = builder.basic_auth(username, self.password.as_ref().map(Secret::expose));
        }
        let lost = |error: reqwest::Error| lost(&host.shown, &error, request.is_write());
        let mut response = builder.send().await.map_err(lost)?;
        let too_large = |len: u64| len > ANSWER_BYTES_MAX as u64;
        let mut left_out = response.content_length().is_some_and(too_large);
        let mut body = BytesMut::new();
        while !left_out && let Some(chunk) = response.chunk().await.map_err(lost)? {
            left_out = body.len() + chunk.len() > ANSWER_BYTES_MAX;
            body.extend_from_slice(&chunk);
        }
        if left_out {
            body.clear();
        }
        let headers = response.headers();
        Ok(Answer {
            status: response.status().as_u16(),
            content_type: header(headers, &CONTENT_TYPE).unwrap_or_default(),
            vclock: header(headers, &VCLOCK),
            last_modified: header(headers, &LAST_MODIFIED),
            date: header(headers, &DATE),
            body: body.freeze(),
            left_out,
        })
    }
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// What the HTTP client says of an answer with more headers than it takes.
const TOO_MANY_HEADERS: &str = "message head is too large";

/// No whole answer came.
fn lost(host: &str, error: &reqwest::Error, write: bool) -> Fault {
    // The innermost cause says why; none of them knows the password.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let cause = cause.to_string();
    if error.is_connect() && !error.is_timeout() {
        if cause.to_ascii_lowercase().contains("certificate") {
            let message = format!(
                "{host}: {cause}: name the PEM file of the authority that vouches for the node by `ca-file` in the store url"
            );
            return Fault::new(ErrorKind::ConfigInvalid, message).again(Again::Elsewhere);
        }
        let message = format!("{host}: {cause}");
        return Fault::new(ErrorKind::Unavailable, message)
            .again(Again::Elsewhere)
            .apart();
    }
    if error.is_timeout() {
        let message = format!("{host}: no answer in time");
        // Nothing of a request is sent before its connection stands.
        let sent = write && !error.is_connect();
        let fault = Fault::new(ErrorKind::Timeout, message)
            .again(Again::Elsewhere)
            .sent(sent);
        return if error.is_connect() { fault.apart() } else { fault };
    }
    if cause == TOO_MANY_HEADERS {
        let message = format!("{host}: an answer with more headers than any of ours has");
        return Fault::new(ErrorKind::LimitExceeded, message)
            .sent(write)
            .too_many_headers();
    }
    if cause.contains("invalid HTTP") {
        let message = format!(
            "{host}: what answers is not HTTP: write riak+https:// in the store url if the node speaks TLS"
        );
        return Fault::new(ErrorKind::ConfigInvalid, message)
            .again(Again::Later)
            .sent(write);
    }
    let message = format!("{host}: the connection was lost before the answer was complete: {cause}");
    Fault::new(ErrorKind::Unavailable, message)
        .again(Again::Later)
        .sent(write)
}

#[cfg(feature = "tls")]
fn with_tls(
    builder: reqwest::ClientBuilder,
    settings: &Settings,
) -> Result<reqwest::ClientBuilder, StoreError> {
    // The HTTP client takes the process's default provider and would panic without one.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when somebody else was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    if !settings.tls {
        // Reading the system's authorities takes a tenth of a second, for nothing.
        return Ok(builder.tls_certs_only([]));
    }
    let Some(path) = &settings.ca_file else {
        return Ok(builder);
    };
    let unfit = |what: String| StoreError::new(ErrorKind::ConfigInvalid, "open", what);
    let pem =
        std::fs::read(path).map_err(|error| unfit(format!("cannot read the file of `ca-file`: {error}")))?;
    let roots = reqwest::Certificate::from_pem_bundle(&pem)
        .ok()
        .filter(|roots| !roots.is_empty())
        .ok_or_else(|| unfit("the file of `ca-file` holds no certificate in PEM".to_owned()))?;
    Ok(builder.tls_certs_only(roots))
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as with TLS")]
fn with_tls(builder: reqwest::ClientBuilder, _: &Settings) -> Result<reqwest::ClientBuilder, StoreError> {
    Ok(builder)
}
