//! The transport on real sockets.

mod bounds;
mod endpoints;
mod framing;
mod handshake;
mod support;
#[cfg(feature = "tls")]
mod tls;
