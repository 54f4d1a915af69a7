//! Reading what servers answer.

use redis::Value;
use waypost_session::ErrorKind;
use waypost_types::{Identity, Incarnation, Owner, Seq, Session};

use crate::fault::Fault;

/// The text of a string answer.
pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => core::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

/// The elements of an array answer.
pub(crate) fn array(value: Value) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        _ => Err(strange()),
    }
}

/// A whole number, as an integer or as text.
pub(crate) fn number(value: &Value) -> Result<u64, Fault> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        other => text(other).and_then(|text| text.parse().ok()),
    }
    .ok_or_else(strange)
}

/// A session's record, `SEQ INCARNATION IDENTITY`.
pub(crate) fn session(value: &Value) -> Result<Option<Session>, Fault> {
    if *value == Value::Nil {
        return Ok(None);
    }
    let read = || {
        let (seq, owner) = text(value)?.split_once(' ')?;
        Some(Session::new(self::owner(owner)?, Seq(seq.parse().ok()?)))
    };
    read().map(Some).ok_or_else(|| corrupt("a session"))
}

/// An owner as it stands in records, `INCARNATION IDENTITY`.
pub(crate) fn owner(text: &str) -> Option<Owner> {
    let (incarnation, identity) = text.split_once(' ')?;
    Some(Owner::new(
        Identity::new(identity).ok()?,
        Incarnation(incarnation.parse().ok()?),
    ))
}

/// An answer of a shape that was never asked for.
pub(crate) fn strange() -> Fault {
    Fault::new(
        ErrorKind::Unexpected,
        "the server's answer has a shape that was not asked for",
    )
}

/// A record that cannot be read.
pub(crate) fn corrupt(what: &str) -> Fault {
    Fault::new(
        ErrorKind::Corrupt,
        format!(
            "the record of {what} is not one of Waypost's: another program may use these keys; choose another `prefix`"
        ),
    )
}
