//! Many workers at once, over several handles.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Barrier;
use waypost_session::{Claimed, Released, Renewal, Restored, SessionStore, StoreError};
use waypost_types::{Address, Owner, Seq, Session};

use crate::stop::{check, check_eq};
use crate::{Ctx, Stop};

const HANDLES: usize = 4;
const WORKERS: usize = 16;
const ROUNDS: usize = 30;

/// Of many claims at once exactly one ends as the holder, and every other is reported as displaced exactly once.
pub async fn racing_claims_leave_exactly_one_holder(ctx: &Ctx) -> Result<(), Stop> {
    let handles = ctx.handles(HANDLES).await?;
    let owners = servers(ctx, WORKERS).await?;
    for address in ctx.addresses("a", ROUNDS)? {
        let claims = at_once(&handles, WORKERS, |worker, store| {
            let (owner, address) = (owners[worker].clone(), address.clone());
            async move { Ok((owner.clone(), store.claim(&owner, &address).await?)) }
        })
        .await?;
        let made: BTreeSet<_> = claims
            .iter()
            .map(|(owner, claimed)| (claimed.seq, owner.clone()))
            .collect();
        check_eq!(made.len(), WORKERS, "different claims");
        let Some(holder) = ctx.store().lookup(&address).await? else {
            return Err(Stop::failed("nobody holds the address after the race"));
        };
        for handle in &handles {
            check_eq!(
                handle.lookup(&address).await?,
                Some(holder.clone()),
                "looked up by another handle"
            );
        }
        check!(
            made.contains(&key(&holder)),
            "{holder:?} holds the address and never claimed it"
        );
        if !ctx.capabilities().linearizable {
            continue;
        }
        check_eq!(
            made.last(),
            Some(&key(&holder)),
            "holder against the claim with the greatest seq"
        );
        let displaced: Vec<_> = claims
            .iter()
            .filter_map(|(_, claimed)| claimed.displaced.as_ref())
            .map(key)
            .collect();
        let mut expected = made;
        expected.remove(&key(&holder));
        check_eq!(displaced.len(), expected.len(), "number of displaced sessions");
        check_eq!(
            displaced.into_iter().collect::<BTreeSet<_>>(),
            expected,
            "displaced sessions"
        );
    }
    Ok(())
}

/// Of many releases of one session at once exactly one says that it released it.
pub async fn racing_releases_have_exactly_one_winner(ctx: &Ctx) -> Result<(), Stop> {
    linearizable(ctx)?;
    let handles = ctx.handles(HANDLES).await?;
    let owner = ctx.server("server").await?;
    for address in ctx.addresses("a", ROUNDS)? {
        let Claimed { seq, .. } = ctx.store().claim(&owner, &address).await?;
        let releases = at_once(&handles, WORKERS, |_, store| {
            let (owner, address) = (owner.clone(), address.clone());
            async move { Ok(store.release(&owner, &address, seq).await?) }
        })
        .await?;
        let winners = releases
            .iter()
            .filter(|released| **released == Released::Released)
            .count();
        check_eq!(winners, 1, "releases that won");
        check_eq!(
            ctx.store().lookup(&address).await?,
            None,
            "looked up after the race"
        );
    }
    Ok(())
}

/// A late release never removes the session that another owner claims at the same time.
pub async fn late_release_never_frees_a_racing_claim(ctx: &Ctx) -> Result<(), Stop> {
    let (old, new) = (ctx.server("old").await?, ctx.server("new").await?);
    release_against_claim(ctx, &old, &new).await
}

/// A late release never removes the session that the same owner claims at the same time.
pub async fn late_release_never_frees_the_same_owners_racing_claim(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    release_against_claim(ctx, &owner, &owner).await
}

async fn release_against_claim(ctx: &Ctx, old: &Owner, new: &Owner) -> Result<(), Stop> {
    let handles = ctx.handles(2).await?;
    for address in ctx.addresses("a", 3 * ROUNDS)? {
        let before = ctx.store().claim(old, &address).await?;
        let barrier = Arc::new(Barrier::new(2));
        let release = tokio::spawn({
            let (store, barrier) = (Arc::clone(&handles[0]), Arc::clone(&barrier));
            let (old, address) = (old.clone(), address.clone());
            async move {
                barrier.wait().await;
                store.release(&old, &address, before.seq).await
            }
        });
        let claim = tokio::spawn({
            let (store, new, address) = (Arc::clone(&handles[1]), new.clone(), address.clone());
            async move {
                barrier.wait().await;
                store.claim(&new, &address).await
            }
        });
        let (released, claimed) = (release.await??, claim.await??);
        let expected = Some(Session::new(new.clone(), claimed.seq));
        check_eq!(
            ctx.store().lookup(&address).await?,
            expected,
            "looked up after a release raced the claim"
        );
        if ctx.capabilities().linearizable {
            let displaced = match released {
                Released::Released => None,
                Released::NotOwner => Some(Session::new(old.clone(), before.seq)),
            };
            check_eq!(
                claimed.displaced,
                displaced,
                "displaced while the release said {released:?}"
            );
        }
    }
    Ok(())
}

/// However claims and releases interleave, every session ends exactly once (displaced by one claim or released by one
/// release), but for the one that stands at the end.
pub async fn every_claim_ends_exactly_once(ctx: &Ctx) -> Result<(), Stop> {
    linearizable(ctx)?;
    let handles = ctx.handles(HANDLES).await?;
    let owners = servers(ctx, WORKERS).await?;
    let address = ctx.address("a")?;
    let logs = at_once(&handles, WORKERS, |worker, store| {
        let (owner, address) = (owners[worker].clone(), address.clone());
        async move { Ok(claims_and_releases(&*store, &owner, &address, worker).await?) }
    })
    .await?;
    let standing = ctx.store().lookup(&address).await?;
    let mut open = BTreeSet::new();
    for (seq, owner) in logs.iter().flat_map(|log| &log.begun) {
        check!(open.insert((*seq, owner.clone())), "seq {seq} was given twice");
    }
    for ended in logs
        .iter()
        .flat_map(|log| &log.ended)
        .chain(standing.as_ref().map(key).iter())
    {
        check!(
            open.remove(ended),
            "the session {ended:?} ended twice, or never began"
        );
    }
    check!(open.is_empty(), "sessions that vanished: {open:?}");
    Ok(())
}

#[derive(Default)]
struct Log {
    begun: Vec<(Seq, Owner)>,
    ended: Vec<(Seq, Owner)>,
}

/// Claims again and again, releasing most of the claims, some of them late.
async fn claims_and_releases(
    store: &dyn SessionStore,
    owner: &Owner,
    address: &Address,
    worker: usize,
) -> Result<Log, StoreError> {
    let mut log = Log::default();
    let mut held: Vec<Seq> = Vec::new();
    for round in 0..ROUNDS {
        let Claimed { seq, displaced } = store.claim(owner, address).await?;
        log.begun.push((seq, owner.clone()));
        log.ended.extend(displaced.as_ref().map(key));
        held.push(seq);
        if !(round + worker).is_multiple_of(3) {
            for seq in held.drain(..) {
                if store.release(owner, address, seq).await? == Released::Released {
                    log.ended.push((seq, owner.clone()));
                }
            }
        }
    }
    Ok(log)
}

/// However a restore of an older session races a claim, the claim stands at the end.
pub async fn racing_restores_never_beat_a_newer_claim(ctx: &Ctx) -> Result<(), Stop> {
    let handles = ctx.handles(2).await?;
    let (old, new) = (ctx.server("old").await?, ctx.server("new").await?);
    for address in ctx.addresses("a", ROUNDS)? {
        let before = ctx.store().claim(&old, &address).await?;
        ctx.store().release(&old, &address, before.seq).await?;
        let restore = tokio::spawn({
            let (store, old, entry) = (
                Arc::clone(&handles[0]),
                old.clone(),
                (address.clone(), before.seq),
            );
            async move { store.restore_many(&old, &[entry]).await }
        });
        let claim = tokio::spawn({
            let (store, new, address) = (Arc::clone(&handles[1]), new.clone(), address.clone());
            async move { store.claim(&new, &address).await }
        });
        let (restored, claimed) = (restore.await??, claim.await??);
        let winner = Session::new(new.clone(), claimed.seq);
        check!(
            claimed.seq > before.seq,
            "seq {} was given twice or shrank",
            claimed.seq
        );
        check_eq!(
            ctx.store().lookup(&address).await?,
            Some(winner.clone()),
            "looked up after the race"
        );
        if ctx.capabilities().linearizable {
            let (held, lost) = (claimed.displaced.is_some(), restored == [Restored::Lost(winner)]);
            check!(
                held != lost,
                "restore said {restored:?}, claim displaced {:?}",
                claimed.displaced
            );
        }
    }
    Ok(())
}

/// Of many registrations of one identity at once each gets its own incarnation, and only the greatest has the lease.
pub async fn racing_registrations_leave_exactly_one_lease(ctx: &Ctx) -> Result<(), Stop> {
    let handles = ctx.handles(HANDLES).await?;
    let (identity, location) = (ctx.identity("server")?, ctx.location()?);
    let incarnations = at_once(&handles, WORKERS, |_, store| {
        let (identity, location) = (identity.clone(), location.clone());
        async move {
            Ok(store
                .register(&identity, &location, core::time::Duration::from_secs(60))
                .await?)
        }
    })
    .await?;
    let different: BTreeSet<_> = incarnations.into_iter().collect();
    check_eq!(different.len(), WORKERS, "different incarnations");
    let owners: Vec<_> = different
        .iter()
        .map(|incarnation| Owner::new(identity.clone(), *incarnation))
        .collect();
    let renewals = ctx.store().renew(&owners, &location).await?.renewals;
    let greatest = owners[WORKERS - 1].incarnation;
    let mut expected = vec![Renewal::Superseded(greatest); WORKERS];
    expected[WORKERS - 1] = Renewal::Renewed;
    check_eq!(renewals, expected, "renewals of all of them");
    let peers = ctx.store().peers().await?;
    let mine: Vec<_> = peers
        .iter()
        .filter(|lease| lease.owner.identity == identity)
        .collect();
    check_eq!(mine.len(), 1, "leases of the identity");
    check_eq!(mine[0].owner.incarnation, greatest, "the lease's incarnation");
    Ok(())
}

fn linearizable(ctx: &Ctx) -> Result<(), Stop> {
    if ctx.capabilities().linearizable {
        return Ok(());
    }
    Err(Stop::not_applicable("the store is not linearizable"))
}

fn key(session: &Session) -> (Seq, Owner) {
    (session.seq, session.owner.clone())
}

async fn servers(ctx: &Ctx, count: usize) -> Result<Vec<Owner>, Stop> {
    let mut owners = Vec::new();
    for index in 0..count {
        owners.push(ctx.server(&format!("server-{index}")).await?);
    }
    Ok(owners)
}

/// Runs `count` workers as tasks that begin together, spread over the handles, and returns their answers in order.
async fn at_once<T, F>(
    handles: &[Arc<dyn SessionStore>],
    count: usize,
    work: impl Fn(usize, Arc<dyn SessionStore>) -> F,
) -> Result<Vec<T>, Stop>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Stop>> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|worker| {
            let (barrier, work) = (
                Arc::clone(&barrier),
                work(worker, Arc::clone(&handles[worker % handles.len()])),
            );
            tokio::spawn(async move {
                barrier.wait().await;
                work.await
            })
        })
        .collect();
    join_all(tasks)
        .await
        .into_iter()
        .map(|ended| ended.map_err(Stop::from)?)
        .collect()
}
