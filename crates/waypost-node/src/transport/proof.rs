//! The cluster key, and the proof that a side knows it.
//!
//! It authenticates the opening of a link and nothing after it. Where the network is not trusted, use TLS as well.

use core::fmt;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use waypost_wire::NONCE_BYTES;

/// Changes with every change of what is covered.
const CONTEXT: &[u8] = b"waypost proof 1";

/// Which side of a link this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that dialled.
    Dialling,
    /// The one that was dialled.
    Listening,
}

impl Side {
    const fn byte(self) -> &'static [u8] {
        match self {
            Self::Dialling => b"d",
            Self::Listening => b"l",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Dialling => Self::Listening,
            Self::Listening => Self::Dialling,
        }
    }
}

/// The secret that all nodes of a cluster share. It is never printed. Make it of at least 32 random bytes: whoever dials
/// a node can try to guess it offline.
#[derive(Clone)]
pub struct ClusterKey(Hmac<Sha256>);

/// A cluster key has no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cluster key is empty: give at least 32 random bytes, or no key at all")]
pub struct EmptyKey;

impl ClusterKey {
    /// Takes the key in.
    ///
    /// # Errors
    /// [`EmptyKey`], as an empty key would look like protection and be none.
    pub fn new(key: &[u8]) -> Result<Self, EmptyKey> {
        if key.is_empty() {
            return Err(EmptyKey);
        }
        Hmac::new_from_slice(key).map(Self).map_err(|_| EmptyKey)
    }

    /// What `side` sends, having sent the nonce `own` and received `theirs`.
    pub(super) fn prove(&self, side: Side, own: &[u8; NONCE_BYTES], theirs: &[u8; NONCE_BYTES]) -> Bytes {
        Bytes::copy_from_slice(&self.cover(side, own, theirs).finalize().into_bytes())
    }

    /// Whether `mac` is what the side opposite to `side` must send. Takes as long for a wrong one as for a right one.
    pub(super) fn verify(
        &self,
        side: Side,
        own: &[u8; NONCE_BYTES],
        theirs: &[u8; NONCE_BYTES],
        mac: &[u8],
    ) -> bool {
        self.cover(side.other(), theirs, own).verify_slice(mac).is_ok()
    }

    fn cover(&self, side: Side, own: &[u8; NONCE_BYTES], theirs: &[u8; NONCE_BYTES]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(CONTEXT);
        mac.update(side.byte());
        mac.update(own);
        mac.update(theirs);
        mac
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &[u8; 16] = b"aaaaaaaaaaaaaaaa";
    const B: &[u8; 16] = b"bbbbbbbbbbbbbbbb";

    #[test]
    fn a_proof_holds_for_its_key_side_and_nonces_only() {
        let key = ClusterKey::new(b"key").unwrap();
        let proof = key.prove(Side::Dialling, A, B);
        assert!(key.verify(Side::Listening, B, A, &proof));
        assert!(
            !key.verify(Side::Dialling, B, A, &proof),
            "a side's own proof sent back"
        );
        assert!(!key.verify(Side::Listening, A, B, &proof));
        assert!(!key.verify(Side::Listening, B, A, &proof[..31]));
        assert!(
            !ClusterKey::new(b"kex")
                .unwrap()
                .verify(Side::Listening, B, A, &proof)
        );
    }

    #[test]
    fn the_proof_is_what_the_wire_contract_says() {
        // python3 -c 'import hmac; print(hmac.digest(b"key", b"waypost proof 1" + b"d" + b"a"*16 + b"b"*16, "sha256").hex())'
        let proof = ClusterKey::new(b"key").unwrap().prove(Side::Dialling, A, B);
        let hex: String = proof.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "2675547f6a70ddc32e9f241d403f0fe77c017ad45283ba2b4c63a33668116b3c"
        );
    }

    #[test]
    fn a_key_is_never_printed_and_never_empty() {
        assert_eq!(
            format!("{:?}", ClusterKey::new(b"secret").unwrap()),
            "ClusterKey(***)"
        );
        assert_eq!(ClusterKey::new(b"").unwrap_err(), EmptyKey);
    }
}
