//! Leases: a server whose lease has lapsed delivers nothing until the store has answered, and renewals are few.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use waypost_router::{Settings, StoreOp, StoreReply, WhenStoreIsLost};
use waypost_session::Renewal;
use waypost_types::{MonoTime, Owner};

use super::Oracle;
use crate::process::ProcessId;

#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Until when each incarnation's lease is good, counted from when the renewal that was answered last was asked for.
    good_until: BTreeMap<Owner, MonoTime>,
    /// When the store last failed anybody.
    failed_at: Option<MonoTime>,
    /// When each node has asked for renewals.
    renewals: BTreeMap<ProcessId, VecDeque<MonoTime>>,
}

impl Oracle {
    /// A node asks the store for something.
    pub(crate) fn store_asked(&mut self, now: MonoTime, id: ProcessId, op: &StoreOp, settings: &Settings) {
        if !matches!(op, StoreOp::Renew { .. }) {
            return;
        }
        let times = self.leases.renewals.entry(id).or_default();
        times.push_back(now);
        while times.front().is_some_and(|at| *at + settings.lease_term <= now) {
            times.pop_front();
        }
        let wanted = settings.lease_term.as_micros() / settings.heartbeat.as_micros().max(1);
        let count = times.len() as u128;
        assert!(
            count <= 2 * wanted + 2 || !self.was_calm(now),
            "{id:?} renewed {count} times within a lease term, and a heartbeat is a renewal for each node: {wanted}"
        );
    }

    /// A node has had the store's answer to what it asked at `asked_at`.
    pub(crate) fn store_answered(
        &mut self,
        now: MonoTime,
        asked_at: MonoTime,
        op: &StoreOp,
        reply: Option<&StoreReply>,
        term: Duration,
    ) {
        let until = asked_at + term;
        let mut extend = |owner: Owner| {
            let good_until = self.leases.good_until.entry(owner).or_default();
            *good_until = until.max(*good_until);
        };
        match (op, reply) {
            (_, None) => self.leases.failed_at = Some(now),
            (StoreOp::Register { identity, .. }, Some(StoreReply::Registered(incarnation))) => {
                extend(Owner::new(identity.clone(), *incarnation));
            }
            (StoreOp::Renew { owners, .. }, Some(StoreReply::Renewed(renewed))) => {
                for (owner, renewal) in owners.iter().zip(&renewed.renewals) {
                    if *renewal == Renewal::Renewed {
                        extend(owner.clone());
                    }
                }
            }
            _ => {}
        }
    }

    /// A server delivers: its lease is good by what the store has answered.
    pub(crate) fn check_lease(&self, now: MonoTime, owner: &Owner, settings: &Settings) {
        let until = self.leases.good_until.get(owner).copied().unwrap_or_default();
        // With `serve` a store that cannot be reached is no reason to stop.
        let is_lost = self
            .leases
            .failed_at
            .is_some_and(|failed| now < failed + settings.heartbeat + Duration::from_secs(1));
        let is_excused = settings.when_store_is_lost == WhenStoreIsLost::Serve && is_lost;
        assert!(
            now <= until || is_excused,
            "{owner} delivered at {now}, and its lease had lapsed at {until}"
        );
    }
}
