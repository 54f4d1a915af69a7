//! Putting back what a datastore may have lost.

use waypost_session::{Released, Restored};
use waypost_types::{Seq, Session};

use crate::stop::{check, check_eq};
use crate::{Ctx, Stop};

/// A session that stands in the store is held, and stays as it was.
pub async fn restore_of_a_standing_session_is_held(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let claimed = ctx.store().claim(&owner, &address).await?;
    for _ in 0..2 {
        let restored = ctx
            .store()
            .restore_many(&owner, &[(address.clone(), claimed.seq)])
            .await?;
        check_eq!(restored, [Restored::Held], "restore of what stands");
    }
    check_eq!(
        ctx.store().lookup(&address).await?,
        Some(Session::new(owner, claimed.seq)),
        "looked up"
    );
    Ok(())
}

/// A session that is missing is put back with its seq, and can be found, displaced and released again.
pub async fn restore_puts_back_what_is_missing(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let [first, second] = [ctx.address("a")?, ctx.address("b")?];
    let mut sessions = Vec::new();
    for address in [&first, &second] {
        let claimed = ctx.store().claim(&owner, address).await?;
        ctx.store().release(&owner, address, claimed.seq).await?;
        sessions.push((address.clone(), claimed.seq));
    }
    let restored = ctx.store().restore_many(&owner, &sessions).await?;
    check_eq!(
        restored,
        [Restored::Held, Restored::Held],
        "restore of what is missing"
    );
    let standing = Session::new(owner.clone(), sessions[0].1);
    check_eq!(
        ctx.store().lookup(&first).await?,
        Some(standing.clone()),
        "looked up"
    );
    check_eq!(
        ctx.store().claim(&owner, &first).await?.displaced,
        Some(standing),
        "displaced"
    );
    let released = ctx.store().release(&owner, &second, sessions[1].1).await?;
    check_eq!(released, Released::Released, "release of a restored session");
    Ok(())
}

/// A session is put back over a claim with a smaller seq.
pub async fn restore_replaces_what_is_older(ctx: &Ctx) -> Result<(), Stop> {
    let (older, newer) = (ctx.server("older").await?, ctx.server("newer").await?);
    let address = ctx.address("a")?;
    let before = ctx.store().claim(&older, &address).await?;
    let seq = Seq(before.seq.0 + 7);
    let restored = ctx
        .store()
        .restore_many(&newer, &[(address.clone(), seq)])
        .await?;
    check_eq!(restored, [Restored::Held], "restore over an older claim");
    check_eq!(
        ctx.store().lookup(&address).await?,
        Some(Session::new(newer, seq)),
        "looked up"
    );
    Ok(())
}

/// A server that registered anew puts its sessions back under its new incarnation, with their seqs.
pub async fn restore_moves_a_session_to_a_newer_incarnation(ctx: &Ctx) -> Result<(), Stop> {
    let old = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let claimed = ctx.store().claim(&old, &address).await?;
    let new = ctx.server("server").await?;
    check_eq!(old.identity, new.identity, "the same server");
    let restored = ctx
        .store()
        .restore_many(&new, &[(address.clone(), claimed.seq)])
        .await?;
    check_eq!(restored, [Restored::Held], "restore under a newer incarnation");
    check_eq!(
        ctx.store().lookup(&address).await?,
        Some(Session::new(new.clone(), claimed.seq)),
        "looked up"
    );
    let late = ctx
        .store()
        .restore_many(&old, &[(address.clone(), claimed.seq)])
        .await?;
    let standing = Session::new(new.clone(), claimed.seq);
    check_eq!(
        late,
        [Restored::Lost(standing)],
        "late restore by the older incarnation"
    );
    let late = ctx.store().release(&old, &address, claimed.seq).await?;
    check_eq!(late, Released::NotOwner, "late release by the older incarnation");
    let released = ctx.store().release(&new, &address, claimed.seq).await?;
    check_eq!(released, Released::Released, "release by the newer");
    Ok(())
}

/// A claim with a greater seq stands: the restore reports it and changes nothing.
pub async fn restore_is_lost_to_a_newer_claim(ctx: &Ctx) -> Result<(), Stop> {
    let (old, new) = (ctx.server("old").await?, ctx.server("new").await?);
    let address = ctx.address("a")?;
    let before = ctx.store().claim(&old, &address).await?;
    let after = ctx.store().claim(&new, &address).await?;
    let standing = Session::new(new.clone(), after.seq);
    let restored = ctx
        .store()
        .restore_many(&old, &[(address.clone(), before.seq)])
        .await?;
    check_eq!(
        restored,
        [Restored::Lost(standing.clone())],
        "restore of a session that has moved"
    );
    check_eq!(ctx.store().lookup(&address).await?, Some(standing), "looked up");
    // The same owner's newer connection counts like anybody else's.
    let newest = ctx.store().claim(&new, &address).await?;
    let restored = ctx
        .store()
        .restore_many(&new, &[(address.clone(), after.seq)])
        .await?;
    check_eq!(
        restored,
        [Restored::Lost(Session::new(new, newest.seq))],
        "restore of an older own session"
    );
    Ok(())
}

/// A batch that mixes held, missing and moved sessions has one answer each, in their order.
pub async fn restore_answers_in_the_order_of_its_entries(ctx: &Ctx) -> Result<(), Stop> {
    let (owner, other) = (ctx.server("owner").await?, ctx.server("other").await?);
    let addresses = ctx.addresses("a", 30)?;
    let claims = ctx.store().claim_many(&owner, &addresses).await?;
    let mut expected = Vec::new();
    for (index, (address, claimed)) in addresses.iter().zip(&claims).enumerate() {
        expected.push(match index % 3 {
            0 => {
                let moved = ctx.store().claim(&other, address).await?;
                Restored::Lost(Session::new(other.clone(), moved.seq))
            }
            1 => {
                ctx.store().release(&owner, address, claimed.seq).await?;
                Restored::Held
            }
            _ => Restored::Held,
        });
    }
    let sessions: Vec<_> = addresses
        .into_iter()
        .zip(claims.iter().map(|claimed| claimed.seq))
        .collect();
    check_eq!(
        ctx.store().restore_many(&owner, &sessions).await?,
        expected,
        "restores"
    );
    Ok(())
}

/// A claim after a restore has a greater seq than the restored one, also when the store has never given that one.
pub async fn claim_after_restore_gets_a_greater_seq(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    for (index, address) in ctx.addresses("a", 4)?.iter().enumerate() {
        let claimed = ctx.store().claim(&owner, address).await?;
        let seq = Seq(claimed.seq.0 + 100_000);
        ctx.store()
            .restore_many(&owner, &[(address.clone(), seq)])
            .await?;
        if index % 2 == 0 {
            ctx.store().release(&owner, address, seq).await?;
        }
        let after = ctx.store().claim(&owner, address).await?;
        check!(
            after.seq > seq,
            "seq {} came after the restored seq {seq}",
            after.seq
        );
    }
    Ok(())
}

/// A restored session is released by its own seq alone.
pub async fn late_release_after_restore_frees_only_what_was_restored(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let older = ctx.store().claim(&owner, &address).await?;
    let newer = ctx.store().claim(&owner, &address).await?;
    ctx.store().release(&owner, &address, newer.seq).await?;
    ctx.store()
        .restore_many(&owner, &[(address.clone(), newer.seq)])
        .await?;
    let released = ctx.store().release(&owner, &address, older.seq).await?;
    check_eq!(released, Released::NotOwner, "release of the older seq");
    check_eq!(
        ctx.store().lookup(&address).await?,
        Some(Session::new(owner.clone(), newer.seq)),
        "looked up after the late release"
    );
    let released = ctx.store().release(&owner, &address, newer.seq).await?;
    check_eq!(released, Released::Released, "release of the restored seq");
    Ok(())
}
