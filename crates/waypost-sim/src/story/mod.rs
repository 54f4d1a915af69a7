//! Stories: whole runs in which everything happens to a cluster, each from one seed.
//!
//! A story goes through rounds of trouble. After each of them all faults end, the cluster has
//! [`CALM_TERMS`] lease terms to heal, and then programs go on while all is calm, where
//! the oracle accepts nothing but success. At the end every server reaches every client, the store says the truth, and nothing is
//! left under way.

mod plan;
mod run;
mod tail;
mod trouble;
mod work;

use waypost_router::Completion;
use waypost_types::Outcome;

use crate::oracle::CALM_TERMS;
use crate::process::ProcessId;
use crate::rng::Rng;
use crate::store::StoreFlaw;
use crate::world::World;

use plan::Plan;
pub use run::{Failure, Report, check, run, trace};

const ADDRESSES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A run of a cluster, chosen by its seed.
#[derive(Debug)]
struct Story {
    world: World,
    rng: Rng,
    plan: Plan,
    /// Processes that hold clients, and all processes.
    servers: Vec<ProcessId>,
    all: Vec<ProcessId>,
    /// Clients that have moved and whose former servers will notice that later.
    late: Vec<(ProcessId, &'static str)>,
}

impl Story {
    fn new(seed: u64, keep_trace: bool, flaw: Option<StoreFlaw>) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let plan = Plan::draw(&mut rng);
        let mut world = World::new(seed);
        if keep_trace {
            world.keep_trace();
        }
        world.store.flaw = flaw;
        world.store.latency = plan.store_latency;
        world.set_latency(plan.latency.0, plan.latency.1);
        *world.settings() = plan.settings.clone();
        let mut servers: Vec<_> = (0..plan.nodes).map(|n| world.mesh(&format!("m{n}"))).collect();
        let brokers: Vec<_> = (0..plan.brokers)
            .map(|n| world.broker(&format!("b{n}")))
            .collect();
        for n in 0..plan.attached {
            let mut mine = brokers.clone();
            mine.rotate_left(n % brokers.len());
            servers.push(world.attached(&format!("s{n}"), &mine));
        }
        if plan.twin {
            let twin = if brokers.is_empty() {
                world.mesh("m0")
            } else {
                world.attached("s0", &brokers)
            };
            servers.push(twin);
        }
        for server in &servers {
            let gives = rng.chance(plan.inboxes_percent);
            world.set_gives_inboxes(*server, gives);
        }
        let all = brokers.iter().chain(&servers).copied().collect();
        Self {
            world,
            rng,
            plan,
            servers,
            all,
            late: Vec::new(),
        }
    }

    /// The whole of it. Panics where a promise is broken.
    fn play(&mut self) {
        self.register();
        for _ in 0..self.plan.rounds {
            self.trouble();
            self.heal();
            self.wait_for_calm();
            self.calm();
            if self.rng.chance(40) {
                self.shake();
            }
            if self.rng.chance(30) {
                self.outage();
                self.wait_for_calm();
            }
            self.judge();
        }
        self.end();
    }

    fn trouble(&mut self) {
        let long = self.plan.settings.lease_term / 2;
        for _ in 0..self.plan.steps {
            self.work();
            if self.rng.chance(self.plan.fault_percent) {
                self.fault();
            }
            let longest = if self.rng.chance(4) { long } else { self.plan.pause };
            let pause = self.rng.between(core::time::Duration::ZERO, longest);
            self.world.run_for(pause);
            self.register();
        }
    }

    /// As long as the cluster may take to heal. Programs go on meanwhile, but do not yet count on anything.
    fn wait_for_calm(&mut self) {
        const PARTS: u32 = 24;
        let part = self.plan.settings.lease_term * CALM_TERMS / PARTS;
        // What programs do may hide what is wrong.
        let is_quiet = self.rng.chance(50);
        for _ in 0..=PARTS {
            if !is_quiet {
                self.work();
            }
            self.register();
            self.world.run_for(part);
        }
        if is_quiet {
            self.world.assert_store_is_true(ADDRESSES);
        }
    }

    fn calm(&mut self) {
        for _ in 0..self.plan.calm_steps {
            self.work();
            let longest = self.plan.pause * 4;
            let pause = self.rng.between(core::time::Duration::ZERO, longest);
            self.world.run_for(pause);
        }
    }

    /// Everybody is there, reaches everybody, and the store says so.
    fn judge(&mut self) {
        self.world.run_for(self.plan.settings.send_deadline);
        self.world.run_for(self.plan.settings.lease_term);
        assert_eq!(self.world.oracle().open(), [], "acked sends without outcome");
        for id in self.servers.clone() {
            assert!(
                self.world.is_served(self.world.identity(id)),
                "{id:?} serves again"
            );
        }
        self.world.assert_store_is_true(ADDRESSES);
        for to in &ADDRESSES[..self.plan.addresses] {
            let held = self.servers.iter().any(|id| self.world.has(*id, to));
            let expected = if held {
                Outcome::Delivered
            } else {
                Outcome::NotConnected
            };
            for id in self.servers.clone() {
                let is_in = self
                    .world
                    .endpoint(id)
                    .is_some_and(|endpoint| endpoint.is_attached());
                // The older of two processes with one identity stays out.
                if is_in {
                    let ticket = self.world.send_acked(id, "judge", to);
                    let ended = self.world.wait(id, ticket);
                    assert_eq!(ended, Completion::Outcome(expected), "{id:?} to {to}");
                }
            }
        }
        self.world.run_for(self.plan.settings.lease_term);
        self.world.assert_idle();
    }
}
