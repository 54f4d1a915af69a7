//! Bare requests, beside the store.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use waypost_session_testkit::servers::riak::RiakStandIn;

/// What a bare request for an object answers. `headers` and `body` as they go out.
pub(crate) async fn ask(nodes: &RiakStandIn, method: &str, key: &str, headers: &str, body: &str) -> String {
    ask_at(nodes, method, &format!("/buckets/test/keys/{key}"), headers, body).await
}

/// The same for any path.
pub(crate) async fn ask_at(
    nodes: &RiakStandIn,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", nodes.port(0).unwrap()))
        .await
        .unwrap();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: riak\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The header with the vclock of an object.
pub(crate) async fn vclock(nodes: &RiakStandIn, key: &str) -> String {
    let answer = ask(nodes, "GET", key, "", "").await;
    let line = answer.lines().find(|line| line.starts_with("X-Riak-Vclock"));
    format!("{}\r\n", line.unwrap())
}

/// Deletes an object as `reclaim` does, which has read it a while ago.
pub(crate) async fn delete(nodes: &RiakStandIn, key: &str, vclock: &str) {
    let answer = ask(nodes, "DELETE", key, vclock, "").await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

/// A key as it stands in a URL.
pub(crate) fn encoded(key: &str) -> String {
    key.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
