//! Why a node or a peer could not start.

use waypost_session::StoreError;

use crate::transport::ListenError;

/// Why a node or a peer could not start. Nothing is left behind: no socket, no lease, no task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of its range.
    #[error("setting {name} is not valid: {reason}")]
    Setting {
        /// Which setting.
        name: &'static str,
        /// What it takes.
        reason: String,
    },
    /// An endpoint's URL cannot be read.
    #[error("not an endpoint: {url:?}: use tcp://HOST:PORT or unix:PATH")]
    Endpoint {
        /// The URL as given.
        url: String,
    },
    /// An endpoint cannot be listened on.
    #[error("cannot start listening")]
    Listen {
        /// The endpoint.
        url: String,
        /// Why not.
        #[source]
        source: ListenError,
    },
    /// The files that secure links cannot be used.
    #[cfg(feature = "tls")]
    #[error("links cannot be secured")]
    Tls(#[source] crate::transport::TlsError),
    /// The session store does not answer.
    #[error("the session store does not answer")]
    Store(#[source] StoreError),
    /// Stopped while starting.
    #[error("closed while starting")]
    Closed,
}
