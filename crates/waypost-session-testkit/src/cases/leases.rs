//! Registration, renewal, draining, fencing, deregistration.

use core::time::Duration;
use std::collections::BTreeSet;

use waypost_session::{Renewal, SessionStore};
use waypost_types::{Incarnation, Lease, LeaseState, Location, Owner, Session};

use crate::stop::{check, check_eq};
use crate::{Ctx, Stop};

/// A registered server is among the peers, live, with its location and term as given.
pub async fn registered_server_is_a_live_peer(ctx: &Ctx) -> Result<(), Stop> {
    let term = Duration::from_millis(77_777);
    let owner = ctx.server_for("server", term).await?;
    check!(
        owner.incarnation > Incarnation(0),
        "a registered server has incarnation 0"
    );
    let lease = lease_of(&**ctx.store(), &owner)
        .await?
        .ok_or_else(|| Stop::failed("it is not among the peers"))?;
    check_eq!(lease.location, ctx.location()?, "location");
    check_eq!(lease.state, LeaseState::Live, "state");
    check_eq!(lease.term, term, "term");
    Ok(())
}

/// All servers are among the peers, each once.
pub async fn several_servers_are_all_peers(ctx: &Ctx) -> Result<(), Stop> {
    let mut expected = BTreeSet::new();
    for index in 0..12 {
        expected.insert(ctx.server(&format!("-server-{index}")).await?);
    }
    let peers = ctx.store().peers().await?;
    let mine: Vec<_> = peers
        .into_iter()
        .map(|lease| lease.owner)
        .filter(|owner| expected.contains(owner))
        .collect();
    check_eq!(mine.len(), expected.len(), "leases of the registered servers");
    check_eq!(mine.into_iter().collect::<BTreeSet<_>>(), expected, "peers");
    Ok(())
}

/// Each registration of an identity has a greater incarnation than every one before it.
pub async fn incarnation_grows_with_every_registration(ctx: &Ctx) -> Result<(), Stop> {
    let mut last = Incarnation(0);
    for _ in 0..5 {
        let owner = ctx.server("server").await?;
        check!(
            owner.incarnation > last,
            "incarnation {} came after {last}",
            owner.incarnation
        );
        last = owner.incarnation;
    }
    Ok(())
}

/// A registration after a deregistration has a greater incarnation than the one before it.
pub async fn incarnation_grows_across_deregistration(ctx: &Ctx) -> Result<(), Stop> {
    let mut last = Incarnation(0);
    for _ in 0..5 {
        let owner = ctx.server("server").await?;
        check!(
            owner.incarnation > last,
            "incarnation {} came after {last}, deregistered",
            owner.incarnation
        );
        last = owner.incarnation;
        ctx.store().deregister(&owner).await?;
    }
    Ok(())
}

/// A live server's renewal is answered with `Renewed`, and its counter grows, so that observers see it alive.
pub async fn renewal_is_answered_and_moves_the_counter(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let mut last = counter_of(ctx, &owner).await?;
    for _ in 0..3 {
        check_eq!(renew(ctx, &owner).await?, Renewal::Renewed, "renewal");
        let counter = counter_of(ctx, &owner).await?;
        check!(counter > last, "the counter went from {last} to {counter}");
        last = counter;
    }
    Ok(())
}

/// One heartbeat for several owners has one answer each, in their order; for nobody it has none.
pub async fn renewals_answer_in_the_order_of_the_owners(ctx: &Ctx) -> Result<(), Stop> {
    let live = ctx.server("live").await?;
    let older = ctx.server("twice").await?;
    let newer = ctx.server("twice").await?;
    let unknown = Owner::new(ctx.identity("unknown")?, Incarnation(1));
    let superseded = Renewal::Superseded(newer.incarnation);
    let owners = [unknown.clone(), live.clone(), older, newer, unknown, live];
    let renewals = ctx.store().renew(&owners, &ctx.location()?).await?.renewals;
    let expected = [
        Renewal::Gone,
        Renewal::Renewed,
        superseded,
        Renewal::Renewed,
        Renewal::Gone,
        Renewal::Renewed,
    ];
    check_eq!(renewals, expected, "renewals");
    check_eq!(
        ctx.store().renew(&[], &ctx.location()?).await?.renewals,
        [],
        "renewals of nobody"
    );
    Ok(())
}

/// While the datastore loses nothing, every renewal by one handle reports the same generation: nobody restores in vain.
pub async fn generation_stays_while_nothing_is_lost(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let renew = async || {
        ctx.store()
            .renew(core::slice::from_ref(&owner), &ctx.location()?)
            .await
            .map_err(Stop::from)
    };
    let generation = renew().await?.generation;
    for address in ctx.addresses("a", 5)? {
        ctx.store().claim(&owner, &address).await?;
        ctx.open().await?.close().await;
        check_eq!(renew().await?.generation, generation, "generation");
    }
    Ok(())
}

/// A renewal sets where the server is reached: moving to another broker is one lease write.
pub async fn renewal_sets_the_location(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    ctx.store().claim(&owner, &address).await?;
    let elsewhere = Location::new("unix:/run/elsewhere.sock")?;
    ctx.store()
        .renew(core::slice::from_ref(&owner), &elsewhere)
        .await?;
    let lease = lease_of(&**ctx.store(), &owner).await?;
    check_eq!(
        lease.map(|lease| lease.location),
        Some(elsewhere),
        "location after the renewal"
    );
    check!(
        ctx.store().lookup(&address).await?.is_some(),
        "the session was lost by moving"
    );
    Ok(())
}

/// A newer incarnation fences the older: its renewals and its drain say so and take nothing back.
pub async fn older_incarnation_is_superseded(ctx: &Ctx) -> Result<(), Stop> {
    let older = ctx.server("server").await?;
    let newer = ctx.server("server").await?;
    let superseded = Renewal::Superseded(newer.incarnation);
    for _ in 0..2 {
        check_eq!(renew(ctx, &older).await?, superseded, "the older one's renewal");
        check_eq!(
            ctx.store().drain(&older).await?,
            superseded,
            "the older one's drain"
        );
    }
    check!(
        lease_of(&**ctx.store(), &older).await?.is_none(),
        "the older incarnation is among the peers"
    );
    let lease = lease_of(&**ctx.store(), &newer).await?;
    check_eq!(
        lease.map(|lease| lease.state),
        Some(LeaseState::Live),
        "the newer one's state"
    );
    check_eq!(
        renew(ctx, &newer).await?,
        Renewal::Renewed,
        "the newer one's renewal"
    );
    Ok(())
}

/// When an identity is registered anew, the sessions of its older incarnation are invisible at once, to every handle.
pub async fn sessions_of_an_older_incarnation_are_invisible_at_once(ctx: &Ctx) -> Result<(), Stop> {
    let handles = ctx.handles(2).await?;
    let older = ctx.server("server").await?;
    let addresses = ctx.addresses("a", 4)?;
    handles[1].claim_many(&older, &addresses).await?;
    check!(
        handles[0]
            .lookup_many(&addresses)
            .await?
            .iter()
            .all(Option::is_some),
        "not held before"
    );
    let newer = ctx.server("server").await?;
    for handle in &handles {
        let held = handle.lookup_many(&addresses).await?;
        check!(
            held.iter().all(Option::is_none),
            "held by a dead incarnation: {held:?}"
        );
    }
    let claimed = ctx.store().claim(&newer, &addresses[0]).await?;
    let expected = Some(Session::new(newer, claimed.seq));
    check_eq!(
        handles[1].lookup(&addresses[0]).await?,
        expected,
        "claimed by the newer incarnation"
    );
    Ok(())
}

/// An owner that the store does not know is gone, and its renewals do not make it known.
pub async fn unknown_owner_is_gone_and_stays_gone(ctx: &Ctx) -> Result<(), Stop> {
    let unknown = Owner::new(ctx.identity("unknown")?, Incarnation(1));
    let known = ctx.server("known").await?;
    let future = Owner::new(known.identity.clone(), Incarnation(known.incarnation.0 + 1));
    for owner in [&unknown, &future] {
        for _ in 0..2 {
            check_eq!(
                renew(ctx, owner).await?,
                Renewal::Gone,
                "renewal of an unknown owner"
            );
            check_eq!(
                ctx.store().drain(owner).await?,
                Renewal::Gone,
                "drain of an unknown owner"
            );
        }
        ctx.store().deregister(owner).await?;
        check!(
            lease_of(&**ctx.store(), owner).await?.is_none(),
            "an unknown owner is among the peers"
        );
    }
    check_eq!(
        renew(ctx, &known).await?,
        Renewal::Renewed,
        "renewal of the known one"
    );
    Ok(())
}

/// A deregistered server is no peer, holds nothing and is gone, at once and for every handle.
pub async fn deregistered_server_is_dead_at_once(ctx: &Ctx) -> Result<(), Stop> {
    let handles = ctx.handles(2).await?;
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    ctx.store().claim(&owner, &address).await?;
    for handle in &handles {
        check!(lease_of(&**handle, &owner).await?.is_some(), "no peer before");
        check!(handle.lookup(&address).await?.is_some(), "holds nothing before");
    }
    ctx.store().deregister(&owner).await?;
    for handle in &handles {
        check!(
            lease_of(&**handle, &owner).await?.is_none(),
            "a peer after its deregistration"
        );
        check_eq!(
            handle.lookup(&address).await?,
            None,
            "looked up after the deregistration"
        );
    }
    check_eq!(
        renew(ctx, &owner).await?,
        Renewal::Gone,
        "renewal after the deregistration"
    );
    check_eq!(
        ctx.store().drain(&owner).await?,
        Renewal::Gone,
        "drain after the deregistration"
    );
    ctx.store().deregister(&owner).await?;
    Ok(())
}

/// The deregistration of an older incarnation does nothing to the newer one.
pub async fn deregistration_of_an_older_incarnation_changes_nothing(ctx: &Ctx) -> Result<(), Stop> {
    let older = ctx.server("server").await?;
    let newer = ctx.server("server").await?;
    let address = ctx.address("a")?;
    ctx.store().claim(&newer, &address).await?;
    ctx.store().deregister(&older).await?;
    check_eq!(
        renew(ctx, &newer).await?,
        Renewal::Renewed,
        "the newer one's renewal"
    );
    check!(
        ctx.store().lookup(&address).await?.is_some(),
        "the newer one lost its session"
    );
    Ok(())
}

/// A draining lease is seen as draining, still serves, and stays draining when it is renewed.
pub async fn draining_is_visible_and_survives_renewal(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let address = ctx.address("a")?;
    ctx.store().claim(&owner, &address).await?;
    check_eq!(ctx.store().drain(&owner).await?, Renewal::Renewed, "drain");
    for _ in 0..2 {
        let lease = lease_of(&**ctx.store(), &owner).await?;
        check_eq!(
            lease.map(|lease| lease.state),
            Some(LeaseState::Draining),
            "state"
        );
        check_eq!(
            renew(ctx, &owner).await?,
            Renewal::Renewed,
            "renewal while draining"
        );
    }
    check_eq!(ctx.store().drain(&owner).await?, Renewal::Renewed, "second drain");
    check!(
        ctx.store().lookup(&address).await?.is_some(),
        "a draining server's session is invisible"
    );
    Ok(())
}

/// A server that registers anew after draining is live again.
pub async fn draining_ends_with_a_new_registration(ctx: &Ctx) -> Result<(), Stop> {
    let older = ctx.server("server").await?;
    ctx.store().drain(&older).await?;
    let newer = ctx.server("server").await?;
    let lease = lease_of(&**ctx.store(), &newer).await?;
    check_eq!(
        lease.map(|lease| lease.state),
        Some(LeaseState::Live),
        "state of the new incarnation"
    );
    Ok(())
}

/// Draining changes nothing but the state: neither location nor counter.
pub async fn draining_is_no_renewal(ctx: &Ctx) -> Result<(), Stop> {
    let owner = ctx.server("server").await?;
    let before = lease_of(&**ctx.store(), &owner).await?;
    ctx.store().drain(&owner).await?;
    let after = lease_of(&**ctx.store(), &owner).await?;
    let expected = before.map(|lease| Lease {
        state: LeaseState::Draining,
        ..lease
    });
    check_eq!(after, expected, "lease after the drain");
    Ok(())
}

/// The owner's lease among the peers.
pub(super) async fn lease_of(store: &dyn SessionStore, owner: &Owner) -> Result<Option<Lease>, Stop> {
    Ok(store
        .peers()
        .await?
        .into_iter()
        .find(|lease| lease.owner == *owner))
}

/// The answer to the owner's heartbeat.
pub(super) async fn renew(ctx: &Ctx, owner: &Owner) -> Result<Renewal, Stop> {
    let renewals = ctx
        .store()
        .renew(core::slice::from_ref(owner), &ctx.location()?)
        .await?
        .renewals;
    match renewals.as_slice() {
        [renewal] => Ok(*renewal),
        other => Err(Stop::failed(format!(
            "one owner's renewal was answered by {other:?}"
        ))),
    }
}

async fn counter_of(ctx: &Ctx, owner: &Owner) -> Result<u64, Stop> {
    let lease = lease_of(&**ctx.store(), owner).await?;
    lease
        .map(|lease| lease.counter)
        .ok_or_else(|| Stop::failed("it is not among the peers"))
}
