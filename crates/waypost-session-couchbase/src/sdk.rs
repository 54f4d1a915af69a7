//! Every call into the SDK, and the one place that knows its pitfalls.
//!
//! - No call of the SDK ends by itself (neither connecting nor any operation; one on an unknown collection or with the
//!   server down waits for ever): each runs under a deadline here.
//! - A call right after a connection died in flight can hang although the SDK has connected anew: an attempt gets half of
//!   the time that is left, and a read is tried once more after a short pause. A write is not sent blindly again: its
//!   outcome is unknown, and the caller reads what stands there.
//! - A write whose connection died is reported as `OtherFailure`: whatever is not known to have done nothing counts as
//!   unknown.
//! - An expiry of less than a second, zero included, kills the document after one second: only whole seconds are given
//!   here, and none at all means that the document stays. `touch` and `preserve_expiry`, which some servers lack, are not
//!   used: a replacement sets the expiry that it names.
//! - `exists` is an error for a missing key, `get` with an expiry or projections needs server-side extras: neither is used.
//! - An append to a missing document is "not stored" to servers and "not found" to CAVES, Couchbase's mock; the latter the
//!   SDK does not know as an answer to an append, and gives a failure without a kind. So after such a failure it is looked
//!   whether there is a document at all.
//! - A durability level that the server cannot do, and a document that is being written durably by somebody else, come as
//!   an invalid argument and as a refusal: both are told apart here.
//! - An empty list of authorities is an error, and not the default.
//! - Waiting until the bucket is ready takes all nodes: with one down it never ends, so it gets half of the time, and then a
//!   read decides. It also closes two windows in which the first calls' wake-up can be lost.
//! - A configuration without management ports makes the client panic: it starts on a task of its own.
//! - Dropping the cluster breaks its collections: both are kept together.
//! - A retry strategy is not set: neither it nor a fail-fast one ends the retries of a wrong vbucket or collection.
//! - Compression and mutation tokens, which only cost here, are off.

use core::time::Duration;

use couchbase::authenticator::PasswordAuthenticator;
use couchbase::cluster::Cluster;
use couchbase::collection::Collection;
use couchbase::durability_level::DurabilityLevel;
use couchbase::error::{Error, ErrorKind as SdkKind};
use couchbase::options::cluster_options::{
    ClusterOptions, CompressionMode, KvOptions, OrphanReporterOptions, PollerOptions, TlsOptions,
};
use couchbase::options::diagnostic_options::WaitUntilReadyOptions;
use couchbase::options::kv_binary_options::AppendOptions;
use couchbase::options::kv_options::{InsertOptions, RemoveOptions, ReplaceOptions};
use couchbase::service_type::ServiceType;
use couchbase::transcoding::{DataType, encode_common_flags};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use waypost_session::ErrorKind;

use crate::fault::Fault;
use crate::gates::Gates;
use crate::settings::Settings;

/// Pause before the second try of a read.
const PAUSE: Duration = Duration::from_millis(20);
/// After a failed attempt to connect, the SDK waits so long before the next.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// How the SDK names a durability level that it cannot ask for.
const DURABILITY_ARGUMENT: &str = "durability_level";
/// What it means.
pub(crate) const NO_DURABILITY: &str =
    "this server cannot do durable writes: leave `durability` out of the url";

/// A document as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Doc {
    pub(crate) value: Vec<u8>,
    /// Changes with every write.
    pub(crate) cas: u64,
}

/// What became of a write that did not fail outright.
#[derive(Debug)]
pub(crate) enum Wrote {
    /// Applied.
    Done,
    /// Not applied: the document is there though it should not be, or is missing, or has changed, or is being written.
    Refused,
    /// It may have been applied, or may be within a bounded time: read what stands there.
    Unknown(Fault),
}

/// An open collection.
pub(crate) struct Docs {
    collection: Collection,
    durability: Option<DurabilityLevel>,
    /// How long one request may take, whatever time its call has left.
    timeout: Duration,
    pub(crate) gates: Gates,
    /// The collection works as long as this lives.
    _cluster: Cluster,
}

impl core::fmt::Debug for Docs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Docs")
    }
}

/// Raw bytes, by the flags that all SDKs share.
fn binary() -> u32 {
    encode_common_flags(DataType::Binary)
}

fn seconds(expiry: Duration) -> Duration {
    Duration::from_secs(expiry.as_secs().max(1))
}

/// Half of what is left until the deadline, for an attempt after which there must be time for another.
fn half_way(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}

impl Docs {
    /// Connects and waits until the bucket answers; `probe` is the key of some document.
    pub(crate) async fn open(settings: &Settings, probe: &str, deadline: Instant) -> Result<Self, Fault> {
        let mut opening = JoinSet::new();
        let task = Self::open_here(settings.clone(), probe.to_owned(), deadline);
        // Dropped, it ends the task.
        opening.spawn(task);
        match opening.join_next().await {
            Some(Ok(opened)) => opened,
            // The client's panic has said on stderr where it was.
            _ => Err(Fault::new(
                ErrorKind::Unsupported,
                "the client cannot read this cluster's configuration: do all of its nodes name their management ports?",
            )),
        }
    }

    async fn open_here(settings: Settings, probe: String, deadline: Instant) -> Result<Self, Fault> {
        let credentials = PasswordAuthenticator::new(&settings.username, settings.password.expose());
        let mut options = ClusterOptions::new(credentials.into())
            .compression_mode(CompressionMode::Disabled)
            .kv_options(
                KvOptions::new()
                    .num_connections(settings.connections)
                    .connect_timeout(settings.timeout)
                    .connect_throttle_timeout(RECONNECT_PAUSE)
                    .enable_mutation_tokens(false)
                    .enable_server_durations(false),
            )
            .poller_options(PollerOptions::new())
            .orphan_reporter_options(OrphanReporterOptions::new().enabled(false));
        if settings.tls {
            let mut tls = TlsOptions::new();
            if let Some(authorities) = settings.authorities()? {
                tls = tls.add_ca_certificates(authorities);
            }
            options = options.tls_options(tls);
        }
        let late = || {
            let authority = match settings.tls {
                true => {
                    " Does the url's `ca-file` (without one, the public authorities and Capella's) vouch for them?"
                }
                false => "",
            };
            let message = format!(
                "{} did not let us in within the time-out: are user, password and bucket right, and are the cluster's \
                 nodes reachable from here by the names that they give themselves?{authority}",
                settings.places()
            );
            Fault::new(ErrorKind::Unavailable, message)
        };
        let opening = async {
            let cluster = Cluster::connect(settings.connection_string(), options)
                .await
                .map_err(|error| read_fault(&error))?;
            let bucket = cluster.bucket(&settings.bucket);
            let ready = WaitUntilReadyOptions::new().service_types(vec![ServiceType::KV]);
            let ready = bucket.wait_until_ready(ready).boxed();
            let ready = timeout_at(half_way(deadline), ready).await;
            if let Ok(Err(error)) = &ready {
                return Err(read_fault(error));
            }
            let collection = bucket.scope(&settings.scope).collection(&settings.collection);
            let docs = Self {
                collection,
                durability: settings.durability.level(),
                timeout: settings.timeout,
                gates: Gates::default(),
                _cluster: cluster,
            };
            match docs.get_by(&probe, deadline).await {
                Err(fault) if fault.kind == ErrorKind::Timeout && ready.is_err() => Err(late()),
                Err(fault) => Err(fault),
                Ok(_) => Ok(docs),
            }
        };
        let opened = timeout_at(deadline, opening.boxed()).await;
        opened.unwrap_or_else(|_| Err(late()))
    }

    /// By when a request has to be answered, for a call that ends at `deadline`: a large batch has time for all of its
    /// requests, and none to wait for one.
    fn within(&self, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + self.timeout)
    }

    /// The document, `None` when there is none.
    pub(crate) async fn get(&self, key: &str, deadline: Instant) -> Result<Option<Doc>, Fault> {
        self.get_by(key, self.within(deadline)).await
    }

    async fn get_by(&self, key: &str, deadline: Instant) -> Result<Option<Doc>, Fault> {
        match self.get_once(key, half_way(deadline)).await {
            Err(fault) if matches!(fault.kind, ErrorKind::Timeout | ErrorKind::Unexpected) => {}
            answer => return answer,
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(Fault::late());
        }
        sleep(PAUSE).await;
        self.get_once(key, deadline).await
    }

    async fn get_once(&self, key: &str, deadline: Instant) -> Result<Option<Doc>, Fault> {
        // Boxed, as every call: the SDK's futures are large and deeply nested.
        match timeout_at(deadline, self.collection.get(key, None).boxed()).await {
            Err(_) => Err(Fault::late()),
            Ok(Ok(got)) => {
                let (value, _) = got.content_as_raw();
                Ok(Some(Doc {
                    value: value.to_vec(),
                    cas: got.cas(),
                }))
            }
            Ok(Err(error)) if *error.kind() == SdkKind::DocumentNotFound => Ok(None),
            Ok(Err(error)) => Err(read_fault(&error)),
        }
    }

    /// Writes a document that must not exist yet. It goes away by itself after `expiry`, if one is given.
    pub(crate) async fn insert(
        &self,
        key: &str,
        value: &[u8],
        expiry: Option<Duration>,
        deadline: Instant,
    ) -> Result<Wrote, Fault> {
        let mut options = InsertOptions::new();
        if let Some(level) = &self.durability {
            options = options.durability_level(level.clone());
        }
        if let Some(expiry) = expiry {
            options = options.expiry(seconds(expiry));
        }
        write(
            self.within(deadline),
            self.collection.insert_raw(key, value, binary(), options).boxed(),
        )
        .await
    }

    /// Writes over the version of `cas`.
    pub(crate) async fn replace(
        &self,
        key: &str,
        value: &[u8],
        cas: u64,
        expiry: Option<Duration>,
        deadline: Instant,
    ) -> Result<Wrote, Fault> {
        let mut options = ReplaceOptions::new().cas(cas);
        if let Some(level) = &self.durability {
            options = options.durability_level(level.clone());
        }
        if let Some(expiry) = expiry {
            options = options.expiry(seconds(expiry));
        }
        write(
            self.within(deadline),
            self.collection.replace_raw(key, value, binary(), options).boxed(),
        )
        .await
    }

    /// Writes over what was read, or anew when nothing was.
    pub(crate) async fn put(
        &self,
        key: &str,
        value: &[u8],
        over: Option<u64>,
        expiry: Option<Duration>,
        deadline: Instant,
    ) -> Result<Wrote, Fault> {
        match over {
            Some(cas) => self.replace(key, value, cas, expiry, deadline).await,
            None => self.insert(key, value, expiry, deadline).await,
        }
    }

    /// Removes the version of `cas`.
    pub(crate) async fn remove(&self, key: &str, cas: u64, deadline: Instant) -> Result<Wrote, Fault> {
        let mut options = RemoveOptions::new().cas(cas);
        if let Some(level) = &self.durability {
            options = options.durability_level(level.clone());
        }
        write(
            self.within(deadline),
            self.collection.remove(key, options).boxed(),
        )
        .await
    }

    /// Adds to the end of a document that must exist.
    pub(crate) async fn append(&self, key: &str, value: &[u8], deadline: Instant) -> Result<Wrote, Fault> {
        let mut options = AppendOptions::new();
        if let Some(level) = &self.durability {
            options = options.durability_level(level.clone());
        }
        let collection = self.collection.binary();
        let call = collection.append(key, value, options).boxed();
        let wrote = write(self.within(deadline), call).await?;
        if let Wrote::Unknown(fault) = &wrote
            && fault.kind == ErrorKind::Unexpected
            && matches!(self.get(key, deadline).await, Ok(None))
        {
            return Ok(Wrote::Refused);
        }
        Ok(wrote)
    }
}

async fn write<T>(
    deadline: Instant,
    call: BoxFuture<'_, couchbase::error::Result<T>>,
) -> Result<Wrote, Fault> {
    if Instant::now() >= deadline {
        return Err(Fault::late());
    }
    match timeout_at(half_way(deadline), call).await {
        Err(_) => Ok(Wrote::Unknown(Fault::late().sent())),
        Ok(Ok(_)) => Ok(Wrote::Done),
        Ok(Err(error)) => write_outcome(error.kind()),
    }
}

fn write_outcome(kind: &SdkKind) -> Result<Wrote, Fault> {
    match kind {
        SdkKind::DocumentExists
        | SdkKind::CasMismatch
        | SdkKind::DocumentNotFound
        | SdkKind::DocumentLocked
        | SdkKind::DurabilityWriteInProgress
        | SdkKind::DurableWriteRecommitInProgress => Ok(Wrote::Refused),
        kind => match definite(kind) {
            Some(fault) => Err(fault),
            None => Ok(Wrote::Unknown(unexpected(kind).sent())),
        },
    }
}

fn read_fault(error: &Error) -> Fault {
    definite(error.kind()).unwrap_or_else(|| unexpected(error.kind()))
}

/// The kind alone: an error's context names keys and endpoints.
fn unexpected(kind: &SdkKind) -> Fault {
    let meaning = match kind {
        SdkKind::TemporaryFailure | SdkKind::ServiceNotAvailable(_) => ErrorKind::Unavailable,
        SdkKind::ServerTimeout => ErrorKind::Timeout,
        _ => ErrorKind::Unexpected,
    };
    Fault::new(meaning, format!("the server or its client says: {kind}"))
}

/// Failures that are known to have changed nothing.
fn definite(kind: &SdkKind) -> Option<Fault> {
    let (meaning, message) = match kind {
        SdkKind::ClusterDropped => (ErrorKind::Unavailable, "the handle is closed"),
        SdkKind::AuthenticationFailure => (
            ErrorKind::PermissionDenied,
            "the user may not do this: it needs to read and write data in the collection",
        ),
        SdkKind::BucketNotFound | SdkKind::ScopeNotFound | SdkKind::CollectionNotFound => (
            ErrorKind::ConfigInvalid,
            "the bucket, scope or collection does not exist (any more)",
        ),
        SdkKind::DurabilityLevelNotAvailable => (
            ErrorKind::ConfigInvalid,
            "the bucket cannot give this durability: take another by the url's parameter `durability`",
        ),
        SdkKind::DurabilityImpossible => (
            ErrorKind::Unavailable,
            "too few nodes are up for the durability that the url asks for",
        ),
        SdkKind::ValueTooLarge => (
            ErrorKind::LimitExceeded,
            "a document got too large for the server",
        ),
        SdkKind::QuotaLimitedFailure | SdkKind::RateLimitedFailure => (
            ErrorKind::LimitExceeded,
            "the server limits how much this user may store or ask",
        ),
        SdkKind::UnsupportedOperation | SdkKind::FeatureNotAvailable(_) => {
            (ErrorKind::Unsupported, "this server cannot do it")
        }
        SdkKind::InvalidArgument(argument) if argument.arg() == Some(DURABILITY_ARGUMENT) => {
            (ErrorKind::Unsupported, NO_DURABILITY)
        }
        SdkKind::InvalidArgument(_) => (
            ErrorKind::ConfigInvalid,
            "the client refused an argument: is the url's `prefix` too long?",
        ),
        _ => return None,
    };
    Some(Fault::new(meaning, message))
}

#[cfg(test)]
mod tests {
    use couchbase::error::InvalidArgumentErrorKind;

    use super::*;

    #[test]
    fn an_expiry_is_whole_seconds_and_never_what_the_client_would_make_of_less() {
        for (given, sent) in [
            (0, 1),
            (1, 1),
            (999, 1),
            (1000, 1),
            (1999, 1),
            (86_400_000, 86_400),
        ] {
            assert_eq!(
                seconds(Duration::from_millis(given)),
                Duration::from_secs(sent),
                "{given} ms"
            );
        }
    }

    #[test]
    fn what_may_have_been_done_is_unknown_and_what_was_not_is_an_error() {
        let outcome = |kind: SdkKind| write_outcome(&kind);
        for kind in [
            SdkKind::DocumentExists,
            SdkKind::CasMismatch,
            SdkKind::DocumentNotFound,
            SdkKind::DocumentLocked,
        ] {
            assert!(matches!(outcome(kind), Ok(Wrote::Refused)));
        }
        // A connection that died in flight comes as this.
        for kind in [
            SdkKind::OtherFailure("request cancelled: Closed in flight".to_owned()),
            SdkKind::TemporaryFailure,
            SdkKind::DurabilityAmbiguous,
            SdkKind::InternalServerFailure,
            SdkKind::RequestCanceled,
            SdkKind::ServerTimeout,
        ] {
            assert!(
                matches!(outcome(kind.clone()), Ok(Wrote::Unknown(fault)) if fault.sent),
                "{kind}"
            );
        }
        for (kind, meaning) in [
            (SdkKind::DurabilityImpossible, ErrorKind::Unavailable),
            (SdkKind::DurabilityLevelNotAvailable, ErrorKind::ConfigInvalid),
            (SdkKind::CollectionNotFound, ErrorKind::ConfigInvalid),
            (SdkKind::AuthenticationFailure, ErrorKind::PermissionDenied),
            (SdkKind::ClusterDropped, ErrorKind::Unavailable),
            (SdkKind::ValueTooLarge, ErrorKind::LimitExceeded),
        ] {
            assert_eq!(outcome(kind).unwrap_err().kind, meaning);
        }
        let argument =
            |name: &str| SdkKind::InvalidArgument(InvalidArgumentErrorKind::new(name.to_owned(), "no"));
        assert_eq!(
            outcome(argument(DURABILITY_ARGUMENT)).unwrap_err().kind,
            ErrorKind::Unsupported
        );
        assert_eq!(
            outcome(argument("key")).unwrap_err().kind,
            ErrorKind::ConfigInvalid
        );
    }
}
