//! One byte stream between two nodes, whatever carries it.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

#[cfg(feature = "tls")]
type TlsStream = Box<tokio_rustls::TlsStream<TcpStream>>;

/// A connection that is silent for so long is probed by the kernel. Links have their own pings; this is for the time
/// before they are established, and for a host that vanished.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// A connection over TCP, a unix socket or TLS. Writes are vectored where the carrier can do it.
#[derive(Debug)]
pub struct Stream(Carrier<TcpStream, UnixStream, TlsWhole>);

/// The half of a [`Stream`] that is read.
#[derive(Debug)]
pub struct ReadHalf(Carrier<tcp::OwnedReadHalf, unix::OwnedReadHalf, TlsRead>);

/// The half of a [`Stream`] that is written. Dropping it ends the direction for TCP and unix sockets.
#[derive(Debug)]
pub struct WriteHalf(Carrier<tcp::OwnedWriteHalf, unix::OwnedWriteHalf, TlsWrite>);

#[cfg(feature = "tls")]
type TlsWhole = TlsStream;
#[cfg(feature = "tls")]
type TlsRead = tokio::io::ReadHalf<TlsStream>;
#[cfg(feature = "tls")]
type TlsWrite = tokio::io::WriteHalf<TlsStream>;
#[cfg(not(feature = "tls"))]
type TlsWhole = core::convert::Infallible;
#[cfg(not(feature = "tls"))]
type TlsRead = core::convert::Infallible;
#[cfg(not(feature = "tls"))]
type TlsWrite = core::convert::Infallible;

#[derive(Debug)]
enum Carrier<T, U, S> {
    Tcp(T),
    Unix(U),
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "never made without TLS"))]
    Tls(S),
}

/// Who is at the other end, for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteAddr {
    /// Over TCP or TLS.
    Ip(SocketAddr),
    /// A process on this machine.
    Unix,
}

impl fmt::Display for RemoteAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(addr) => fmt::Display::fmt(addr, f),
            Self::Unix => f.write_str("unix socket"),
        }
    }
}

impl Stream {
    /// Takes a TCP connection: no delay, and probed when silent.
    pub(super) fn tcp(stream: TcpStream) -> Self {
        tune(&stream);
        Self(Carrier::Tcp(stream))
    }

    pub(super) const fn unix(stream: UnixStream) -> Self {
        Self(Carrier::Unix(stream))
    }

    #[cfg(feature = "tls")]
    pub(super) fn tls(stream: tokio_rustls::TlsStream<TcpStream>) -> Self {
        Self(Carrier::Tls(Box::new(stream)))
    }

    /// The TCP connection below, when there is no TLS on it.
    #[cfg(feature = "tls")]
    pub(super) fn into_tcp(self) -> Result<TcpStream, Self> {
        match self.0 {
            Carrier::Tcp(stream) => Ok(stream),
            other => Err(Self(other)),
        }
    }

    /// Who is at the other end; `None` when the connection is already gone.
    #[must_use]
    pub fn remote_addr(&self) -> Option<RemoteAddr> {
        match &self.0 {
            Carrier::Tcp(stream) => stream.peer_addr().ok().map(RemoteAddr::Ip),
            Carrier::Unix(_) => Some(RemoteAddr::Unix),
            #[cfg(feature = "tls")]
            Carrier::Tls(stream) => stream.get_ref().0.peer_addr().ok().map(RemoteAddr::Ip),
            #[cfg(not(feature = "tls"))]
            Carrier::Tls(never) => match *never {},
        }
    }

    /// Splits it so that one task reads while another writes.
    #[must_use]
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self.0 {
            Carrier::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf(Carrier::Tcp(read)), WriteHalf(Carrier::Tcp(write)))
            }
            Carrier::Unix(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf(Carrier::Unix(read)), WriteHalf(Carrier::Unix(write)))
            }
            #[cfg(feature = "tls")]
            Carrier::Tls(stream) => {
                let (read, write) = tokio::io::split(stream);
                (ReadHalf(Carrier::Tls(read)), WriteHalf(Carrier::Tls(write)))
            }
            #[cfg(not(feature = "tls"))]
            Carrier::Tls(never) => match never {},
        }
    }
}

/// Failures are let pass: the connection works without, and if it is broken the next read says so.
fn tune(stream: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = tuned {
        tracing::debug!(%error, "socket options could not be set");
    }
}

macro_rules! each {
    ($carrier:expr, $inner:ident => $call:expr) => {
        match $carrier {
            Carrier::Tcp($inner) => $call,
            Carrier::Unix($inner) => $call,
            #[cfg(feature = "tls")]
            Carrier::Tls($inner) => $call,
            #[cfg(not(feature = "tls"))]
            Carrier::Tls(never) => match *never {},
        }
    };
}

macro_rules! async_read {
    ($name:ident) => {
        impl AsyncRead for $name {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                each!(&mut self.0, inner => Pin::new(inner).poll_read(cx, buf))
            }
        }
    };
}

macro_rules! async_write {
    ($name:ident) => {
        impl AsyncWrite for $name {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                each!(&mut self.0, inner => Pin::new(inner).poll_write(cx, buf))
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                each!(&mut self.0, inner => Pin::new(inner).poll_write_vectored(cx, bufs))
            }

            fn is_write_vectored(&self) -> bool {
                each!(&self.0, inner => inner.is_write_vectored())
            }

            fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!(&mut self.0, inner => Pin::new(inner).poll_flush(cx))
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!(&mut self.0, inner => Pin::new(inner).poll_shutdown(cx))
            }
        }
    };
}

async_read!(Stream);
async_write!(Stream);
async_read!(ReadHalf);
async_write!(WriteHalf);
