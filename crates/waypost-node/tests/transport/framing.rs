//! Frames over an open link.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use waypost_node::transport::{FrameReader, FrameWriter, Side, WriteError, handshake};
use waypost_wire::{Close, CloseCode, Frame, WireError};

use crate::support::{
    accept, bytes, hello, link, listen_tcp, message, opening, raw, send_in_segments, settings, soon,
};

const STALL: Duration = Duration::from_secs(20);

/// An open link whose other end does its own bytes.
async fn raw_link() -> (TcpStream, FrameReader, FrameWriter) {
    let listener = listen_tcp().await;
    let mut client = raw(listener.local_url()).await;
    client.write_all(&opening(&[hello([0; 16])])).await.unwrap();
    let link = soon(handshake(accept(&listener).await, Side::Listening, &settings()))
        .await
        .unwrap();
    let (reader, writer, _) = link.into_framed(STALL);
    (client, reader, writer)
}

#[tokio::test]
async fn two_frames_in_one_segment_come_as_two() {
    let (mut client, mut reader, _writer) = raw_link().await;
    client
        .write_all(&bytes(&[message("one"), message("two")]))
        .await
        .unwrap();
    let mut got = Vec::new();
    while got.len() < 2 {
        soon(reader.read_batch(&mut got, 10)).await.unwrap();
    }
    assert_eq!(got, [message("one"), message("two")]);
}

#[tokio::test]
async fn one_frame_in_a_hundred_segments_comes_as_one() {
    let (mut client, mut reader, _writer) = raw_link().await;
    let frame = message(&"x".repeat(4900));
    let encoded = bytes(std::slice::from_ref(&frame));
    let read = tokio::spawn(async move {
        let mut got = Vec::new();
        soon(reader.read_batch(&mut got, 10)).await.unwrap();
        got
    });
    send_in_segments(&mut client, &encoded, encoded.len().div_ceil(100)).await;
    assert_eq!(soon(read).await.unwrap(), [frame]);
}

#[tokio::test]
async fn a_frame_of_two_gibibytes_ends_its_link_and_no_other() {
    let (mut client, mut reader, _writer) = raw_link().await;
    let ((mut near, _w1, _), (_r2, mut far, _)) = link(STALL).await;
    client
        .write_all(&[0x80, 0x80, 0x80, 0x80, 0x08, 1, 2, 3])
        .await
        .unwrap();
    let mut got = Vec::new();
    let error = soon(reader.read_batch(&mut got, 10)).await.unwrap_err();
    assert!(
        matches!(
            error,
            WireError::TooLarge {
                frame_len_bytes: 0x8000_0000,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        soon(far.write_batch([message("still here")]))
            .await
            .unwrap()
            .frames,
        1
    );
    soon(near.read_batch(&mut got, 10)).await.unwrap();
    assert_eq!(got, [message("still here")]);
}

#[tokio::test]
async fn an_end_within_a_frame_is_torn_and_an_end_between_frames_is_clean() {
    for (cut, clean) in [(0, true), (1, false), (10, false)] {
        let (mut client, mut reader, _writer) = raw_link().await;
        client.write_all(&bytes(&[message("whole")])).await.unwrap();
        client
            .write_all(&bytes(&[message("the other one")])[..cut])
            .await
            .unwrap();
        drop(client.shutdown().await);
        let mut got = Vec::new();
        assert_eq!(soon(reader.read_batch(&mut got, 10)).await.unwrap(), 1);
        match soon(reader.read_batch(&mut got, 10)).await {
            Ok(0) => assert!(clean),
            Err(WireError::Torn { have_bytes, .. }) => assert!(!clean && have_bytes == cut),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_link_whose_other_end_does_not_read_ends_after_the_stall() {
    let stall = Duration::from_millis(200);
    let ((_reader, mut writer, _), far) = link(stall).await;
    let chunk = message(&"x".repeat(100_000));
    let error = soon(async {
        loop {
            match writer.write_batch(std::iter::repeat_n(&chunk, 10)).await {
                Ok(written) => assert_eq!(written.frames, 10),
                Err(error) => break error,
            }
        }
    })
    .await;
    assert!(
        matches!(error, WriteError::Stalled { after } if after == stall),
        "{error:?}"
    );
    drop(far);
}

#[tokio::test]
async fn many_small_and_some_large_frames_arrive_in_order() {
    const FRAMES: usize = 100_000;
    let ((_r1, mut writer, _), (mut reader, _w2, _)) = link(STALL).await;
    let body = |index: usize| {
        if index.is_multiple_of(5000) {
            format!("{index} {}", "y".repeat(50_000))
        } else {
            index.to_string()
        }
    };
    let sent = tokio::spawn(async move {
        for start in (0..FRAMES).step_by(1000) {
            let written = writer
                .write_batch((start..start + 1000).map(|i| message(&body(i))))
                .await
                .unwrap();
            assert_eq!((written.frames, written.refused.len()), (1000, 0));
        }
        writer
            .close(Some(Close {
                code: CloseCode::GoingAway,
                text: "done".into(),
            }))
            .await;
    });
    let (mut batch, mut next) = (Vec::new(), 0);
    while soon(reader.read_batch(&mut batch, 4096)).await.unwrap() > 0 {
        for frame in batch.drain(..) {
            match frame {
                Frame::Message(got) => {
                    assert_eq!(got.body, body(next).as_bytes());
                    next += 1;
                }
                Frame::Close(close) => assert_eq!((close.code, next), (CloseCode::GoingAway, FRAMES)),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(next, FRAMES);
    soon(sent).await.unwrap();
}

#[tokio::test]
async fn a_last_word_is_heard_by_an_end_that_is_still_sending() {
    let (mut client, reader, writer) = raw_link().await;
    client
        .write_all(&bytes(&vec![message("unread"); 1000]))
        .await
        .unwrap();
    let closed = tokio::spawn(async move {
        writer
            .close(Some(Close {
                code: CloseCode::Superseded,
                text: "newer".into(),
            }))
            .await;
        reader.linger(STALL).await;
    });
    let mut said = Vec::new();
    soon(client.read_to_end(&mut said)).await.unwrap();
    let close = bytes(&[Frame::Close(Close {
        code: CloseCode::Superseded,
        text: "newer".into(),
    })]);
    assert!(said.ends_with(&close));
    drop(client);
    soon(closed).await.unwrap();
}
