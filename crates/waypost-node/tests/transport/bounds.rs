//! Many connections at once, and those that do nothing.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt as _;
use waypost_node::transport::{Admission, DEFAULT_HALF_OPEN_MAX, DEFAULT_LINKS_MAX, HandshakeError};
use waypost_wire::CloseCode;

use crate::support::{Server, raw, read_close, settings, soon};

#[tokio::test]
async fn a_silent_connection_is_dropped_after_the_deadline_and_concerns_nobody_else() {
    let admission = Admission::default();
    let mut server = Server::start(&admission, settings().deadline(Duration::from_millis(300))).await;
    let mut silent = raw(&server.url).await;
    let good = server.dial(&settings()).await.unwrap();
    let accepted = server.accepted().await;
    assert_eq!(read_close(&mut silent).await.code, CloseCode::Overloaded);
    drop(silent);
    // It gives its place back a moment after it has been told.
    soon(async {
        while admission.half_open() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(admission.established(), 1);
    drop((good, accepted));
    assert_eq!(admission.established(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_thousand_silent_connections_do_not_keep_a_good_one_out() {
    raise_file_limit(4096);
    let admission = Admission::new(DEFAULT_HALF_OPEN_MAX, DEFAULT_LINKS_MAX);
    // Nothing here waits for the deadline: the oldest go because there are too many.
    let mut server = Server::start(&admission, settings()).await;
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(raw(&server.url).await);
        assert!(admission.half_open() <= DEFAULT_HALF_OPEN_MAX);
    }
    let good = server.dial(&settings()).await.unwrap();
    let accepted = server.accepted().await;
    assert_eq!(admission.established(), 1);
    // Its preface and hello may have come before the end.
    let mut said = Vec::new();
    let _ = soon(silent[0].read_to_end(&mut said)).await;
    assert!(admission.half_open() <= DEFAULT_HALF_OPEN_MAX);
    drop((good, accepted));
    server.stop().await;
    assert_eq!((admission.half_open(), admission.established()), (0, 0));
}

#[tokio::test]
async fn a_link_too_many_is_told_so_and_let_in_when_there_is_room() {
    let admission = Admission::new(8, 2);
    let mut server = Server::start(&admission, settings()).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push((server.dial(&settings()).await.unwrap(), server.accepted().await));
    }
    let error = server.dial(&settings()).await.unwrap_err();
    assert!(
        matches!(&error, HandshakeError::Closed { code: CloseCode::Overloaded, text } if text.contains("limit")),
        "{error:?}"
    );
    held.pop();
    let third = server.dial(&settings()).await.unwrap();
    drop((third, server.accepted().await, held));
    server.stop().await;
}

fn raise_file_limit(files: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < files) {
        let files = maximum.map_or(files, |maximum| maximum.min(files));
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(files),
                maximum,
            },
        )
        .unwrap();
    }
}
