//! Making connections: addresses, credentials, TLS.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisConnectionInfo,
};
use waypost_session::{ErrorKind, StoreError};

use crate::fault::{Fault, Redactor};
use crate::settings::Settings;

/// Makes clients for the servers of one store.
pub(crate) struct Dialler {
    info: RedisConnectionInfo,
    tls: Option<Certificates>,
    pub(crate) redactor: Redactor,
    /// How long a request is waited for.
    timeout: Duration,
}

#[cfg(feature = "tls")]
type Certificates = redis::TlsCertificates;
/// There are none.
#[cfg(not(feature = "tls"))]
#[derive(Clone)]
enum Certificates {}

impl Dialler {
    /// Reads the files that the settings name.
    pub(crate) fn new(settings: &Settings) -> Result<Self, StoreError> {
        let password = settings.password.as_ref().map(|secret| secret.expose());
        // RESP3, because then the library tells at once that a connection was lost.
        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(settings.db);
        if let Some(username) = &settings.username {
            info = info.set_username(username);
        }
        if let Some(password) = password {
            info = info.set_password(password);
        }
        Ok(Self {
            info,
            tls: certificates(settings)?,
            redactor: Redactor::new(password),
            timeout: settings.timeout,
        })
    }

    /// The same for sentinels, which have one database and often no password.
    pub(crate) fn for_sentinels(&self, authenticate: bool) -> Self {
        let info = if authenticate {
            self.info.clone().set_db(0)
        } else {
            RedisConnectionInfo::default()
        };
        Self {
            // Sentinels speak RESP3 too, and nothing here depends on it.
            info: info.set_protocol(ProtocolVersion::RESP3),
            tls: self.tls.clone(),
            redactor: self.redactor.clone(),
            timeout: self.timeout,
        }
    }

    /// What the network has not carried by the time when nobody waits for it any more must not reach the server later: a claim
    /// that has failed would take a client away from where it has connected since. The system would go on sending, also for a
    /// connection that has been given up.
    fn tcp(&self) -> TcpSettings {
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(self.timeout);
        tcp
    }

    /// A client for one server. Connects to nothing yet.
    pub(crate) fn client(&self, host: &str, port: u16) -> Result<Client, Fault> {
        let addr = match &self.tls {
            None => ConnectionAddr::Tcp(host.to_owned(), port),
            Some(_) => ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: false,
                tls_params: None,
            },
        };
        let describe = |error: &redis::RedisError| self.redactor.connection(host, error);
        let info = addr
            .into_connection_info()
            .map_err(|error| describe(&error))?
            .set_tcp_settings(self.tcp())
            .set_redis_settings(self.info.clone());
        match &self.tls {
            None => Client::open(info),
            #[cfg(feature = "tls")]
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            #[cfg(not(feature = "tls"))]
            Some(never) => match *never {},
        }
        .map_err(|error| describe(&error))
    }
}

/// A connection, and whether it is known to be lost.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) connection: MultiplexedConnection,
    lost: Arc<AtomicBool>,
}

impl Live {
    /// Connects and authenticates.
    pub(crate) async fn connect(client: &Client, timeout: Duration) -> redis::RedisResult<Self> {
        let lost = Arc::new(AtomicBool::new(false));
        let notice = Arc::clone(&lost);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            // Each request carries its own deadline.
            .set_response_timeout(None)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    notice.store(true, Ordering::Release);
                }
                Ok::<(), core::convert::Infallible>(())
            });
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        Ok(Self { connection, lost })
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Nobody shall use it for anything new.
    pub(crate) fn give_up(&self) {
        self.lost.store(true, Ordering::Release);
    }
}

#[cfg(feature = "tls")]
fn certificates(settings: &Settings) -> Result<Option<Certificates>, StoreError> {
    let Some(files) = &settings.tls else {
        return Ok(None);
    };
    // The redis crate takes the process's default provider and would panic without one.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when somebody else was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let read = |path: &Option<String>, param: &str| match path {
        None => Ok(None),
        Some(path) => std::fs::read(path).map(Some).map_err(|error| {
            StoreError::new(
                ErrorKind::ConfigInvalid,
                "open",
                format!("cannot read the file of `{param}`: {error}"),
            )
        }),
    };
    let cert = read(&files.cert, "cert-file")?;
    let key = read(&files.key, "key-file")?;
    Ok(Some(redis::TlsCertificates {
        client_tls: cert
            .zip(key)
            .map(|(client_cert, client_key)| redis::ClientTlsConfig {
                client_cert,
                client_key,
            }),
        root_cert: read(&files.ca, "ca-file")?,
    }))
}

#[cfg(not(feature = "tls"))]
fn certificates(settings: &Settings) -> Result<Option<Certificates>, StoreError> {
    match settings.tls {
        None => Ok(None),
        Some(_) => Err(StoreError::new(
            ErrorKind::Unsupported,
            "open",
            "this build has no TLS",
        )),
    }
}
