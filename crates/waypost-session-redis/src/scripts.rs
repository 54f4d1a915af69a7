//! The scripts: what must happen in one step on the server.

use std::sync::OnceLock;

/// A Lua script, run by its digest.
#[derive(Debug)]
pub(crate) struct Script {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    /// The text, sent to a server that does not have it.
    pub(crate) code: &'static str,
    digest: OnceLock<String>,
}

impl Script {
    const fn new(name: &'static str, code: &'static str) -> Self {
        Self {
            name,
            code,
            digest: OnceLock::new(),
        }
    }

    /// The SHA-1 of the text, in hexadecimal.
    pub(crate) fn digest(&self) -> &str {
        self.digest
            .get_or_init(|| redis::Script::new(self.code).get_hash().to_owned())
    }
}

pub(crate) static CLAIM: Script = Script::new("claim", include_str!("lua/claim.lua"));
pub(crate) static RELEASE: Script = Script::new("release", include_str!("lua/release.lua"));
pub(crate) static RESTORE: Script = Script::new("restore", include_str!("lua/restore.lua"));
pub(crate) static LOOKUP: Script = Script::new("lookup", include_str!("lua/lookup.lua"));
pub(crate) static REGISTER: Script = Script::new("register", include_str!("lua/register.lua"));
pub(crate) static RENEW: Script = Script::new("renew", include_str!("lua/renew.lua"));
pub(crate) static DRAIN: Script = Script::new("drain", include_str!("lua/drain.lua"));
pub(crate) static DEREGISTER: Script = Script::new("deregister", include_str!("lua/deregister.lua"));
pub(crate) static PEERS: Script = Script::new("peers", include_str!("lua/peers.lua"));
pub(crate) static EVIDENCE: Script = Script::new("evidence", include_str!("lua/evidence.lua"));
pub(crate) static RECLAIM: Script = Script::new("reclaim", include_str!("lua/reclaim.lua"));
