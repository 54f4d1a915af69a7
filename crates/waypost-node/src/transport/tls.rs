//! TLS settings from PEM files. No root certificates are built in: whom to trust is said by the files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::stream::Stream;

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or has not what it should have.
    #[error("cannot read {what} from {}: give a PEM file", path.display())]
    File {
        /// What was wanted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The files can be read, but do not fit together or are not accepted.
    #[error("the certificate or key is not accepted: check that they belong together")]
    Rejected(#[source] rustls::Error),
    /// The authority for client certificates is not usable.
    #[error("the authority for client certificates is not accepted: check the file")]
    Authority(#[source] rustls::server::VerifierBuilderError),
}

/// The files of a side's own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The listening side's TLS. A clone is a reference count.
#[derive(Clone)]
pub struct TlsServer(TlsAcceptor);

/// The dialling side's TLS. A clone is a reference count.
#[derive(Clone)]
pub struct TlsClient(TlsConnector);

impl core::fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TlsServer")
    }
}

impl core::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TlsClient")
    }
}

impl TlsServer {
    /// Shows `identity`. With `client_ca`, only clients that show a certificate of that authority are let in (mutual
    /// TLS). The files are read once, here.
    ///
    /// # Errors
    /// [`TlsError`] when a file cannot be read or is not accepted.
    pub fn from_pem(identity: &TlsIdentity, client_ca: Option<&Path>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Rejected)?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider)
                    .build()
                    .map_err(TlsError::Authority)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let (chain, key) = load(identity)?;
        let config = builder.with_single_cert(chain, key).map_err(TlsError::Rejected)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<Stream> {
        Ok(Stream::tls(self.0.accept(stream).await?.into()))
    }
}

impl TlsClient {
    /// Trusts the authorities in `ca` and nobody else; shows `identity` to servers that ask for one. The files are read
    /// once, here.
    ///
    /// # Errors
    /// [`TlsError`] when a file cannot be read or is not accepted.
    pub fn from_pem(ca: &Path, identity: Option<&TlsIdentity>) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Rejected)?
            .with_root_certificates(roots(ca)?);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = load(identity)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(TlsError::Rejected)?
            }
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> std::io::Result<Stream> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error: InvalidDnsNameError| {
            std::io::Error::new(std::io::ErrorKind::InvalidInput, error)
        })?;
        Ok(Stream::tls(self.0.connect(name, stream).await?.into()))
    }
}

fn load(identity: &TlsIdentity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(|source| TlsError::File {
        what: "a private key",
        path: identity.key.clone(),
        source,
    })?;
    Ok((certificates(&identity.cert)?, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File {
        what: "a certificate",
        path: path.to_owned(),
        source,
    };
    let all = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    if all.is_empty() {
        return Err(failed(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(all)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(TlsError::Rejected)?;
    }
    Ok(roots)
}
