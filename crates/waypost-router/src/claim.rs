//! Claims as messages name them.
//!
//! A message says by which claim its sender's node thinks that the client is held. A server which has given the client up
//! since, and sent messages back, may hold it anew when the next one comes that was sent by the same route: to deliver that
//! one would put it before those on their way back.

use waypost_types::Seq;

/// What stands for a claim in a message; 0, which says nothing, for one in four thousand million.
#[inline]
pub(crate) const fn claim_of(seq: Seq) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
    let low = seq.0 as u32;
    low
}

/// Whether a message means a claim that is older than the one by which the client has been held `since`.
#[inline]
pub(crate) const fn is_stale(claim: u32, since: u32) -> bool {
    // Numbers that wrap: the nearer half counts as newer.
    claim != 0 && claim.wrapping_sub(since) > u32::MAX / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_stale_when_the_client_has_been_held_since_a_newer_one() {
        let since = claim_of(Seq(u64::MAX - 1));
        assert!(is_stale(claim_of(Seq(u64::MAX - 2)), since));
        assert!(!is_stale(claim_of(Seq(u64::MAX - 1)), since));
        assert!(!is_stale(claim_of(Seq(u64::MAX)), since));
        assert!(!is_stale(1, since), "they wrap");
        assert!(is_stale(since, 1));
        assert!(!is_stale(0, 1), "it is not said");
        assert_eq!(claim_of(Seq(7 << 32 | 5)), 5);
    }
}
