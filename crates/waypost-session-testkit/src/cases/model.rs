//! Random operations against a model.

use core::time::Duration;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use waypost_session::{Released, Renewal, Restored, SessionStore};
use waypost_types::{Address, Identity, Incarnation, LeaseState, Owner, Session};

use crate::{Ctx, Rng, Stop};

const OPERATIONS: usize = 400;
const TERM: Duration = Duration::from_secs(300);

/// Any sequence of operations, over two handles, answers as a simple model of the contract does.
pub async fn random_operations_agree_with_the_model(ctx: &Ctx) -> Result<(), Stop> {
    let handles = ctx
        .handles(if ctx.capabilities().linearizable { 2 } else { 1 })
        .await?;
    let mut run = Run {
        rng: ctx.rng(),
        addresses: ctx.addresses("a", 4)?,
        identities: ["x", "y", "z"]
            .into_iter()
            .map(|name| ctx.identity(name))
            .collect::<Result<_, _>>()?,
        owners: Vec::new(),
        claims: Vec::new(),
        leases: BTreeMap::new(),
        sessions: BTreeMap::new(),
        trace: String::new(),
    };
    for _ in 0..OPERATIONS {
        let handle = run.rng.below(handles.len());
        let _ = write!(run.trace, "\n  {handle} ");
        run.step(&*handles[handle], ctx)
            .await
            .map_err(|stop| run.explain(&stop))?;
    }
    Ok(())
}

/// The model with what was said so far. A record of a dead owner may be reclaimed by anybody at any time.
struct Run {
    rng: Rng,
    addresses: Vec<Address>,
    identities: Vec<Identity>,
    /// Every owner there ever was.
    owners: Vec<Owner>,
    /// Every claim there ever was.
    claims: Vec<(Address, Session)>,
    leases: BTreeMap<Identity, (Incarnation, LeaseState)>,
    sessions: BTreeMap<Address, Session>,
    trace: String,
}

impl Run {
    async fn step(&mut self, store: &dyn SessionStore, ctx: &Ctx) -> Result<(), Stop> {
        if self.owners.is_empty() {
            return self.register(store, ctx).await;
        }
        match self.rng.below(20) {
            0 => self.register(store, ctx).await,
            1 => self.deregister(store).await,
            2 => self.renew(store, ctx).await,
            3 => self.drain(store).await,
            4 => self.peers(store).await,
            5 => self.reclaim(store).await,
            6..=7 => self.restore(store).await,
            8..=11 => self.release(store).await,
            12..=16 => self.claim(store).await,
            _ => self.lookup(store).await,
        }
    }

    async fn register(&mut self, store: &dyn SessionStore, ctx: &Ctx) -> Result<(), Stop> {
        let identity = self.pick(|run| &run.identities)?;
        let incarnation = store.register(&identity, &ctx.location()?, TERM).await?;
        self.note(format_args!("register {identity:?} -> {incarnation}"));
        let greatest = self
            .owners
            .iter()
            .filter(|owner| owner.identity == identity)
            .map(|owner| owner.incarnation)
            .max();
        self.expect(
            greatest.is_none_or(|greatest| incarnation > greatest),
            format_args!("grows beyond {greatest:?}"),
        )?;
        self.leases
            .insert(identity.clone(), (incarnation, LeaseState::Live));
        self.owners.push(Owner::new(identity, incarnation));
        Ok(())
    }

    async fn deregister(&mut self, store: &dyn SessionStore) -> Result<(), Stop> {
        let owner = self.pick(|run| &run.owners)?;
        store.deregister(&owner).await?;
        self.note(format_args!("deregister {owner}"));
        if self.is_live(&owner) {
            self.leases.remove(&owner.identity);
        }
        Ok(())
    }

    async fn renew(&mut self, store: &dyn SessionStore, ctx: &Ctx) -> Result<(), Stop> {
        let owners = [self.pick(|run| &run.owners)?, self.pick(|run| &run.owners)?];
        let renewals = store.renew(&owners, &ctx.location()?).await?.renewals;
        self.note(format_args!("renew {owners:?} -> {renewals:?}"));
        self.expect_eq(
            &renewals,
            &owners.iter().map(|owner| self.renewal(owner)).collect(),
        )
    }

    async fn drain(&mut self, store: &dyn SessionStore) -> Result<(), Stop> {
        let owner = self.pick(|run| &run.owners)?;
        let renewal = store.drain(&owner).await?;
        self.note(format_args!("drain {owner} -> {renewal:?}"));
        self.expect_eq(&renewal, &self.renewal(&owner))?;
        if renewal == Renewal::Renewed {
            self.leases
                .insert(owner.identity, (owner.incarnation, LeaseState::Draining));
        }
        Ok(())
    }

    async fn peers(&mut self, store: &dyn SessionStore) -> Result<(), Stop> {
        let peers = store.peers().await?;
        let mine: BTreeMap<_, _> = peers
            .into_iter()
            .filter(|lease| self.identities.contains(&lease.owner.identity))
            .map(|lease| {
                (
                    lease.owner.identity.clone(),
                    (lease.owner.incarnation, lease.state),
                )
            })
            .collect();
        self.note(format_args!("peers -> {mine:?}"));
        self.expect_eq(&mine, &self.leases)
    }

    async fn reclaim(&mut self, store: &dyn SessionStore) -> Result<(), Stop> {
        let budget = self.rng.below(4);
        let reclaimed = store.reclaim(budget).await?;
        self.note(format_args!("reclaim {budget} -> {reclaimed:?}"));
        self.expect(
            reclaimed.removed <= budget,
            format_args!("at most {budget} removed"),
        )
    }

    async fn claim(&mut self, store: &dyn SessionStore) -> Result<(), Stop> {
        let owner = self.pick(|run| &run.owners)?;
        let addresses = self.some_addresses();
        let claims = store.claim_many(&owner, &addresses).await?;
        self.note(format_args!("claim {owner} {addresses:?} -> {claims:?}"));
        self.expect_eq(&claims.len(), &addresses.len())?;
        for (address, claimed) in addresses.into_iter().zip(claims) {
            let greatest = self
                .claims
                .iter()
                .filter(|(at, _)| *at == address)
                .map(|(_, session)| session.seq)
                .max();
            self.expect(
                greatest.is_none_or(|greatest| claimed.seq > greatest),
                format_args!("seq beyond {greatest:?}"),
            )?;
            let before = self.sessions.get(&address);
            let reclaimed =
                claimed.displaced.is_none() && before.is_some_and(|session| !self.is_live(&session.owner));
            if !reclaimed {
                self.expect_eq(&claimed.displaced.as_ref(), &before)?;
            }
            let session = Session::new(owner.clone(), claimed.seq);
            self.claims.push((address.clone(), session.clone()));
            self.sessions.insert(address, session);
        }
        Ok(())
    }

    async fn release(&mut self, store: &dyn SessionStore) -> Result<(), Stop> {
        let Some((address, session)) = self.some_claim() else {
            return Ok(());
        };
        let owner = if self.rng.below(4) == 0 {
            self.pick(|run| &run.owners)?
        } else {
            session.owner
        };
        let released = store.release(&owner, &address, session.seq).await?;
        self.note(format_args!(
            "release {owner} {address:?} {} -> {released:?}",
            session.seq
        ));
        let is_this = self.sessions.get(&address) == Some(&Session::new(owner.clone(), session.seq));
        if is_this && !self.is_live(&owner) {
            // It may have been reclaimed.
            self.sessions.remove(&address);
            return Ok(());
        }
        self.expect_eq(
            &released,
            &if is_this {
                Released::Released
            } else {
                Released::NotOwner
            },
        )?;
        if is_this {
            self.sessions.remove(&address);
        }
        Ok(())
    }

    async fn restore(&mut self, store: &dyn SessionStore) -> Result<(), Stop> {
        let Some((address, session)) = self.some_claim() else {
            return Ok(());
        };
        let restored = store
            .restore_many(&session.owner, &[(address.clone(), session.seq)])
            .await?;
        self.note(format_args!(
            "restore {} {address:?} {} -> {restored:?}",
            session.owner, session.seq
        ));
        let newer = self
            .sessions
            .get(&address)
            .filter(|standing| standing.seq > session.seq)
            .cloned();
        match newer {
            // It may have been reclaimed.
            Some(newer) if !self.is_live(&newer.owner) && restored == [Restored::Held] => {}
            Some(newer) => return self.expect_eq(&restored, &vec![Restored::Lost(newer)]),
            None => self.expect_eq(&restored, &vec![Restored::Held])?,
        }
        self.sessions.insert(address, session);
        Ok(())
    }

    async fn lookup(&mut self, store: &dyn SessionStore) -> Result<(), Stop> {
        let addresses = self.some_addresses();
        let held = store.lookup_many(&addresses).await?;
        self.note(format_args!("lookup {addresses:?} -> {held:?}"));
        let visible = |address| {
            self.sessions
                .get(address)
                .filter(|session| self.is_live(&session.owner))
                .cloned()
        };
        let expected = addresses.iter().map(visible).collect();
        self.expect_eq(&held, &expected)
    }

    fn is_live(&self, owner: &Owner) -> bool {
        self.leases
            .get(&owner.identity)
            .is_some_and(|(incarnation, _)| *incarnation == owner.incarnation)
    }

    fn renewal(&self, owner: &Owner) -> Renewal {
        match self.leases.get(&owner.identity) {
            None => Renewal::Gone,
            Some((incarnation, _)) if *incarnation == owner.incarnation => Renewal::Renewed,
            Some((newer, _)) => Renewal::Superseded(*newer),
        }
    }

    fn pick<T: Clone>(&mut self, list: impl Fn(&Self) -> &Vec<T>) -> Result<T, Stop> {
        let index = self.rng.below(list(self).len());
        list(self)
            .get(index)
            .cloned()
            .ok_or_else(|| Stop::failed("the model has nothing to pick from"))
    }

    /// Mostly a recent claim, for an old one is refused anyhow.
    fn some_claim(&mut self) -> Option<(Address, Session)> {
        let recent = self
            .claims
            .len()
            .min(if self.rng.below(4) == 0 { usize::MAX } else { 6 });
        let back = self.rng.below(recent) + 1;
        self.claims
            .len()
            .checked_sub(back)
            .and_then(|index| self.claims.get(index))
            .cloned()
    }

    /// One to three different addresses.
    fn some_addresses(&mut self) -> Vec<Address> {
        let start = self.rng.below(self.addresses.len());
        let count = 1 + self.rng.below(3);
        self.addresses
            .iter()
            .cycle()
            .skip(start)
            .take(count)
            .cloned()
            .collect()
    }

    fn note(&mut self, what: core::fmt::Arguments<'_>) {
        let _ = self.trace.write_fmt(what);
    }

    fn expect(&self, holds: bool, what: core::fmt::Arguments<'_>) -> Result<(), Stop> {
        if holds {
            Ok(())
        } else {
            Err(Stop::failed(format!("the model expected: {what}")))
        }
    }

    fn expect_eq<T: PartialEq + core::fmt::Debug>(&self, got: &T, expected: &T) -> Result<(), Stop> {
        self.expect(got == expected, format_args!("{expected:?}"))
    }

    /// The failure with the last operations before it.
    fn explain(&self, stop: &Stop) -> Stop {
        let lines: Vec<&str> = self.trace.lines().collect();
        let last = lines[lines.len().saturating_sub(25)..].join("\n");
        Stop::failed(format!(
            "{stop}; the last operations (handle, operation -> answer) were:\n{last}\n"
        ))
    }
}
