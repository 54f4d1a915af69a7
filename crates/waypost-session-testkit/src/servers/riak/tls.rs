//! Certificates of nodes that are reached by TLS.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What all nodes show, and the file by which clients trust it.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    dir: TempDir,
}

impl core::fmt::Debug for Tls {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Tls").field(&self.dir.path()).finish()
    }
}

impl Tls {
    /// A fresh self-signed certificate for `127.0.0.1`.
    pub(super) fn new() -> io::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).map_err(io::Error::other)?;
        let dir = TempDir::with_prefix("waypost-riak-")?;
        std::fs::write(ca_file(&dir), made.cert.pem())?;
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![made.cert.der().clone()], key)
            });
        Ok(Self {
            acceptor: Arc::new(config.map_err(io::Error::other)?).into(),
            dir,
        })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    pub(super) fn ca_file(&self) -> PathBuf {
        ca_file(&self.dir)
    }
}

fn ca_file(dir: &TempDir) -> PathBuf {
    Path::join(dir.path(), "ca.pem")
}
