//! What a node answers.

use core::time::Duration;

use serde_json::{Map, Value, json};

use super::clock::Clock;
use super::cluster::{Quorum, REPLICAS, WriteError};
use super::fault::RiakFault;
use super::http::{Node, Request};
use super::props::{self, BadQuorum};
use super::replica::{Name, Object};
use super::response::{Response, crash, html, no_route, text};
use super::shown::{accepts, shown};

pub(super) fn unauthorized() -> Response {
    html(401, "Unauthorized", "Unauthorized").header("WWW-Authenticate", "Basic realm=\"Riak\"")
}

/// Users are known by TLS alone.
pub(super) fn insecure() -> Response {
    text(
        426,
        "Upgrade Required",
        "Security is enabled and Riak does not accept credentials over HTTP. Try HTTPS instead.",
    )
}

/// How long a request may take that does not say so.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a disturbed node answers.
pub(super) fn of_fault(fault: RiakFault, request: &Request) -> Response {
    let error = |body: &str| text(500, "Internal Server Error", body);
    match fault {
        RiakFault::NoRoute => no_route(),
        RiakFault::NotReady if request.method == "PUT" => error("Error:\nall_nodes_down\n"),
        RiakFault::NotReady => error("Error:\n{insufficient_vnodes,0,need,2}\n"),
        RiakFault::Overload => error("Error:\noverload\n"),
        RiakFault::TooManySiblings => error("Error:\n{too_many_siblings,101}\n"),
        RiakFault::NoPrimaries if request.method == "GET" => {
            text(503, "Service Unavailable", "PR-value unsatisfied: 1/2\n")
        }
        RiakFault::NoPrimaries => {
            in_passing(request, 503, "Service Unavailable", "PW-value unsatisfied: 1/2\n")
        }
        RiakFault::WriteFailures if request.method != "GET" => in_passing(
            request,
            503,
            "Service Unavailable",
            "Too Many write failures to satisfy W/DW\n",
        ),
        RiakFault::WriteFailures => text(503, "Service Unavailable", "R-value unsatisfied: 1/2\n"),
        RiakFault::Page => html(200, "OK", "Back in a moment"),
        RiakFault::Crash => crash("{error,{error,badarg,[]}}"),
        RiakFault::TimedOut | RiakFault::Hang | RiakFault::CutAnswer | RiakFault::HangUp => {
            text(503, "Service Unavailable", "request timed out\n")
        }
    }
}

pub(super) async fn answer(node: &Node, request: &Request) -> Response {
    if request.path == "/ping" {
        return Response::new(200, "OK").body("text/html", "OK");
    }
    let parts: Vec<&str> = request.path.split('/').skip(1).collect();
    let (of_type, rest) = match parts.as_slice() {
        ["types", of_type, rest @ ..] => (*of_type, rest),
        rest => ("default", rest),
    };
    let (bucket, rest) = match rest {
        ["buckets", bucket, rest @ ..] if !bucket.is_empty() => (*bucket, rest),
        _ => return no_route(),
    };
    let (Some(of_type), Some(name)) = (decode(of_type), decode(bucket)) else {
        return no_route();
    };
    let of_type = String::from_utf8_lossy(&of_type).into_owned();
    let qualified = format!("{of_type}\n{}", String::from_utf8_lossy(&name));
    let Some(props) = node.cluster.props(node.index, &qualified) else {
        return match rest {
            ["keys", _] => text(
                404,
                "Object Not Found",
                &format!("Unknown bucket type: {of_type}"),
            ),
            _ => no_route(),
        };
    };
    match rest {
        ["props"] => of_props(node, request, &qualified, props),
        ["keys", ""] => html(405, "Method Not Allowed", "Method Not Allowed").header("Allow", "GET, HEAD"),
        ["keys", key] => match decode(key) {
            Some(key) => of_key(node, request, (qualified, key), bucket, &props).await,
            None => no_route(),
        },
        _ => no_route(),
    }
}

fn of_props(node: &Node, request: &Request, bucket: &str, mut props: Map<String, Value>) -> Response {
    match request.method.as_str() {
        "GET" => {
            let name = bucket.split_once('\n').map_or(bucket, |(_, name)| name);
            props.insert("name".to_owned(), json!(name));
            Response::new(200, "OK").body("application/json", json!({ "props": props }).to_string())
        }
        "PUT" => {
            let Some(Value::Object(set)) = serde_json::from_slice::<Value>(&request.body)
                .ok()
                .and_then(|body| body.get("props").cloned())
            else {
                return text(
                    400,
                    "Bad Request",
                    "bucket PUT must be a JSON object of the form:\n{\"props\":{...bucket properties...}}",
                );
            };
            if let Some(wrong) = props::wrong(&props, &set) {
                return Response::new(400, "Bad Request")
                    .body("application/json", Value::Object(wrong).to_string());
            }
            node.cluster.set_props(node.index, bucket, Some(set));
            Response::new(204, "No Content").header("Content-Type", "application/json")
        }
        "DELETE" => {
            node.cluster.set_props(node.index, bucket, None);
            Response::new(204, "No Content").header("Content-Type", "application/json")
        }
        _ => html(405, "Method Not Allowed", "Method Not Allowed").header("Allow", "GET, HEAD, PUT, DELETE"),
    }
}

/// The quorums of a request, or what is wrong with them.
struct Quorums {
    read: Quorum,
    w: usize,
    pr: usize,
    pw: usize,
}

fn quorums(request: &Request, props: &Map<String, Value>) -> Result<Quorums, BadQuorum> {
    let n = props
        .get("n_val")
        .and_then(Value::as_u64)
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(REPLICAS);
    let of = |name| props::quorum(name, request.param(name), props, n);
    Ok(Quorums {
        read: Quorum {
            r: of("r")?.min(REPLICAS),
            notfound_ok: props::flag("notfound_ok", request.param("notfound_ok"), props)
                .map_err(BadQuorum::Unreadable)?,
        },
        w: of("w")?.max(of("dw")?).min(REPLICAS),
        pr: of("pr")?.min(REPLICAS),
        pw: of("pw")?.min(REPLICAS),
    })
}

async fn of_key(
    node: &Node,
    request: &Request,
    name: Name,
    bucket: &str,
    props: &Map<String, Value>,
) -> Response {
    let quorums = match quorums(request, props) {
        Ok(quorums) => quorums,
        Err(BadQuorum::Unreadable(what)) => return text(400, "Bad Request", &what),
        Err(BadQuorum::TooMany(n)) => {
            let what = format!("Specified w/dw/pw/node_confirms values invalid for bucket n value of {n}\n");
            return in_passing(request, 400, "Bad Request", &what);
        }
    };
    let timeout = match request.param("timeout").map(str::parse) {
        None => TIMEOUT,
        Some(Ok(millis)) => Duration::from_millis(millis),
        Some(Err(_)) => {
            let bad = request.param("timeout").unwrap_or_default();
            return text(400, "Bad Request", &format!("Bad timeout value \"{bad}\"\n"));
        }
    };
    // What replicas have been told goes on.
    let answer = tokio::time::timeout(timeout, done(node, request, name, bucket, &quorums)).await;
    answer.unwrap_or_else(|_| text(503, "Service Unavailable", "request timed out\n"))
}

async fn done(node: &Node, request: &Request, name: Name, bucket: &str, quorums: &Quorums) -> Response {
    match request.method.as_str() {
        "GET" | "HEAD" => {
            let primaries = node.cluster.primaries(node.index, &name.0);
            if primaries < quorums.pr {
                let body = format!("PR-value unsatisfied: {primaries}/{}\n", quorums.pr);
                return text(503, "Service Unavailable", &body);
            }
            match read(node, &name, quorums).await {
                Ok(object) => shown(&object, request, bucket, false),
                Err(answer) => answer,
            }
        }
        "PUT" | "POST" => put(node, request, name, bucket, quorums).await,
        "DELETE" => delete(node, request, name, quorums).await,
        "OPTIONS" => html(405, "Method Not Allowed", "Method Not Allowed")
            .header("Allow", "HEAD, GET, POST, PUT, DELETE"),
        other => {
            let body = format!(
                "<html><head><title>501 Not Implemented</title></head><body><h1>Not Implemented</h1>The server does not \
                 support the \"{other}\" method.<br><P><HR><ADDRESS>mochiweb+webmachine web server</ADDRESS></body></html>"
            );
            Response::new(501, "Not Implemented").body("text/html", body)
        }
    }
}

async fn read(node: &Node, name: &Name, quorums: &Quorums) -> Result<Object, Response> {
    let object = node.cluster.read(node.index, name, quorums.read).await;
    object.map_err(|found| {
        let body = format!("R-value unsatisfied: {found}/{}\n", quorums.read.r);
        text(503, "Service Unavailable", &body)
    })
}

/// The vclock that the client has sent; an error is the answer to one that is none.
fn context(request: &Request) -> Result<Clock, Response> {
    request.header("x-riak-vclock").map_or_else(
        || Ok(Clock::default()),
        |text| Clock::decode(text).ok_or_else(|| crash("{error,{error,badarg,[{base64,decode_list,5}]}}")),
    )
}

async fn put(node: &Node, request: &Request, name: Name, bucket: &str, quorums: &Quorums) -> Response {
    let Some(content_type) = request.header("content-type").filter(|text| !text.is_empty()) else {
        return text(400, "Bad Request", "Missing Content-Type request header");
    };
    if !content_type.contains('/') {
        let body = format!("\"{content_type}\" is not a valid media type for the Content-type header.\n");
        return text(415, "Unsupported Media Type", &body);
    }
    if !accepts(request, content_type) {
        return html(406, "Not Acceptable", "Not Acceptable");
    }
    if request.header("if-none-match") == Some("*") {
        // A read that fails counts as nothing being there.
        let there = read(node, &name, quorums).await.unwrap_or_default();
        if !there.is_tombstone() {
            return html(412, "Precondition Failed", "Precondition Failed");
        }
    }
    let context = match context(request) {
        Ok(context) => context,
        Err(answer) => return answer,
    };
    let meta = request
        .headers()
        .filter_map(|(name, value)| Some((name.strip_prefix("x-riak-meta-")?, value)))
        .map(|(name, value)| (capitalised(name), value.to_owned()))
        .collect();
    let content = node
        .cluster
        .content(node.index, request.body.clone(), content_type, meta);
    let written = node
        .cluster
        .write(node.index, &name, context, content, quorums.w, quorums.pw)
        .await;
    match written {
        Ok(object) if request.param("returnbody") == Some("true") => shown(&object, request, bucket, true),
        Ok(_) => Response::new(204, "No Content").header("Content-Type", content_type),
        Err(error) => of_write_error(request, error),
    }
}

/// An answer that is given in the middle of things without saying of what type it is: it has the type that the proper answer
/// would have had.
fn in_passing(request: &Request, status: u16, reason: &'static str, body: &str) -> Response {
    let response = Response::new(status, reason);
    let mut response = match request.method.as_str() {
        "DELETE" => response.header("Content-Type", "text/html"),
        "PUT" | "POST" => response.header(
            "Content-Type",
            request.header("content-type").unwrap_or("text/plain"),
        ),
        _ => response,
    };
    response.body = body.as_bytes().to_vec();
    response
}

fn of_write_error(request: &Request, error: WriteError) -> Response {
    match error {
        WriteError::TooManySiblings(count) => text(
            500,
            "Internal Server Error",
            &format!("Error:\n{{too_many_siblings,{count}}}\n"),
        ),
        WriteError::PrimariesMissing { have, need } => in_passing(
            request,
            503,
            "Service Unavailable",
            &format!("PW-value unsatisfied: {have}/{need}\n"),
        ),
    }
}

async fn delete(node: &Node, request: &Request, name: Name, quorums: &Quorums) -> Response {
    let context = if request.header("x-riak-vclock").is_some() {
        // Whether anything is there is not looked at.
        match context(request) {
            Ok(context) => context,
            Err(answer) => return answer,
        }
    } else {
        // What is there now is what is deleted.
        match read(node, &name, quorums).await {
            Ok(object) if object.is_tombstone() => return text(404, "Object Not Found", "not found\n"),
            Ok(object) => object.clock,
            Err(answer) => return answer,
        }
    };
    let mut tombstone = node
        .cluster
        .content(node.index, Vec::new(), "application/octet-stream", Vec::new());
    tombstone.deleted = true;
    let written = node
        .cluster
        .write(node.index, &name, context, tombstone, quorums.w, quorums.pw)
        .await;
    match written {
        Ok(object) => {
            if object.is_tombstone() {
                node.cluster.reap_later(name, object);
            }
            Response::new(204, "No Content").header("Content-Type", "text/html")
        }
        Err(error) => of_write_error(request, error),
    }
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

/// Percent-decoded once; `+` is a space.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(core::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(bytes)
}
