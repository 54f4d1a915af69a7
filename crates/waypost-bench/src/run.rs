//! A whole run: rounds, and in each all systems in turn at every step, so that what else the machine does meets all alike.

use std::io::Write as _;
use std::time::Instant;

use crate::control::Mode;
use crate::options::{Options, SIZE};
use crate::results::{Results, Sample};
use crate::steps::Step;
use crate::system::{Running, System, find};
use crate::{aside, date};
use waypost_harness::proc;

/// Where the idle servers are watched, in clients of each.
pub(crate) const IDLE_CLIENTS: usize = 100_000;
/// Where what does not depend on the number of clients is measured.
const COMMON_CLIENTS: usize = 1000;

pub(crate) struct Run<'a> {
    pub(crate) options: &'a Options,
    pub(crate) results: Results,
    pub(crate) round: usize,
    began: Instant,
}

impl<'a> Run<'a> {
    pub(crate) fn new(options: &'a Options) -> Self {
        Self {
            options,
            results: Results {
                date: date::today(),
                machine: proc::machine(),
                quick: options.quick,
                rounds: options.rounds,
                ..Results::default()
            },
            round: 0,
            began: Instant::now(),
        }
    }

    /// Says on stderr what is going on.
    pub(crate) fn say(&self, text: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        let (round, rounds) = (self.round + 1, self.options.rounds);
        // Nothing can be done when nobody listens.
        let _ = writeln!(
            std::io::stderr(),
            "[{seconds:6.1} s] round {round}/{rounds}: {text}"
        );
    }

    pub(crate) fn put(
        &mut self,
        system: &'static str,
        phase: &'static str,
        clients: usize,
        size: usize,
        values: &[(&'static str, f64)],
    ) {
        for &(metric, value) in values {
            self.results.samples.push(Sample {
                system,
                phase,
                metric,
                clients,
                size,
                round: self.round,
                value,
            });
        }
    }

    fn note(&mut self, note: String) {
        self.say(&note);
        self.results.note(note);
    }

    pub(crate) async fn all(mut self) -> Results {
        let mut systems = self.options.systems.clone();
        systems.retain(|system| match system.needs() {
            Some(program) if find(program).is_none() => {
                self.note(format!("{}: left out, {program} is not installed", system.name()));
                false
            }
            _ => true,
        });
        for round in 0..self.options.rounds {
            self.round = round;
            self.one_round(&systems).await;
        }
        self.results
    }

    async fn one_round(&mut self, systems: &[System]) {
        self.say("starting all systems");
        if let Err(error) = aside::redis_benchmark(self).await {
            self.note(format!("redis-benchmark: {error:#}"));
        }
        if let Err(error) = aside::start_time(self).await {
            self.note(format!("start of waypost-brokerless: {error:#}"));
        }
        let mut all = Vec::new();
        for at in 0..systems.len() {
            // Turns begin with another system each round.
            let system = systems[(at + self.round) % systems.len()];
            match Running::start(system).await {
                Ok(running) => all.push(running),
                Err(error) => self.note(format!("{}: does not start: {error:#}", system.name())),
            }
        }
        for &clients in &self.options.clients {
            self.turn(&mut all, Step::Register, clients).await;
            self.turn(&mut all, Step::Touch, clients).await;
            for &size in &self.options.sizes {
                self.turn(&mut all, Step::Throughput(Mode::BestEffort, size), clients)
                    .await;
            }
            self.turn(&mut all, Step::Throughput(Mode::Acked, SIZE), clients)
                .await;
            self.turn(&mut all, Step::RoundTrips, clients).await;
            if clients == COMMON_CLIENTS || self.options.clients.len() == 1 {
                self.turn(&mut all, Step::Takeover, clients).await;
                self.turn(&mut all, Step::Broadcast, clients).await;
                self.turn(&mut all, Step::RegisterSingly, clients).await;
            }
            if clients == IDLE_CLIENTS {
                self.turn(&mut all, Step::Idle, clients).await;
            }
        }
        let clients = self.options.clients.last().copied().unwrap_or_default();
        for running in all {
            for (what, pid) in running.processes() {
                let peak = proc::peak_bytes(pid) as f64;
                self.put(running.system.name(), "peak_memory", clients, 0, &[(what, peak)]);
            }
            running.stop().await;
        }
    }

    /// One step of all systems in turn. A system that fails is stopped and left out of the rest of the round.
    async fn turn(&mut self, all: &mut Vec<Running>, step: Step, clients: usize) {
        self.say(&format!("{clients} clients: {step}"));
        for mut running in core::mem::take(all) {
            match step.take(self, &mut running, clients).await {
                Ok(()) => all.push(running),
                Err(error) => {
                    let name = running.system.name();
                    self.note(format!("{name}: {clients} clients: {step}: {error:#}"));
                    running.stop().await;
                }
            }
        }
    }
}
