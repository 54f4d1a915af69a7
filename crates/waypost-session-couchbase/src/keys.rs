//! Names of documents.

use core::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use waypost_types::{Address, Identity, Owner};

/// Longest key that is taken everywhere: 250 bytes less what a named collection needs.
const KEY_BYTES_MAX: usize = 246;
/// Longest prefix, so that the keys of owners and leases always fit.
pub(crate) const PREFIX_BYTES_MAX: usize = 64;

/// Makes the name that stands for an address which is too long to be one.
pub(crate) type Digest = fn(&str) -> String;

/// Makes keys that begin with one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
    digest: Digest,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self::with_digest(prefix, sha256)
    }

    pub(crate) fn with_digest(prefix: &str, digest: Digest) -> Self {
        Self {
            prefix: prefix.to_owned(),
            digest,
        }
    }

    /// The address's document. Long addresses share one by their digest: a document holds an entry an address.
    pub(crate) fn session(&self, address: &Address) -> String {
        let plain = format!("{}s:{address}", self.prefix);
        if plain.len() <= KEY_BYTES_MAX {
            return plain;
        }
        format!("{}h:{}", self.prefix, (self.digest)(address.as_str()))
    }

    pub(crate) fn lease(&self, identity: &Identity) -> String {
        format!("{}l:{identity}", self.prefix)
    }

    /// The list of the owners that there are.
    pub(crate) fn members(&self) -> String {
        format!("{}m", self.prefix)
    }

    /// The list of an owner's segments.
    pub(crate) fn segments(&self, owner: &Owner) -> String {
        format!("{}o:{}:{}", self.prefix, owner.incarnation, owner.identity)
    }

    /// A list of addresses that the owner may hold.
    pub(crate) fn segment(&self, owner: &Owner, id: u64) -> String {
        format!(
            "{}i:{id:016x}:{}:{}",
            self.prefix, owner.incarnation, owner.identity
        )
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
mod tests {
    use waypost_types::{ADDRESS_BYTES_MAX, IDENTITY_BYTES_MAX, Incarnation};

    use super::*;

    #[test]
    fn every_key_fits_and_different_addresses_have_different_keys() {
        let keys = Keys::new(&"p".repeat(PREFIX_BYTES_MAX));
        let identity = Identity::new(&"i".repeat(IDENTITY_BYTES_MAX)).unwrap();
        let owner = Owner::new(identity.clone(), Incarnation(u64::MAX));
        let fits = |key: String| assert!(key.len() <= KEY_BYTES_MAX, "{} bytes: {key}", key.len());
        fits(keys.lease(&identity));
        fits(keys.segments(&owner));
        fits(keys.segment(&owner, u64::MAX));
        let mut seen = std::collections::HashSet::new();
        for len in 1..=ADDRESS_BYTES_MAX {
            for last in ["a", "b"] {
                let address = Address::new(&("x".repeat(len - 1) + last)).unwrap();
                let key = keys.session(&address);
                assert!(seen.insert(key.clone()));
                fits(key);
            }
        }
    }
}
