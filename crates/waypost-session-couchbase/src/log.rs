//! Lists that grow by appending: a head of fixed length, then entries, each behind its length.

use crate::fault::Fault;

/// Adds one entry.
pub(crate) fn push(to: &mut Vec<u8>, entry: &[u8]) {
    // Entries are names of at most 255 bytes and a number.
    let len = u16::try_from(entry.len()).unwrap_or(u16::MAX);
    to.extend_from_slice(&len.to_be_bytes());
    to.extend_from_slice(&entry[..usize::from(len)]);
}

/// The entries behind a head that has been cut off.
pub(crate) fn entries<'a>(mut bytes: &'a [u8], what: &str) -> Result<Vec<&'a [u8]>, Fault> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes
            .split_first_chunk::<2>()
            .ok_or_else(|| Fault::corrupt(what))?;
        let (entry, rest) = rest
            .split_at_checked(usize::from(u16::from_be_bytes(*len)))
            .ok_or_else(|| Fault::corrupt(what))?;
        entries.push(entry);
        bytes = rest;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_a_cut_list_is_corrupt() {
        let mut bytes = Vec::new();
        for entry in [&b"one"[..], b"", b"three"] {
            push(&mut bytes, entry);
        }
        assert_eq!(entries(&bytes, "x").unwrap(), [&b"one"[..], b"", b"three"]);
        for len in 1..bytes.len() {
            if ![5, 7].contains(&len) {
                assert!(entries(&bytes[..len], "x").is_err(), "{len}");
            }
        }
    }
}
