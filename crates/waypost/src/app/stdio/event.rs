//! What a line of stdout says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// One line of stdout, before it is text.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Line<'a> {
    Registered {
        identity: &'a str,
        incarnation: u64,
    },
    Connected {
        client: &'a str,
        seq: u64,
    },
    Disconnected {
        client: &'a str,
    },
    Displaced {
        client: &'a str,
        by: &'a str,
    },
    Message {
        from: &'a str,
        to: &'a str,
        #[serde(flatten)]
        body: Body<'a>,
    },
    Outcome {
        id: Option<&'a RawValue>,
        outcome: &'a str,
    },
    Broadcast {
        from: &'a str,
        to: &'a str,
        #[serde(flatten)]
        body: Body<'a>,
    },
    BroadcastOutcome {
        id: Option<&'a RawValue>,
        servers: u64,
        clients: u64,
        unreached: Vec<&'a str>,
    },
    Request {
        id: u64,
        from: &'a str,
        to: &'a str,
        #[serde(flatten)]
        body: Body<'a>,
    },
    Reply {
        id: Option<&'a RawValue>,
        #[serde(flatten)]
        body: Body<'a>,
    },
    Located {
        id: Option<&'a RawValue>,
        client: &'a str,
        identity: Option<&'a str>,
    },
    Fenced,
    Drained,
    Error {
        message: &'a str,
        line: u64,
    },
}

impl Line<'_> {
    /// The line as JSON, without its newline.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Strings, numbers and what was JSON before: none of it can fail to become JSON.
        serde_json::to_vec(self).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot encode an event");
            br#"{"event":"error","message":"internal error: cannot encode an event","line":0}"#.to_vec()
        })
    }
}

/// A body: `body` where it is UTF-8, `body_b64` elsewhere.
#[derive(Debug, Serialize)]
pub(super) enum Body<'a> {
    #[serde(rename = "body")]
    Text(&'a str),
    #[serde(rename = "body_b64", serialize_with = "base64")]
    Bytes(&'a [u8]),
}

impl<'a> From<&'a [u8]> for Body<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        core::str::from_utf8(bytes).map_or(Self::Bytes(bytes), Self::Text)
    }
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &Line<'_>) -> String {
        String::from_utf8(line.encode()).unwrap()
    }

    #[test]
    fn lines_are_as_documented() {
        let id = RawValue::from_string("1.50".to_owned()).unwrap();
        let id = Some(&*id);
        let hi = || Body::from(&b"hi"[..]);
        for (line, expected) in [
            (
                Line::Registered {
                    identity: "n",
                    incarnation: 3,
                },
                r#"{"event":"registered","identity":"n","incarnation":3}"#,
            ),
            (
                Line::Connected { client: "a", seq: 4 },
                r#"{"event":"connected","client":"a","seq":4}"#,
            ),
            (
                Line::Disconnected { client: "a" },
                r#"{"event":"disconnected","client":"a"}"#,
            ),
            (
                Line::Displaced { client: "a", by: "n" },
                r#"{"event":"displaced","client":"a","by":"n"}"#,
            ),
            (
                Line::Message {
                    from: "a",
                    to: "b",
                    body: hi(),
                },
                r#"{"event":"message","from":"a","to":"b","body":"hi"}"#,
            ),
            (
                Line::Message {
                    from: "a",
                    to: "b",
                    body: Body::from(&[0xff, 0][..]),
                },
                r#"{"event":"message","from":"a","to":"b","body_b64":"/wA="}"#,
            ),
            (
                Line::Outcome {
                    id,
                    outcome: "delivered",
                },
                r#"{"event":"outcome","id":1.50,"outcome":"delivered"}"#,
            ),
            (
                Line::Outcome {
                    id: None,
                    outcome: "unknown",
                },
                r#"{"event":"outcome","id":null,"outcome":"unknown"}"#,
            ),
            (
                Line::Broadcast {
                    from: "a",
                    to: "b",
                    body: hi(),
                },
                r#"{"event":"broadcast","from":"a","to":"b","body":"hi"}"#,
            ),
            (
                Line::BroadcastOutcome {
                    id,
                    servers: 2,
                    clients: 3,
                    unreached: vec!["n"],
                },
                r#"{"event":"broadcast_outcome","id":1.50,"servers":2,"clients":3,"unreached":["n"]}"#,
            ),
            (
                Line::Request {
                    id: 9,
                    from: "a",
                    to: "b",
                    body: hi(),
                },
                r#"{"event":"request","id":9,"from":"a","to":"b","body":"hi"}"#,
            ),
            (
                Line::Reply { id, body: hi() },
                r#"{"event":"reply","id":1.50,"body":"hi"}"#,
            ),
            (
                Line::Located {
                    id,
                    client: "a",
                    identity: None,
                },
                r#"{"event":"located","id":1.50,"client":"a","identity":null}"#,
            ),
            (Line::Fenced, r#"{"event":"fenced"}"#),
            (Line::Drained, r#"{"event":"drained"}"#),
            (
                Line::Error {
                    message: "m\n",
                    line: 7,
                },
                r#"{"event":"error","message":"m\n","line":7}"#,
            ),
        ] {
            assert_eq!(text(&line), expected);
        }
    }
}
