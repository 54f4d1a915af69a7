//! Removing what dead servers left behind.

use std::time::Instant;

use waypost_session::SessionStore;
use waypost_types::{Address, Owner, Session};

use super::leases::lease_of;
use crate::stop::{check, check_eq};
use crate::{Ctx, Stop};

/// The records of a deregistered server are removed: its addresses are free.
pub async fn reclaim_removes_the_records_of_a_deregistered_server(ctx: &Ctx) -> Result<(), Stop> {
    let dead = ctx.server("dead").await?;
    let addresses = ctx.addresses("a", 10)?;
    ctx.store().claim_many(&dead, &addresses).await?;
    ctx.store().deregister(&dead).await?;
    reclaim_all(&**ctx.store(), 100).await?;
    all_free(ctx, &addresses).await
}

/// The records of a server whose lease lapsed are removed, also when it never came back to say goodbye.
pub async fn reclaim_removes_the_records_of_a_lapsed_server(ctx: &Ctx) -> Result<(), Stop> {
    let dead = ctx.server_for("dead", ctx.short_term()).await?;
    let addresses = ctx.addresses("a", 10)?;
    ctx.store().claim_many(&dead, &addresses).await?;
    ctx.eventually("an idle server is no peer", || async {
        Ok(lease_of(&**ctx.store(), &dead).await?.is_none())
    })
    .await?;
    reclaim_all(&**ctx.store(), 100).await?;
    all_free(ctx, &addresses).await
}

/// No step removes more than its budget, and steps come to an end with everything removed.
pub async fn reclaim_keeps_to_its_budget_and_comes_to_an_end(ctx: &Ctx) -> Result<(), Stop> {
    let addresses = ctx.addresses("a", 25)?;
    for (index, addresses) in addresses.chunks(9).enumerate() {
        let dead = ctx.server(&format!("dead-{index}")).await?;
        ctx.store().claim_many(&dead, addresses).await?;
        ctx.store().deregister(&dead).await?;
    }
    check_eq!(
        ctx.store().reclaim(0).await?.removed,
        0,
        "removed with a budget of nothing"
    );
    reclaim_all(&**ctx.store(), 4).await?;
    all_free(ctx, &addresses).await
}

/// The sessions of live and of draining servers stay.
pub async fn reclaim_leaves_the_living_alone(ctx: &Ctx) -> Result<(), Stop> {
    let (live, draining, dead) = (
        ctx.server("live").await?,
        ctx.server("draining").await?,
        ctx.server("dead").await?,
    );
    let addresses = ctx.addresses("a", 30)?;
    let mut expected = Vec::new();
    for (address, owner) in addresses
        .iter()
        .zip([&live, &draining, &dead].into_iter().cycle())
    {
        let claimed = ctx.store().claim(owner, address).await?;
        expected.push((owner != &dead).then(|| Session::new(owner.clone(), claimed.seq)));
    }
    ctx.store().drain(&draining).await?;
    ctx.store().deregister(&dead).await?;
    reclaim_all(&**ctx.store(), 7).await?;
    check_eq!(
        ctx.store().lookup_many(&addresses).await?,
        expected,
        "sessions after reclaiming"
    );
    Ok(())
}

/// An address that the dead server held and a live one has claimed since stays with the live one, also when that is the
/// dead server's own next incarnation.
pub async fn reclaim_spares_what_was_claimed_anew(ctx: &Ctx) -> Result<(), Stop> {
    let older = ctx.server("server").await?;
    let other = ctx.server("other").await?;
    let addresses = ctx.addresses("a", 12)?;
    ctx.store().claim_many(&older, &addresses).await?;
    let newer = ctx.server("server").await?;
    let mut expected = Vec::new();
    for (address, owner) in addresses
        .iter()
        .zip([None, Some(&newer), Some(&other)].into_iter().cycle())
    {
        expected.push(match owner {
            Some(owner) => Some(claim(&**ctx.store(), owner, address).await?),
            None => None,
        });
    }
    reclaim_all(&**ctx.store(), 5).await?;
    check_eq!(
        ctx.store().lookup_many(&addresses).await?,
        expected,
        "sessions after reclaiming"
    );
    Ok(())
}

/// A claim of an address whose record was reclaimed has a greater seq than that record: no seq is given twice.
pub async fn seq_grows_across_reclaim(ctx: &Ctx) -> Result<(), Stop> {
    let address = ctx.address("a")?;
    let dead = ctx.server("server").await?;
    let before = ctx.store().claim(&dead, &address).await?;
    ctx.store().deregister(&dead).await?;
    reclaim_all(&**ctx.store(), 100).await?;
    let back = ctx.server("server").await?;
    let after = ctx.store().claim(&back, &address).await?;
    check!(
        after.seq > before.seq,
        "seq {} came after seq {}, reclaimed",
        after.seq,
        before.seq
    );
    check_eq!(
        ctx.store().lookup(&address).await?,
        Some(Session::new(back, after.seq)),
        "looked up"
    );
    Ok(())
}

async fn claim(store: &dyn SessionStore, owner: &Owner, address: &Address) -> Result<Session, Stop> {
    Ok(Session::new(
        owner.clone(),
        store.claim(owner, address).await?.seq,
    ))
}

/// Steps until there is no more to remove. Others may have left much behind in the same datastore: how long it takes is no matter as
/// long as it goes on.
async fn reclaim_all(store: &dyn SessionStore, budget: usize) -> Result<(), Stop> {
    let mut progress = Instant::now();
    loop {
        let reclaimed = store.reclaim(budget).await?;
        check!(
            reclaimed.removed <= budget,
            "{} removed with a budget of {budget}",
            reclaimed.removed
        );
        if !reclaimed.more {
            return Ok(());
        }
        if reclaimed.removed > 0 {
            progress = Instant::now();
        }
        check!(
            progress.elapsed().as_secs() < 60,
            "reclaiming does not come to an end"
        );
    }
}

/// A claim tells whether there was a record, visible or not.
async fn all_free(ctx: &Ctx, addresses: &[Address]) -> Result<(), Stop> {
    check!(
        ctx.store()
            .lookup_many(addresses)
            .await?
            .iter()
            .all(Option::is_none),
        "a dead server holds something"
    );
    let owner = ctx.server("next").await?;
    for claimed in ctx.store().claim_many(&owner, addresses).await? {
        check_eq!(claimed.displaced, None, "record that was left after reclaiming");
    }
    Ok(())
}
