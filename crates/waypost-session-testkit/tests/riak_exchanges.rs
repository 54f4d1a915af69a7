//! Holds the stand-in for Riak to exchanges that were recorded with a real node: what is asked there is asked here, and the
//! answers must agree but for what no two nodes have in common (vclocks, tags, dates, boundaries).
#![cfg(feature = "riak")]

use std::collections::{BTreeMap, HashMap};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use waypost_session_testkit::servers::riak::RiakOptions;

const EXCHANGES: &str = include_str!("riak/exchanges.txt");

/// What must be there and has a value of its own in every node.
const OPAQUE: [&str; 3] = ["x-riak-vclock", "etag", "last-modified"];
/// What the recording left out, or depends on values of their own.
const IGNORED: [&str; 4] = ["date", "server", "vary", "content-length"];

struct Answer {
    status: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status,
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    /// What must be the same.
    fn comparable(&self) -> (String, BTreeMap<String, String>, Vec<String>) {
        let headers = self
            .headers
            .iter()
            .filter(|(name, _)| !IGNORED.contains(&name.as_str()));
        let headers = headers.map(|(name, value)| {
            let value = if OPAQUE.contains(&name.as_str()) {
                "(some)"
            } else {
                value.split("; boundary=").next().unwrap_or_default()
            };
            (name.clone(), value.to_owned())
        });
        (self.status.clone(), headers.collect(), self.body_lines())
    }

    fn body_lines(&self) -> Vec<String> {
        let boundary = self
            .headers
            .get("content-type")
            .and_then(|value| value.split_once("boundary="));
        let mut parts: Vec<String> = match boundary {
            // Siblings have no order.
            Some((_, boundary)) => self
                .body
                .split(&format!("--{boundary}"))
                .map(str::to_owned)
                .collect(),
            None => vec![self.body.clone()],
        };
        for part in &mut parts {
            let lines = part.trim().lines().map(|line| {
                let tag = line.len() >= 20 && line.chars().all(|letter| letter.is_ascii_alphanumeric());
                if tag || line.starts_with("Etag: ") || line.starts_with("Last-Modified: ") {
                    "(some)".to_owned()
                } else if line.starts_with("{\"props\":") {
                    // The recording has the beginning alone; the properties are checked by name below.
                    "(props)".to_owned()
                } else {
                    line.to_owned()
                }
            });
            *part = lines.collect::<Vec<_>>().join("\n");
        }
        parts.sort();
        parts
    }
}

struct Asked {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// Reads the arguments of `curl` as a shell would.
fn asked(line: &str) -> Asked {
    let mut arguments = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let last = arguments.len() - 1;
        match letter {
            '\\' => arguments[last].extend(letters.next()),
            '\'' => arguments[last].extend(letters.by_ref().take_while(|letter| *letter != '\'')),
            ' ' => arguments.push(String::new()),
            other => arguments[last].push(other),
        }
    }
    let mut asked = Asked {
        method: "GET".to_owned(),
        target: String::new(),
        headers: Vec::new(),
        body: String::new(),
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-X" => asked.method = arguments.next().unwrap(),
            "-I" => asked.method = "HEAD".to_owned(),
            "--data" | "--data-binary" => asked.body = arguments.next().unwrap(),
            "-H" => {
                let header = arguments.next().unwrap();
                let (name, value) = header.split_once(':').unwrap();
                asked.headers.push((name.to_owned(), value.trim().to_owned()));
            }
            other => {
                if let Some(target) = other.strip_prefix("$H") {
                    asked.target = target.to_owned();
                }
            }
        }
    }
    asked
}

async fn ask(port: u16, asked: &Asked) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut text = format!(
        "{} {} HTTP/1.1\r\nHost: riak\r\nConnection: close\r\n",
        asked.method, asked.target
    );
    for (name, value) in &asked.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!(
        "Content-Length: {}\r\n\r\n{}",
        asked.body.len(),
        asked.body
    ));
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    Answer::parse(&answer)
}

#[tokio::test]
async fn the_stand_in_answers_as_the_recorded_node_did() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let port = nodes.port(0).unwrap();
    // Vclocks of the recording, and what they are here.
    let mut vclocks: HashMap<String, String> = HashMap::new();
    let mut count = 0;
    for exchange in EXCHANGES.split("\n$ curl -si ").skip(1) {
        let (line, expected) = exchange.split_once('\n').unwrap();
        let mut request = asked(line);
        for index in 0..request.headers.len() {
            let (name, value) = &request.headers[index];
            if !name.eq_ignore_ascii_case("x-riak-vclock") {
                continue;
            }
            let here = match vclocks.get(value) {
                Some(here) => here.clone(),
                None => {
                    // It comes from a read that was not recorded.
                    let target = request.target.split('?').next().unwrap().to_owned();
                    let read = Asked {
                        method: "GET".to_owned(),
                        target,
                        headers: Vec::new(),
                        body: String::new(),
                    };
                    ask(port, &read).await.headers["x-riak-vclock"].clone()
                }
            };
            request.headers[index].1 = here;
        }
        let expected = Answer::parse(expected.trim_end());
        let got = ask(port, &request).await;
        assert_eq!(got.comparable(), expected.comparable(), "asked: {line}");
        if let (Some(there), Some(here)) = (
            expected.headers.get("x-riak-vclock"),
            got.headers.get("x-riak-vclock"),
        ) {
            vclocks.insert(there.clone(), here.clone());
        }
        count += 1;
    }
    assert!(count > 30, "only {count} exchanges");
}

/// By Riak's own source (`riak_kv_wm_object`, `resource_exists`): with a vclock, a DELETE does not look whether anything is there.
#[tokio::test]
async fn a_delete_with_a_vclock_leaves_a_tombstone_where_nothing_was() {
    let nodes = RiakOptions::new().start().await.unwrap();
    let port = nodes.port(0).unwrap();
    let request = |method: &str, key: &str, vclock: Option<&String>| Asked {
        method: method.to_owned(),
        target: format!("/buckets/b/keys/{key}"),
        headers: vclock
            .map(|vclock| ("X-Riak-Vclock".to_owned(), vclock.clone()))
            .into_iter()
            .chain([("Content-Type".to_owned(), "text/plain".to_owned())])
            .collect(),
        body: "v".to_owned(),
    };
    ask(port, &request("PUT", "one", None)).await;
    let vclock = ask(port, &request("GET", "one", None)).await.headers["x-riak-vclock"].clone();
    let deleted = ask(port, &request("DELETE", "other", Some(&vclock))).await;
    assert_eq!(deleted.status, "HTTP/1.1 204 No Content");
    let tombstone = ask(port, &request("GET", "other", None)).await;
    assert_eq!(tombstone.headers["x-riak-deleted"], "true");
    assert!(tombstone.headers.contains_key("x-riak-vclock"));
}
