//! Tries the door before the SDK does, which waits in front of a closed one and does not say why.

use core::time::Duration;
use std::sync::Arc;

use couchbase_core::address::Address;
use couchbase_core::auth_mechanism::AuthMechanism;
use couchbase_core::memdx::client::Client;
use couchbase_core::memdx::connection::{ConnectOptions, ConnectionType, TcpConnection};
use couchbase_core::memdx::dispatcher::{Dispatcher as _, DispatcherOptions};
use couchbase_core::memdx::error::{Error, ErrorKind as MemdxKind, ServerErrorKind};
use couchbase_core::memdx::hello_feature::HelloFeature;
use couchbase_core::memdx::op_auth_saslauto::{Credentials, SASLAuthAutoOptions};
use couchbase_core::memdx::op_bootstrap::{BootstrapOptions, OpBootstrap};
use couchbase_core::memdx::ops_core::OpsCore;
use couchbase_core::memdx::ops_util::OpsUtil;
use couchbase_core::memdx::request::{GetCollectionIdRequest, HelloRequest, SelectBucketRequest};
use couchbase_core::memdx::status::Status;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use waypost_session::{ErrorKind, Host};

use crate::fault::Fault;
use crate::settings::Settings;

/// Asks the hosts one after the other until one answers, and says what is wrong, if anything.
pub(crate) async fn check(settings: &Settings, deadline: Instant) -> Result<(), Fault> {
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
    last.map_or(Ok(()), Err)
}

async fn ask(settings: &Settings, host: &Host, deadline: Instant) -> Result<(), Fault> {
    let port = host.port.unwrap_or_else(|| settings.port());
    let unreachable = |why: String| {
        let message = format!("{}:{port} cannot be reached: {why}", host.name);
        Fault::new(ErrorKind::Unavailable, message)
    };
    let silent = || unreachable("it did not answer in time as a Couchbase data service does".to_owned());
    if settings.tls {
        // What is behind the TLS is for the SDK to find out; that something listens can be told.
        return match timeout_at(deadline, TcpStream::connect((host.name.as_str(), port))).await {
            Ok(Ok(_)) => Ok(()),
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
    let connection = match TcpConnection::connect(address, options).await {
        Ok(connection) => connection,
        Err(error) => {
            use std::error::Error as _;
            let cause = error.source().map(ToString::to_string);
            return Err(unreachable(cause.unwrap_or_else(|| error.to_string())));
        }
    };
    match timeout_at(deadline, enter(settings, connection, deadline)).await {
        Ok(answer) => answer.map_err(|(step, error)| explain(settings, step, &error).unwrap_or_else(silent)),
        Err(_) => Err(silent()),
    }
}

/// Where it failed.
#[derive(Clone, Copy)]
enum Step {
    Bucket,
    Collection,
}

async fn enter(
    settings: &Settings,
    connection: TcpConnection,
    deadline: Instant,
) -> Result<(), (Step, Error)> {
    let (closed, _) = tokio::sync::oneshot::channel();
    let options = DispatcherOptions {
        unsolicited_packet_handler: Arc::new(|_| Box::pin(async {})),
        orphan_handler: None,
        on_read_close_tx: closed,
        disable_decompression: true,
        id: "waypost-door".to_owned(),
    };
    let client = Client::new(ConnectionType::Tcp(connection), options);
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
            ],
        )),
        get_error_map: None,
        auth: Some(SASLAuthAutoOptions {
            credentials,
            // Never in the clear.
            enabled_mechs: vec![
                AuthMechanism::ScramSha512.into(),
                AuthMechanism::ScramSha256.into(),
                AuthMechanism::ScramSha1.into(),
            ],
        }),
        select_bucket: Some(SelectBucketRequest::new(settings.bucket.clone())),
        deadline,
        get_cluster_config: None,
    };
    OpBootstrap::bootstrap(OpsCore {}, &client, bootstrap)
        .await
        .map_err(|error| (Step::Bucket, error))?;
    if settings.is_default_collection() {
        return Ok(());
    }
    let request = GetCollectionIdRequest::new(&settings.scope, &settings.collection);
    let wrong = |error| (Step::Collection, error);
    let mut pending = OpsUtil {}
        .get_collection_id(&client, request)
        .await
        .map_err(wrong)?;
    pending.recv().await.map_err(wrong)?;
    Ok(())
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
        (ServerErrorKind::UnknownCommand | ServerErrorKind::NotSupported, Step::Collection) => (
            ErrorKind::Unsupported,
            "this server has no collections: leave `scope` and `collection` out of the url".to_owned(),
        ),
        (other, _) => (ErrorKind::Unavailable, format!("the server refuses us: {other}")),
    };
    Some(Fault::new(kind, message))
}
