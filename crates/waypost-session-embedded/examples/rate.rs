//! Measures roughly how many claims and look-ups a second one process gets: `cargo run --release --example rate`.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use waypost_session::SessionStore;
use waypost_session_embedded::{EmbeddedOptions, EmbeddedStore};
use waypost_types::{Address, Identity, Location, Owner};

const BATCH: usize = 512;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let sync = arguments.iter().any(|argument| argument == "--sync");
    println!("batches of {BATCH}, sync={sync}");
    for (addresses, callers) in [
        (100_000, 1),
        (100_000, 4),
        (100_000, 16),
        (1_000_000, 1),
        (1_000_000, 16),
    ] {
        let dir = tempfile::tempdir()?;
        let store = Arc::new(EmbeddedStore::open(
            dir.path(),
            EmbeddedOptions::default().sync(sync),
        )?);
        let identity = Identity::new("server-1")?;
        let location = Location::new("tcp://127.0.0.1:4500")?;
        let incarnation = store
            .register(&identity, &location, Duration::from_secs(600))
            .await?;
        let owner = Owner::new(identity, incarnation);
        let first = run(&store, &owner, addresses, callers, Verb::Claim).await?;
        let again = run(&store, &owner, addresses, callers, Verb::Claim).await?;
        let identity = Identity::new("server-2")?;
        let incarnation = store
            .register(&identity, &location, Duration::from_secs(600))
            .await?;
        let other = Owner::new(identity, incarnation);
        let taken = run(&store, &other, addresses, callers, Verb::Claim).await?;
        let lookups = run(&store, &other, addresses, callers, Verb::Lookup).await?;
        println!(
            "{addresses:>8} addresses, {callers:>2} callers: {first:>8.0} first claims/s, {again:>8.0} claims again/s, \
             {taken:>8.0} takeovers/s, {lookups:>9.0} lookups/s"
        );
        store.close().await;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Verb {
    Claim,
    Lookup,
}

async fn run(
    store: &Arc<EmbeddedStore>,
    owner: &Owner,
    addresses: usize,
    callers: usize,
    verb: Verb,
) -> Result<f64, Box<dyn std::error::Error>> {
    let each = addresses / callers;
    let mut batches = Vec::new();
    for caller in 0..callers {
        let names = (caller * each..(caller + 1) * each)
            // Spread over the key space, as names of clients are.
            .map(|i| {
                Address::new(&format!(
                    "{:016x}",
                    (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
                ))
            })
            .collect::<Result<Vec<_>, _>>()?;
        batches.push(names);
    }
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for names in batches {
        let (store, owner) = (Arc::clone(store), owner.clone());
        tasks.spawn(async move {
            for batch in names.chunks(BATCH) {
                match verb {
                    Verb::Claim => drop(store.claim_many(&owner, batch).await?),
                    Verb::Lookup => drop(store.lookup_many(batch).await?),
                }
            }
            Ok::<_, waypost_session::StoreError>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok((each * callers) as f64 / started.elapsed().as_secs_f64())
}
