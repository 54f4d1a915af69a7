//! Measures claims, look-ups and releases a second: `throughput URL [BATCH] [CONCURRENCY] [SECONDS]`.
#![expect(clippy::print_stdout, reason = "what it measures goes to standard output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use waypost_session::{BATCH_MAX, SessionStore, StoreError};
use waypost_session_redis::RedisStore;
use waypost_types::{Address, Identity, Location, Owner, Seq};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let batch = args.next().map_or(Ok(BATCH_MAX), |text| text.parse())?;
    let concurrency: usize = args.next().map_or(Ok(4), |text| text.parse())?;
    let seconds = args.next().map_or(Ok(5), |text| text.parse())?;

    let store = Arc::new(RedisStore::connect(&url).await?);
    let identity = Identity::new("throughput")?;
    let location = Location::new("tcp://127.0.0.1:1")?;
    let incarnation = store
        .register(&identity, &location, Duration::from_secs(600))
        .await?;
    let owner = Owner::new(identity, incarnation);
    // Each worker has 64 batches of addresses of its own.
    let work: Vec<Arc<Vec<Vec<Address>>>> = (0..concurrency)
        .map(|worker| {
            let address = |b: usize, n: usize| Address::new(&format!("client-{worker}-{b}-{n}"));
            let batches = (0..64).map(|b| (0..batch).map(|n| address(b, n)).collect());
            batches.collect::<Result<Vec<Vec<_>>, _>>().map(Arc::new)
        })
        .collect::<Result<_, _>>()?;
    println!("{url}: batches of {batch}, {concurrency} at a time");
    for verb in ["claim", "lookup", "restore", "release"] {
        let entries = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let workers: Vec<_> = work
            .iter()
            .map(|batches| {
                let (store, owner) = (Arc::clone(&store), owner.clone());
                let (batches, entries) = (Arc::clone(batches), Arc::clone(&entries));
                tokio::spawn(async move {
                    for addresses in batches.iter().cycle() {
                        if start.elapsed() > Duration::from_secs(seconds) {
                            break;
                        }
                        run(&store, verb, &owner, addresses).await?;
                        entries.fetch_add(addresses.len() as u64, Ordering::Relaxed);
                    }
                    Ok::<(), StoreError>(())
                })
            })
            .collect();
        for worker in workers {
            worker.await??;
        }
        let entries = entries.load(Ordering::Relaxed);
        let each = start.elapsed().as_secs_f64() / f64::from(u32::try_from(entries)?);
        println!("{verb:>8}: {:>9.0} a second", 1.0 / each);
    }
    while store.reclaim(10_000).await?.more {}
    Ok(())
}

async fn run(store: &RedisStore, verb: &str, owner: &Owner, addresses: &[Address]) -> Result<(), StoreError> {
    // A seq of 1 is older than any claim: nothing is freed or put back, everything is compared.
    let sessions = || {
        addresses
            .iter()
            .map(|address| (address.clone(), Seq(1)))
            .collect::<Vec<_>>()
    };
    match verb {
        "claim" => store.claim_many(owner, addresses).await.map(drop),
        "lookup" => store.lookup_many(addresses).await.map(drop),
        "restore" => store.restore_many(owner, &sessions()).await.map(drop),
        _ => store.release_many(owner, &sessions()).await.map(drop),
    }
}
