//! The transport of Waypost's links: endpoints, listening and dialling, handshakes, and frames over what they give.
//!
//! [`Listener`] and [`dial()`] make a [`Stream`]; [`handshake()`] makes it an open link; [`Established::into_framed`] gives
//! the two halves that the tasks of a link work with. [`Acceptor`] does the listening side's part of that for many
//! connections at once, within bounds. What frames mean is not known here.

mod acceptor;
mod dial;
mod endpoint;
mod framed;
mod halfopen;
mod handshake;
mod handshake_error;
mod listener;
mod proof;
mod socket_file;
mod stream;
#[cfg(feature = "tls")]
mod tls;

pub use acceptor::{Accepted, Acceptor};
pub use dial::{DEFAULT_DIAL_DEADLINE, DialError, DialSettings, dial, dial_location};
pub use endpoint::{EndpointError, EndpointUrl};
pub use framed::{DEFAULT_WRITE_STALL, FrameReader, FrameWriter, WriteError, Written};
pub use halfopen::{
    Admission, DEFAULT_HALF_OPEN_MAX, DEFAULT_LINKS_MAX, Evicted, Full, HalfOpen, LinkPermit,
};
pub use handshake::{
    DEFAULT_HANDSHAKE_DEADLINE, Established, HandshakeSettings, LinkInfo, handshake, refuse,
};
pub use handshake_error::{AuthFailure, HandshakeError};
pub use listener::{Incoming, ListenError, ListenSettings, Listener};
pub use proof::{ClusterKey, EmptyKey, Side};
pub use stream::{ReadHalf, RemoteAddr, Stream, WriteHalf};
#[cfg(feature = "tls")]
pub use tls::{TlsClient, TlsError, TlsIdentity, TlsServer};
