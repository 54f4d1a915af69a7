//! The oracle notices routers and stores that are broken on purpose, each within so many seeds; and it does not cry wolf on
//! the same seeds. `cargo test -p waypost-broken -- --nocapture` shows by which seed and how each flaw was caught.
#![expect(clippy::print_stdout, reason = "which seed caught a flaw is worth seeing")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use waypost_broken::{StoreFlaw, story};
use waypost_router::MISSING;
use waypost_router::flaws::{FLAWS, switch};

/// Within how many seeds each flaw is caught.
const SEEDS: u64 = 250;

#[derive(Debug, Clone, Copy)]
enum Broken {
    Router(&'static str),
    Store(StoreFlaw),
}

/// The first seed that shows it, and how.
fn first_catch(broken: Broken) -> Option<story::Failure> {
    let store = match broken {
        Broken::Router(name) => {
            switch(name);
            None
        }
        Broken::Store(flaw) => Some(flaw),
    };
    let caught = (0..SEEDS).find_map(|seed| story::check(seed, store).err());
    switch("");
    caught
}

#[test]
fn every_flaw_is_still_put_in() {
    assert_eq!(
        MISSING, "",
        "flaws whose text is not in the router any more: xtask/broken/router/src/flaws.rs"
    );
}

#[test]
fn every_flaw_is_caught() {
    let routers = FLAWS.iter().map(|flaw| Broken::Router(flaw.name));
    let all: Vec<Broken> = routers.chain(StoreFlaw::ALL.map(Broken::Store)).collect();
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let search = || {
        while let Some(broken) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let caught = first_catch(*broken);
            match &caught {
                Some(failure) => println!("{broken:?}: seed {}: {}", failure.seed, failure.found),
                None => println!("{broken:?}: NOT CAUGHT"),
            }
            if caught.is_none()
                && let Ok(mut missed) = missed.lock()
            {
                missed.push(*broken);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(search);
        }
    });
    let missed = missed.into_inner().unwrap_or_default();
    assert!(missed.is_empty(), "not caught within {SEEDS} seeds: {missed:?}");
}

#[test]
fn the_unbroken_router_passes_the_same_seeds() {
    let report = story::run(0, SEEDS, None);
    let failures: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
