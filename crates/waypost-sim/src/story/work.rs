//! What programs do: clients come, move, come again and leave late, and send to each other.

use super::{ADDRESSES, Story};
use crate::process::ProcessId;

impl Story {
    pub(super) fn server(&mut self) -> ProcessId {
        self.servers[self.rng.below(self.servers.len())]
    }

    pub(super) fn address(&mut self) -> &'static str {
        ADDRESSES[self.rng.below(self.plan.addresses)]
    }

    /// One thing that programs do.
    pub(super) fn work(&mut self) {
        if self.rng.chance(self.plan.moves_percent) {
            return self.move_a_client();
        }
        let (id, from, to) = (self.server(), self.address(), self.address());
        let padding = self.rng.below(200);
        match self.rng.below(100) {
            0..30 => drop(self.world.submit(id, from, to, padding, None)),
            30..68 => drop(self.world.submit(id, from, to, padding, Some(false))),
            68..80 => drop(self.world.submit(id, from, to, padding, Some(true))),
            80..88 => self.burst(id, from, to),
            88..94 => drop(self.world.broadcast(id, from)),
            94..97 => drop(self.world.locate(id, to)),
            97 => self.world.set_replies(id, false),
            _ => {
                self.world.set_replies(id, true);
                self.world.reply(id);
            }
        }
    }

    /// One acked message.
    pub(super) fn send(&mut self) {
        let (id, from, to) = (self.server(), self.address(), self.address());
        self.world.send_acked(id, from, to);
    }

    /// Some messages at once to one client, acked and not, which may move in the midst of them.
    fn burst(&mut self, id: ProcessId, from: &str, to: &str) {
        let (count, longest) = (4 + self.rng.below(20), self.plan.latency.1);
        let moves_at = self.rng.below(2 * count);
        let moves_again_at = moves_at + self.rng.below(2 * count);
        let acked_percent = [0, 60, 60, 100][self.rng.below(4)];
        let former = self.servers.iter().copied().find(|at| self.world.has(*at, to));
        for number in 0..count {
            let acked = self.rng.chance(acked_percent).then_some(false);
            let padding = self.rng.below(400);
            self.world.submit(id, from, to, padding, acked);
            if number == moves_at {
                let other = self.server();
                self.world.connect(other, to);
            } else if number == moves_again_at
                && let Some(former) = former
            {
                self.world.connect(former, to);
            }
            if self.rng.chance(30) {
                let pause = self.rng.between(core::time::Duration::ZERO, longest);
                self.world.run_for(pause);
            }
        }
    }

    fn move_a_client(&mut self) {
        let (id, address) = (self.server(), self.address());
        let at = self
            .servers
            .iter()
            .copied()
            .find(|at| self.world.has(*at, address));
        match (self.rng.below(100), at) {
            // It moves, and its former server hears of the end of the connection late, or never.
            (0..50, Some(at)) if at != id => {
                self.world.connect(id, address);
                if self.rng.chance(60) {
                    self.late.push((at, address));
                }
            }
            // It connects to the same server anew.
            (0..70, Some(at)) => drop(self.world.connect(at, address)),
            (70..85, Some(at)) => drop(self.world.disconnect(at, address)),
            (85..90, _) => drop(self.world.disconnect(id, address)),
            (90..100, _) if !self.late.is_empty() => {
                let (at, address) = self.late.remove(0);
                // Where it has connected anew it is not late.
                if !self.world.has(at, address) {
                    self.world.disconnect(at, address);
                }
            }
            _ => drop(self.world.connect(id, address)),
        }
    }

    /// Servers without identity register, as programs do.
    pub(super) fn register(&mut self) {
        for id in self.servers.clone() {
            if self.world.wants_to_register(id) {
                self.world.register(id);
            }
        }
    }
}
