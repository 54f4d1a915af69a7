//! Clusters to which everything happens, from one seed each.
//!
//! `WAYPOST_SIM_SEEDS=N` runs N seeds, `WAYPOST_SIM_SEED=S` runs seed S alone and prints every step of it.

mod common;

use common::{ms, secs, up};
use waypost_router::Completion;
use waypost_sim::{ProcessId, Rng, StoreMode, World};
use waypost_types::Outcome;

const ADDRESSES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const DEFAULT_SEEDS: u64 = 200;

struct Story {
    world: World,
    rng: Rng,
    servers: Vec<ProcessId>,
    all: Vec<ProcessId>,
}

impl Story {
    fn new(seed: u64, keep_trace: bool) -> Self {
        let mut world = World::new(seed);
        if keep_trace {
            world.keep_trace();
        }
        let mut rng = Rng::new(seed ^ 0x5eed);
        if rng.chance(30) {
            world.settings().queue_bytes_max = 3000;
            world.settings().inbox_bytes_max = 3000;
        }
        if rng.chance(30) {
            world.set_latency(ms(1), ms(40));
        }
        let (nodes, brokers, attached) =
            [(3, 0, 0), (4, 0, 0), (0, 1, 3), (0, 2, 4), (2, 1, 2)][rng.below(5)];
        let mut servers: Vec<_> = (0..nodes).map(|n| world.mesh(&format!("m{n}"))).collect();
        let brokers: Vec<_> = (0..brokers).map(|n| world.broker(&format!("b{n}"))).collect();
        for n in 0..attached {
            let mut mine = brokers.clone();
            mine.rotate_left(n % brokers.len());
            servers.push(world.attached(&format!("s{n}"), &mine));
        }
        let all = brokers.iter().chain(&servers).copied().collect();
        for server in &servers {
            up(&mut world, *server);
        }
        Self {
            world,
            rng,
            servers,
            all,
        }
    }

    fn server(&mut self) -> ProcessId {
        self.servers[self.rng.below(self.servers.len())]
    }

    fn process(&mut self) -> ProcessId {
        self.all[self.rng.below(self.all.len())]
    }

    fn address(&mut self) -> &'static str {
        ADDRESSES[self.rng.below(ADDRESSES.len())]
    }

    /// Something that programs do.
    fn work(&mut self) {
        let (id, from, to) = (self.server(), self.address(), self.address());
        let padding = self.rng.below(200);
        match self.rng.below(100) {
            0..15 => drop(self.world.connect(id, to)),
            15..22 => drop(self.world.disconnect(id, to)),
            22..50 => drop(self.world.submit(id, from, to, padding, None)),
            50..85 => drop(self.world.submit(id, from, to, padding, Some(false))),
            85..95 => drop(self.world.submit(id, from, to, padding, Some(true))),
            95..98 => drop(self.world.broadcast(id, from, "hello")),
            _ => drop(self.world.locate(id, to)),
        }
    }

    /// Something that happens to clusters, or its end.
    fn fault(&mut self) {
        let (a, b) = (self.process(), self.process());
        match self.rng.below(100) {
            0..10 => self.world.crash(a),
            10..30 if !self.world.is_up(a) => self.world.start(a),
            30..38 => self.world.pause(a),
            38..55 => self.world.resume(a),
            55..63 if a != b => self.world.cut(a, b),
            63..75 => self.world.heal(a, b),
            75..85 => self.world.break_links(a, b),
            85..93 => {
                let modes = [
                    StoreMode::Up,
                    StoreMode::Up,
                    StoreMode::Down,
                    StoreMode::AnswersLost,
                    StoreMode::Stalled,
                ];
                self.world.store.mode = modes[self.rng.below(modes.len())];
            }
            93..96 => self.world.store.fail_percent = [0, 0, 20][self.rng.below(3)],
            96 => self.world.store.lose_all(self.world.now()),
            97 => self.world.set_stuck(a, true),
            98 => self.world.set_stuck(a, false),
            _ => {
                self.world.drain(a);
            }
        }
    }

    /// Servers without identity register, as programs do.
    fn register(&mut self) {
        for id in self.servers.clone() {
            if self.world.wants_to_register(id) {
                self.world.register(id);
            }
        }
    }

    fn disturb(&mut self) {
        for _ in 0..400 {
            self.work();
            if self.rng.chance(12) {
                self.fault();
            }
            let pause = if self.rng.chance(3) { secs(3) } else { ms(40) };
            let pause = self.rng.between(ms(0), pause);
            self.world.run_for(pause);
            self.register();
        }
    }

    fn heal(&mut self) {
        self.world.store.mode = StoreMode::Up;
        self.world.store.fail_percent = 0;
        for a in self.all.clone() {
            self.world.set_stuck(a, false);
            for b in self.all.clone() {
                self.world.heal(a, b);
            }
            self.world.resume(a);
            if !self.world.is_up(a) {
                self.world.start(a);
            }
        }
        for _ in 0..45 {
            self.world.run_for(secs(1));
            self.register();
        }
    }

    fn judge(&mut self) {
        assert_eq!(self.world.oracle().open(), [], "acked sends without outcome");
        for id in self.servers.clone() {
            assert!(
                self.world.endpoint(id).unwrap().is_attached(),
                "{id:?} serves again"
            );
        }
        self.world.assert_store_is_true(ADDRESSES);
        for address in ADDRESSES {
            let held = self
                .servers
                .iter()
                .any(|id| self.world.holds(*id, address).is_some());
            let expected = if held {
                Outcome::Delivered
            } else {
                Outcome::NotConnected
            };
            for id in self.servers.clone() {
                let ticket = self.world.send_acked(id, "judge", address);
                assert_eq!(
                    self.world.wait(id, ticket),
                    Completion::Outcome(expected),
                    "{id:?} to {address}"
                );
            }
        }
    }
}

fn run(seed: u64, keep_trace: bool) -> World {
    let mut story = Story::new(seed, keep_trace);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        story.disturb();
        story.heal();
        story.judge();
    }));
    if keep_trace {
        std::fs::write(
            std::env::temp_dir().join(format!("waypost-sim-{seed}.trace")),
            story.world.trace().join("\n"),
        )
        .unwrap();
    }
    if let Err(panic) = result {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        panic!(
            "seed {seed}: {text}\nreplay: WAYPOST_SIM_SEED={seed} cargo test -p waypost-sim --test random, which leaves \
             every step in {}/waypost-sim-{seed}.trace",
            std::env::temp_dir().display()
        );
    }
    story.world
}

#[test]
fn promises_hold_whatever_happens() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("WAYPOST_SIM_SEED") {
        run(seed, true);
        return;
    }
    let mut failed = Vec::new();
    let mut outcomes = std::collections::BTreeMap::new();
    for seed in 0..number("WAYPOST_SIM_SEEDS").unwrap_or(DEFAULT_SEEDS) {
        match std::panic::catch_unwind(|| run(seed, false)) {
            Ok(world) => {
                for (outcome, count) in world.oracle().outcomes() {
                    *outcomes.entry(*outcome).or_insert(0) += count;
                }
            }
            Err(_) => failed.push(seed),
        }
    }
    assert!(failed.is_empty(), "failed seeds: {failed:?}");
    for outcome in Outcome::ALL {
        assert!(
            outcomes.contains_key(outcome.as_str()),
            "no send ended as {outcome}: {outcomes:?}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..5 {
        assert_eq!(
            run(seed, false).fingerprint(),
            run(seed, false).fingerprint(),
            "seed {seed}"
        );
    }
    assert_ne!(run(0, false).fingerprint(), run(1, false).fingerprint());
}
