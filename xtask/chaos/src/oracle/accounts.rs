//! What became of every send, and whether the sum is right.

use std::time::Duration;

use anyhow::Result;

use super::{Oracle, Outcomes, Sent};
use crate::server::ServerId;

impl Oracle {
    /// Sends without outcome whose process lives.
    pub fn owed(&self) -> usize {
        self.sent.values().filter(|sent| self.is_owed(sent)).count()
    }

    /// The same of one process.
    pub fn owed_by(&self, id: ServerId) -> usize {
        self.sent
            .values()
            .filter(|sent| sent.by == id && self.is_owed(sent))
            .count()
    }

    /// A killed process owes nothing; one that was told to end, all that had been written by then, and what it has certainly
    /// read since.
    pub(super) fn is_owed(&self, sent: &Sent) -> bool {
        let process = &self.processes[sent.by.0];
        let is_late = |written: u64| sent.line > written.max(process.answered_line);
        let is_excused = process.killed || process.told_to_end.is_some_and(is_late);
        sent.is_acked && sent.outcome.is_none() && !is_excused
    }

    /// Whether the acked sends from one number up to another have their outcomes, and none of those is missing.
    pub(crate) fn all_ended(&self, from: u64, to: u64) -> bool {
        self.sent.range(from..to).all(|(_, sent)| !self.is_owed(sent))
    }

    /// Adds up what became of sends from one number up to another: of acked ones their outcomes; of others whether they
    /// `arrived`, their outcomes where they could not even be sent, and how many were `told as failed or lost`.
    #[must_use]
    pub fn outcomes_between(&self, from: u64, to: u64, acked: bool) -> Outcomes {
        let mut outcomes = Outcomes::new();
        for sent in self.of_kind(from, to, acked) {
            let outcome = match &sent.outcome {
                Some(outcome) => outcome,
                None if acked => continue,
                None if sent.at.is_empty() => "told as failed or lost",
                None => "arrived",
            };
            *outcomes.entry(outcome.to_owned()).or_default() += 1;
        }
        outcomes
    }

    /// How long it took, from when they were written, until sends from one number up to another had their outcomes, or
    /// arrived, where nobody asked for that; the shortest first.
    #[must_use]
    pub fn latencies(&self, from: u64, to: u64, acked: bool) -> Vec<Duration> {
        let took = self.of_kind(from, to, acked).filter_map(|sent| sent.took);
        let mut latencies: Vec<Duration> = took.collect();
        latencies.sort_unstable();
        latencies
    }

    fn of_kind(&self, from: u64, to: u64, acked: bool) -> impl Iterator<Item = &Sent> {
        let range = self.sent.range(from..to).map(|(_, sent)| sent);
        range.filter(move |sent| sent.is_acked == acked)
    }

    /// Adds up sends without acknowledgement: `failed` of them were said to have failed, beside those that have an outcome
    /// because they could not even be sent.
    ///
    /// # Errors
    /// When more were delivered and failed than were sent; and when some are missing although nothing was ever broken.
    pub(crate) fn close_unacked(&self, failed: usize) -> Result<()> {
        let unacked = self.sent.values().filter(|sent| !sent.is_acked);
        let (mut sent, mut delivered, mut failed) = (0, 0, failed);
        for one in unacked {
            sent += 1;
            delivered += usize::from(!one.at.is_empty());
            failed += usize::from(one.outcome.is_some());
        }
        let sum = delivered + failed;
        anyhow::ensure!(
            sum <= sent && (self.disturbed || sum == sent),
            "of {sent} sends without acknowledgement {delivered} were delivered and {failed} failed"
        );
        Ok(())
    }

    /// When nothing is under way any more: every acked send has its one outcome, what counts as delivered was printed,
    /// and the sum is right.
    ///
    /// # Errors
    /// With the evidence, when that is not so.
    pub fn close_accounts(&mut self) -> Result<Outcomes> {
        let owed: Vec<u64> = self
            .sent
            .iter()
            .filter(|(_, sent)| self.is_owed(sent))
            .map(|(id, _)| *id)
            .take(3)
            .collect();
        for id in owed {
            self.violation(
                "an acked send without outcome",
                &[&format!("m{id}\""), &format!("m{id}:")],
            );
        }
        let unseen: Vec<u64> = self.unseen().map(|(id, _)| id).take(3).collect();
        for id in unseen {
            let to = format!("\"{}\"", self.sent[&id].to);
            self.violation(
                &format!("message {id} is said to be delivered and was not printed"),
                &[&format!("m{id}\""), &format!("m{id}:"), &to],
            );
        }
        self.judge_suspects();
        self.verdict()?;
        let mut outcomes = Outcomes::new();
        let mut acked = 0;
        for sent in self.sent.values().filter(|sent| sent.is_acked) {
            acked += 1;
            let outcome = sent
                .outcome
                .clone()
                .unwrap_or_else(|| "lost with its sender".to_owned());
            *outcomes.entry(outcome).or_default() += 1;
        }
        anyhow::ensure!(
            outcomes.values().sum::<u64>() == acked,
            "the sum of outcomes is not what was sent"
        );
        Ok(outcomes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{message, outcome, two};
    use super::Outcomes;

    #[test]
    fn a_process_that_is_told_to_end_owes_what_was_written_before() {
        let (mut oracle, a, _) = two();
        for id in 1..=3 {
            oracle.wrote(a, "send");
            oracle.wrote_send(a, id, "x", "y", true);
        }
        // One line is its client's connect.
        oracle.told_to_end(a, 3);
        assert_eq!(oracle.owed_by(a), 2);
        oracle.heard(a, &outcome(1, "expired"));
        oracle.heard(a, &outcome(2, "unknown"));
        assert_eq!(oracle.owed_by(a), 0);
        oracle.close_accounts().unwrap();
    }

    #[test]
    fn sends_without_acknowledgement_arrive_or_are_said_to_have_failed() {
        let (mut oracle, a, b) = two();
        for id in 1..=3 {
            oracle.wrote_send(a, id, "x", "y", false);
        }
        oracle.heard(b, &message(1));
        oracle.heard(a, &outcome(2, "overloaded"));
        let became = [("arrived", 1), ("overloaded", 1), ("told as failed or lost", 1)];
        assert_eq!(
            oracle.outcomes_between(0, u64::MAX, false),
            Outcomes::from(became.map(|(what, count)| (what.to_owned(), count)))
        );
        assert_eq!(oracle.latencies(0, u64::MAX, false).len(), 1, "until it arrived");
        assert!(oracle.close_unacked(0).is_err());
        oracle.close_unacked(1).unwrap();
        assert!(oracle.close_unacked(2).is_err());
    }
}
