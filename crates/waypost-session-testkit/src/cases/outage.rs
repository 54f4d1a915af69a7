//! The datastore goes away and comes back.

use core::time::Duration;
use std::time::Instant;

use waypost_session::{ErrorKind, Renewal};
use waypost_types::{Incarnation, Owner, Session};

use super::handles::{every_verb, print_error};
use crate::stop::{chain, check, check_eq};
use crate::{Ctx, Stop};

/// Thirteen verbs, each with a time-out of a few seconds.
const ALL_VERBS_WITHIN: Duration = Duration::from_secs(60);

/// While the datastore is gone every verb fails in bounded time with `Unavailable` or `Timeout` and without the password;
/// when it is back the same handle works again. A durable store has kept what it acknowledged; any other says by another
/// generation that it has lost something.
pub async fn store_gone_and_back(ctx: &Ctx) -> Result<(), Stop> {
    let outage = ctx.outage()?;
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    let location = ctx.location()?;
    let claimed = ctx.store().claim(&owner, &address).await?;
    let before = ctx
        .store()
        .renew(core::slice::from_ref(&owner), &location)
        .await?;

    outage
        .stop()
        .await
        .map_err(|error| Stop::failed(format!("it does not stop: {}", chain(&*error))))?;
    let begin = Instant::now();
    // Another owner and another address: a write of a call that timed out may still be applied.
    let nobody = Owner::new(ctx.identity("nobody")?, Incarnation(1));
    let failures = every_verb(&**ctx.store(), &nobody, &ctx.address("gone")?, &location).await;
    let took = begin.elapsed();
    outage
        .start()
        .await
        .map_err(|error| Stop::failed(format!("it does not start: {}", chain(&*error))))?;

    check!(
        took < ALL_VERBS_WITHIN,
        "all verbs together took {took:?} to fail"
    );
    for (verb, error) in failures {
        let Some(error) = error else {
            return Err(Stop::failed(format!(
                "{verb} succeeded while the datastore was gone"
            )));
        };
        let expected = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout);
        check!(
            expected,
            "{verb} failed as {:?} while the datastore was gone: {error}",
            error.kind()
        );
        let printed = print_error(&error);
        check!(
            !ctx.secret().is_some_and(|secret| printed.contains(secret)),
            "{verb}: the password is in its error"
        );
    }

    ctx.eventually("the handle works again", || async {
        Ok(ctx.store().lookup(&address).await.is_ok())
    })
    .await?;
    let kept = ctx.store().lookup(&address).await?;
    let renewed = ctx
        .store()
        .renew(core::slice::from_ref(&owner), &location)
        .await?;
    if ctx.capabilities().durable {
        let expected = Some(Session::new(owner.clone(), claimed.seq));
        check_eq!(kept, expected, "what a durable store has kept");
        check_eq!(
            renewed.renewals,
            [Renewal::Renewed],
            "renewal of what a durable store has kept"
        );
    } else if kept.is_none() {
        check!(
            renewed.generation != before.generation,
            "a session was lost and the generation is the same"
        );
    }
    let after = ctx.server("after").await?;
    let claimed = ctx.store().claim(&after, &address).await?;
    check_eq!(
        ctx.store().lookup(&address).await?,
        Some(Session::new(after, claimed.seq)),
        "claimed after"
    );
    Ok(())
}
