//! Tries the door before the SDK does, which waits in front of a closed one and does not say why.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use couchbase_core::address::Address;
use couchbase_core::auth_mechanism::AuthMechanism;
use couchbase_core::memdx::client::Client;
use couchbase_core::memdx::connection::{ConnectOptions, ConnectionType, TcpConnection, TlsConnection};
use couchbase_core::memdx::dispatcher::{Dispatcher as _, DispatcherOptions};
use couchbase_core::memdx::error::{Error, ErrorKind as MemdxKind, ServerErrorKind};
use couchbase_core::memdx::hello_feature::HelloFeature;
use couchbase_core::memdx::op_auth_saslauto::{Credentials, SASLAuthAutoOptions};
use couchbase_core::memdx::op_bootstrap::{BootstrapOptions, OpBootstrap};
use couchbase_core::memdx::ops_core::OpsCore;
use couchbase_core::memdx::ops_util::OpsUtil;
use couchbase_core::memdx::request::{
    GetClusterConfigRequest, GetCollectionIdRequest, HelloRequest, SelectBucketRequest,
};
use couchbase_core::memdx::status::Status;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use waypost_session::{ErrorKind, Host};

use crate::fault::Fault;
use crate::sdk::NO_DURABILITY;
use crate::settings::Settings;
use crate::view::ClusterView;

/// Asks the hosts one after the other until one answers, and says what is wrong, if anything; and else what that host knows
/// of its cluster, where it can be asked.
pub(crate) async fn check(settings: &Settings, deadline: Instant) -> Result<Option<ClusterView>, Fault> {
    let mut last = None;
    for (tried, host) in settings.hosts.iter().enumerate() {
        // What is left is shared among the hosts that are left.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(settings.hosts.len() - tried).unwrap_or(u32::MAX);
        // Twice: on a connection that is cut at the wrong moment the client waits for ever.
        for _ in 0..2 {
            match ask(settings, host, Instant::now() + share / 2).await {
                Err(fault) if fault.kind == ErrorKind::Unavailable => last = Some(fault),
                answer => return answer,
            }
        }
    }
    last.map_or(Ok(None), Err)
}

async fn ask(settings: &Settings, host: &Host, deadline: Instant) -> Result<Option<ClusterView>, Fault> {
    let port = host.port.unwrap_or_else(|| settings.port());
    let unreachable = |why: String| {
        let message = format!("{}:{port} cannot be reached: {why}", host.name);
        Fault::new(ErrorKind::Unavailable, message)
    };
    let silent = || {
        let hint = "it did not answer in time as a Couchbase data service does: is this its port (11210, by TLS 11207)?";
        unreachable(hint.to_owned())
    };
    let authorities = settings.authorities()?;
    if settings.tls && authorities.is_none() {
        // Whom the SDK trusts then is its own to know: that something listens is all that can be told.
        return match timeout_at(deadline, TcpStream::connect((host.name.as_str(), port))).await {
            Ok(Ok(_)) => Ok(None),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Err(_) => Err(silent()),
        };
    }
    let address = Address {
        host: host.name.clone(),
        port,
    };
    let options = ConnectOptions {
        deadline,
        tcp_keep_alive_time: Duration::from_secs(60),
    };
    let connected = match authorities {
        None => TcpConnection::connect(address, options)
            .await
            .map(ConnectionType::Tcp),
        Some(authorities) => TlsConnection::connect(address, tls_config(authorities)?, options)
            .await
            .map(ConnectionType::Tls),
    };
    let connection = match connected {
        Ok(connection) => connection,
        Err(error) => {
            use std::error::Error as _;
            let cause = error.source().map(ToString::to_string);
            let cause = cause.unwrap_or_else(|| error.to_string());
            if cause.contains("certificate") {
                let message = format!(
                    "{}:{port} is not whom the url's `ca-file` vouches for: {cause}",
                    host.name
                );
                return Err(Fault::new(ErrorKind::ConfigInvalid, message));
            }
            return Err(unreachable(cause));
        }
    };
    match timeout_at(deadline, enter(settings, connection, deadline)).await {
        Ok(Err(refusal)) => Err(refusal.unwrap_or_else(silent)),
        Ok(Ok(config)) => match ClusterView::parse(&config, host, settings.tls) {
            Some(view) if !view.has_vbuckets => {
                let message = format!(
                    "bucket `{}` is of the kind `memcached`: take one of the kind `couchbase` or `ephemeral`",
                    settings.bucket
                );
                Err(Fault::new(ErrorKind::ConfigInvalid, message))
            }
            view => Ok(view),
        },
        Err(_) => Err(silent()),
    }
}

/// Trusts these authorities alone, as the SDK does.
fn tls_config(authorities: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, Fault> {
    let wrong = |error: rustls::Error| {
        let message = format!("the url's `ca-file` holds a certificate that cannot be used: {error}");
        Fault::new(ErrorKind::ConfigInvalid, message)
    };
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(wrong)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Where it failed.
#[derive(Clone, Copy)]
enum Step {
    Bucket,
    Collection,
}

/// Goes as far as a store would, and gives the configuration; a refusal without words is `None`.
async fn enter(
    settings: &Settings,
    connection: ConnectionType,
    deadline: Instant,
) -> Result<Bytes, Option<Fault>> {
    let (closed, _) = tokio::sync::oneshot::channel();
    let options = DispatcherOptions {
        unsolicited_packet_handler: Arc::new(|_| Box::pin(async {})),
        orphan_handler: None,
        on_read_close_tx: closed,
        disable_decompression: true,
        id: "waypost-door".to_owned(),
    };
    let client = Client::new(connection, options);
    let credentials = Credentials::UserPass {
        username: settings.username.clone(),
        password: settings.password.expose().to_owned(),
    };
    let bootstrap = BootstrapOptions {
        hello: Some(HelloRequest::new(
            b"waypost".to_vec(),
            vec![
                HelloFeature::Xerror,
                HelloFeature::SelectBucket,
                HelloFeature::Collections,
                HelloFeature::AltRequests,
                HelloFeature::SyncReplication,
            ],
        )),
        get_error_map: None,
        auth: Some(SASLAuthAutoOptions {
            credentials,
            // As the SDK does: never in the clear.
            enabled_mechs: match settings.tls {
                true => vec![AuthMechanism::Plain.into()],
                false => vec![
                    AuthMechanism::ScramSha512.into(),
                    AuthMechanism::ScramSha256.into(),
                    AuthMechanism::ScramSha1.into(),
                ],
            },
        }),
        select_bucket: Some(SelectBucketRequest::new(settings.bucket.clone())),
        deadline,
        get_cluster_config: Some(GetClusterConfigRequest { known_version: None }),
    };
    let entered = OpBootstrap::bootstrap(OpsCore {}, &client, bootstrap)
        .await
        .map_err(|error| explain(settings, Step::Bucket, &error))?;
    let features = entered.hello.map(|hello| hello.enabled_features);
    let is_durable = features.is_some_and(|features| features.contains(&HelloFeature::SyncReplication));
    if settings.durability.level().is_some() && !is_durable {
        return Err(Some(Fault::new(ErrorKind::Unsupported, NO_DURABILITY)));
    }
    // One that cannot be had is for the SDK to complain of.
    let config = entered
        .cluster_config
        .map_or_else(Bytes::new, |answer| answer.config);
    if settings.is_default_collection() {
        return Ok(config);
    }
    let request = GetCollectionIdRequest::new(&settings.scope, &settings.collection);
    let wrong = |error| explain(settings, Step::Collection, &error);
    let mut pending = OpsUtil {}
        .get_collection_id(&client, request)
        .await
        .map_err(wrong)?;
    pending.recv().await.map_err(wrong)?;
    Ok(config)
}

/// What the server's refusal means; `None` when it is none.
fn explain(settings: &Settings, step: Step, error: &Error) -> Option<Fault> {
    let server = match error.kind() {
        MemdxKind::Server(error) => error.kind().clone(),
        MemdxKind::Resource(error) => error.cause().kind().clone(),
        _ => return None,
    };
    let (bucket, scope, collection) = (&settings.bucket, &settings.scope, &settings.collection);
    let (kind, message) = match (&server, step) {
        (
            ServerErrorKind::Auth { .. }
            | ServerErrorKind::AuthStale
            | ServerErrorKind::UnknownStatus {
                status: Status::AuthError,
            },
            _,
        ) => (
            ErrorKind::PermissionDenied,
            "the server does not know the url's user, or not by this password".to_owned(),
        ),
        (ServerErrorKind::UnknownBucketName | ServerErrorKind::NoBucket, _) => (
            ErrorKind::ConfigInvalid,
            format!("there is no bucket `{bucket}`, or the url's user may not open it"),
        ),
        (ServerErrorKind::UnknownScopeName, _) => (
            ErrorKind::ConfigInvalid,
            format!(
                "bucket `{bucket}` has no scope `{scope}`: create it and its collection `{collection}` first"
            ),
        ),
        (ServerErrorKind::UnknownCollectionName | ServerErrorKind::UnknownCollectionID, _) => (
            ErrorKind::ConfigInvalid,
            format!("bucket `{bucket}` has no collection `{scope}.{collection}`: create it first"),
        ),
        (ServerErrorKind::Access, _) => (
            ErrorKind::PermissionDenied,
            format!("the url's user may not use bucket `{bucket}`"),
        ),
        (
            ServerErrorKind::UnknownCommand
            | ServerErrorKind::NotSupported
            | ServerErrorKind::UnknownStatus {
                status: Status::CommandUnknown | Status::NotSupported,
            },
            Step::Collection,
        ) => (
            ErrorKind::Unsupported,
            "this server has no collections: leave `scope` and `collection` out of the url".to_owned(),
        ),
        (other, _) => (ErrorKind::Unavailable, format!("the server refuses us: {other}")),
    };
    Some(Fault::new(kind, message))
}
