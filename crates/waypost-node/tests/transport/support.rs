//! What the transport's tests share.

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use waypost_node::transport::{
    Accepted, Acceptor, Admission, ClusterKey, DialSettings, EndpointUrl, Established, FrameReader,
    FrameWriter, HandshakeError, HandshakeSettings, LinkInfo, ListenSettings, Listener, Side, Stream, dial,
    handshake,
};
use waypost_wire::{Close, Frame, Hello, Message, Preface, Role, decode, encode, split_frame};

pub(crate) const LIMIT: usize = 1 << 20;

/// No test waits longer for what must happen.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future)
        .await
        .expect("it happens in time")
}

pub(crate) fn settings() -> HandshakeSettings {
    HandshakeSettings::new(Role::Node).deadline(Duration::from_secs(20))
}

pub(crate) fn keyed(key: &str) -> HandshakeSettings {
    settings().cluster_key(Some(ClusterKey::new(key.as_bytes()).unwrap()))
}

pub(crate) async fn listen(url: &str) -> Listener {
    Listener::bind(&url.parse().unwrap(), &ListenSettings::default())
        .await
        .unwrap()
}

pub(crate) async fn listen_tcp() -> Listener {
    listen("tcp://127.0.0.1:0").await
}

pub(crate) async fn connect(url: &EndpointUrl) -> Stream {
    soon(dial(url, &DialSettings::default())).await.unwrap()
}

/// A client that does its own bytes.
pub(crate) async fn raw(url: &EndpointUrl) -> TcpStream {
    let stream = soon(TcpStream::connect(("127.0.0.1", url.port().unwrap())))
        .await
        .unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) async fn accept(listener: &Listener) -> Stream {
    soon(soon(listener.accept()).await.secure()).await.unwrap()
}

type Opened = Result<Established<Stream>, HandshakeError>;

/// Both ends of one connection do their handshakes.
pub(crate) async fn open_both(
    listener: &Listener,
    dialling: &HandshakeSettings,
    listening: &HandshakeSettings,
) -> (Opened, Opened) {
    let near = connect(listener.local_url()).await;
    let far = accept(listener).await;
    soon(async {
        tokio::join!(
            handshake(near, Side::Dialling, dialling),
            handshake(far, Side::Listening, listening)
        )
    })
    .await
}

pub(crate) type Framed = (FrameReader, FrameWriter, LinkInfo);

/// Both ends of an open link.
pub(crate) async fn link(stall: Duration) -> (Framed, Framed) {
    let listener = listen_tcp().await;
    let (near, far) = open_both(&listener, &settings(), &settings()).await;
    (near.unwrap().into_framed(stall), far.unwrap().into_framed(stall))
}

pub(crate) fn message(text: &str) -> Frame {
    Frame::Message(Message::new("from", "to", Bytes::copy_from_slice(text.as_bytes())).unwrap())
}

pub(crate) fn hello(nonce: [u8; 16]) -> Frame {
    Frame::Hello(Hello {
        role: Role::Peer,
        location: None,
        nonce,
        software: "test".into(),
    })
}

pub(crate) fn bytes(frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        encode(frame, &mut out, LIMIT).unwrap();
    }
    out
}

/// A preface and then frames.
pub(crate) fn opening(frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::from(&Preface::new(1 << 20).encode()[..]);
    out.unsplit(bytes(frames));
    out
}

/// What the other side says until it ends: frames behind its preface.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> Vec<Frame> {
    let mut all = Vec::new();
    soon(stream.read_to_end(&mut all)).await.unwrap();
    let mut rest = BytesMut::from(&all[..]);
    assert!(Preface::decode(&rest).unwrap().is_some());
    let _ = rest.split_to(waypost_wire::PREFACE_BYTES);
    let mut frames = Vec::new();
    while let Some(frame) = split_frame(&mut rest, LIMIT).unwrap() {
        frames.push(decode(frame).unwrap());
    }
    frames
}

/// The `Close` with which the other side ended.
pub(crate) async fn read_close(stream: &mut TcpStream) -> Close {
    match read_to_end(stream).await.pop() {
        Some(Frame::Close(close)) => close,
        other => panic!("not a close: {other:?}"),
    }
}

/// Sends `bytes` in as many segments as there are chunks of `len`.
pub(crate) async fn send_in_segments(stream: &mut TcpStream, bytes: &[u8], len: usize) {
    for chunk in bytes.chunks(len) {
        stream.write_all(chunk).await.unwrap();
        // Without delay, each write is a segment; this lets the other side read between them.
        tokio::task::yield_now().await;
    }
}

/// Links accepted by an [`Acceptor`].
pub(crate) struct Server {
    pub(crate) url: EndpointUrl,
    pub(crate) links: mpsc::Receiver<Accepted>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(admission: &Admission, settings: HandshakeSettings) -> Self {
        let listener = listen_tcp().await;
        let url = listener.local_url().clone();
        let (sender, links) = mpsc::channel(16);
        let acceptor = Acceptor::new(admission.clone(), settings);
        let task = tokio::spawn(async move { acceptor.run(listener, sender).await });
        Self { url, links, task }
    }

    pub(crate) async fn dial(&self, settings: &HandshakeSettings) -> Opened {
        let stream = connect(&self.url).await;
        soon(handshake(stream, Side::Dialling, settings)).await
    }

    pub(crate) async fn accepted(&mut self) -> Accepted {
        soon(self.links.recv()).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        drop(self.links);
        soon(self.task).await.unwrap();
    }
}
