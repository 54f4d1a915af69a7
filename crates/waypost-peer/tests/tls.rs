//! Links between nodes over mutual TLS.

use std::fs;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use waypost_peer::{Event, Peer, Settings, TlsFiles};
use waypost_session::MemoryStore;
use waypost_types::Outcome;

/// A certificate for this machine, from a new authority, in `dir`.
fn files(dir: &std::path::Path) -> TlsFiles {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let files = TlsFiles {
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
        ca: dir.join("ca.pem"),
    };
    fs::write(&files.cert, cert.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    fs::write(&files.ca, issuer.pem()).unwrap();
    files
}

#[tokio::test]
async fn servers_of_one_authority_reach_each_other_and_no_others() {
    let store = Arc::new(MemoryStore::new());
    let [ours, theirs] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (our_files, their_files) = (files(ours.path()), files(theirs.path()));
    let send_deadline = std::time::Duration::from_secs(10);
    let settings = Settings {
        send_deadline,
        ..Settings::default()
    };
    let server = async |name: &str, files: &TlsFiles| {
        let builder = Peer::mesh(store.clone())
            .listen("tls://127.0.0.1:0")
            .tls(files.clone());
        let (peer, events) = builder.settings(settings.clone()).start().await.unwrap();
        peer.register_identity(name).await.unwrap();
        (peer, events)
    };
    let (one, _one_events) = server("one", &our_files).await;
    let (two, mut events) = server("two", &our_files).await;
    let (stranger, _stranger_events) = server("stranger", &their_files).await;
    two.connect_client("bob").await.unwrap();

    assert_eq!(
        one.send_acked("alice", "bob", "secret".into()).await,
        Ok(Outcome::Delivered)
    );
    assert_eq!(
        stranger.send_acked("eve", "bob", "hello".into()).await,
        Ok(Outcome::Unreachable)
    );
    one.shutdown().await;
    stranger.shutdown().await;
    two.shutdown().await;
    let mut bodies = Vec::new();
    while let Some(event) = events.recv().await {
        if let Event::Message(message) = event {
            bodies.push(message.into_body());
        }
    }
    assert_eq!(bodies, ["secret"], "nothing of the stranger's arrived");
}
