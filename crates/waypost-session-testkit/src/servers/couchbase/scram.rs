//! The server's side of SCRAM-SHA512 (RFC 5802) for one user.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha512};

use crate::Rng;

pub(super) const MECHANISM: &str = "SCRAM-SHA512";
/// Few, since tests connect often and without optimisation; real servers take thousands.
const ROUNDS: u32 = 64;

/// What the server keeps of a password.
#[derive(Debug)]
pub(super) struct Verifier {
    username: String,
    salt: [u8; 16],
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

/// A conversation between its two steps.
#[derive(Debug)]
pub(super) struct Conversation {
    known: bool,
    nonce: String,
    /// What was said so far, as it is signed.
    said: String,
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    // A key of any length is taken.
    Hmac::<Sha512>::new_from_slice(key)
        .map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec())
        .unwrap_or_default()
}

impl Verifier {
    pub(super) fn new(username: &str, password: &str) -> Self {
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&Rng::fresh_seed().to_be_bytes());
        salt[8..].copy_from_slice(&Rng::fresh_seed().to_be_bytes());
        let mut salted = [0; 64];
        pbkdf2::pbkdf2_hmac::<Sha512>(password.as_bytes(), &salt, ROUNDS, &mut salted);
        Self {
            username: username.to_owned(),
            salt,
            stored_key: Sha512::digest(sign(&salted, b"Client Key")).to_vec(),
            server_key: sign(&salted, b"Server Key"),
        }
    }

    /// Takes a password in the clear: authorisation, user and password, with zeros between.
    pub(super) fn plain(&self, said: &[u8]) -> bool {
        let mut parts = said.split(|byte| *byte == 0).skip(1);
        let (Some(name), Some(password)) = (parts.next(), parts.next()) else {
            return false;
        };
        let mut salted = [0; 64];
        pbkdf2::pbkdf2_hmac::<Sha512>(password, &self.salt, ROUNDS, &mut salted);
        let stored = Sha512::digest(sign(&salted, b"Client Key"));
        name == self.username.as_bytes() && stored[..] == self.stored_key[..]
    }

    /// Takes the client's first message; gives ours.
    pub(super) fn begin(&self, first: &[u8]) -> Option<(Conversation, String)> {
        let first = core::str::from_utf8(first).ok()?;
        let bare = first.strip_prefix("n,,")?;
        let (name, nonce) = bare.strip_prefix("n=")?.split_once(",r=")?;
        let name = name.replace("=2C", ",").replace("=3D", "=");
        let nonce = format!("{nonce}{:016x}", Rng::fresh_seed());
        let reply = format!("r={nonce},s={},i={ROUNDS}", STANDARD.encode(self.salt));
        let conversation = Conversation {
            known: name == self.username,
            said: format!("{bare},{reply}"),
            nonce,
        };
        Some((conversation, reply))
    }

    /// Takes the client's last message; gives our signature if it has shown that it knows the password.
    pub(super) fn end(&self, conversation: &Conversation, last: &[u8]) -> Option<String> {
        let last = core::str::from_utf8(last).ok()?;
        let (unsigned, proof) = last.rsplit_once(",p=")?;
        if !conversation.known || unsigned.split_once(",r=")?.1 != conversation.nonce {
            return None;
        }
        let said = format!("{},{unsigned}", conversation.said);
        let proof = STANDARD.decode(proof).ok()?;
        let signature = sign(&self.stored_key, said.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if proof.len() != signature.len() || Sha512::digest(client_key)[..] != self.stored_key[..] {
            return None;
        }
        Some(format!(
            "v={}",
            STANDARD.encode(sign(&self.server_key, said.as_bytes()))
        ))
    }
}
