//! Claims, releases and look-ups, one after the other.

use waypost_session::{Claimed, Released};
use waypost_types::{Incarnation, Owner, Seq, Session};

use crate::stop::{check, check_eq};
use crate::{Ctx, Stop};

/// A claim of a free address reports nobody as displaced, and its seq is not 0.
pub async fn claim_of_a_free_address_displaces_nobody(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let claimed = ctx.store().claim(&owner, &ctx.address("a")?).await?;
    check_eq!(claimed.displaced, None, "displaced by the first claim");
    check!(claimed.seq > Seq(0), "a claimed address has seq 0");
    Ok(())
}

/// After a claim, every look-up gives the claimer with the seq of the claim.
pub async fn claim_makes_the_owner_the_holder(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    for address in ctx.addresses("a", 16)? {
        let claimed = ctx.store().claim(&owner, &address).await?;
        let expected = Some(Session::new(owner.clone(), claimed.seq));
        check_eq!(
            ctx.store().lookup(&address).await?,
            expected,
            "looked up after the claim"
        );
    }
    Ok(())
}

/// A claim takes the address from another owner, and reports exactly the session that it replaced.
pub async fn claim_displaces_another_owner(ctx: &Ctx) -> Result<(), Stop> {
    let (first, second) = (ctx.server("first").await?, ctx.server("second").await?);
    let address = ctx.address("a")?;
    let before = ctx.store().claim(&first, &address).await?;
    let after = ctx.store().claim(&second, &address).await?;
    check_eq!(
        after.displaced,
        Some(Session::new(first, before.seq)),
        "displaced"
    );
    let expected = Some(Session::new(second, after.seq));
    check_eq!(
        ctx.store().lookup(&address).await?,
        expected,
        "looked up after the takeover"
    );
    Ok(())
}

/// An owner's newer claim of an address displaces its own older one like anybody else's.
pub async fn claim_displaces_the_same_owners_older_claim(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let older = ctx.store().claim(&owner, &address).await?;
    let newer = ctx.store().claim(&owner, &address).await?;
    check_eq!(
        newer.displaced,
        Some(Session::new(owner.clone(), older.seq)),
        "displaced"
    );
    check_eq!(
        ctx.store().lookup(&address).await?,
        Some(Session::new(owner, newer.seq)),
        "looked up"
    );
    Ok(())
}

/// A claim also reports a session whose owner is dead, as long as its record has not been reclaimed.
pub async fn claim_over_a_dead_owners_session_reports_it(ctx: &Ctx) -> Result<(), Stop> {
    let winner = ctx.server("winner").await?;
    // Somebody else on this datastore may reclaim the record in between: once is enough.
    for (round, address) in ctx.addresses("a", 5)?.iter().enumerate() {
        let dead = ctx.server(&format!("dead-{round}")).await?;
        let before = ctx.store().claim(&dead, address).await?;
        ctx.store().deregister(&dead).await?;
        let after = ctx.store().claim(&winner, address).await?;
        check!(
            after.seq > before.seq,
            "the seq did not grow over a dead owner's session"
        );
        match after.displaced {
            Some(session) => {
                check_eq!(session, Session::new(dead, before.seq), "displaced");
                return Ok(());
            }
            None => continue,
        }
    }
    Err(Stop::failed(
        "no claim reported the dead owner's session that it replaced",
    ))
}

/// A claim by an owner whose lease is over makes nobody the holder.
pub async fn claim_by_an_owner_whose_lease_is_over_is_invisible(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    ctx.store().deregister(&owner).await?;
    ctx.store().claim(&owner, &address).await?;
    check_eq!(
        ctx.store().lookup(&address).await?,
        None,
        "looked up after a dead owner's claim"
    );
    Ok(())
}

/// Each claim of an address has a greater seq than every one before it.
pub async fn seq_grows_with_every_claim(ctx: &Ctx) -> Result<(), Stop> {
    let owners = [ctx.server("first").await?, ctx.server("second").await?];
    let address = ctx.address("a")?;
    let mut last = Seq(0);
    for owner in owners.iter().cycle().take(20) {
        let Claimed { seq, .. } = ctx.store().claim(owner, &address).await?;
        check!(seq > last, "seq {seq} came after seq {last}");
        last = seq;
    }
    Ok(())
}

/// A claim after a release has a greater seq than the claim before it: no seq is given twice.
pub async fn seq_grows_across_release_and_claim(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let mut last = Seq(0);
    for _ in 0..20 {
        let Claimed { seq, displaced } = ctx.store().claim(&owner, &address).await?;
        check!(
            seq > last,
            "seq {seq} came after seq {last}, with a release between them"
        );
        check_eq!(displaced, None, "displaced after a release");
        let released = ctx.store().release(&owner, &address, seq).await?;
        check_eq!(released, Released::Released, "own release");
        last = seq;
    }
    Ok(())
}

/// An address that nobody has claimed is held by nobody.
pub async fn lookup_of_an_unclaimed_address_is_none(ctx: &Ctx) -> Result<(), Stop> {
    check_eq!(ctx.store().lookup(&ctx.address("a")?).await?, None, "looked up");
    Ok(())
}

/// A release by the holder with its seq frees the address.
pub async fn release_frees_the_address(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let Claimed { seq, .. } = ctx.store().claim(&owner, &address).await?;
    check_eq!(
        ctx.store().release(&owner, &address, seq).await?,
        Released::Released,
        "own release"
    );
    check_eq!(
        ctx.store().lookup(&address).await?,
        None,
        "looked up after the release"
    );
    Ok(())
}

/// The second release of one session finds nothing to release.
pub async fn release_twice_is_not_owner(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let Claimed { seq, .. } = ctx.store().claim(&owner, &address).await?;
    check_eq!(
        ctx.store().release(&owner, &address, seq).await?,
        Released::Released,
        "first release"
    );
    check_eq!(
        ctx.store().release(&owner, &address, seq).await?,
        Released::NotOwner,
        "second release"
    );
    Ok(())
}

/// A release of an address that nobody has claimed finds nothing to release.
pub async fn release_of_a_free_address_is_not_owner(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let released = ctx.store().release(&owner, &ctx.address("a")?, Seq(1)).await?;
    check_eq!(released, Released::NotOwner, "release of a free address");
    Ok(())
}

/// A release by somebody else, even with the right seq, changes nothing.
pub async fn release_by_another_owner_changes_nothing(ctx: &Ctx) -> Result<(), Stop> {
    let (owner, other) = (ctx.server("owner").await?, ctx.server("other").await?);
    refused_release(ctx, &owner, &other, |seq| seq).await
}

/// A release by another incarnation of the holder's identity changes nothing.
pub async fn release_by_another_incarnation_changes_nothing(ctx: &Ctx) -> Result<(), Stop> {
    let older = ctx.server("server").await?;
    let newer = ctx.server("server").await?;
    refused_release(ctx, &newer, &older, |seq| seq).await?;
    let never = Owner::new(newer.identity.clone(), Incarnation(newer.incarnation.0 + 1));
    refused_release(ctx, &newer, &never, |seq| seq).await
}

/// A release by the holder with a seq that is not the session's changes nothing.
pub async fn release_with_another_seq_changes_nothing(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    refused_release(ctx, &owner, &owner, |seq| Seq(seq.0 - 1)).await?;
    refused_release(ctx, &owner, &owner, |seq| Seq(seq.0 + 1)).await
}

/// The disconnect of an owner's older connection does not remove its newer one.
pub async fn late_release_after_the_same_owners_new_claim_changes_nothing(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let older = ctx.store().claim(&owner, &address).await?;
    let newer = ctx.store().claim(&owner, &address).await?;
    check_eq!(
        ctx.store().release(&owner, &address, older.seq).await?,
        Released::NotOwner,
        "late release"
    );
    check_eq!(
        ctx.store().lookup(&address).await?,
        Some(Session::new(owner, newer.seq)),
        "looked up"
    );
    Ok(())
}

/// A repeated release of a session that is gone does not remove the same owner's next one.
pub async fn late_release_after_release_and_new_claim_changes_nothing(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let mut gone = Vec::new();
    for _ in 0..5 {
        let Claimed { seq, .. } = ctx.store().claim(&owner, &address).await?;
        for older in &gone {
            let released = ctx.store().release(&owner, &address, *older).await?;
            check_eq!(released, Released::NotOwner, "release of seq {older}, long gone");
        }
        let expected = Some(Session::new(owner.clone(), seq));
        check_eq!(ctx.store().lookup(&address).await?, expected, "looked up");
        check_eq!(
            ctx.store().release(&owner, &address, seq).await?,
            Released::Released,
            "own release"
        );
        gone.push(seq);
    }
    Ok(())
}

/// `holder` claims an address; `releaser` tries to release it with the seq that `seq` makes of the right one.
async fn refused_release(
    ctx: &Ctx,
    holder: &Owner,
    releaser: &Owner,
    seq: impl FnOnce(Seq) -> Seq + Send,
) -> Result<(), Stop> {
    let address = ctx.address("refused")?;
    let claimed = ctx.store().claim(holder, &address).await?;
    let released = ctx.store().release(releaser, &address, seq(claimed.seq)).await?;
    check_eq!(
        released,
        Released::NotOwner,
        "release by {releaser} of a session of {holder}"
    );
    let expected = Some(Session::new(holder.clone(), claimed.seq));
    check_eq!(
        ctx.store().lookup(&address).await?,
        expected,
        "looked up after a refused release"
    );
    Ok(())
}
