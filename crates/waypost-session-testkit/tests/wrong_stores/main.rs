//! The suite is itself tested: each deliberately wrong store fails the case that is made for it, and the same store
//! without its flaw passes all.

mod store;

use store::{Flaw, FlawedBuilder};
use waypost_session_testkit::{CASES, Verdict, run_case, run_suite};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn the_store_without_a_flaw_passes_every_case_and_none_is_left_out() {
    let report = runtime().block_on(run_suite(&FlawedBuilder(Flaw::None), ""));
    assert!(report.is_success(), "{report:?}");
    assert_eq!(report.not_applicable, [""; 0]);
    assert_eq!(report.passed.len(), CASES.len());
}

macro_rules! fails {
    ($($flaw:ident: $case:ident $(, $more:ident)*;)+) => {
        #[expect(non_snake_case, reason = "each test is named after its flaw")]
        mod fails {
            $(
                #[test]
                fn $flaw() {
                    super::assert_fails(super::Flaw::$flaw, &[stringify!($case) $(, stringify!($more))*]);
                }
            )+
        }
    };
}

fails! {
    GetThenDelete: late_release_never_frees_a_racing_claim, racing_releases_have_exactly_one_winner;
    GetThenSet: racing_claims_leave_exactly_one_holder, every_claim_ends_exactly_once;
    ReleaseIgnoresSeq:
        late_release_after_the_same_owners_new_claim_changes_nothing,
        late_release_after_release_and_new_claim_changes_nothing,
        release_with_another_seq_changes_nothing,
        random_operations_agree_with_the_model;
    ReleaseIgnoresIdentity: release_by_another_owner_changes_nothing;
    ReleaseIgnoresIncarnation: release_by_another_incarnation_changes_nothing;
    LosesWrites: claim_makes_the_owner_the_holder, random_operations_agree_with_the_model;
    ReusesSeqs: seq_grows_across_release_and_claim, late_release_after_release_and_new_claim_changes_nothing;
    HidesDisplaced: claim_displaces_another_owner, claim_displaces_the_same_owners_older_claim;
    LookupIgnoresIncarnation: sessions_of_an_older_incarnation_are_invisible_at_once;
    LookupIgnoresLeases: deregistered_server_is_dead_at_once, claim_by_an_owner_whose_lease_is_over_is_invisible;
    RenewalResurrects: unknown_owner_is_gone_and_stays_gone, lapsed_lease_is_gone_for_everybody_and_for_itself;
    FencesNothing: older_incarnation_is_superseded, racing_registrations_leave_exactly_one_lease;
    NeverExpires: lapsed_lease_is_gone_for_everybody_and_for_itself;
    ExpiresWhatIsRenewed: renewed_lease_stays_while_an_idle_one_lapses;
    GenerationWanders: generation_stays_while_nothing_is_lost;
    LosesEverythingInSilence: store_gone_and_back;
    RenewalEndsDraining: draining_is_visible_and_survives_renewal;
    RestoreOverwrites: restore_is_lost_to_a_newer_claim, racing_restores_never_beat_a_newer_claim;
    RestoreGivesBackToTheOlder: restore_moves_a_session_to_a_newer_incarnation;
    RestoreForgetsSeqs: claim_after_restore_gets_a_greater_seq;
    RestoreWritesNothing: restore_puts_back_what_is_missing;
    ReclaimTakesTheLiving: reclaim_leaves_the_living_alone, reclaim_spares_what_was_claimed_anew;
    ReclaimIgnoresItsBudget: reclaim_keeps_to_its_budget_and_comes_to_an_end;
    ReclaimDoesNothing:
        reclaim_removes_the_records_of_a_deregistered_server,
        reclaim_removes_the_records_of_a_lapsed_server;
    AnswersBackwards: batches_answer_in_the_order_of_their_entries;
    TakesAnyBatch: batch_over_the_bound_is_refused;
    TrimsAddresses: awkward_addresses_are_opaque, similar_addresses_are_different_addresses;
    CutsAddresses: longest_addresses_are_taken;
    SharesNothing: two_handles_agree, reopened_store_keeps_sessions_and_leases;
    AnswersWhenClosed: closed_handle_is_unavailable;
    PrintsThePassword: no_secret_in_debug_or_errors;
    AnswersWhileGone: store_gone_and_back;
    Panics: lookup_of_an_unclaimed_address_is_none;
}

#[track_caller]
fn assert_fails(flaw: Flaw, names: &[&str]) {
    let runtime = runtime();
    for name in names {
        let case = CASES.iter().find(|case| case.name == *name).unwrap();
        let verdict = runtime.block_on(run_case(&FlawedBuilder(flaw), case));
        let Verdict::Failed(what) = verdict else {
            panic!("{flaw:?} went unnoticed by {name}: {verdict:?}")
        };
        assert!(what.contains("WAYPOST_TEST_SEED="), "{what}");
        assert!(!what.contains(store::PASSWORD), "{what}");
    }
}
