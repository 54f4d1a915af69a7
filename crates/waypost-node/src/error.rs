//! Why a node or a peer could not start.

use crate::transport::{EndpointError, ListenError};

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
    #[error("cannot use {url:?} as an endpoint")]
    Endpoint {
        /// The URL as given, without the user and the password that have no place in it.
        url: String,
        /// What is wrong with it, and what to write instead.
        #[source]
        source: EndpointError,
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
}

impl StartError {
    pub(crate) fn endpoint(url: &str, source: EndpointError) -> Self {
        let url = match url.rsplit_once('@') {
            Some((_, host)) => format!("***@{host}"),
            None => url.to_owned(),
        };
        Self::Endpoint { url, source }
    }
}

/// An error with all that caused it, on one line: for logs, since the text of an error leaves its source out.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
