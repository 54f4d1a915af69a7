//! An exhaustive check of what the verbs on sessions conclude: every order in which servers that claim and release one address
//! read and write its replicas, and in which these exchange what they have.
//!
//! The code that decides (`record`, `decide`, `stamp`) is the one that runs; replicas are modelled. What is checked wherever
//! all programs have come to their end: whatever replicas have met so far, once they have all met
//!
//! - the greatest claim stands, unless it was released, and then nobody holds the address who was not put back;
//! - whoever believes to hold the address and does not was told, is about to be (a mark on its lease), or is told by
//!   whoever reads the record next;
//! - siblings do not pile up.

mod object;
mod state;
mod world;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use state::State;
use world::{Flaw, Op, Replication, Setup, World};

use crate::decide::{self, Restore};
use Op::{Claim, Look, Release, ReleaseFirst};

/// More states than any search here has: one that goes beyond is a mistake.
const STATES_MAX: usize = 5_000_000;

/// Visits every state; returns how many there are, or the first one in which a promise is broken.
fn search(setup: Setup) -> Result<usize, String> {
    let mut world = World::new(setup);
    let first = State::first(&world);
    let mut visited = HashSet::from([mark(&first)]);
    let mut open = vec![first];
    let mut next = Vec::new();
    while let Some(state) = open.pop() {
        check(&world, &state).map_err(|broken| format!("{broken}\n{state:?}"))?;
        state.next(&mut world, &mut next);
        for state in next.drain(..) {
            if visited.insert(mark(&state)) {
                open.push(state);
            }
        }
        assert!(visited.len() < STATES_MAX, "the search does not end");
    }
    Ok(visited.len())
}

/// What a state is remembered by: 128 bits of hash, which no two of a few million states share.
fn mark(state: &State) -> (u64, u64) {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, state).hash(&mut hasher);
        hasher.finish()
    };
    (half(0), half(1))
}

fn check(world: &World, state: &State) -> Result<(), String> {
    let most = world.setup.programs.len() + usize::from(world.setup.lost_answers);
    if state.most_siblings() > most {
        return Err(format!("{} siblings", state.most_siblings()));
    }
    if !state.all_done(world) {
        return Ok(());
    }
    let view = world.view(&state.united());
    let holder = view.merged().and_then(|record| record.holder);
    let greatest = state.made.iter().max_by_key(|made| made.seq);
    if let Some(greatest) = greatest.filter(|made| !made.released) {
        let session = world.session(greatest.server, greatest.seq);
        if holder.as_ref() != Some(&session) {
            return Err(format!("{session:?} was claimed last and {holder:?} stands"));
        }
    }
    if let Some(holder) = &holder
        && state.is_released(world.server_of(holder), holder)
    {
        return Err(format!("{holder:?} was released and stands again"));
    }
    let unaware = view.unaware();
    for (server, session) in state.beliefs(world) {
        let knows = state.is_told(server, &session) || unaware.contains(&session);
        if holder.as_ref() == Some(&session) {
            continue;
        }
        if !knows {
            return Err(format!("{session:?} has lost to {holder:?} and never learns it"));
        }
        if decide::restore(&session, &view) == Restore::Stands {
            return Err(format!("{session:?} is told and not convinced"));
        }
    }
    Ok(())
}

/// Searches all of it; returns the number of states.
#[expect(
    clippy::print_stderr,
    reason = "how much was searched is what a reader wants to know"
)]
fn keeps_its_promises(setup: Setup) -> usize {
    let shown = format!("{setup:?}");
    let states = search(setup).unwrap_or_else(|broken| panic!("{shown}\n{broken}"));
    eprintln!("{states} states: {shown}");
    states
}

/// Searches until it finds that a promise is broken, and says which.
fn breaks(flaw: Flaw, setup: Setup) -> String {
    let broken = search(Setup { flaw, ..setup }).expect_err("a broken rule goes unnoticed");
    broken.lines().next().unwrap_or_default().to_owned()
}

/// Wall clocks that agree, and that differ by more than records remember (in milliseconds).
const CLOCKS: [[u64; 3]; 3] = [
    [10_000_000, 10_000_000, 10_000_000],
    [10_000_000, 5_000_000, 9_999_999],
    [5_000_000, 10_000_000, 10_000_001],
];

#[test]
fn two_servers_over_replicas_that_are_apart_converge_and_the_loser_learns_it() {
    let mut states = 0;
    for programs in [
        &[&[Claim, Release][..], &[Claim, Release]][..],
        &[&[Claim, Release, Claim], &[Claim, Release]],
        &[&[Claim, Claim, ReleaseFirst], &[Claim, Release]],
        &[&[Claim, Release], &[Claim], &[Look]],
    ] {
        for clocks in CLOCKS {
            let setup = Setup::new(Replication::Apart, programs);
            states += keeps_its_promises(Setup {
                clocks: clocks.to_vec(),
                ..setup
            });
        }
    }
    assert!(states > 50_000, "{states}");
}

#[test]
fn a_write_whose_answer_is_lost_and_that_goes_to_another_replica_too_changes_nothing() {
    for programs in [
        &[&[Claim, Release][..], &[Claim, Release]][..],
        &[&[Claim, Claim, ReleaseFirst], &[Claim]],
    ] {
        let setup = Setup::new(Replication::Apart, programs);
        keeps_its_promises(Setup {
            lost_answers: 1,
            ..setup
        });
    }
}

#[test]
fn three_servers_over_replicas_that_are_apart_converge_and_losers_learn_it() {
    for programs in [
        &[&[Claim][..], &[Claim], &[Claim]][..],
        &[&[Claim, Release], &[Claim], &[Claim]],
    ] {
        for clocks in CLOCKS {
            let setup = Setup::new(Replication::Apart, programs);
            keeps_its_promises(Setup {
                clocks: clocks.to_vec(),
                ..setup
            });
        }
    }
}

#[test]
fn heavy_two_servers_over_quorums_converge_and_the_loser_learns_it() {
    let setup = Setup::new(Replication::Quorum, &[&[Claim, Release], &[Claim, Release]]);
    assert!(keeps_its_promises(setup) > 100_000);
}

#[test]
fn newest_write_wins_is_found_out() {
    let setup = Setup::new(Replication::Apart, &[&[Claim], &[Claim]]);
    assert!(breaks(Flaw::LastWriteWins, setup).contains("was claimed last"));
}

#[test]
fn taking_one_sibling_and_dropping_the_others_is_found_out() {
    let setup = Setup::new(Replication::Apart, &[&[Claim, Release], &[Claim]]);
    breaks(Flaw::FirstSibling, setup);
}

#[test]
fn writing_without_a_vclock_is_found_out() {
    let setup = Setup::new(Replication::Apart, &[&[Claim, Release, Claim, Release], &[Claim]]);
    assert!(breaks(Flaw::NoVclock, setup).contains("siblings"));
}

#[test]
fn a_release_that_deletes_is_found_out() {
    let setup = Setup::new(Replication::Apart, &[&[Claim, Release], &[Claim]]);
    let setup = Setup {
        lost_answers: 1,
        ..setup
    };
    assert!(breaks(Flaw::ReleaseDeletes, setup).contains("stands again"));
}

#[test]
fn a_release_of_whatever_the_same_server_holds_is_found_out() {
    let setup = Setup::new(Replication::Apart, &[&[Claim, Claim, ReleaseFirst]]);
    assert!(breaks(Flaw::ReleaseIgnoresSeq, setup).contains("was claimed last"));
}

#[test]
fn telling_nobody_but_whom_the_winner_reports_is_found_out() {
    let setup = Setup::new(Replication::Apart, &[&[Claim], &[Claim], &[Claim]]);
    assert!(breaks(Flaw::TellNobody, setup).contains("never learns it"));
}
