//! What a line of stdin asks for.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use waypost_types::Address;

/// The caller's name for an operation: a JSON string or number, kept as written.
pub(super) type Id = Box<RawValue>;

/// One operation.
#[derive(Debug)]
pub(super) enum Op {
    /// `{"op":"connect","client":A}`
    Connect { client: Address },
    /// `{"op":"disconnect","client":A}`
    Disconnect { client: Address },
    /// `{"op":"send","from":A,"to":B,"body":S,"ack":true,"id":I}`
    Send {
        from: Address,
        to: Address,
        body: Bytes,
        ack: bool,
        id: Option<Id>,
    },
    /// `{"op":"request","from":A,"to":B,"body":S,"id":I}`
    Request {
        from: Address,
        to: Address,
        body: Bytes,
        id: Option<Id>,
    },
    /// `{"op":"reply","id":J,"body":S}`
    Reply { request: u64, body: Bytes },
    /// `{"op":"broadcast","from":A,"body":S,"id":I}`
    Broadcast {
        from: Address,
        body: Bytes,
        id: Option<Id>,
    },
    /// `{"op":"locate","client":A,"id":I}`
    Locate { client: Address, id: Option<Id> },
    /// `{"op":"drain"}`
    Drain,
    /// `{"op":"quit"}`
    Quit,
}

/// Every field that any operation has. Others are ignored, for the sake of programs newer than this one.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow, default)]
    client: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    from: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    to: Option<Cow<'a, str>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(borrow, default)]
    body_b64: Option<Cow<'a, str>>,
    #[serde(default)]
    ack: Option<bool>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// Reads one line.
///
/// The error says what is wrong, for the one who wrote the line.
pub(super) fn parse(line: &[u8]) -> Result<Op, String> {
    let mut fields: Fields<'_> =
        serde_json::from_slice(line).map_err(|error| format!("not an operation: {error}"))?;
    match &*fields.op {
        "connect" => Ok(Op::Connect {
            client: fields.client()?,
        }),
        "disconnect" => Ok(Op::Disconnect {
            client: fields.client()?,
        }),
        "send" => Ok(Op::Send {
            from: fields.from()?,
            to: fields.to()?,
            body: fields.body()?,
            ack: fields.ack.unwrap_or(false),
            id: fields.id()?,
        }),
        "request" => Ok(Op::Request {
            from: fields.from()?,
            to: fields.to()?,
            body: fields.body()?,
            id: fields.id()?,
        }),
        "reply" => Ok(Op::Reply {
            request: fields.request()?,
            body: fields.body()?,
        }),
        "broadcast" => Ok(Op::Broadcast {
            from: fields.from()?,
            body: fields.body()?,
            id: fields.id()?,
        }),
        "locate" => Ok(Op::Locate {
            client: fields.client()?,
            id: fields.id()?,
        }),
        "drain" => Ok(Op::Drain),
        "quit" => Ok(Op::Quit),
        other => Err(format!(
            "unknown op {other:?}: use connect, disconnect, send, request, reply, broadcast, locate, drain or quit"
        )),
    }
}

impl Fields<'_> {
    fn client(&self) -> Result<Address, String> {
        self.address(self.client.as_deref(), "client")
    }

    fn from(&self) -> Result<Address, String> {
        self.address(self.from.as_deref(), "from")
    }

    fn to(&self) -> Result<Address, String> {
        self.address(self.to.as_deref(), "to")
    }

    fn address(&self, text: Option<&str>, field: &str) -> Result<Address, String> {
        let text = text.ok_or_else(|| format!("op {} needs `{field}`", self.op))?;
        Address::new(text).map_err(|error| format!("`{field}`: {error}"))
    }

    fn body(&mut self) -> Result<Bytes, String> {
        match (self.body.take(), &self.body_b64) {
            (Some(text), None) => Ok(text.into()),
            (None, Some(text)) => STANDARD
                .decode(text.as_bytes())
                .map(Bytes::from)
                .map_err(|error| format!("`body_b64` is not standard base64 with padding: {error}")),
            (Some(_), Some(_)) => Err("give `body` or `body_b64`, not both".to_owned()),
            (None, None) => Err(format!("op {} needs `body` or `body_b64`", self.op)),
        }
    }

    fn id(&self) -> Result<Option<Id>, String> {
        match self.id {
            None => Ok(None),
            Some(id)
                if id
                    .get()
                    .starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit()) =>
            {
                Ok(Some(id.to_owned()))
            }
            Some(_) => Err("`id` must be a string or a number".to_owned()),
        }
    }

    /// The number of a request event; a string of the same digits will do.
    fn request(&self) -> Result<u64, String> {
        let id = self
            .id
            .ok_or("op reply needs `id`, the one of the request event")?;
        id.get()
            .trim_matches('"')
            .parse()
            .map_err(|_| "`id` is not that of a request event".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> String {
        parse(line.as_bytes()).expect_err(line)
    }

    #[test]
    fn a_send_is_read_whole() {
        let line = br#"{"op":"send","from":"a\u0000","to":"\u00e9","body":"x\n","ack":true,"id":"7\"x"}"#;
        let Ok(Op::Send {
            from,
            to,
            body,
            ack,
            id,
        }) = parse(line)
        else {
            panic!()
        };
        assert_eq!(
            (from.as_str(), to.as_str(), &body[..], ack),
            ("a\0", "é", &b"x\n"[..], true)
        );
        assert_eq!(id.unwrap().get(), r#""7\"x""#);
    }

    #[test]
    fn an_id_is_kept_as_written_and_may_be_missing() {
        for id in [
            "1",
            "-1.50",
            "123456789012345678901234567890",
            "1e400",
            "\"\\u0041\"",
        ] {
            let line = format!(r#"{{"op":"locate","client":"a","id":{id}}}"#);
            let Ok(Op::Locate { id: Some(kept), .. }) = parse(line.as_bytes()) else {
                panic!("{id}")
            };
            assert_eq!(kept.get(), id);
        }
        for line in [
            r#"{"op":"locate","client":"a"}"#,
            r#"{"op":"locate","client":"a","id":null}"#,
        ] {
            assert!(
                matches!(parse(line.as_bytes()), Ok(Op::Locate { id: None, .. })),
                "{line}"
            );
        }
    }

    #[test]
    fn bodies_come_as_text_or_as_base64() {
        let Ok(Op::Broadcast { body, .. }) = parse(br#"{"op":"broadcast","from":"a","body_b64":"/wA="}"#)
        else {
            panic!()
        };
        assert_eq!(&body[..], [0xff, 0]);
        assert!(error(r#"{"op":"broadcast","from":"a","body_b64":"/w"}"#).contains("base64"));
        assert!(error(r#"{"op":"broadcast","from":"a","body":"x","body_b64":""}"#).contains("not both"));
        assert!(error(r#"{"op":"broadcast","from":"a"}"#).contains("needs `body`"));
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        for (line, part) in [
            ("hello", "not an operation"),
            ("[]", "not an operation"),
            ("{}", "missing field `op`"),
            (r#"{"op":5}"#, "invalid type"),
            (r#"{"op":"fly"}"#, "unknown op \"fly\""),
            (r#"{"op":"connect"}"#, "op connect needs `client`"),
            (r#"{"op":"connect","client":5}"#, "invalid type"),
            (r#"{"op":"connect","client":""}"#, "`client`: address is empty"),
            (r#"{"op":"connect","client":"a"} {"#, "not an operation"),
            (
                r#"{"op":"send","from":"a","to":"b","body":"x","ack":"yes"}"#,
                "invalid type",
            ),
            (
                r#"{"op":"send","from":"a","to":"b","body":"x","id":[1]}"#,
                "`id` must be",
            ),
            (
                r#"{"op":"send","from":"a","to":"b","body":"x","id":true}"#,
                "`id` must be",
            ),
            (r#"{"op":"reply","body":"x"}"#, "needs `id`"),
            (r#"{"op":"reply","id":-1,"body":"x"}"#, "not that of a request"),
        ] {
            let message = error(line);
            assert!(message.contains(part), "{line}: {message}");
        }
        assert!(parse(b"{\"op\":\"connect\",\"client\":\"\xff\"}").is_err());
        let long = format!(r#"{{"op":"connect","client":"{}"}}"#, "x".repeat(256));
        assert!(error(&long).contains("256 bytes"));
    }

    #[test]
    fn a_reply_names_its_request_by_number_or_string() {
        for id in ["12", "\"12\""] {
            let line = format!(r#"{{"op":"reply","id":{id},"body":""}}"#);
            assert!(matches!(
                parse(line.as_bytes()),
                Ok(Op::Reply { request: 12, .. })
            ));
        }
    }
}
