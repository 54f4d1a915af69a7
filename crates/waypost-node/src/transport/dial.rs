//! Dialling an endpoint.

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use super::endpoint::{EndpointError, EndpointUrl};
use super::stream::Stream;
#[cfg(feature = "tls")]
use super::tls::TlsClient;

/// How long a dial may take when nothing else is said.
pub const DEFAULT_DIAL_DEADLINE: Duration = Duration::from_secs(5);
/// First and longest pause while a unix socket's queue of connections is full.
const QUEUE_FULL_PAUSE_MIN: Duration = Duration::from_millis(1);
const QUEUE_FULL_PAUSE_MAX: Duration = Duration::from_millis(50);

/// How to dial.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DialSettings {
    /// How long looking up the name, connecting and securing the connection may take together. Default: 5 s.
    pub deadline: Duration,
    /// Whom `tls://` endpoints must be. Without it they cannot be dialled.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsClient>,
}

impl Default for DialSettings {
    fn default() -> Self {
        Self {
            deadline: DEFAULT_DIAL_DEADLINE,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl DialSettings {
    /// How long a dial may take.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whom `tls://` endpoints must be.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: TlsClient) -> Self {
        self.tls = Some(tls);
        self
    }
}

/// Why an endpoint could not be dialled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The text is not an endpoint.
    #[error("cannot dial: the location is not an endpoint")]
    BadUrl(#[from] EndpointError),
    /// Nobody listens there: the process is not running, or the location is old.
    #[error("nobody listens on {url}")]
    Refused {
        /// The endpoint.
        url: EndpointUrl,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It took longer than the deadline.
    #[error("{url} did not answer within {} ms", after.as_millis())]
    TimedOut {
        /// The endpoint.
        url: EndpointUrl,
        /// The deadline.
        after: Duration,
    },
    /// The host is not known, there is no way to it, or the connection broke.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// The endpoint.
        url: EndpointUrl,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Somebody answers, and TLS does not come about: another certificate, or no TLS there.
    #[error("{url} cannot be secured by TLS: check the certificates of both sides")]
    Tls {
        /// The endpoint.
        url: EndpointUrl,
        /// What TLS said.
        #[source]
        source: io::Error,
    },
    /// A `tls://` endpoint, and nothing says whom to trust.
    #[error("{url} cannot be dialled: give the authority that its certificate comes from")]
    TlsNotSet {
        /// The endpoint.
        url: EndpointUrl,
    },
}

/// Dials a location, as a lease names it. See [`dial`].
///
/// # Errors
/// [`DialError`].
pub async fn dial_location(location: &str, settings: &DialSettings) -> Result<Stream, DialError> {
    dial(&location.parse()?, settings).await
}

/// Connects to `url`, and secures the connection when it is `tls://`. The handshake of the link is not part of it.
///
/// Dropping the future drops the connection.
///
/// # Errors
/// [`DialError`].
pub async fn dial(url: &EndpointUrl, settings: &DialSettings) -> Result<Stream, DialError> {
    match timeout(settings.deadline, connect(url, settings)).await {
        Ok(result) => result,
        Err(_) => Err(DialError::TimedOut {
            url: url.clone(),
            after: settings.deadline,
        }),
    }
}

async fn connect(url: &EndpointUrl, settings: &DialSettings) -> Result<Stream, DialError> {
    #[cfg(not(feature = "tls"))]
    let _ = settings;
    match url {
        EndpointUrl::Tcp { host, port } => Ok(Stream::tcp(tcp(url, host, *port).await?)),
        EndpointUrl::Unix { path } => {
            let mut pause = QUEUE_FULL_PAUSE_MIN;
            loop {
                match UnixStream::connect(path).await {
                    Ok(stream) => return Ok(Stream::unix(stream)),
                    // Unlike TCP's, a full queue of a unix socket is an error at once.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        sleep(pause).await;
                        pause = (pause * 2).min(QUEUE_FULL_PAUSE_MAX);
                    }
                    Err(error) => return Err(failed(url, error)),
                }
            }
        }
        #[cfg(feature = "tls")]
        EndpointUrl::Tls { host, port } => {
            let Some(tls) = &settings.tls else {
                return Err(DialError::TlsNotSet { url: url.clone() });
            };
            let stream = tcp(url, host, *port).await?;
            // The TLS handshake is small writes that wait for each other.
            let _ = stream.set_nodelay(true);
            tls.connect(host, stream).await.map_err(|source| DialError::Tls {
                url: url.clone(),
                source,
            })
        }
        #[cfg(not(feature = "tls"))]
        EndpointUrl::Tls { .. } => Err(DialError::TlsNotSet { url: url.clone() }),
    }
}

async fn tcp(url: &EndpointUrl, host: &str, port: u16) -> Result<TcpStream, DialError> {
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| failed(url, error))?;
    // When nobody listens on a port of this machine, the kernel may choose that very port for our end and connect the
    // socket to itself.
    if let (Ok(ours), Ok(theirs)) = (stream.local_addr(), stream.peer_addr())
        && ours == theirs
    {
        let source = io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "the socket was connected to itself",
        );
        return Err(DialError::Refused {
            url: url.clone(),
            source,
        });
    }
    Ok(stream)
}

fn failed(url: &EndpointUrl, source: io::Error) -> DialError {
    let url = url.clone();
    let nobody = match source.kind() {
        io::ErrorKind::ConnectionRefused => true,
        io::ErrorKind::NotFound => matches!(url, EndpointUrl::Unix { .. }),
        _ => false,
    };
    match source.kind() {
        _ if nobody => DialError::Refused { url, source },
        _ => DialError::Unreachable { url, source },
    }
}
