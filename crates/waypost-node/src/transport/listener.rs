//! Listening: TCP, unix sockets and TLS behind one type.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, lookup_host};

use super::endpoint::EndpointUrl;
use super::socket_file::{self, SocketFile};
use super::stream::{RemoteAddr, Stream};
#[cfg(feature = "tls")]
use super::tls::TlsServer;

/// First and longest pause after an accept that failed for want of something (files, memory).
const BACK_OFF_MIN: Duration = Duration::from_millis(5);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// What a listener needs besides its URL.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ListenSettings {
    /// What `tls://` endpoints show. Without it they cannot be listened on.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsServer>,
}

impl ListenSettings {
    /// What `tls://` endpoints show.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: TlsServer) -> Self {
        self.tls = Some(tls);
        self
    }
}

/// Why an endpoint cannot be listened on. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody else listens there; the source says who could. A live unix socket is not touched.
    #[error("{url} is in use: stop what listens there or choose another endpoint")]
    AddrInUse {
        /// The endpoint.
        url: EndpointUrl,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A `tls://` endpoint without a certificate.
    #[error("{url} needs a certificate and a key: give them, or use tcp://")]
    TlsNotSet {
        /// The endpoint.
        url: EndpointUrl,
    },
    /// The host is not known, the address is none of this machine's, or the path does not exist or may not be used: nothing
    /// that goes away by itself.
    #[error("{url} is nothing that can be listened on here: check its address or path")]
    NotHere {
        /// The endpoint.
        url: EndpointUrl,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {url}")]
    Io {
        /// The endpoint.
        url: EndpointUrl,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// A bound endpoint. Dropping it closes it, and removes the unix socket's file if it is still this listener's.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    url: EndpointUrl,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    // The file goes first: see there.
    Unix(
        #[expect(dead_code, reason = "held for its drop")] SocketFile,
        UnixListener,
    ),
    #[cfg(feature = "tls")]
    Tls(TcpListener, TlsServer),
}

/// A connection that was accepted; over TLS, one that is not secured yet.
#[derive(Debug)]
pub struct Incoming {
    stream: Stream,
    remote: RemoteAddr,
    #[cfg(feature = "tls")]
    tls: Option<TlsServer>,
}

impl Incoming {
    /// Who connected.
    #[must_use]
    pub const fn remote_addr(&self) -> RemoteAddr {
        self.remote
    }

    /// Does the TLS handshake where the endpoint has one. It has no deadline of its own: put it under the one of the
    /// whole handshake. Dropping the future drops the connection.
    ///
    /// # Errors
    /// What TLS or the connection said.
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::unused_async, reason = "awaits where TLS is built in")
    )]
    pub async fn secure(self) -> io::Result<Stream> {
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls {
            return match self.stream.into_tcp() {
                Ok(stream) => tls.accept(stream).await,
                Err(stream) => Ok(stream),
            };
        }
        Ok(self.stream)
    }
}

impl Listener {
    /// Binds `url` and listens. Port 0 takes a free port, which [`local_url`](Self::local_url) then says. A unix socket on
    /// which nobody listens any more is replaced.
    ///
    /// # Errors
    /// [`ListenError`]; nothing is left behind.
    pub async fn bind(url: &EndpointUrl, settings: &ListenSettings) -> Result<Self, ListenError> {
        #[cfg(not(feature = "tls"))]
        let _ = settings;
        let not_here = |source| ListenError::NotHere {
            url: url.clone(),
            source,
        };
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::AddrInUse {
                url: url.clone(),
                source,
            },
            io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput => not_here(source),
            _ => ListenError::Io {
                url: url.clone(),
                source,
            },
        };
        match url {
            EndpointUrl::Tcp { host, port } => {
                let addresses = resolve(host, *port).await.map_err(not_here)?;
                let socket = TcpListener::bind(&*addresses).await.map_err(failed)?;
                let port = socket.local_addr().map_err(failed)?.port();
                Ok(Self {
                    socket: Socket::Tcp(socket),
                    url: url.clone().with_port(port),
                })
            }
            #[cfg(feature = "tls")]
            EndpointUrl::Tls { host, port } => {
                let Some(tls) = settings.tls.clone() else {
                    return Err(ListenError::TlsNotSet { url: url.clone() });
                };
                let addresses = resolve(host, *port).await.map_err(not_here)?;
                let socket = TcpListener::bind(&*addresses).await.map_err(failed)?;
                let port = socket.local_addr().map_err(failed)?.port();
                Ok(Self {
                    socket: Socket::Tls(socket, tls),
                    url: url.clone().with_port(port),
                })
            }
            #[cfg(not(feature = "tls"))]
            EndpointUrl::Tls { .. } => Err(ListenError::TlsNotSet { url: url.clone() }),
            EndpointUrl::Unix { path } => {
                let (file, socket) = socket_file::bind(path).await.map_err(failed)?;
                let socket = UnixListener::from_std(socket).map_err(failed)?;
                Ok(Self {
                    socket: Socket::Unix(file, socket),
                    url: url.clone(),
                })
            }
        }
    }

    /// Where it listens: the URL as given, with the port that it really got. A host such as `0.0.0.0` stays as it is.
    #[must_use]
    pub const fn local_url(&self) -> &EndpointUrl {
        &self.url
    }

    /// Waits for the next connection. It never fails: a connection that broke before it was taken is passed over, and
    /// when files or memory run out it pauses, 5 ms at first and 1 s at most, and goes on.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> Incoming {
        let mut pause = BACK_OFF_MIN;
        loop {
            match self.accept_one().await {
                Ok(incoming) => return incoming,
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    if pause == BACK_OFF_MIN {
                        tracing::warn!(url = %self.url, %error, "cannot accept connections: pausing and trying again");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF_MAX);
                }
            }
        }
    }

    async fn accept_one(&self) -> io::Result<Incoming> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, addr) = socket.accept().await?;
                Ok(Incoming {
                    stream: Stream::tcp(stream),
                    remote: RemoteAddr::Ip(addr),
                    #[cfg(feature = "tls")]
                    tls: None,
                })
            }
            Socket::Unix(_, socket) => {
                let (stream, _) = socket.accept().await?;
                Ok(Incoming {
                    stream: Stream::unix(stream),
                    remote: RemoteAddr::Unix,
                    #[cfg(feature = "tls")]
                    tls: None,
                })
            }
            #[cfg(feature = "tls")]
            Socket::Tls(socket, tls) => {
                let (stream, addr) = socket.accept().await?;
                Ok(Incoming {
                    stream: Stream::tcp(stream),
                    remote: RemoteAddr::Ip(addr),
                    tls: Some(tls.clone()),
                })
            }
        }
    }
}

/// The host's addresses: none is an error too.
async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host((host, port)).await?.collect())
}

/// Whether an accept failed because of the connection and not of the listener: the next may do.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
