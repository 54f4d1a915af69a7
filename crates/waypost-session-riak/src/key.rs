//! The keys of the objects, and how they stand in a URL.

use waypost_types::{Address, Identity};

/// How many objects share the list of identities, and as many the list of journals.
pub(crate) const SHARDS: usize = 8;

/// Marks that this bucket has not been emptied.
pub(crate) const MARKER: &str = "g:";

pub(crate) fn session(address: &Address) -> String {
    ["s:", address.as_str()].concat()
}

pub(crate) fn lease(identity: &Identity) -> String {
    ["l:", identity.as_str()].concat()
}

/// A part of the list of identities that may have a lease.
pub(crate) fn members(shard: usize) -> String {
    format!("m:{shard}")
}

/// A part of the list of journals.
pub(crate) fn journals(shard: usize) -> String {
    format!("j:{shard}")
}

/// Which part an identity belongs to: FNV-1a of its bytes.
pub(crate) fn shard(identity: &Identity) -> usize {
    let hash = identity
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    // The remainder is below SHARDS, which fits.
    usize::try_from(hash % SHARDS as u64).unwrap_or(0)
}

/// Encodes everything but unreserved characters: Riak decodes `+` to a space and takes `/` for a link walk.
pub(crate) fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 0xf] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay_as_they_are() {
        let mut out = String::new();
        percent_encode("s:a/b+c d%2F\0é.-_~", &mut out);
        assert_eq!(out, "s%3Aa%2Fb%2Bc%20d%252F%00%C3%A9.-_~");
    }

    #[test]
    fn the_longest_address_fits_into_a_request_line() {
        let mut out = String::new();
        percent_encode(&session(&Address::new(&"\0".repeat(255)).unwrap()), &mut out);
        assert!(out.len() < 800, "{}", out.len());
    }
}
