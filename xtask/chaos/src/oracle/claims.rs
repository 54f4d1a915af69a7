//! What servers say of their claims: seqs grow with every claim of an address, and who takes a client over has asked for it.

use std::collections::{HashMap, HashSet, VecDeque};

use super::Oracle;
use crate::server::ServerId;

/// What has been asked for and said of claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The store is one whose seqs may not grow, or this is not known.
    seqs_may_fall: bool,
    /// The greatest seq of each client that anybody has been told.
    newest: HashMap<String, u64>,
    /// By process and client: for each connect without answer, the greatest seq that had been told when it was written.
    asked: HashMap<(ServerId, String), VecDeque<u64>>,
    /// Who has asked for a client, by identity.
    claimants: HashMap<String, HashSet<String>>,
}

impl Oracle {
    /// Notes that the store may give a later claim a lower seq.
    pub(crate) const fn seqs_may_fall(&mut self) {
        self.claims.seqs_may_fall = true;
    }

    pub(super) fn claim_asked(&mut self, id: ServerId, client: &str) {
        let newest = self.claims.newest.get(client).copied().unwrap_or(0);
        let asked = self.claims.asked.entry((id, client.to_owned())).or_default();
        asked.push_back(newest);
        let identity = self.processes[id.0].identity.clone();
        let claimants = self.claims.claimants.entry(client.to_owned()).or_default();
        claimants.insert(identity);
    }

    /// A connect has failed.
    pub(super) fn claim_failed(&mut self, id: ServerId, client: &str) {
        if let Some(asked) = self.claims.asked.get_mut(&(id, client.to_owned())) {
            asked.pop_front();
        }
    }

    pub(super) fn claimed(&mut self, id: ServerId, client: &str, seq: u64) {
        let asked = self.claims.asked.get_mut(&(id, client.to_owned()));
        let before = asked.and_then(VecDeque::pop_front).unwrap_or(0);
        let newest = self.claims.newest.entry(client.to_owned()).or_default();
        *newest = seq.max(*newest);
        if seq <= before && !self.claims.seqs_may_fall {
            let tag = format!("\"{client}\"");
            self.violation(
                &format!("{client} was connected as {before}, and by a later claim as {seq}"),
                &[&tag],
            );
        }
    }

    pub(super) fn taken_over(&mut self, client: &str, by: &str) {
        let claimants = self.claims.claimants.get(client);
        if !claimants.is_some_and(|claimants| claimants.contains(by)) {
            let tag = format!("\"{client}\"");
            self.violation(
                &format!("{client} was displaced by '{by}', which never asked for it"),
                &[&tag],
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::two;

    #[test]
    fn a_later_claim_with_a_lower_seq_and_a_taker_that_never_asked_are_noticed() {
        let (mut oracle, a, b) = two();
        oracle.wrote_connect(b, "x");
        oracle.heard(b, r#"{"event":"connected","client":"x","seq":2}"#);
        oracle.heard(a, r#"{"event":"displaced","client":"x","by":"b"}"#);
        oracle.verdict().unwrap();
        oracle.wrote_connect(a, "x");
        oracle.heard(a, r#"{"event":"connected","client":"x","seq":2}"#);
        assert!(oracle.verdict().is_err());

        let (mut oracle, a, _) = two();
        oracle.heard(a, r#"{"event":"displaced","client":"x","by":"b"}"#);
        assert!(oracle.verdict().is_err());
    }
}
