//! Opening a link, with all who should not be let in.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use waypost_node::transport::{AuthFailure, HandshakeError, HandshakeSettings, Side, handshake};
use waypost_types::Location;
use waypost_wire::{Close, CloseCode, Frame, LooksLike, Preface, Role, WireError};

use crate::support::{
    accept, bytes, connect, hello, keyed, listen, listen_tcp, open_both, opening, raw, read_close,
    send_in_segments, settings, soon,
};

const STALL: Duration = Duration::from_secs(20);

async fn sides_learn_of_each_other(url: &str) {
    let listener = listen(url).await;
    let location = Location::new("tcp://example:1").unwrap();
    let dialling = HandshakeSettings::new(Role::Peer).frame_bytes_max(5000);
    let listening = keyed("k").location(Some(location.clone())).frame_bytes_max(9000);
    let dialling = dialling.cluster_key(listening.cluster_key.clone());
    let (near, far) = open_both(&listener, &dialling, &listening).await;
    let (mut near_reader, mut near_writer, near) = near.unwrap().into_framed(STALL);
    let (mut far_reader, mut far_writer, far) = far.unwrap().into_framed(STALL);
    assert_eq!((near.side, far.side), (Side::Dialling, Side::Listening));
    assert_eq!((near.remote.role, far.remote.role), (Role::Node, Role::Peer));
    assert_eq!(
        (near.remote.location, far.remote.location),
        (Some(location), None)
    );
    assert!(near.authenticated && far.authenticated);
    assert_eq!(
        (
            near.agreed.send_frame_bytes_max,
            near.agreed.receive_frame_bytes_max
        ),
        (9000, 5000)
    );
    assert_eq!(
        (
            far.agreed.send_frame_bytes_max,
            far.agreed.receive_frame_bytes_max
        ),
        (5000, 9000)
    );
    let mut got = Vec::new();
    for (writer, reader) in [
        (&mut near_writer, &mut far_reader),
        (&mut far_writer, &mut near_reader),
    ] {
        assert_eq!(
            soon(writer.write_batch([Frame::Ping { token: 7 }]))
                .await
                .unwrap()
                .frames,
            1
        );
        soon(reader.read_batch(&mut got, 10)).await.unwrap();
    }
    assert_eq!(got, [Frame::Ping { token: 7 }, Frame::Ping { token: 7 }]);
    soon(near_writer.close(None)).await;
    assert_eq!(soon(far_reader.read_batch(&mut got, 10)).await.unwrap(), 0);
}

#[tokio::test]
async fn two_nodes_open_a_link_over_tcp() {
    sides_learn_of_each_other("tcp://127.0.0.1:0").await;
}

#[tokio::test]
async fn two_nodes_open_a_link_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    sides_learn_of_each_other(&format!("unix:{}", dir.path().join("s").display())).await;
}

#[tokio::test]
async fn without_a_key_on_both_sides_the_link_opens_unauthenticated() {
    let (near, far) = open_both(&listen_tcp().await, &settings(), &settings()).await;
    assert!(!near.unwrap().info.authenticated && !far.unwrap().info.authenticated);
}

#[tokio::test]
async fn different_keys_are_refused_by_both_sides() {
    let (near, far) = open_both(&listen_tcp().await, &keyed("one"), &keyed("two")).await;
    for side in [near.unwrap_err(), far.unwrap_err()] {
        assert!(side.is_authentication(), "{side:?}");
    }
}

#[tokio::test]
async fn a_key_on_one_side_only_is_refused_by_both_sides() {
    let listener = listen_tcp().await;
    for (dialling, listening) in [(keyed("one"), settings()), (settings(), keyed("one"))] {
        let (near, far) = open_both(&listener, &dialling, &listening).await;
        for side in [near.unwrap_err(), far.unwrap_err()] {
            assert!(side.is_authentication(), "{side:?}");
        }
    }
}

#[tokio::test]
async fn a_side_without_a_key_is_told_to_set_one() {
    let listener = listen_tcp().await;
    let mut client = raw(listener.local_url()).await;
    client.write_all(&opening(&[hello([0; 16])])).await.unwrap();
    let error = soon(handshake(accept(&listener).await, Side::Listening, &keyed("one")))
        .await
        .unwrap_err();
    assert!(
        matches!(error, HandshakeError::Unauthenticated(AuthFailure::NoKeyThere)),
        "{error:?}"
    );
    let close = read_close(&mut client).await;
    assert_eq!(close.code, CloseCode::Unauthenticated);
    assert!(close.text.contains("set the cluster key"), "{}", close.text);
}

#[tokio::test]
async fn a_side_with_a_key_is_refused_by_one_that_has_none() {
    let listener = listen_tcp().await;
    let mut client = raw(listener.local_url()).await;
    let proof = Frame::Proof(vec![7; 32].into());
    client
        .write_all(&opening(&[hello([1; 16]), proof]))
        .await
        .unwrap();
    let error = soon(handshake(accept(&listener).await, Side::Listening, &settings()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, HandshakeError::Unauthenticated(AuthFailure::NoKeyHere)),
        "{error:?}"
    );
    assert_eq!(read_close(&mut client).await.code, CloseCode::Unauthenticated);
}

#[tokio::test]
async fn a_nonce_without_a_proof_is_let_in_where_no_key_is_set() {
    let listener = listen_tcp().await;
    let mut client = raw(listener.local_url()).await;
    client
        .write_all(&opening(&[hello([1; 16]), Frame::Ping { token: 3 }]))
        .await
        .unwrap();
    let link = soon(handshake(accept(&listener).await, Side::Listening, &settings()))
        .await
        .unwrap();
    let (mut reader, _writer, info) = link.into_framed(STALL);
    assert!(!info.authenticated);
    let mut got = Vec::new();
    soon(reader.read_batch(&mut got, 10)).await.unwrap();
    assert_eq!(got, [Frame::Ping { token: 3 }]);
}

#[tokio::test]
async fn a_frame_where_the_proof_is_due_is_refused() {
    let listener = listen_tcp().await;
    let mut client = raw(listener.local_url()).await;
    client
        .write_all(&opening(&[hello([1; 16]), Frame::Ping { token: 3 }]))
        .await
        .unwrap();
    let error = soon(handshake(accept(&listener).await, Side::Listening, &keyed("one")))
        .await
        .unwrap_err();
    assert!(
        matches!(error, HandshakeError::Unauthenticated(AuthFailure::NoProof)),
        "{error:?}"
    );
    assert_eq!(read_close(&mut client).await.code, CloseCode::Unauthenticated);
}

#[tokio::test]
async fn an_echo_of_ones_own_bytes_is_refused() {
    let listener = listen_tcp().await;
    let near = connect(listener.local_url()).await;
    let far = accept(&listener).await;
    let echo = tokio::spawn(async move {
        let (mut read, mut write) = far.into_split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let error = soon(handshake(near, Side::Dialling, &keyed("one")))
        .await
        .unwrap_err();
    assert!(
        matches!(error, HandshakeError::Unauthenticated(AuthFailure::Reflected)),
        "{error:?}"
    );
    soon(echo).await.unwrap();
}

#[tokio::test]
async fn a_proof_that_is_sent_back_proves_nothing() {
    for side in [Side::Dialling, Side::Listening] {
        let listener = listen_tcp().await;
        let mut attacker = raw(listener.local_url()).await;
        let victim = accept(&listener).await;
        let victim = tokio::spawn(async move { handshake(victim, side, &keyed("one")).await });
        attacker.write_all(&opening(&[hello([9; 16])])).await.unwrap();
        // Its preface, hello and proof; the proof is the last 36 bytes with its length and key.
        let own_hello = hello_len(&mut attacker).await;
        let mut proof = vec![0; 37];
        soon(attacker.read_exact(&mut proof)).await.unwrap();
        assert_eq!(proof[..5], [36, 0x12, 34, 0x0a, 32], "after {own_hello} bytes");
        attacker.write_all(&proof).await.unwrap();
        let error = soon(victim).await.unwrap().unwrap_err();
        assert!(
            matches!(error, HandshakeError::Unauthenticated(AuthFailure::WrongKey)),
            "{error:?}"
        );
    }
}

/// Reads the preface and the first frame, which is shorter than 128 bytes.
async fn hello_len(stream: &mut tokio::net::TcpStream) -> usize {
    let mut start = [0; 17];
    soon(stream.read_exact(&mut start)).await.unwrap();
    let mut rest = vec![0; usize::from(start[16])];
    soon(stream.read_exact(&mut rest)).await.unwrap();
    start.len() + rest.len()
}

#[tokio::test]
async fn an_http_request_gets_a_clear_answer_and_the_end_at_once() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\n",
        "POST /x HTTP/1.1\r\nContent-Length: 9000\r\n\r\n",
    ] {
        let listener = listen_tcp().await;
        let mut client = raw(listener.local_url()).await;
        client.write_all(request.as_bytes()).await.unwrap();
        let server = accept(&listener).await;
        let server = tokio::spawn(async move { handshake(server, Side::Listening, &settings()).await });
        let close = read_close(&mut client).await;
        assert_eq!(close.code, CloseCode::Protocol);
        assert!(close.text.contains("HTTP request"), "{}", close.text);
        drop(client);
        let error = soon(server).await.unwrap().unwrap_err();
        assert!(
            matches!(
                error,
                HandshakeError::NotWaypost {
                    looks_like: LooksLike::HttpRequest
                }
            ),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn garbage_is_refused_as_soon_as_it_is_seen() {
    let listener = listen_tcp().await;
    for garbage in [&b"\xff"[..], b"WAYPOST!", &[0; 100_000]] {
        let mut client = raw(listener.local_url()).await;
        let server = accept(&listener).await;
        let server = tokio::spawn(async move { handshake(server, Side::Listening, &settings()).await });
        // The server may have closed before all of it is written.
        let _ = client.write_all(garbage).await;
        let error = soon(server).await.unwrap().unwrap_err();
        assert!(matches!(error, HandshakeError::NotWaypost { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_version_that_is_not_spoken_is_named() {
    let listener = listen_tcp().await;
    let mut client = raw(listener.local_url()).await;
    let preface = Preface {
        version_min: 7,
        version_max: 9,
        frame_bytes_max: 1 << 20,
    };
    client.write_all(&preface.encode()).await.unwrap();
    let error = soon(handshake(accept(&listener).await, Side::Listening, &settings()))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            HandshakeError::Version {
                theirs: (7, 9),
                ours: (1, 1)
            }
        ),
        "{error:?}"
    );
    assert!(read_close(&mut client).await.text.contains("7 to 9"));
}

#[tokio::test]
async fn a_frame_of_two_gibibytes_or_of_five_kibibytes_is_refused_by_its_length() {
    let listener = listen_tcp().await;
    for length in [&[0x80, 0x80, 0x80, 0x80, 0x08][..], &[0x80, 0x28]] {
        let mut client = raw(listener.local_url()).await;
        let mut sent = opening(&[]);
        sent.extend_from_slice(length);
        client.write_all(&sent).await.unwrap();
        let error = soon(handshake(accept(&listener).await, Side::Listening, &settings()))
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                HandshakeError::Malformed(WireError::TooLarge { max_bytes: 4096, .. })
            ),
            "{error:?}"
        );
        assert_eq!(read_close(&mut client).await.code, CloseCode::Malformed);
    }
}

#[tokio::test]
async fn another_frame_in_place_of_a_hello_and_endless_unknown_ones_are_refused() {
    let listener = listen_tcp().await;
    let unknown = [3, 0xfa, 0x3f, 0].repeat(1000);
    for frames in [&bytes(&[Frame::Ping { token: 1 }])[..], &unknown] {
        let mut client = raw(listener.local_url()).await;
        let mut sent = opening(&[]);
        sent.extend_from_slice(frames);
        client.write_all(&sent).await.unwrap();
        let error = soon(handshake(accept(&listener).await, Side::Listening, &settings()))
            .await
            .unwrap_err();
        assert!(matches!(error, HandshakeError::Unexpected { .. }), "{error:?}");
        assert_eq!(read_close(&mut client).await.code, CloseCode::Protocol);
    }
}

#[tokio::test]
async fn a_refusal_of_the_other_side_is_passed_on() {
    let listener = listen_tcp().await;
    let mut client = raw(listener.local_url()).await;
    let close = Close {
        code: CloseCode::Overloaded,
        text: "full".into(),
    };
    client.write_all(&opening(&[Frame::Close(close)])).await.unwrap();
    let error = soon(handshake(accept(&listener).await, Side::Listening, &settings()))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, HandshakeError::Closed { code: CloseCode::Overloaded, text } if text == "full"),
        "{error:?}"
    );
    drop(client);
    let client = raw(listener.local_url()).await;
    drop(client);
    let error = soon(handshake(accept(&listener).await, Side::Listening, &settings()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, HandshakeError::Ended | HandshakeError::Io(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_handshake_in_single_bytes_opens_the_link() {
    let listener = listen_tcp().await;
    let mut client = raw(listener.local_url()).await;
    let server = accept(&listener).await;
    let server = tokio::spawn(async move { handshake(server, Side::Listening, &settings()).await });
    send_in_segments(&mut client, &opening(&[hello([0; 16])]), 1).await;
    assert_eq!(soon(server).await.unwrap().unwrap().info.remote.software, "test");
}

#[tokio::test]
async fn a_silent_client_is_told_after_the_deadline() {
    let listener = listen_tcp().await;
    let mut client = raw(listener.local_url()).await;
    let settings = settings().deadline(Duration::from_millis(100));
    let server = accept(&listener).await;
    let server = tokio::spawn(async move { handshake(server, Side::Listening, &settings).await });
    let close = read_close(&mut client).await;
    assert_eq!(close.code, CloseCode::Overloaded);
    assert!(close.text.contains("100 ms"), "{}", close.text);
    drop(client);
    let error = soon(server).await.unwrap().unwrap_err();
    assert!(
        matches!(error, HandshakeError::TimedOut { after } if after.as_millis() == 100),
        "{error:?}"
    );
}
