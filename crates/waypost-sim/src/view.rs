//! What is to be seen of a world.

use waypost_router::{Completion, Endpoint, Event, Router};
use waypost_types::Seq;

use crate::oracle::Oracle;
use crate::process::{ProcessId, Ticket};
use crate::world::{World, name, ticket_of};

impl World {
    /// How an operation ended, if it has.
    #[must_use]
    pub fn done(&self, id: ProcessId, ticket: Ticket) -> Option<&Completion> {
        self.processes[id.0].done.get(&ticket)
    }

    /// Everything that the process's program has been told, but for messages.
    #[must_use]
    pub fn events(&self, id: ProcessId) -> &[Event] {
        &self.processes[id.0].events
    }

    /// The messages that the process's program has got: to whom, and which.
    #[must_use]
    pub fn messages(&self, id: ProcessId) -> Vec<(String, Ticket)> {
        let message = |event: &Event| match event {
            Event::Message(message) | Event::Request { message, .. } => {
                Some((message.to().to_owned(), ticket_of(&message.body)?))
            }
            _ => None,
        };
        self.processes[id.0].events.iter().filter_map(message).collect()
    }

    /// Whether the process runs.
    #[must_use]
    pub fn is_up(&self, id: ProcessId) -> bool {
        self.processes[id.0].is_up()
    }

    /// Whether the process waits for the answer to a renewal, or for its broker's to a question about its lease.
    #[must_use]
    pub fn asks_for_lease(&self, id: ProcessId) -> bool {
        self.processes[id.0].renews.is_some() || self.endpoint(id).is_some_and(Endpoint::asks_for_lease)
    }

    /// Whether the process handles nothing.
    #[must_use]
    pub fn is_paused(&self, id: ProcessId) -> bool {
        self.processes[id.0].paused
    }

    /// Whether the process has been asked to move out.
    #[must_use]
    pub fn is_draining(&self, id: ProcessId) -> bool {
        self.processes[id.0].draining
    }

    /// Under which identity the process registers.
    #[must_use]
    pub fn identity(&self, id: ProcessId) -> &str {
        self.processes[id.0].identity.as_str()
    }

    /// Whether the process's server holds the client, as its program has been told.
    #[must_use]
    pub fn has(&self, id: ProcessId, address: &str) -> bool {
        self.processes[id.0].has(address)
    }

    /// The claim by which the process's server holds the client.
    #[must_use]
    pub fn holds(&self, id: ProcessId, address: &str) -> Option<Seq> {
        self.endpoint(id)?.holds(address)
    }

    /// Whether a server of this identity has been admitted by its router.
    #[must_use]
    pub fn is_served(&self, identity: &str) -> bool {
        let mut same = self.processes.iter().filter(|p| p.identity.as_str() == identity);
        same.any(|process| {
            let endpoint = process.core.as_ref().and_then(|core| core.endpoint.as_ref());
            endpoint.is_some_and(Endpoint::is_attached)
        })
    }

    /// How many things have happened.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The process's endpoint.
    #[must_use]
    pub fn endpoint(&self, id: ProcessId) -> Option<&Endpoint<Ticket>> {
        self.processes[id.0].core.as_ref()?.endpoint.as_ref()
    }

    /// The process's router.
    #[must_use]
    pub fn router(&self, id: ProcessId) -> Option<&Router> {
        self.processes[id.0].core.as_ref()?.router.as_ref()
    }

    /// What was sent and what became of it.
    #[must_use]
    pub const fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// The lines of the run, when they were kept.
    #[must_use]
    pub fn trace(&self) -> &[String] {
        self.trace.lines()
    }

    /// Panics unless every client that a running server holds is that server's in the store, by the same claim, and the
    /// other way round.
    ///
    /// # Panics
    /// When they differ.
    pub fn assert_store_is_true<'a>(&self, addresses: impl IntoIterator<Item = &'a str>) {
        for address in addresses {
            let stands = self.store.lookup(self.now, &name(address));
            let stands = stands.map(|session| (session.owner, session.seq));
            let mut holders = Vec::new();
            for endpoint in self
                .processes
                .iter()
                .filter_map(|p| p.core.as_ref()?.endpoint.as_ref())
            {
                if let (Some(seq), Some(owner)) = (endpoint.holds(address), endpoint.owner()) {
                    holders.push((owner, seq));
                }
            }
            assert_eq!(
                holders,
                Vec::from_iter(stands),
                "{address}: who holds it, and what the store says"
            );
        }
    }

    /// Panics unless nothing is under way any more: what a machine keeps for later must come to an end.
    ///
    /// # Panics
    /// When something is.
    pub fn assert_idle(&self) {
        for process in &self.processes {
            let mut see = |what: &'static str, count: usize| {
                assert!(
                    count == 0,
                    "{} of process {} is quiet and has {count}: {what}",
                    process.identity,
                    process.location
                );
            };
            if let Some(core) = &process.core {
                if let Some(router) = &core.router {
                    router.unfinished(&mut see);
                }
                if let Some(endpoint) = &core.endpoint {
                    endpoint.unfinished(&mut see);
                }
            }
        }
    }
}
