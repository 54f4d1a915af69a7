//! Lists that grow by appending: a head of fixed length, then entries, each behind its length.

/// Adds one entry.
pub(crate) fn push(to: &mut Vec<u8>, entry: &[u8]) {
    // Entries are names of at most 255 bytes and a number.
    let len = u16::try_from(entry.len()).unwrap_or(u16::MAX);
    to.extend_from_slice(&len.to_be_bytes());
    to.extend_from_slice(&entry[..usize::from(len)]);
}

/// The entries behind a head that has been cut off; `None` when they are something else.
pub(crate) fn entries(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (len, rest) = bytes.split_first_chunk()?;
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        entries.push(entry);
        bytes = rest;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_a_cut_list_is_none() {
        let mut bytes = Vec::new();
        for entry in [&b"one"[..], b"", b"three"] {
            push(&mut bytes, entry);
        }
        assert_eq!(entries(&bytes).unwrap(), [&b"one"[..], b"", b"three"]);
        for len in 1..bytes.len() {
            if ![5, 7].contains(&len) {
                assert_eq!(entries(&bytes[..len]), None, "{len}");
            }
        }
    }
}
