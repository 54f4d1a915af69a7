//! The cases of the suite, one function each. What a function's name and first sentence say is what is expected.
//!
//! A case knows the trait alone. It uses names that nobody has used before, so that a datastore which others use too, or
//! which an earlier run left dirty, does not matter.
#![expect(
    clippy::missing_errors_doc,
    reason = "an error is a case's way to say that the contract was broken"
)]

pub mod batches;
pub mod expiry;
pub mod handles;
pub mod leases;
pub mod model;
pub mod names;
pub mod outage;
pub mod races;
pub mod reclaim;
pub mod restore;
pub mod sessions;

use core::fmt;
use core::pin::Pin;

use crate::{Ctx, Stop};

/// What a case's function returns, boxed.
type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Stop>> + Send + 'a>>;

/// One case of the suite.
pub struct Case {
    /// Its name: that of its function and of its test.
    pub name: &'static str,
    /// Runs it.
    pub run: for<'a> fn(&'a Ctx) -> Running<'a>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Calls another macro with the list of all cases: the one place where a case is listed.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_case {
    ($macro:path $(, $argument:tt)*) => {
        $macro! { [$($argument)*]
            sessions: claim_of_a_free_address_displaces_nobody
            sessions: claim_makes_the_owner_the_holder
            sessions: claim_displaces_another_owner
            sessions: claim_displaces_the_same_owners_older_claim
            sessions: claim_over_a_dead_owners_session_reports_it
            sessions: claim_by_an_owner_whose_lease_is_over_is_invisible
            sessions: seq_grows_with_every_claim
            sessions: seq_grows_across_release_and_claim
            sessions: lookup_of_an_unclaimed_address_is_none
            sessions: release_frees_the_address
            sessions: release_twice_is_not_owner
            sessions: release_of_a_free_address_is_not_owner
            sessions: release_by_another_owner_changes_nothing
            sessions: release_by_another_incarnation_changes_nothing
            sessions: release_with_another_seq_changes_nothing
            sessions: late_release_after_the_same_owners_new_claim_changes_nothing
            sessions: late_release_after_release_and_new_claim_changes_nothing
            races: racing_claims_leave_exactly_one_holder
            races: racing_releases_have_exactly_one_winner
            races: late_release_never_frees_a_racing_claim
            races: late_release_never_frees_the_same_owners_racing_claim
            races: every_claim_ends_exactly_once
            races: racing_restores_never_beat_a_newer_claim
            races: racing_registrations_leave_exactly_one_lease
            leases: registered_server_is_a_live_peer
            leases: several_servers_are_all_peers
            leases: incarnation_grows_with_every_registration
            leases: incarnation_grows_across_deregistration
            leases: renewal_is_answered_and_moves_the_counter
            leases: renewals_answer_in_the_order_of_the_owners
            leases: generation_stays_while_nothing_is_lost
            leases: renewal_sets_the_location
            leases: older_incarnation_is_superseded
            leases: sessions_of_an_older_incarnation_are_invisible_at_once
            leases: unknown_owner_is_gone_and_stays_gone
            leases: deregistered_server_is_dead_at_once
            leases: deregistration_of_an_older_incarnation_changes_nothing
            leases: draining_is_visible_and_survives_renewal
            leases: draining_ends_with_a_new_registration
            leases: draining_is_no_renewal
            expiry: lapsed_lease_is_gone_for_everybody_and_for_itself
            expiry: renewed_lease_stays_while_an_idle_one_lapses
            expiry: server_comes_back_under_a_new_incarnation_after_a_lapse
            batches: batches_answer_in_the_order_of_their_entries
            batches: largest_batch_is_taken
            batches: batch_over_the_bound_is_refused
            batches: empty_batches_are_answered
            names: awkward_addresses_are_opaque
            names: addresses_that_look_like_paths_are_opaque
            names: longest_addresses_are_taken
            names: similar_addresses_are_different_addresses
            names: awkward_identities_are_opaque
            names: awkward_locations_are_opaque
            restore: restore_of_a_standing_session_is_held
            restore: restore_puts_back_what_is_missing
            restore: restore_replaces_what_is_older
            restore: restore_is_lost_to_a_newer_claim
            restore: restore_moves_a_session_to_a_newer_incarnation
            restore: restore_answers_in_the_order_of_its_entries
            restore: claim_after_restore_gets_a_greater_seq
            restore: late_release_after_restore_frees_only_what_was_restored
            reclaim: reclaim_removes_the_records_of_a_deregistered_server
            reclaim: reclaim_removes_the_records_of_a_lapsed_server
            reclaim: reclaim_keeps_to_its_budget_and_comes_to_an_end
            reclaim: reclaim_leaves_the_living_alone
            reclaim: reclaim_spares_what_was_claimed_anew
            reclaim: seq_grows_across_reclaim
            handles: two_handles_agree
            handles: reopened_store_keeps_sessions_and_leases
            handles: closed_handle_is_unavailable
            handles: closing_one_handle_leaves_the_others_open
            handles: dropped_futures_leave_the_handle_usable
            handles: no_secret_in_debug_or_errors
            model: random_operations_agree_with_the_model
            outage: store_gone_and_back
        }
    };
}

macro_rules! list {
    ([] $($module:ident: $name:ident)+) => {
        /// All cases, in the order in which they run.
        pub const CASES: &[Case] =
            &[$(Case { name: stringify!($name), run: |ctx| Box::pin($module::$name(ctx)) }),+];
    };
}
__for_each_case!(list);

/// Turns the suite into tests: `conformance!(BUILDER)` in a test file expands to one `#[test]` a case, with the case's
/// name. `BUILDER` is an expression for a [`StoreBuilder`](crate::StoreBuilder), evaluated in each test. Use it once a
/// module.
///
/// ```
/// mod memory {
///     waypost_session_testkit::conformance!(waypost_session_testkit::MemoryBuilder);
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! conformance {
    ($builder:expr) => {
        $crate::__for_each_case!($crate::__conformance_tests, { $builder });
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ([$builder:block] $($module:ident: $name:ident)+) => {
        $(
            #[test]
            fn $name() {
                $crate::run_one(&$builder, stringify!($name));
            }
        )+
    };
}

#[cfg(test)]
mod tests {
    use super::CASES;

    #[test]
    fn every_case_is_listed() {
        let sources = [
            include_str!("batches.rs"),
            include_str!("expiry.rs"),
            include_str!("handles.rs"),
            include_str!("leases.rs"),
            include_str!("model.rs"),
            include_str!("names.rs"),
            include_str!("outage.rs"),
            include_str!("races.rs"),
            include_str!("reclaim.rs"),
            include_str!("restore.rs"),
            include_str!("sessions.rs"),
        ];
        for line in sources.into_iter().flat_map(str::lines) {
            if let Some(name) = line
                .strip_prefix("pub async fn ")
                .and_then(|rest| rest.split('(').next())
            {
                assert!(CASES.iter().any(|case| case.name == name), "{name} is not listed");
            }
        }
    }
}
