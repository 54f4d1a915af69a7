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

/// A session's record, `SEQ INCARNATION IDENTITY`. What others have written there counts as missing.
pub(crate) fn session(value: &Value) -> Option<Session> {
    if *value == Value::Nil {
        return None;
    }
    let read = || {
        let (seq, owner) = text(value)?.split_once(' ')?;
        Some(Session::new(self::owner(owner)?, Seq(seq.parse().ok()?)))
    };
    readable("a session's record", read())
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

/// Says of a record that could not be read that it is not what it should be. Then it counts as missing, and whoever has something
/// to write there writes over it: nobody could mend what it was, and others must not be kept from theirs by it.
pub(crate) fn readable<T>(what: &str, read: Option<T>) -> Option<T> {
    if read.is_none() {
        tracing::warn!(
            "{what} cannot be read and counts as missing: another program may use these keys; choose another `prefix`"
        );
    }
    read
}
