//! Batches of the hot verbs.

use waypost_session::{BATCH_MAX, ErrorKind, Released, Restored, StoreError};
use waypost_types::{Address, Owner, Seq, Session};

use crate::stop::{check, check_eq};
use crate::{Ctx, Stop};

/// Every batch has one answer an entry, in the entries' order.
pub async fn batches_answer_in_the_order_of_their_entries(ctx: &Ctx) -> Result<(), Stop> {
    let (first, second) = (ctx.server("first").await?, ctx.server("second").await?);
    let addresses = ctx.addresses("a", 60)?;
    let odd: Vec<Address> = addresses.iter().skip(1).step_by(2).cloned().collect();
    let before = ctx.store().claim_many(&first, &odd).await?;
    check_eq!(before.len(), odd.len(), "answers to the first claims");

    let claims = ctx.store().claim_many(&second, &addresses).await?;
    check_eq!(claims.len(), addresses.len(), "answers to the second claims");
    for (index, claimed) in claims.iter().enumerate() {
        let expected = (index % 2 == 1).then(|| Session::new(first.clone(), before[index / 2].seq));
        check_eq!(claimed.displaced, expected, "displaced by entry {index}");
    }

    let mut asked = addresses.clone();
    asked.insert(7, ctx.address("nobody's")?);
    asked.reverse();
    let mut expected: Vec<_> = claims
        .iter()
        .map(|claimed| Some(Session::new(second.clone(), claimed.seq)))
        .collect();
    expected.insert(7, None);
    expected.reverse();
    check_eq!(ctx.store().lookup_many(&asked).await?, expected, "look-ups");

    let releases: Vec<(Address, Seq)> = addresses
        .iter()
        .zip(&claims)
        .enumerate()
        .map(|(index, (address, claimed))| (address.clone(), Seq(claimed.seq.0 + u64::from(index % 3 == 0))))
        .collect();
    let expected: Vec<_> = (0..addresses.len())
        .map(|index| {
            if index % 3 == 0 {
                Released::NotOwner
            } else {
                Released::Released
            }
        })
        .collect();
    check_eq!(
        ctx.store().release_many(&second, &releases).await?,
        expected,
        "releases"
    );
    for (index, held) in ctx.store().lookup_many(&addresses).await?.iter().enumerate() {
        check_eq!(
            held.is_some(),
            index % 3 == 0,
            "entry {index} held after the releases"
        );
    }
    Ok(())
}

/// A batch of `BATCH_MAX` entries is taken by every hot verb.
pub async fn largest_batch_is_taken(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let addresses = ctx.addresses("a", BATCH_MAX)?;
    let claims = ctx.store().claim_many(&owner, &addresses).await?;
    check_eq!(claims.len(), BATCH_MAX, "answers to the claims");
    let sessions: Vec<(Address, Seq)> = addresses
        .iter()
        .cloned()
        .zip(claims.iter().map(|claimed| claimed.seq))
        .collect();
    let held = ctx.store().lookup_many(&addresses).await?;
    let expected: Vec<_> = sessions
        .iter()
        .map(|(_, seq)| Some(Session::new(owner.clone(), *seq)))
        .collect();
    check!(held == expected, "the look-ups do not match the claims");
    let restored = ctx.store().restore_many(&owner, &sessions).await?;
    check!(
        restored == vec![Restored::Held; BATCH_MAX],
        "not every restored session is held"
    );
    let released = ctx.store().release_many(&owner, &sessions).await?;
    check!(
        released == vec![Released::Released; BATCH_MAX],
        "not every session was released"
    );
    Ok(())
}

/// A batch of one entry more is refused with `LimitExceeded`, and nothing of it is applied.
pub async fn batch_over_the_bound_is_refused(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let addresses = ctx.addresses("a", BATCH_MAX + 1)?;
    let sessions: Vec<(Address, Seq)> = addresses
        .iter()
        .map(|address| (address.clone(), Seq(1)))
        .collect();
    let store = ctx.store();
    refused("claim", store.claim_many(&owner, &addresses).await.err())?;
    refused("lookup", store.lookup_many(&addresses).await.err())?;
    refused("restore", store.restore_many(&owner, &sessions).await.err())?;
    refused("release", store.release_many(&owner, &sessions).await.err())?;
    let held = store.lookup_many(&addresses[..BATCH_MAX]).await?;
    check!(
        held.iter().all(Option::is_none),
        "part of a refused batch was applied"
    );
    Ok(())
}

fn refused(verb: &str, error: Option<StoreError>) -> Result<(), Stop> {
    let kind = error.map(|error| error.kind());
    check_eq!(
        kind,
        Some(ErrorKind::LimitExceeded),
        "{verb} of {} entries",
        BATCH_MAX + 1
    );
    Ok(())
}

/// An empty batch has an empty answer.
pub async fn empty_batches_are_answered(ctx: &Ctx) -> Result<(), Stop> {
    let owner: Owner = ctx.server("server").await?;
    let store = ctx.store();
    check_eq!(store.claim_many(&owner, &[]).await?, [], "claims");
    check_eq!(store.release_many(&owner, &[]).await?, [], "releases");
    check_eq!(store.restore_many(&owner, &[]).await?, [], "restores");
    check_eq!(store.lookup_many(&[]).await?, [], "look-ups");
    Ok(())
}
