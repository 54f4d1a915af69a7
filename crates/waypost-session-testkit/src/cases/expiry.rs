//! Leases that lapse because nobody renews them.

use std::time::Instant;

use waypost_session::Renewal;
use waypost_types::Session;

use super::leases::{lease_of, renew};
use crate::stop::{check, check_eq};
use crate::{Ctx, Stop};

/// A server that stops renewing is no peer and holds nothing after its term, and learns that it is gone.
pub async fn lapsed_lease_is_gone_for_everybody_and_for_itself(ctx: &Ctx) -> Result<(), Stop> {
    let handles = ctx.handles(2).await?;
    let owner = ctx.server_for("idle", ctx.short_term()).await?;
    let address = ctx.address("a")?;
    ctx.store().claim(&owner, &address).await?;
    for handle in &handles {
        ctx.eventually("an idle server is no peer", || async {
            Ok(lease_of(&**handle, &owner).await?.is_none())
        })
        .await?;
        check_eq!(handle.lookup(&address).await?, None, "a lapsed server's session");
    }
    for _ in 0..2 {
        check_eq!(
            renew(ctx, &owner).await?,
            Renewal::Gone,
            "renewal after the lapse"
        );
        check_eq!(
            ctx.store().drain(&owner).await?,
            Renewal::Gone,
            "drain after the lapse"
        );
    }
    for handle in &handles {
        check!(
            lease_of(&**handle, &owner).await?.is_none(),
            "the late renewal brought it back"
        );
        check_eq!(
            handle.lookup(&address).await?,
            None,
            "session after the late renewal"
        );
    }
    Ok(())
}

/// A server that renews in time stays a peer and keeps its sessions for several terms, while an idle one lapses.
pub async fn renewed_lease_stays_while_an_idle_one_lapses(ctx: &Ctx) -> Result<(), Stop> {
    // A longer term each time: what is slow here may be the datastore, which is no fault.
    for attempt in 0..5 {
        if keeps_renewing(ctx, attempt).await? {
            return Ok(());
        }
    }
    Err(Stop::failed(
        "too slow: five times a renewal was not even answered within the term, which was longer each time",
    ))
}

/// Whether the heartbeats were answered in time; when not, the attempt says nothing about the store.
async fn keeps_renewing(ctx: &Ctx, attempt: u32) -> Result<bool, Stop> {
    let handles = ctx.handles(2).await?;
    let term = ctx.short_term() * (1 << attempt);
    let mut renewed_at = Instant::now();
    let busy = ctx.server_for(&format!("busy-{attempt}"), term).await?;
    let idle = ctx.server_for(&format!("idle-{attempt}"), term).await?;
    let address = ctx.address(&format!("a-{attempt}"))?;
    ctx.store().claim(&busy, &address).await?;
    let begin = Instant::now();
    while begin.elapsed() < term * 4 {
        tokio::time::sleep(term / 5).await;
        let now = Instant::now();
        let renewal = renew(ctx, &busy).await?;
        let peer = lease_of(&*handles[1], &busy).await?.is_some();
        let held = handles[1].lookup(&address).await?.is_some();
        if renewed_at.elapsed() >= term {
            return Ok(false);
        }
        renewed_at = now;
        check_eq!(renewal, Renewal::Renewed, "renewal in time");
        check!(peer, "a server that renews in time is no peer");
        check!(held, "a server that renews in time lost its session");
    }
    for handle in &handles {
        ctx.eventually("an idle server is no peer", || async {
            Ok(lease_of(&**handle, &idle).await?.is_none())
        })
        .await?;
    }
    Ok(true)
}

/// After its lease lapsed a server registers anew, with a greater incarnation; its old sessions stay invisible.
pub async fn server_comes_back_under_a_new_incarnation_after_a_lapse(ctx: &Ctx) -> Result<(), Stop> {
    let lapsed = ctx.server_for("server", ctx.short_term()).await?;
    let address = ctx.address("a")?;
    let before = ctx.store().claim(&lapsed, &address).await?;
    ctx.eventually("an idle server is no peer", || async {
        Ok(lease_of(&**ctx.store(), &lapsed).await?.is_none())
    })
    .await?;
    let back = ctx.server("server").await?;
    check!(
        back.incarnation > lapsed.incarnation,
        "incarnation {} after {}",
        back.incarnation,
        lapsed.incarnation
    );
    check_eq!(
        ctx.store().lookup(&address).await?,
        None,
        "session of the lapsed incarnation"
    );
    let after = ctx.store().claim(&back, &address).await?;
    check!(
        after.seq > before.seq,
        "seq {} came after seq {}",
        after.seq,
        before.seq
    );
    check_eq!(
        ctx.store().lookup(&address).await?,
        Some(Session::new(back, after.seq)),
        "claimed anew"
    );
    Ok(())
}
