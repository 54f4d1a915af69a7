//! What goes wrong, and how all of it ends.

use core::time::Duration;

use super::plan::Fault;
use super::{ADDRESSES, Story};
use crate::oracle::Trouble;
use crate::process::ProcessId;
use crate::store::StoreMode;

impl Story {
    fn process(&mut self) -> ProcessId {
        self.all[self.rng.below(self.all.len())]
    }

    /// Something goes wrong, or comes to its end.
    pub(super) fn fault(&mut self) {
        let fault = self.plan.faults[self.rng.below(self.plan.faults.len())];
        let (a, b) = (self.process(), self.process());
        let ends = self.rng.chance(45);
        let world = &mut self.world;
        match fault {
            Fault::Crash => self.crash_or_start(a),
            Fault::Pause if ends => self.resume_one(),
            Fault::Pause => world.pause(a),
            Fault::Sleep => self.sleep(a),
            Fault::Cut | Fault::CutOneWay | Fault::Slow if a == b => {}
            Fault::Cut | Fault::CutOneWay if ends => self.heal_all_links(),
            Fault::Cut => world.cut(a, b),
            Fault::CutOneWay => world.cut_one_way(a, b),
            Fault::Slow if ends => world.set_slow(a, b, None),
            Fault::Slow => {
                let slow = Duration::from_millis([50, 150, 600][self.rng.below(3)]);
                world.set_slow(a, b, Some((slow / 2, slow)));
            }
            Fault::Break => world.break_links(a, b),
            Fault::Stuck => world.set_stuck(a, !ends),
            Fault::StoreMode if ends => world.store.mode = StoreMode::Up,
            Fault::StoreMode => {
                let modes = [StoreMode::Down, StoreMode::AnswersLost, StoreMode::Stalled];
                world.store.mode = modes[self.rng.below(modes.len())];
            }
            Fault::StoreFailures => world.store.fail_percent = if ends { 0 } else { 20 },
            Fault::StaleReads => world.store.stale_percent = if ends { 0 } else { 30 },
            Fault::StoreLosesAll => world.lose_all(),
            Fault::StoreLosesOne => {
                let address = ADDRESSES[self.rng.below(self.plan.addresses)];
                world.lose_session(address);
            }
            Fault::Unread => world.set_reads(a, ends),
            Fault::Drain if world.is_draining(a) => {}
            Fault::Drain => drop(world.drain(a)),
            Fault::Retire => self.retire(a),
        }
    }

    fn crash_or_start(&mut self, id: ProcessId) {
        if self.world.is_up(id) {
            self.world.crash(id);
        } else {
            self.world.start(id);
        }
    }

    /// A process sleeps for about as long as its lease is good, or longer, while the others go on. Often it falls asleep
    /// with a question about its lease on the way, and wakes to an answer that is old by then.
    fn sleep(&mut self, id: ProcessId) {
        if self.rng.chance(50) {
            let heartbeat = self.plan.settings.heartbeat;
            self.world
                .run_until(heartbeat * 2, |world| world.asks_for_lease(id));
        }
        self.world.pause(id);
        for _ in 0..2 + self.rng.below(6) {
            self.work();
            self.world.run_for(self.plan.settings.lease_term / 4);
            self.register();
        }
        self.world.resume(id);
    }

    /// Some paused process goes on; how long it slept is a matter of luck.
    fn resume_one(&mut self) {
        let paused: Vec<_> = self
            .all
            .iter()
            .copied()
            .filter(|id| self.world.is_paused(*id))
            .collect();
        if let Some(id) = paused.get(self.rng.below(paused.len())) {
            self.world.resume(*id);
        }
    }

    fn heal_all_links(&mut self) {
        for a in self.all.clone() {
            for b in self.all.clone() {
                self.world.heal(a, b);
            }
        }
    }

    /// A process is told to end, does so in order, and is started again.
    fn retire(&mut self, id: ProcessId) {
        if !self.world.is_up(id) {
            return self.world.start(id);
        }
        if self.world.endpoint(id).is_some() && !self.world.is_draining(id) {
            let ticket = self.world.drain(id);
            self.world
                .run_until(Duration::from_secs(6), |world| world.done(id, ticket).is_some());
        }
        self.world.go_away(id);
        self.world.run_for(Duration::from_millis(200));
        self.world.crash(id);
        if self.rng.chance(70) {
            self.world.start(id);
        }
    }

    /// Links break, and brokers end and come back, while all is well otherwise. No acked message may be lost.
    pub(super) fn shake(&mut self) {
        self.world.expect(Trouble::Links);
        for _ in 0..3 {
            self.work();
            if self.plan.brokers > 1 && self.rng.chance(50) {
                let broker = self.all[self.rng.below(self.plan.brokers)];
                self.world.crash(broker);
                for _ in 0..8 {
                    self.work();
                    let pause = self.rng.between(Duration::ZERO, Duration::from_millis(300));
                    self.world.run_for(pause);
                }
                self.world.start(broker);
            } else {
                let (a, b) = (self.process(), self.process());
                self.world.break_links(a, b);
            }
            for _ in 0..8 {
                self.work();
                let pause = self.rng.between(Duration::ZERO, Duration::from_millis(1200));
                self.world.run_for(pause);
            }
        }
        self.world.run_for(self.plan.settings.send_deadline);
        self.world.expect(Trouble::Any);
    }

    /// The store goes away for about as long as a lease is good, or longer, while all is well otherwise. Messages whose
    /// routes are known go on.
    pub(super) fn outage(&mut self) {
        let steps = 20;
        for _ in 0..steps {
            self.send();
        }
        self.world.run_for(self.plan.settings.send_deadline);
        self.world.expect(Trouble::Store);
        let modes = [StoreMode::Down, StoreMode::AnswersLost, StoreMode::Stalled];
        self.world.store.mode = modes[self.rng.below(modes.len())];
        let longest = self.plan.settings.lease_term / 6;
        for _ in 0..steps {
            self.send();
            let pause = self.rng.between(Duration::ZERO, longest);
            self.world.run_for(pause);
        }
        self.world.run_for(self.plan.settings.send_deadline);
        // Servers whose leases have lapsed meanwhile are fenced when the store is back.
        self.world.expect(Trouble::Any);
        self.world.store.mode = StoreMode::Up;
        self.world.run_for(Duration::from_secs(2));
    }

    /// All that is wrong ends, and everybody is there again.
    pub(super) fn heal(&mut self) {
        self.world.store.mode = StoreMode::Up;
        self.world.store.fail_percent = 0;
        self.world.store.stale_percent = 0;
        for a in self.all.clone() {
            self.world.set_stuck(a, false);
            for b in self.all.clone() {
                self.world.heal(a, b);
                self.world.set_slow(a, b, None);
            }
            self.world.resume(a);
            self.world.set_reads(a, true);
            self.world.set_replies(a, true);
            if !self.world.is_up(a) {
                self.world.start(a);
            }
        }
        self.late.clear();
    }
}
