//! Where a node listens or is dialled, as a URL.

use core::fmt;
use core::str::FromStr;
use std::path::{Path, PathBuf};

/// Where a node listens or is dialled. [`Display`](fmt::Display) gives the URL back, and parsing that gives an equal
/// value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndpointUrl {
    /// `tcp://HOST:PORT`; an IPv6 address stands in brackets.
    Tcp {
        /// Name or address, an IPv6 address without its brackets.
        host: String,
        /// 0 takes a free port when listening.
        port: u16,
    },
    /// `tls://HOST:PORT`: TLS over TCP. The other side's certificate must be good for the host.
    Tls {
        /// Name or address, an IPv6 address without its brackets.
        host: String,
        /// 0 takes a free port when listening.
        port: u16,
    },
    /// `unix:PATH`, absolute or relative to the working directory.
    Unix {
        /// The socket's file.
        path: PathBuf,
    },
}

/// Why a text is not an endpoint's URL. It never repeats more of the text than its scheme or port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// No scheme, or one that is not known.
    #[error("not an endpoint: use tcp://HOST:PORT, tls://HOST:PORT or unix:PATH")]
    Scheme,
    /// `tls://` in a build without TLS.
    #[error("tls:// endpoints are not in this build: enable the Cargo feature `tls` of waypost-node")]
    TlsNotBuilt,
    /// The host is missing or is none.
    #[error("the endpoint's host is not valid: write {scheme}://HOST:PORT, an IPv6 address in brackets")]
    Host {
        /// The URL's scheme.
        scheme: &'static str,
    },
    /// The port is missing or is none.
    #[error("the endpoint's port is missing or not a number from 0 to 65535: write {scheme}://HOST:PORT")]
    Port {
        /// The URL's scheme.
        scheme: &'static str,
    },
    /// There is something after the port.
    #[error("an endpoint ends with its port: write {scheme}://HOST:PORT")]
    Trailing {
        /// The URL's scheme.
        scheme: &'static str,
    },
    /// There is a user or a password in it.
    #[error("an endpoint has no user and no password: give a cluster key instead")]
    UserInfo,
    /// The path of the unix socket is empty or cannot be one.
    #[error("the socket's path is not valid: write unix:/absolute/path or unix:relative/path")]
    Path,
}

impl EndpointUrl {
    /// The URL's scheme.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Tls { .. } => "tls",
            Self::Unix { .. } => "unix",
        }
    }

    /// The port; `None` for a unix socket.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port, .. } | Self::Tls { port, .. } => Some(*port),
            Self::Unix { .. } => None,
        }
    }

    /// The same endpoint with another port; a unix socket stays as it is.
    #[must_use]
    pub fn with_port(mut self, new: u16) -> Self {
        match &mut self {
            Self::Tcp { port, .. } | Self::Tls { port, .. } => *port = new,
            Self::Unix { .. } => {}
        }
        self
    }

    /// Whether the host stands for every interface of the machine (`0.0.0.0`, `::`), so that nobody can dial it.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        match self {
            Self::Tcp { host, .. } | Self::Tls { host, .. } => host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_unspecified()),
            Self::Unix { .. } => false,
        }
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } | Self::Tls { host, port } => {
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{}://{open}{host}{close}:{port}", self.scheme())
            }
            Self::Unix { path } => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for EndpointUrl {
    type Err = EndpointError;

    fn from_str(url: &str) -> Result<Self, EndpointError> {
        if let Some(rest) = url.strip_prefix("tcp://") {
            let (host, port) = host_and_port("tcp", rest)?;
            return Ok(Self::Tcp { host, port });
        }
        if let Some(rest) = url.strip_prefix("tls://") {
            if !cfg!(feature = "tls") {
                return Err(EndpointError::TlsNotBuilt);
            }
            let (host, port) = host_and_port("tls", rest)?;
            return Ok(Self::Tls { host, port });
        }
        if let Some(path) = url.strip_prefix("unix:") {
            return Ok(Self::Unix {
                path: socket_path(path)?,
            });
        }
        Err(EndpointError::Scheme)
    }
}

fn host_and_port(scheme: &'static str, rest: &str) -> Result<(String, u16), EndpointError> {
    if rest.contains('@') {
        return Err(EndpointError::UserInfo);
    }
    let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(EndpointError::Host { scheme })?;
        host.parse::<std::net::Ipv6Addr>()
            .map_err(|_| EndpointError::Host { scheme })?;
        (
            host,
            rest.strip_prefix(':').ok_or(EndpointError::Port { scheme })?,
        )
    } else {
        rest.split_once(':').ok_or(EndpointError::Port { scheme })?
    };
    let (port, trailing) = port.split_at(port.find(['/', '?', '#']).unwrap_or(port.len()));
    if port.contains(':') {
        // An IPv6 address without brackets.
        return Err(EndpointError::Host { scheme });
    }
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(EndpointError::Port { scheme });
    }
    let port = port.parse().map_err(|_| EndpointError::Port { scheme })?;
    if !trailing.is_empty() {
        return Err(EndpointError::Trailing { scheme });
    }
    let unfit = |c: char| c.is_whitespace() || c.is_control() || "/?#[]%\\".contains(c);
    if host.is_empty() || host.contains(unfit) {
        return Err(EndpointError::Host { scheme });
    }
    Ok((host.to_owned(), port))
}

fn socket_path(path: &str) -> Result<PathBuf, EndpointError> {
    // `unix:///run/x.sock` is common elsewhere and can mean only one thing; in `unix://run/x.sock` the first name would
    // be a host.
    let path = match path.strip_prefix("//") {
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) => return Err(EndpointError::Path),
        None => path,
    };
    if path.is_empty() || path.contains('\0') || path.ends_with('/') {
        return Err(EndpointError::Path);
    }
    Ok(Path::new(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_survives_being_written_and_read() {
        let urls = [
            "tcp://host:1",
            "tcp://127.0.0.1:65535",
            "tcp://[::1]:4500",
            "tcp://0.0.0.0:0",
            "unix:/run/a.sock",
        ];
        for url in urls.into_iter().chain(["unix:relative/a.sock", "unix:a b"]) {
            let parsed: EndpointUrl = url.parse().unwrap();
            assert_eq!(parsed.to_string(), url);
        }
        assert_eq!(
            "unix:///run/a".parse::<EndpointUrl>().unwrap().to_string(),
            "unix:/run/a"
        );
        assert_eq!(
            "tcp://[::1]:1".parse(),
            Ok(EndpointUrl::Tcp {
                host: "::1".into(),
                port: 1
            })
        );
    }

    #[test]
    fn a_text_that_is_no_endpoint_says_what_to_write() {
        for (url, error) in [
            ("", EndpointError::Scheme),
            ("localhost:1", EndpointError::Scheme),
            ("http://localhost:1", EndpointError::Scheme),
            ("tcp:localhost:1", EndpointError::Scheme),
            ("tcp://", EndpointError::Port { scheme: "tcp" }),
            ("tcp://host", EndpointError::Port { scheme: "tcp" }),
            ("tcp://host:", EndpointError::Port { scheme: "tcp" }),
            ("tcp://host:+1", EndpointError::Port { scheme: "tcp" }),
            ("tcp://host:65536", EndpointError::Port { scheme: "tcp" }),
            ("tcp://[::1]", EndpointError::Port { scheme: "tcp" }),
            ("tcp://:1", EndpointError::Host { scheme: "tcp" }),
            ("tcp://::1:1", EndpointError::Host { scheme: "tcp" }),
            ("tcp://[host]:1", EndpointError::Host { scheme: "tcp" }),
            ("tcp://[::1:1", EndpointError::Host { scheme: "tcp" }),
            ("tcp://a b:1", EndpointError::Host { scheme: "tcp" }),
            ("tcp://host:1/x", EndpointError::Trailing { scheme: "tcp" }),
            ("tcp://me:secret@host:1", EndpointError::UserInfo),
            ("unix:", EndpointError::Path),
            ("unix:/run/", EndpointError::Path),
            ("unix://run/x", EndpointError::Path),
        ] {
            let parsed = url.parse::<EndpointUrl>();
            assert_eq!(parsed, Err(error.clone()), "{url}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn tls_is_an_endpoint_only_where_it_is_built_in() {
        let parsed = "tls://host:1".parse::<EndpointUrl>();
        if cfg!(feature = "tls") {
            assert_eq!(parsed.unwrap().to_string(), "tls://host:1");
        } else {
            assert_eq!(parsed, Err(EndpointError::TlsNotBuilt));
        }
    }

    #[test]
    fn every_interface_is_a_wildcard() {
        assert!("tcp://0.0.0.0:1".parse::<EndpointUrl>().unwrap().is_wildcard());
        assert!("tcp://[::]:1".parse::<EndpointUrl>().unwrap().is_wildcard());
        assert!(!"tcp://localhost:1".parse::<EndpointUrl>().unwrap().is_wildcard());
    }
}
