//! What some stories end with: trouble of one kind each, which the rounds before show too seldom.

use core::time::Duration;

use super::Story;
use crate::store::StoreMode;

impl Story {
    /// Drawn when all else is over, so that it changes nothing of what came before.
    pub(super) fn end(&mut self) {
        let (is_slow, is_jammed) = (self.rng.chance(15), self.rng.chance(50));
        let settings = &self.plan.settings;
        let is_tight = settings.queue_bytes_max < 4096;
        if is_slow {
            self.slow_store();
        }
        if is_jammed && is_tight {
            self.jam();
        }
        if is_slow || (is_jammed && is_tight) {
            self.heal();
            self.wait_for_calm();
            self.judge();
        }
    }

    /// The store takes its time to answer, and then answers no more, while messages come all the time: a lease is good from
    /// when it was asked about.
    fn slow_store(&mut self) {
        let (term, heartbeat) = (self.plan.settings.lease_term, self.plan.settings.heartbeat);
        let usual = self.world.store.latency;
        self.world.store.latency = (Duration::from_millis(800), Duration::from_millis(1600));
        self.world.run_for(heartbeat * 2);
        for id in self.servers.clone() {
            // Some are asking at this moment.
            self.world.run_until(heartbeat, |world| world.asks_for_lease(id));
            self.world.run_until(heartbeat, |world| !world.asks_for_lease(id));
        }
        self.world.store.mode = StoreMode::Down;
        let steps = 60;
        for _ in 0..steps {
            self.send();
            self.send();
            self.world.run_for(term / steps);
        }
        self.world.store.latency = usual;
    }

    /// Links break under acked messages while claims are under way for which more messages wait than there is room for.
    fn jam(&mut self) {
        let usual = self.world.store.latency;
        self.world.store.latency = (Duration::from_millis(60), Duration::from_millis(99));
        for _ in 0..16 {
            let (id, to) = (self.server(), self.address());
            let holder = self.servers.iter().copied().find(|at| self.world.has(*at, to));
            let Some(holder) = holder.filter(|holder| *holder != id) else {
                self.work();
                continue;
            };
            let others: Vec<_> = (0..2).map(|_| self.server()).collect();
            let (all, count) = (self.all.clone(), 24);
            let (claimed_at, broken_at) = (self.rng.below(6), 2 + self.rng.below(6));
            for number in 0..count {
                self.world.submit(id, to, to, self.plan.addresses, Some(false));
                if number == claimed_at {
                    self.world.connect(holder, to);
                }
                if number == broken_at {
                    for other in &all {
                        self.world.break_links(holder, *other);
                    }
                }
                if number > broken_at {
                    for other in &others {
                        self.world.submit(*other, to, to, 390, Some(false));
                    }
                }
                let pause = self.rng.between(Duration::ZERO, self.plan.latency.1);
                self.world.run_for(pause);
            }
            let pause = self.rng.between(Duration::ZERO, Duration::from_millis(1500));
            self.world.run_for(pause);
        }
        self.world.store.latency = usual;
    }
}
