//! Why a node or a peer could not start.

use waypost_session::StoreError;

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
    #[error("cannot listen on {url}")]
    Listen {
        /// The endpoint.
        url: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The session store does not answer.
    #[error("the session store does not answer")]
    Store(#[source] StoreError),
    /// Stopped while starting.
    #[error("closed while starting")]
    Closed,
}
