//! What secures a node's `tls://` links.

use std::path::PathBuf;

use crate::StartError;
use crate::transport::{DialSettings, ListenSettings};

/// The files that secure links, in PEM form, read once when the node starts. Both sides of a link show certificates and
/// check the other's: mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// This node's certificate chain, leaf first. It is shown when listening and when dialling.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority of all nodes' certificates.
    pub ca: PathBuf,
}

#[cfg(feature = "tls")]
pub(crate) fn apply(
    files: Option<&TlsFiles>,
    listen: ListenSettings,
    dial: DialSettings,
) -> Result<(ListenSettings, DialSettings), StartError> {
    use crate::transport::{TlsClient, TlsIdentity, TlsServer};
    let Some(TlsFiles { cert, key, ca }) = files else {
        return Ok((listen, dial));
    };
    let identity = TlsIdentity {
        cert: cert.clone(),
        key: key.clone(),
    };
    let server = TlsServer::from_pem(&identity, Some(ca)).map_err(StartError::Tls)?;
    let client = TlsClient::from_pem(ca, Some(&identity)).map_err(StartError::Tls)?;
    Ok((listen.tls(server), dial.tls(client)))
}

#[cfg(not(feature = "tls"))]
pub(crate) fn apply(
    files: Option<&TlsFiles>,
    listen: ListenSettings,
    dial: DialSettings,
) -> Result<(ListenSettings, DialSettings), StartError> {
    match files {
        None => Ok((listen, dial)),
        Some(_) => Err(StartError::Setting {
            name: "tls-cert",
            reason: "this build cannot secure links: build it with the Cargo feature `tls`".to_owned(),
        }),
    }
}
