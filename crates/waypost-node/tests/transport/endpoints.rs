//! Listening and dialling.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use waypost_node::transport::{
    DialError, DialSettings, EndpointError, EndpointUrl, ListenError, ListenSettings, Listener, dial,
    dial_location,
};

use crate::support::{connect, listen, listen_tcp, soon};

fn unix(path: &Path) -> EndpointUrl {
    EndpointUrl::Unix {
        path: path.to_owned(),
    }
}

async fn bind(url: &EndpointUrl) -> Result<Listener, ListenError> {
    Listener::bind(url, &ListenSettings::default()).await
}

async fn is_reached(listener: &Listener) {
    let stream = connect(listener.local_url()).await;
    soon(listener.accept()).await;
    drop(stream);
}

/// A socket's file on which nobody listens.
fn leave_stale(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

#[tokio::test]
async fn port_0_takes_a_free_port_and_the_host_stays() {
    let listener = listen("tcp://0.0.0.0:0").await;
    let port = listener.local_url().port().unwrap();
    assert_ne!(port, 0);
    assert_eq!(listener.local_url().to_string(), format!("tcp://0.0.0.0:{port}"));
    let error = bind(listener.local_url()).await.unwrap_err();
    assert!(matches!(error, ListenError::AddrInUse { .. }), "{error:?}");
}

#[tokio::test]
async fn nobody_listening_is_told_from_other_failures() {
    let dir = tempfile::tempdir().unwrap();
    let listener = listen_tcp().await;
    let url = listener.local_url().clone();
    drop(listener);
    let stale = dir.path().join("stale");
    leave_stale(&stale);
    for url in [url, unix(&dir.path().join("none")), unix(&stale)] {
        let error = soon(dial(&url, &DialSettings::default())).await.unwrap_err();
        assert!(matches!(error, DialError::Refused { .. }), "{error:?}");
    }
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let below_a_file = unix(&file.join("socket"));
    let error = soon(dial(&below_a_file, &DialSettings::default()))
        .await
        .unwrap_err();
    assert!(matches!(error, DialError::Unreachable { .. }), "{error:?}");
    let error = soon(dial_location("http://a", &DialSettings::default()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, DialError::BadUrl(EndpointError::Scheme)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_full_queue_is_waited_for_until_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(1).unwrap();
    let settings = DialSettings::default().deadline(Duration::from_millis(200));
    let mut waiting = Vec::new();
    let error = loop {
        match soon(dial(&unix(&path), &settings)).await {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
        assert!(waiting.len() < 100);
    };
    assert!(
        matches!(error, DialError::TimedOut { after, .. } if after == settings.deadline),
        "{error:?}"
    );
    let room = std::thread::spawn(move || socket.accept().map(|_| socket));
    soon(dial(&unix(&path), &DialSettings::default())).await.unwrap();
    room.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    leave_stale(&path);
    let listener = bind(&unix(&path)).await.unwrap();
    is_reached(&listener).await;
    let error = bind(&unix(&path)).await.unwrap_err();
    assert!(matches!(error, ListenError::AddrInUse { .. }), "{error:?}");
    is_reached(&listener).await;
    drop(listener);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    fs::write(&path, "precious").unwrap();
    let error = bind(&unix(&path)).await.unwrap_err();
    assert!(matches!(error, ListenError::AddrInUse { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_listener_does_not_remove_the_socket_of_its_successor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let old = bind(&unix(&path)).await.unwrap();
    fs::rename(&path, dir.path().join("moved")).unwrap();
    let new = bind(&unix(&path)).await.unwrap();
    drop(old);
    is_reached(&new).await;
}

#[tokio::test]
async fn of_many_that_find_a_stale_socket_one_gets_it() {
    const STARTERS: usize = 8;
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        leave_stale(&path);
        let start = Arc::new(Barrier::new(STARTERS));
        let runtime = tokio::runtime::Handle::current();
        let starters: Vec<_> = (0..STARTERS)
            .map(|_| {
                let (start, runtime, url) = (Arc::clone(&start), runtime.clone(), unix(&path));
                tokio::task::spawn_blocking(move || {
                    start.wait();
                    runtime.block_on(bind(&url))
                })
            })
            .collect();
        let mut listeners = Vec::new();
        for starter in starters {
            match soon(starter).await.unwrap() {
                Ok(listener) => listeners.push(listener),
                Err(error) => assert!(matches!(error, ListenError::AddrInUse { .. }), "{error:?}"),
            }
        }
        assert_eq!(listeners.len(), 1);
        is_reached(&listeners[0]).await;
        drop(listeners);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
