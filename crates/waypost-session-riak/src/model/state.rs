//! One moment of a model, and all that can happen next.

use waypost_types::Session;

use super::object::{Clock, Object, Value};
use super::world::{Flaw, Op, Replication, World};
use crate::decide::{self, Restore};

/// A claim that was made, for the final account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Made {
    pub(super) server: usize,
    pub(super) seq: u64,
    pub(super) released: bool,
    /// Its server knows that it has lost it, or is told.
    pub(super) told: bool,
}

/// What a write is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Purpose {
    Claim {
        seq: u64,
    },
    Release {
        seq: u64,
    },
    /// Replaces siblings by what they merge to, before those who have lost are told.
    Tidy {
        tell: Vec<usize>,
    },
    Restore,
}

/// A write with the vclock of what its writer has read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Write {
    purpose: Purpose,
    before: Object,
    value: Value,
}

/// How far a server is with its operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum At {
    Start,
    /// One replica has answered, of two.
    Half {
        object: Object,
        from: usize,
    },
    Read(Object),
    Ready(Write),
    /// The answer to the write was lost; it goes to the next replica as it is.
    Again(Write),
    /// One replica has it and so much has been seen, of two.
    Waiting {
        write: Write,
        seen: Object,
    },
    Tell(Vec<usize>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Server {
    /// How many operations are done.
    done: usize,
    at: At,
    /// The seq of the claim that it believes to hold.
    pub(super) holds: Option<u64>,
    first: Option<u64>,
    /// How many marks on its lease it has seen.
    noticed: u8,
}

/// A write on its way to one more replica.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Message {
    to: usize,
    from: usize,
    clock: Clock,
    siblings: Vec<super::object::Sibling>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    replicas: Vec<Object>,
    /// Marks on the servers' leases, at each replica.
    marks: Vec<Vec<u8>>,
    servers: Vec<Server>,
    messages: Vec<Message>,
    pub(super) made: Vec<Made>,
    lost_answers: u8,
    writes: u8,
}

impl State {
    pub(super) fn first(world: &World) -> Self {
        let servers = world.setup.programs.len();
        let replicas = world.setup.replication.replicas();
        let server = Server {
            done: 0,
            at: At::Start,
            holds: None,
            first: None,
            noticed: 0,
        };
        Self {
            replicas: vec![Object::default(); replicas],
            marks: vec![vec![0; servers]; replicas],
            servers: vec![server; servers],
            messages: Vec::new(),
            made: Vec::new(),
            lost_answers: 0,
            writes: 0,
        }
    }

    pub(super) fn all_done(&self, world: &World) -> bool {
        let programs = world.setup.programs.iter();
        self.servers
            .iter()
            .zip(programs)
            .all(|(server, ops)| server.done == ops.len())
    }

    /// What all replicas have once they have exchanged everything.
    pub(super) fn united(&self) -> Object {
        let mut all = Object::default();
        for replica in &self.replicas {
            all.merge(replica);
        }
        all
    }

    pub(super) fn most_siblings(&self) -> usize {
        self.replicas
            .iter()
            .map(|object| object.siblings.len())
            .max()
            .unwrap_or(0)
    }

    /// The sessions that servers believe to hold, but for those who will be told by a mark on their leases.
    pub(super) fn beliefs<'a>(&'a self, world: &'a World) -> impl Iterator<Item = (usize, Session)> + 'a {
        self.servers.iter().enumerate().filter_map(|(index, server)| {
            let marks = self.marks.iter().map(|marks| marks[index]).max().unwrap_or(0);
            let seq = server.holds.filter(|_| marks <= server.noticed)?;
            Some((index, world.session(index, seq)))
        })
    }

    pub(super) fn is_told(&self, server: usize, session: &Session) -> bool {
        self.made
            .iter()
            .any(|made| made.server == server && made.seq == session.seq.0 && made.told)
    }

    pub(super) fn is_released(&self, server: usize, session: &Session) -> bool {
        self.made
            .iter()
            .any(|made| made.server == server && made.seq == session.seq.0 && made.released)
    }

    /// All that can happen next.
    pub(super) fn next(&self, world: &mut World, out: &mut Vec<Self>) {
        for server in 0..self.servers.len() {
            self.step(world, server, out);
        }
        match world.setup.replication {
            Replication::Apart => self.exchange(out),
            Replication::Quorum => self.deliver(world, out),
        }
    }

    /// One replica sends all that it has to the other.
    fn exchange(&self, out: &mut Vec<Self>) {
        for from in 0..self.replicas.len() {
            for to in (0..self.replicas.len()).filter(|to| *to != from) {
                let mut next = self.clone();
                next.replicas[to].merge(&self.replicas[from]);
                for (mine, theirs) in next.marks[to].iter_mut().zip(&self.marks[from]) {
                    *mine = (*mine).max(*theirs);
                }
                if next != *self {
                    out.push(next);
                }
            }
        }
    }

    /// A write reaches one more replica; its writer has its answer when that was the second.
    fn deliver(&self, world: &mut World, out: &mut Vec<Self>) {
        for index in 0..self.messages.len() {
            let mut next = self.clone();
            let message = next.messages.remove(index);
            let sent = Object {
                clock: message.clock,
                siblings: message.siblings,
            };
            next.store(world, message.to, |object| object.merge(&sent));
            let there = next.replicas[message.to].clone();
            if let At::Waiting { write, seen } = &next.servers[message.from].at
                && seen.clock == sent.clock
            {
                let (write, after) = (write.clone(), seen.merged(&there));
                next.answered(world, message.from, write, &after);
            }
            out.push(next);
        }
    }

    fn store(&mut self, world: &World, replica: usize, change: impl FnOnce(&mut Object)) {
        change(&mut self.replicas[replica]);
        if world.setup.flaw == Flaw::LastWriteWins {
            self.replicas[replica].keep_newest();
        }
    }

    fn step(&self, world: &mut World, index: usize, out: &mut Vec<Self>) {
        let home = world.setup.home(index);
        let server = &self.servers[index];
        let program = &world.setup.programs[index];
        let Some(op) = program.get(server.done).copied() else {
            self.heartbeat(world, index, home, out);
            return;
        };
        match &server.at {
            At::Start => {
                self.heartbeat(world, index, home, out);
                if world.setup.replication == Replication::Apart {
                    out.push(self.with(index, At::Read(self.replicas[home].clone())));
                    return;
                }
                for (from, object) in self.replicas.iter().enumerate() {
                    let half = At::Half {
                        object: object.clone(),
                        from,
                    };
                    out.push(self.with(index, half));
                }
            }
            At::Half { object, from } => {
                self.read_second(index, object, 0..*from, out);
                self.read_second(index, object, *from + 1..self.replicas.len(), out);
            }
            At::Read(object) => {
                let mut next = self.clone();
                next.decided(world, index, op, object.clone());
                out.push(next);
            }
            At::Ready(write) => {
                let mut next = self.clone();
                next.write(world, index, home, write.clone());
                out.push(next);
                let may_be_lost = !matches!(write.purpose, Purpose::Tidy { .. });
                if may_be_lost && self.lost_answers < world.setup.lost_answers {
                    let mut next = self.clone();
                    next.lost_answers += 1;
                    next.apply(world, index, home, write);
                    next.servers[index].at = At::Again(write.clone());
                    out.push(next);
                }
            }
            At::Again(write) => {
                let mut next = self.clone();
                let other = (home + 1) % self.replicas.len();
                next.write(world, index, other, write.clone());
                out.push(next);
            }
            At::Waiting { .. } => {}
            At::Tell(who) => {
                let mut next = self.clone();
                for loser in who {
                    next.mark(world, *loser, home);
                }
                next.end_op(index);
                out.push(next);
            }
        }
    }

    /// One of these replicas answers a read after another has.
    fn read_second(&self, index: usize, first: &Object, of: core::ops::Range<usize>, out: &mut Vec<Self>) {
        for second in &self.replicas[of] {
            out.push(self.with(index, At::Read(first.merged(second))));
        }
    }

    fn with(&self, index: usize, at: At) -> Self {
        let mut next = self.clone();
        next.servers[index].at = at;
        next
    }

    fn end_op(&mut self, index: usize) {
        self.servers[index].at = At::Start;
        self.servers[index].done += 1;
    }

    /// A server has read the record: what it makes of it.
    fn decided(&mut self, world: &mut World, index: usize, op: Op, before: Object) {
        let view = world.view(&before);
        let at = match op {
            Op::Claim => {
                let seq = world.next_seq(index, &view);
                let record = crate::record::Record::claimed(world.session(index, seq), &view);
                self.made.push(Made {
                    server: index,
                    seq,
                    released: false,
                    told: false,
                });
                At::Ready(Write {
                    purpose: Purpose::Claim { seq },
                    value: world.number(record),
                    before,
                })
            }
            Op::Release | Op::ReleaseFirst => {
                let server = &self.servers[index];
                let of_op = if op == Op::Release {
                    server.holds
                } else {
                    server.first
                };
                let holder = view.merged().and_then(|record| record.holder);
                let freed = match holder {
                    Some(holder)
                        if world.setup.flaw == Flaw::ReleaseIgnoresSeq
                            && world.server_of(&holder) == index =>
                    {
                        Some(holder.seq.0)
                    }
                    _ => of_op,
                };
                let record = freed.and_then(|seq| decide::release(&world.session(index, seq), &view));
                match of_op.zip(record) {
                    None => {
                        if op == Op::Release {
                            self.servers[index].holds = None;
                        }
                        return self.end_op(index);
                    }
                    Some((seq, record)) => At::Ready(Write {
                        purpose: Purpose::Release { seq },
                        value: match world.setup.flaw {
                            Flaw::ReleaseDeletes => None,
                            _ => world.number(record),
                        },
                        before,
                    }),
                }
            }
            Op::Look => {
                let tell = self.losers(world, &view.unaware());
                if tell.is_empty() {
                    return self.end_op(index);
                }
                self.tidying(world, before, tell)
            }
        };
        self.servers[index].at = at;
    }

    fn losers(&self, world: &World, unaware: &[Session]) -> Vec<usize> {
        if world.setup.flaw == Flaw::TellNobody {
            return Vec::new();
        }
        let mut losers: Vec<usize> = unaware.iter().map(|session| world.server_of(session)).collect();
        losers.dedup();
        losers
    }

    fn tidying(&self, world: &mut World, before: Object, tell: Vec<usize>) -> At {
        match world.view(&before).merged() {
            Some(record) => At::Ready(Write {
                purpose: Purpose::Tidy { tell },
                value: world.number(record),
                before,
            }),
            None => At::Tell(tell),
        }
    }

    /// Puts a write into one replica.
    fn apply(&mut self, world: &World, index: usize, replica: usize, write: &Write) {
        self.writes += 1;
        let context = match world.setup.flaw {
            Flaw::NoVclock => Clock::default(),
            _ => write.before.clock,
        };
        let at = if world.setup.flaw == Flaw::LastWriteWins {
            self.writes
        } else {
            0
        };
        self.store(world, replica, |object| {
            object.write(replica, &context, at, write.value)
        });
        if world.setup.replication == Replication::Quorum {
            let written = self.replicas[replica].clone();
            for to in (0..self.replicas.len()).filter(|to| *to != replica) {
                self.messages.push(Message {
                    to,
                    from: index,
                    clock: written.clock,
                    siblings: written.siblings.clone(),
                });
            }
            self.messages.sort_unstable();
        }
    }

    fn write(&mut self, world: &mut World, index: usize, replica: usize, write: Write) {
        self.apply(world, index, replica, &write);
        let seen = self.replicas[replica].clone();
        match world.setup.replication {
            Replication::Apart => self.answered(world, index, write, &seen),
            Replication::Quorum => self.servers[index].at = At::Waiting { write, seen },
        }
    }

    /// A write has its answer: what was there then.
    fn answered(&mut self, world: &mut World, index: usize, write: Write, after: &Object) {
        let (before, then) = (world.view(&write.before), world.view(after));
        match write.purpose {
            Purpose::Claim { seq } => {
                let mine = world.session(index, seq);
                let claim = decide::claimed(&mine, &before, &then);
                self.servers[index].holds = Some(seq);
                self.servers[index].first.get_or_insert(seq);
                if claim.lost {
                    self.tell(world, &mine);
                }
                if let Some(other) = claim.displaced.filter(|other| other.seq < mine.seq) {
                    self.tell(world, &other);
                }
                let tell = self.losers(world, &claim.unaware);
                if then.has_siblings() {
                    self.servers[index].at = self.tidying(world, after.clone(), tell);
                } else if tell.is_empty() {
                    self.end_op(index);
                } else {
                    self.servers[index].at = At::Tell(tell);
                }
            }
            Purpose::Release { seq } => {
                for made in &mut self.made {
                    made.released |= made.server == index && made.seq == seq;
                }
                if self.servers[index].holds == Some(seq) {
                    self.servers[index].holds = None;
                }
                let tell = self.losers(world, &before.unaware());
                self.servers[index].at = At::Tell(tell);
            }
            Purpose::Tidy { tell } => self.servers[index].at = At::Tell(tell),
            Purpose::Restore => self.servers[index].at = At::Start,
        }
    }

    /// The winner's server tells the loser's of exactly this session.
    fn tell(&mut self, world: &World, session: &Session) {
        let server = world.server_of(session);
        for made in &mut self.made {
            made.told |= made.server == server && made.seq == session.seq.0;
        }
    }

    /// Marks a server's lease.
    fn mark(&mut self, world: &World, server: usize, home: usize) {
        if world.setup.replication == Replication::Apart {
            self.marks[home][server] += 1;
            return;
        }
        // The record that stands was stored by two replicas before: whichever two the server asks, it finds it.
        let Some(seq) = self.servers[server].holds else {
            return;
        };
        let mine = world.session(server, seq);
        for one in 0..self.replicas.len() {
            for two in 0..one {
                let view = world.view(&self.replicas[one].merged(&self.replicas[two]));
                assert_ne!(
                    decide::restore(&mine, &view),
                    Restore::Stands,
                    "told and not convinced"
                );
            }
        }
        self.tell(world, &mine);
    }

    /// A server whose lease bears a new mark checks what it holds.
    fn heartbeat(&self, world: &mut World, index: usize, home: usize, out: &mut Vec<Self>) {
        let marks = self.marks[home][index];
        if marks <= self.servers[index].noticed {
            return;
        }
        let mut next = self.clone();
        next.servers[index].noticed = marks;
        let Some(seq) = self.servers[index].holds else {
            return out.push(next);
        };
        let mine = world.session(index, seq);
        let before = self.replicas[home].clone();
        match decide::restore(&mine, &world.view(&before)) {
            Restore::Stands => {}
            Restore::Lost(_) => next.tell(world, &mine),
            Restore::Write { record, unaware } => {
                // Whoever had it has left, and it is this server's again.
                let value = world.number(record);
                let purpose = Purpose::Restore;
                next.write(
                    world,
                    index,
                    home,
                    Write {
                        purpose,
                        before,
                        value,
                    },
                );
                for loser in next.losers(world, &unaware) {
                    next.mark(world, loser, home);
                }
            }
        }
        out.push(next);
    }
}
