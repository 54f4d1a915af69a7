//! TLS, with certificates made for the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use waypost_node::transport::{
    DialError, DialSettings, EndpointUrl, HandshakeError, ListenError, ListenSettings, Listener, Side,
    Stream, TlsClient, TlsError, TlsIdentity, TlsServer, dial, handshake,
};
use waypost_wire::{Frame, LooksLike};

use crate::support::{connect, keyed, listen_tcp, settings, soon};

/// An authority in a directory, and certificates from it.
struct Authority {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn identity(&self, name: &str) -> TlsIdentity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str| self.dir.path().join(format!("{name}.{kind}"));
        fs::write(file("cert"), cert.pem()).unwrap();
        fs::write(file("key"), key.serialize_pem()).unwrap();
        TlsIdentity {
            cert: file("cert"),
            key: file("key"),
        }
    }
}

async fn listen(identity: &TlsIdentity, client_ca: Option<&Path>) -> Listener {
    let tls = TlsServer::from_pem(identity, client_ca).unwrap();
    let url = "tls://127.0.0.1:0".parse().unwrap();
    Listener::bind(&url, &ListenSettings::default().tls(tls))
        .await
        .unwrap()
}

fn trusting(authority: &Authority, identity: Option<&TlsIdentity>) -> DialSettings {
    DialSettings::default().tls(TlsClient::from_pem(&authority.ca(), identity).unwrap())
}

async fn both(
    listener: &Listener,
    settings: &DialSettings,
) -> (Result<Stream, DialError>, std::io::Result<Stream>) {
    let url = listener.local_url();
    soon(async {
        tokio::join!(dial(url, settings), async {
            listener.accept().await.secure().await
        })
    })
    .await
}

#[tokio::test]
async fn two_nodes_open_a_link_over_tls() {
    let authority = Authority::new();
    let listener = listen(&authority.identity("127.0.0.1"), None).await;
    let (near, far) = both(&listener, &trusting(&authority, None)).await;
    let key = keyed("k");
    let (near, far) = soon(async {
        tokio::join!(
            handshake(near.unwrap(), Side::Dialling, &key),
            handshake(far.unwrap(), Side::Listening, &key)
        )
    })
    .await;
    let (_near_reader, mut near_writer, info) = near.unwrap().into_framed(Duration::from_secs(20));
    let (mut far_reader, _far_writer, _) = far.unwrap().into_framed(Duration::from_secs(20));
    assert!(info.authenticated);
    let large = Frame::Reply {
        origin: 0,
        id: 1,
        body: vec![7; 500_000].into(),
    };
    let frames = [Frame::Ping { token: 1 }, large];
    let mut got = Vec::new();
    let sent = frames.clone();
    let write = tokio::spawn(async move {
        let written = near_writer.write_batch(&sent).await.unwrap();
        near_writer.close(None).await;
        written.frames
    });
    while soon(far_reader.read_batch(&mut got, 10)).await.unwrap() > 0 {}
    assert_eq!(got, frames);
    assert_eq!(soon(write).await.unwrap(), 2);
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_for_another_host_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let listener = listen(&authority.identity("127.0.0.1"), None).await;
    let (near, _) = both(&listener, &trusting(&other, None)).await;
    assert!(matches!(near, Err(DialError::Tls { .. })), "{near:?}");
    let listener = listen(&authority.identity("example.org"), None).await;
    let (near, _) = both(&listener, &trusting(&authority, None)).await;
    assert!(matches!(near, Err(DialError::Tls { .. })), "{near:?}");
}

#[tokio::test]
async fn with_mutual_tls_only_clients_of_the_authority_are_let_in() {
    let (authority, other) = (Authority::new(), Authority::new());
    let listener = listen(&authority.identity("127.0.0.1"), Some(&authority.ca())).await;
    let client = authority.identity("client");
    let (near, far) = both(&listener, &trusting(&authority, Some(&client))).await;
    assert!(near.is_ok() && far.is_ok());
    for identity in [None, Some(other.identity("stranger"))] {
        let (_, far) = both(&listener, &trusting(&authority, identity.as_ref())).await;
        assert!(far.is_err());
    }
}

#[tokio::test]
async fn plain_and_tls_ends_tell_each_other_apart() {
    let authority = Authority::new();
    // TLS to a plain port: the listening side says what it saw.
    let plain = listen_tcp().await;
    let url = EndpointUrl::Tls {
        host: "127.0.0.1".into(),
        port: plain.local_url().port().unwrap(),
    };
    let trust = trusting(&authority, None);
    let (near, far) = soon(async {
        tokio::join!(dial(&url, &trust), async {
            let stream = plain.accept().await.secure().await.unwrap();
            handshake(stream, Side::Listening, &settings()).await
        })
    })
    .await;
    assert!(matches!(near, Err(DialError::Tls { .. })), "{near:?}");
    let far = far.unwrap_err();
    assert!(
        matches!(
            far,
            HandshakeError::NotWaypost {
                looks_like: LooksLike::TlsHandshake
            }
        ),
        "{far:?}"
    );
    // Plain to a TLS port: the dialling side does.
    let plain_settings = settings();
    let secured = listen(&authority.identity("127.0.0.1"), None).await;
    let port = secured.local_url().port().unwrap();
    let stream = connect(&EndpointUrl::Tcp {
        host: "127.0.0.1".into(),
        port,
    })
    .await;
    let (near, far) = soon(async {
        tokio::join!(handshake(stream, Side::Dialling, &plain_settings), async {
            secured.accept().await.secure().await
        })
    })
    .await;
    let near = near.unwrap_err();
    assert!(
        matches!(
            near,
            HandshakeError::NotWaypost {
                looks_like: LooksLike::TlsAlert
            } | HandshakeError::Io(_)
        ),
        "{near:?}"
    );
    assert!(far.is_err());
}

#[tokio::test]
async fn files_that_do_not_fit_say_what_is_missing() {
    let authority = Authority::new();
    let good = authority.identity("127.0.0.1");
    let without_key = TlsIdentity {
        cert: good.cert.clone(),
        key: good.cert.clone(),
    };
    let error = TlsServer::from_pem(&without_key, None).unwrap_err();
    assert!(
        matches!(
            error,
            TlsError::File {
                what: "a private key",
                ..
            }
        ),
        "{error:?}"
    );
    let mixed = TlsIdentity {
        cert: good.cert,
        key: authority.identity("other").key,
    };
    let error = TlsServer::from_pem(&mixed, None).unwrap_err();
    assert!(matches!(error, TlsError::Rejected(_)), "{error:?}");
    let error = TlsClient::from_pem(Path::new("none.pem"), None).unwrap_err();
    assert!(error.to_string().contains("none.pem"), "{error}");
    let url = "tls://127.0.0.1:0".parse().unwrap();
    let error = Listener::bind(&url, &ListenSettings::default())
        .await
        .unwrap_err();
    assert!(matches!(error, ListenError::TlsNotSet { .. }), "{error:?}");
    let error = dial(&url, &DialSettings::default()).await.unwrap_err();
    assert!(matches!(error, DialError::TlsNotSet { .. }), "{error:?}");
}
