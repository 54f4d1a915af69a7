//! A mergeable list of names: each with a number that only grows, siblings joined by taking all.
//!
//! Removing a name that somebody adds or raises at the same time keeps it. So a removal may be undone, and never undoes.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::time::Instant;
use waypost_session::ErrorKind;

use crate::fault::{Again, Fault};
use crate::object::{Object, Objects};

/// Most names in one object: what keeps it bounded.
pub(crate) const NAMES_MAX: usize = 4096;
/// How often a list is written when others write it at the same time.
const ROUNDS: usize = 8;

pub(crate) type Names = BTreeMap<String, u64>;

/// The names of all siblings together.
pub(crate) fn joined(object: &Object) -> Names {
    let mut joined = Names::new();
    for names in object.readable::<Names>("a list of names") {
        for (name, number) in names {
            let known = joined.entry(name).or_default();
            *known = number.max(*known);
        }
    }
    joined
}

/// Reads the list, changes it, and writes it if `change` says so.
pub(crate) async fn update(
    objects: &Objects,
    key: &str,
    deadline: Instant,
    mut change: impl FnMut(&mut Names) -> bool,
) -> Result<(), Fault> {
    let mut object = objects.get(key, deadline).await?;
    let mut changed = false;
    let mut sent = false;
    for _ in 0..ROUNDS {
        let mut names = joined(&object);
        changed |= change(&mut names);
        if !changed && object.values.len() < 2 {
            return Ok(());
        }
        let body = encode(&names)?;
        match objects.put(key, object.vclock.take(), body, deadline).await {
            // The change is in. Siblings that others made meanwhile are joined once, so that they do not pile up.
            Ok(after) if after.values.len() < 2 => return Ok(()),
            Ok(after) => (object, changed) = (after, false),
            Err(fault) if fault.again == Again::AfterReading => {
                sent |= fault.sent;
                object = objects
                    .get(key, deadline)
                    .await
                    .map_err(|fault| fault.sent(sent))?;
            }
            Err(fault) => return Err(fault.sent(sent)),
        }
    }
    if changed {
        // It was never written.
        return Err(contended().sent(sent));
    }
    Ok(())
}

pub(crate) fn contended() -> Fault {
    Fault::new(
        ErrorKind::Conflict,
        "others changed the same record again and again",
    )
}

pub(crate) fn encode<T: serde::Serialize>(value: &T) -> Result<Bytes, Fault> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|_| Fault::new(ErrorKind::Unexpected, "a record that cannot be written as JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_are_joined_by_the_greatest_number() {
        let sibling = |text: &'static str| Bytes::from_static(text.as_bytes());
        let object = Object {
            values: vec![sibling(r#"{"a":1,"b":5}"#), sibling(r#"{"a":2,"c":1}"#)],
            ..Object::default()
        };
        let names = joined(&object);
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            [("a".to_owned(), 2), ("b".to_owned(), 5), ("c".to_owned(), 1)]
        );
        let object = Object {
            values: vec![sibling("v1")],
            ..Object::default()
        };
        assert!(joined(&object).is_empty());
    }
}
