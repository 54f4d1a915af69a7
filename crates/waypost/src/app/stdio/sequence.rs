//! In which order operations start: those on one client in the order written, others at once.
//!
//! An operation that changes where a client is (connect, disconnect) waits until every earlier operation on that client
//! has ended, and every later one waits until it has. Operations that use a client (send to it or from it, locate it)
//! run side by side; those of one sender *start* in the order written, so that its messages stay in order.

use std::collections::VecDeque;

use waypost_types::Address;

use super::map::{Map, Set};

/// Names an operation.
pub(super) type OpId = u64;

/// Decides what may start. An operation waits only for earlier ones, so there is always one that can go on.
#[derive(Debug, Default)]
pub(super) struct Sequencer {
    last: OpId,
    clients: Map<Address, Client>,
    ops: Map<OpId, Entry>,
    ready: VecDeque<OpId>,
}

/// What is under way on one client.
#[derive(Debug, Default)]
struct Client {
    /// The last operation that changes it, until it ends.
    changing: Option<OpId>,
    /// Those that use it, since the last that changes it.
    using: Set<OpId>,
    /// The last that sends from it, until it starts.
    sending: Option<OpId>,
}

#[derive(Debug, Default)]
struct Entry {
    /// How many starts and ends of others it waits for.
    waits_for: usize,
    started: bool,
    waiting_for_start: Vec<OpId>,
    waiting_for_end: Vec<OpId>,
    clients: Vec<Address>,
}

impl Sequencer {
    /// Admits an operation that takes `client` away from here: it waits until what uses the client has ended.
    pub(super) fn leave(&mut self, client: &Address) -> OpId {
        let id = self.next_id();
        let state = self.clients.entry(client.clone()).or_default();
        let mut after: Vec<OpId> = state.using.drain().collect();
        after.extend(state.changing.replace(id));
        self.admit(id, &[], &after, vec![client.clone()])
    }

    /// Admits an operation that brings `client` here: it waits until what uses the client has started, and not for its
    /// end, which for a message to a server that is gone may be long in coming.
    pub(super) fn enter(&mut self, client: &Address) -> OpId {
        let id = self.next_id();
        let state = self.clients.entry(client.clone()).or_default();
        let mut started: Vec<OpId> = state.using.iter().copied().collect();
        let after: Vec<OpId> = state.changing.replace(id).into_iter().collect();
        started.retain(|using| self.ops.get(using).is_some_and(|entry| !entry.started));
        self.admit(id, &started, &after, vec![client.clone()])
    }

    /// Admits an operation that uses `clients`; when it sends, it starts in the order of its `sender`.
    pub(super) fn using(&mut self, sender: Option<&Address>, clients: &[&Address]) -> OpId {
        let id = self.next_id();
        let mut after = Vec::new();
        let mut touched = Vec::with_capacity(clients.len());
        for &client in clients {
            if touched.contains(client) {
                continue;
            }
            let state = self.clients.entry(client.clone()).or_default();
            state.using.insert(id);
            after.extend(state.changing);
            touched.push(client.clone());
        }
        let mut behind = None;
        if let Some(sender) = sender {
            behind = self
                .clients
                .entry(sender.clone())
                .or_default()
                .sending
                .replace(id);
        }
        self.admit(id, behind.as_slice(), &after, touched)
    }

    /// Names an operation that starts at once and that none waits for.
    pub(super) const fn start_aside(&mut self) -> OpId {
        self.next_id()
    }

    /// Has those that take one of these clients away wait for the end of an operation that started [aside](Self::start_aside).
    pub(super) fn adopt(&mut self, id: OpId, clients: &[&Address]) {
        let mut touched = Vec::with_capacity(clients.len());
        for &client in clients {
            if self.clients.entry(client.clone()).or_default().using.insert(id) {
                touched.push(client.clone());
            }
        }
        self.ops.entry(id).or_insert_with(|| Entry {
            started: true,
            clients: touched,
            ..Entry::default()
        });
    }

    /// Whether an operation that sends from `sender` to `to` would wait for no other.
    pub(super) fn is_free(&self, sender: &Address, to: &Address) -> bool {
        let changes = |client: &Client| client.changing.is_some();
        self.ops.is_empty()
            || !(self.clients.get(to)).is_some_and(changes)
                && !(self.clients.get(sender))
                    .is_some_and(|client| changes(client) || client.sending.is_some())
    }

    /// Whether an operation that has not ended waits for others.
    pub(super) fn waits(&self, id: OpId) -> bool {
        self.ops.get(&id).is_some_and(|entry| entry.waits_for > 0)
    }

    /// The next operation that may start; it counts as started from here on.
    pub(super) fn start(&mut self) -> Option<OpId> {
        let id = self.ready.pop_front()?;
        if let Some(entry) = self.ops.get_mut(&id) {
            entry.started = true;
            let waiting = core::mem::take(&mut entry.waiting_for_start);
            for client in &entry.clients {
                if let Some(state) = self.clients.get_mut(client)
                    && state.sending == Some(id)
                {
                    state.sending = None;
                }
            }
            self.release(waiting);
        }
        Some(id)
    }

    /// Notes that a started operation has ended.
    pub(super) fn end(&mut self, id: OpId) {
        let Some(entry) = self.ops.remove(&id) else { return };
        for client in entry.clients {
            let Some(state) = self.clients.get_mut(&client) else {
                continue;
            };
            if state.changing == Some(id) {
                state.changing = None;
            }
            state.using.remove(&id);
            if state.changing.is_none() && state.using.is_empty() && state.sending.is_none() {
                self.clients.remove(&client);
            }
        }
        self.release(entry.waiting_for_end);
    }

    /// How many operations have not ended.
    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    const fn next_id(&mut self) -> OpId {
        self.last += 1;
        self.last
    }

    fn admit(&mut self, id: OpId, after_start: &[OpId], after_end: &[OpId], clients: Vec<Address>) -> OpId {
        let mut waits_for = 0;
        for earlier in after_start {
            if let Some(entry) = self.ops.get_mut(earlier) {
                entry.waiting_for_start.push(id);
                waits_for += 1;
            }
        }
        for earlier in after_end {
            if let Some(entry) = self.ops.get_mut(earlier) {
                entry.waiting_for_end.push(id);
                waits_for += 1;
            }
        }
        self.ops.insert(
            id,
            Entry {
                waits_for,
                clients,
                ..Entry::default()
            },
        );
        if waits_for == 0 {
            self.ready.push_back(id);
        }
        id
    }

    fn release(&mut self, waiting: Vec<OpId>) {
        for id in waiting {
            if let Some(entry) = self.ops.get_mut(&id) {
                entry.waits_for -= 1;
                if entry.waits_for == 0 {
                    self.ready.push_back(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::new(text).unwrap()
    }

    fn started(sequencer: &mut Sequencer) -> Vec<OpId> {
        core::iter::from_fn(|| sequencer.start()).collect()
    }

    #[test]
    fn operations_on_different_clients_start_at_once() {
        let mut sequencer = Sequencer::default();
        let ids = [
            sequencer.enter(&address("a")),
            sequencer.enter(&address("b")),
            sequencer.using(None, &[&address("c")]),
        ];
        assert_eq!(started(&mut sequencer), ids);
    }

    #[test]
    fn a_send_waits_for_the_connects_of_both_its_clients_and_a_disconnect_for_the_send() {
        let mut sequencer = Sequencer::default();
        let (a, b) = (address("a"), address("b"));
        let connect_a = sequencer.enter(&a);
        let connect_b = sequencer.enter(&b);
        let send = sequencer.using(Some(&a), &[&a, &b]);
        let disconnect = sequencer.leave(&b);
        assert_eq!(started(&mut sequencer), [connect_a, connect_b]);
        sequencer.end(connect_b);
        assert!(started(&mut sequencer).is_empty());
        sequencer.end(connect_a);
        assert_eq!(started(&mut sequencer), [send]);
        sequencer.end(send);
        assert_eq!(started(&mut sequencer), [disconnect]);
        sequencer.end(disconnect);
        assert_eq!(sequencer.len(), 0);
        assert!(sequencer.clients.is_empty());
    }

    #[test]
    fn a_senders_messages_start_in_order_and_do_not_wait_for_each_others_end() {
        let mut sequencer = Sequencer::default();
        let (a, b, c) = (address("a"), address("b"), address("c"));
        let connect_b = sequencer.enter(&b);
        let first = sequencer.using(Some(&a), &[&a, &b]);
        let second = sequencer.using(Some(&a), &[&a, &c]);
        let of_another = sequencer.using(Some(&c), &[&c, &a]);
        assert_eq!(started(&mut sequencer), [connect_b, of_another]);
        sequencer.end(connect_b);
        assert_eq!(started(&mut sequencer), [first, second]);
        let third = sequencer.using(Some(&a), &[&a]);
        assert_eq!(started(&mut sequencer), [third]);
    }

    #[test]
    fn a_send_is_free_when_it_would_start_at_once() {
        let mut sequencer = Sequencer::default();
        let (a, b, c) = (address("a"), address("b"), address("c"));
        assert!(sequencer.is_free(&a, &b));
        let connect_b = sequencer.enter(&b);
        assert!(!sequencer.is_free(&a, &b) && !sequencer.is_free(&b, &a) && sequencer.is_free(&a, &c));
        let waits = sequencer.using(Some(&a), &[&a, &b]);
        assert_eq!(started(&mut sequencer), [connect_b]);
        assert!(
            !sequencer.is_free(&a, &c),
            "it would overtake what the same sender sent before"
        );
        assert!(sequencer.is_free(&c, &a));
        sequencer.end(connect_b);
        assert_eq!(started(&mut sequencer), [waits]);
        assert!(sequencer.is_free(&a, &b), "it has started");
    }

    #[test]
    fn a_disconnect_waits_for_what_was_started_aside_and_adopted() {
        let mut sequencer = Sequencer::default();
        let (a, b) = (address("a"), address("b"));
        let aside = sequencer.start_aside();
        let connect = sequencer.enter(&b);
        assert_eq!(started(&mut sequencer), [connect]);
        for _ in 0..2 {
            sequencer.adopt(aside, &[&a, &b]);
        }
        let disconnect = sequencer.leave(&b);
        sequencer.end(connect);
        assert!(started(&mut sequencer).is_empty());
        sequencer.end(aside);
        assert_eq!(started(&mut sequencer), [disconnect]);
        sequencer.end(disconnect);
        assert_eq!(sequencer.len(), 0);
        assert!(sequencer.clients.is_empty());
    }

    #[test]
    fn a_client_may_send_to_itself() {
        let mut sequencer = Sequencer::default();
        let a = address("a");
        let send = sequencer.using(Some(&a), &[&a, &a]);
        assert_eq!(started(&mut sequencer), [send]);
        sequencer.end(send);
        assert!(sequencer.clients.is_empty());
    }

    #[test]
    fn connects_and_disconnects_of_one_client_go_one_by_one() {
        let mut sequencer = Sequencer::default();
        let a = address("a");
        let ids = [sequencer.enter(&a), sequencer.enter(&a), sequencer.enter(&a)];
        for id in ids {
            assert_eq!(started(&mut sequencer), [id]);
            sequencer.end(id);
        }
    }

    #[test]
    fn whatever_is_admitted_ends_and_leaves_nothing_behind() {
        let mut sequencer = Sequencer::default();
        let names: Vec<_> = ["a", "b", "c"].iter().map(|name| address(name)).collect();
        let mut random = 1_u64;
        let mut running = VecDeque::new();
        let mut ended = 0;
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let pick = |shift: u32| &names[usize::try_from((random >> shift) % 3).unwrap()];
            if (random >> 60) < 5 {
                if random & 1 == 0 {
                    sequencer.enter(pick(20))
                } else {
                    sequencer.leave(pick(20))
                };
            } else {
                sequencer.using(Some(pick(20)), &[pick(20), pick(30)]);
            }
            running.extend(started(&mut sequencer));
            if !(random >> 50).is_multiple_of(4)
                && let Some(id) = running.pop_front()
            {
                sequencer.end(id);
                ended += 1;
            }
        }
        loop {
            running.extend(started(&mut sequencer));
            let Some(id) = running.pop_back() else { break };
            sequencer.end(id);
            ended += 1;
        }
        assert_eq!(ended, 10_000);
        assert_eq!(sequencer.len(), 0);
        assert!(sequencer.clients.is_empty());
    }
}
