//! Several handles on one datastore, closed ones, and what they print.

use core::time::Duration;

use waypost_session::{BATCH_MAX, ErrorKind, Released, Renewal, SessionStore, StoreError};
use waypost_types::{Address, Location, Owner, Session};

use super::leases::lease_of;
use crate::stop::{check, check_eq};
use crate::{Ctx, Stop};

/// What one handle does the other sees.
pub async fn two_handles_agree(ctx: &Ctx) -> Result<(), Stop> {
    let other = ctx.open().await?;
    let owner = ctx.server("server").await?;
    check!(
        lease_of(&*other, &owner).await?.is_some(),
        "the other handle does not see the peer"
    );
    let address = ctx.address("a")?;
    let first = ctx.store().claim(&owner, &address).await?;
    let session = Session::new(owner.clone(), first.seq);
    check_eq!(
        other.lookup(&address).await?,
        Some(session.clone()),
        "looked up by the other handle"
    );
    let second = other.claim(&owner, &address).await?;
    check_eq!(second.displaced, Some(session), "displaced by the other handle");
    check!(
        second.seq > first.seq,
        "seq {} came after seq {}, by another handle",
        second.seq,
        first.seq
    );
    check_eq!(
        ctx.store().release(&owner, &address, first.seq).await?,
        Released::NotOwner,
        "late release"
    );
    check_eq!(
        ctx.store().release(&owner, &address, second.seq).await?,
        Released::Released,
        "release"
    );
    check_eq!(
        other.lookup(&address).await?,
        None,
        "looked up by the other handle after the release"
    );
    let renewals = other
        .renew(core::slice::from_ref(&owner), &ctx.location()?)
        .await?
        .renewals;
    check_eq!(renewals, [Renewal::Renewed], "renewal by the other handle");
    let newer = other
        .register(&owner.identity, &ctx.location()?, Duration::from_secs(60))
        .await?;
    let renewals = ctx.store().renew(&[owner], &ctx.location()?).await?.renewals;
    check_eq!(
        renewals,
        [Renewal::Superseded(newer)],
        "renewal after the other handle's registration"
    );
    Ok(())
}

/// Sessions and leases are there when the store is closed and opened again.
pub async fn reopened_store_keeps_sessions_and_leases(ctx: &Ctx) -> Result<(), Stop> {
    if !ctx.capabilities().shared {
        return Err(Stop::not_applicable("the store's records end with its handles"));
    }
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let claimed = ctx.store().claim(&owner, &address).await?;
    let lease = lease_of(&**ctx.store(), &owner).await?;
    ctx.store().close().await;
    let reopened = ctx.open().await?;
    let session = Session::new(owner.clone(), claimed.seq);
    check_eq!(
        reopened.lookup(&address).await?,
        Some(session.clone()),
        "looked up"
    );
    check_eq!(lease_of(&*reopened, &owner).await?, lease, "lease");
    let again = reopened.claim(&owner, &address).await?;
    check_eq!(again.displaced, Some(session), "displaced");
    check!(
        again.seq > claimed.seq,
        "seq {} came after seq {}, reopened",
        again.seq,
        claimed.seq
    );
    let newer = reopened
        .register(&owner.identity, &ctx.location()?, Duration::from_secs(60))
        .await?;
    check!(
        newer > owner.incarnation,
        "incarnation {newer} came after {}, reopened",
        owner.incarnation
    );
    Ok(())
}

/// Every verb on a closed handle fails with kind `Unavailable`, and closing twice does nothing.
pub async fn closed_handle_is_unavailable(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let store = ctx.open().await?;
    store.close().await;
    store.close().await;
    for (verb, error) in every_verb(&*store, &owner, &ctx.address("a")?, &ctx.location()?).await {
        check_eq!(
            error.map(|error| error.kind()),
            Some(ErrorKind::Unavailable),
            "{verb} after close"
        );
    }
    Ok(())
}

/// Closing one handle does not disturb the others.
pub async fn closing_one_handle_leaves_the_others_open(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let other = ctx.open().await?;
    other.claim(&owner, &address).await?;
    other.close().await;
    check!(
        ctx.store().lookup(&address).await?.is_some(),
        "the session went with the handle"
    );
    check!(
        lease_of(&**ctx.store(), &owner).await?.is_some(),
        "the lease went with the handle"
    );
    Ok(())
}

/// Dropping calls in the middle leaves the handle as usable as before, and others' calls undisturbed.
pub async fn dropped_futures_leave_the_handle_usable(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let other = ctx.server("other").await?;
    let (mine, theirs) = (ctx.addresses("a", 40)?, ctx.addresses("b", 40)?);
    let mut rng = ctx.rng();
    for (mine, theirs) in mine.iter().zip(&theirs) {
        let patience = match rng.below(4) {
            0 => Duration::ZERO,
            1 => Duration::from_micros(50),
            2 => Duration::from_micros(300),
            _ => Duration::from_millis(2),
        };
        let store = ctx.store();
        let undisturbed = store.claim(&other, theirs);
        let dropped = async {
            let _ = tokio::time::timeout(patience, store.claim(&owner, mine)).await;
            let _ = tokio::time::timeout(patience, store.lookup(mine)).await;
            let _ = tokio::time::timeout(patience, store.peers()).await;
            let _ = tokio::time::timeout(patience, store.reclaim(1)).await;
        };
        let (claimed, ()) = futures_util::future::join(undisturbed, dropped).await;
        let expected = Some(Session::new(other.clone(), claimed?.seq));
        check_eq!(
            store.lookup(theirs).await?,
            expected,
            "looked up beside dropped calls"
        );
    }
    // A dropped claim may be applied late, but never over what was claimed after it: its seq tells.
    for address in &mine {
        let claimed = ctx.store().claim(&owner, address).await?;
        let held = ctx.store().lookup(address).await?;
        check!(
            held.is_some_and(|session| session.seq >= claimed.seq),
            "the claim after a dropped one is lost"
        );
    }
    Ok(())
}

/// Neither the handle's `Debug` nor any error holds the datastore's password.
pub async fn no_secret_in_debug_or_errors(ctx: &Ctx) -> Result<(), Stop> {
    let Some(secret) = ctx.secret() else {
        return Err(Stop::not_applicable("this builder has no password to look for"));
    };
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let mut printed = vec![format!("{:?} {:#?}", ctx.store(), ctx.store())];
    let too_many = ctx.addresses("a", BATCH_MAX + 1)?;
    printed.extend(
        ctx.store()
            .claim_many(&owner, &too_many)
            .await
            .err()
            .map(|error| print_error(&error)),
    );
    ctx.store().close().await;
    printed.push(format!("{:?}", ctx.store()));
    for (_, error) in every_verb(&**ctx.store(), &owner, &address, &ctx.location()?).await {
        printed.extend(error.as_ref().map(print_error));
    }
    for text in printed {
        check!(
            !text.contains(secret),
            "the password is in: {}",
            text.replace(secret, "<PASSWORD>")
        );
    }
    Ok(())
}

pub(super) fn print_error(error: &StoreError) -> String {
    format!("{error} {error:?} {}", crate::stop::chain(error))
}

/// Calls every verb once and says how each failed.
pub(super) async fn every_verb(
    store: &dyn SessionStore,
    owner: &Owner,
    address: &Address,
    location: &Location,
) -> Vec<(&'static str, Option<StoreError>)> {
    let (addresses, owners) = (core::slice::from_ref(address), core::slice::from_ref(owner));
    let seq = waypost_types::Seq(1);
    let sessions = [(address.clone(), seq)];
    vec![
        (
            "register",
            store
                .register(&owner.identity, location, Duration::from_secs(60))
                .await
                .err(),
        ),
        ("renew", store.renew(owners, location).await.err()),
        ("drain", store.drain(owner).await.err()),
        ("deregister", store.deregister(owner).await.err()),
        ("peers", store.peers().await.err()),
        ("claim_many", store.claim_many(owner, addresses).await.err()),
        ("release_many", store.release_many(owner, &sessions).await.err()),
        ("restore_many", store.restore_many(owner, &sessions).await.err()),
        ("lookup_many", store.lookup_many(addresses).await.err()),
        ("reclaim", store.reclaim(10).await.err()),
        ("claim", store.claim(owner, address).await.err()),
        ("release", store.release(owner, address, seq).await.err()),
        ("lookup", store.lookup(address).await.err()),
    ]
}
