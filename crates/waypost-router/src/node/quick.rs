//! The short way through the router, for a message whose way is known and free.
//!
//! It does what the long way does, with one look at the route and no copy in between: the message is encoded straight
//! into the queue of the link that it leaves by. Whatever is not quite that simple gets no for an answer, and nothing has
//! been done then.

use bytes::Bytes;
use waypost_types::{HOPS_MAX, MonoTime};
use waypost_wire::{CHUNK_AHEAD, EncodeError, MessageRef, Numbers, Page};

use super::links::Link;
use super::ways::Heard;
use super::{LinkId, LinkKind, OwnerKey, Route, Router};
use crate::claim::claim_of;
use crate::map::look_up_together;

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    link: LinkId,
    origin: OwnerKey,
    /// `None` for the server at the other end of the link.
    owner: Option<OwnerKey>,
    /// The claim by which that server is thought to hold the client.
    claim: u32,
    hops: u8,
    /// The numbers of the two on the link, once they are looked up.
    aliases: (u32, u32),
}

impl Way {
    /// The numbers with which a message goes this way.
    #[inline]
    const fn numbers(&self, numbers: Numbers) -> Numbers {
        Numbers {
            origin: self.aliases.0,
            owner: self.aliases.1,
            claim: self.claim,
            hops: self.hops,
            ..numbers
        }
    }
}

#[cfg(test)]
impl Way {
    pub(super) const fn direct(link: LinkId, origin: OwnerKey) -> Self {
        Self {
            link,
            origin,
            owner: None,
            claim: 0,
            hops: 0,
            aliases: (0, 0),
        }
    }

    pub(super) const fn link(self) -> LinkId {
        self.link
    }
}

/// Who holds a client, and by which claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    key: OwnerKey,
    claim: u32,
}

impl Holder {
    #[inline]
    fn by(route: &Route) -> Option<Self> {
        match route {
            Route::At { owner, seq } => Some(Self {
                key: *owner,
                claim: claim_of(*seq),
            }),
            Route::Waiting(_) => None,
        }
    }

    /// Whether another client is at the same server.
    #[inline]
    pub(crate) fn is_where(self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// What the short way came to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Taken {
    /// Nothing was done.
    No,
    /// It waits in the queue of a link.
    Passed,
    /// It is for the endpoint in this process, which may deliver it. `origin` is the sender's number there, if it has
    /// one yet; `is_next` says that nothing waits for the endpoint before it.
    ForHere { origin: Option<u32>, is_next: bool },
}

impl Router {
    /// Where a message of this process's own endpoint for a client that is held so would go, if it may go there at once as far as
    /// there is room.
    #[inline]
    pub(crate) fn way_now(&mut self, Holder { key, claim }: Holder) -> Option<Way> {
        if let Some(way) = self.ways.get(LinkId::LOCAL, key) {
            return Some(Way { claim, ..way });
        }
        let origin = self.links.get(&LinkId::LOCAL)?.owner?;
        let way = self.way_to(Holder { key, claim }, origin, 0)?;
        let way = (way.link != LinkId::LOCAL).then(|| self.checked(way)).flatten()?;
        self.ways.keep(LinkId::LOCAL, key, way);
        Some(way)
    }

    /// Whether the way has room for a message.
    pub(crate) fn has_room(&self, way: &Way) -> bool {
        self.links.get(&way.link).is_some_and(|link| link.out.has_room())
    }

    /// Passes on a message of this process's own endpoint by a way that has just been found. False: nothing was done.
    #[inline]
    pub(crate) fn send_now(&mut self, way: &Way, names: [&str; 2], body: &[u8], numbers: Numbers) -> bool {
        self.pass(way, numbers, |numbers, page| {
            page.push_message(names, body, numbers)
        })
    }

    /// The same for some messages, each of a sender, a client and a body, for clients that are held so. `number` says with which
    /// numbers the next one goes, or that it does not. How many were passed on before one that does not, or for which there is no
    /// room.
    #[inline]
    pub(crate) fn send_alike<'a>(
        &mut self,
        way: &Way,
        messages: impl Iterator<Item = ((&'a str, &'a str, &'a Bytes), Holder)>,
        mut number: impl FnMut((&'a str, &'a str, &'a Bytes)) -> Option<Numbers>,
    ) -> usize {
        let Some(link) = self.links.get_mut(&way.link) else {
            return 0;
        };
        let (mut count, mut wakes) = (0, false);
        for (message, Holder { claim, .. }) in messages {
            if !link.out.has_room() {
                break;
            }
            let Some(numbers) = number(message) else { break };
            let numbers = Way { claim, ..*way }.numbers(numbers);
            let is_awaited = numbers.id != 0;
            let (from, to, body) = message;
            let encode = |page: &mut Page| page.push_message([to, from], body, &numbers);
            match link.out.push_encoded(is_awaited, encode) {
                Ok(wake) => wakes |= wake,
                // It is noted as sent: it will be before long, as one that got lost.
                Err(_) if is_awaited => {}
                Err(_) => break,
            }
            count += 1;
        }
        if wakes && link.is_open() && self.woken.last() != Some(&way.link) {
            self.woken.push(way.link);
        }
        self.counters.forwarded += count as u64;
        count
    }

    /// Which server holds a client, if that is settled.
    #[inline]
    pub(crate) fn owner_of(&self, to: &str) -> Option<Holder> {
        Holder::by(self.routes.get(to)?)
    }

    /// The same for several, looked up together.
    #[inline]
    pub(crate) fn owners_of<'a>(
        &self,
        clients: impl Iterator<Item = &'a str> + Clone,
    ) -> [Option<Holder>; CHUNK_AHEAD] {
        look_up_together(&self.routes, clients, Holder::by)
    }

    /// Whether a server is attached by this link.
    pub(crate) fn is_peer(&self, id: LinkId) -> bool {
        self.links
            .get(&id)
            .is_some_and(|link| link.kind == LinkKind::Peer)
    }

    /// Passes on a message that has come by a link. `at`: what [`owner_of`](Self::owner_of) says of its client, or `None`.
    #[inline]
    pub(crate) fn take_now(&mut self, id: LinkId, message: MessageRef<'_>, at: Option<Holder>) -> Taken {
        let numbers = message.numbers();
        if numbers.ttl_ms == 0 || numbers.hops >= HOPS_MAX {
            return Taken::No;
        }
        if let Some(origin) = self.ways.known_as(id, numbers.origin, numbers.owner) {
            return if self.is_restoring(message.to()) {
                Taken::No
            } else {
                Taken::ForHere {
                    origin,
                    is_next: true,
                }
            };
        }
        if let Some(Holder { key, claim }) = at
            && let Some(way) = self.ways.get(id, key)
            && numbers.origin == 0
        {
            let hops = numbers.hops;
            return self.forward_now(&Way { claim, hops, ..way }, numbers, message);
        }
        let Some(way) = self.way_of(id, message.to(), numbers, at) else {
            return Taken::No;
        };
        if way.link == LinkId::LOCAL {
            let local = self.links.get(&LinkId::LOCAL);
            let origin = local.and_then(|link| link.names.number(way.origin));
            let is_next = local.is_none_or(|link| link.out.is_empty());
            if is_next {
                self.ways.hear(Heard {
                    link: id,
                    origin: numbers.origin,
                    owner: numbers.owner,
                    known_as: origin,
                });
            }
            return Taken::ForHere { origin, is_next };
        }
        let Some(way) = self.checked(way) else {
            return Taken::No;
        };
        // Of a node's message the owner is not the client's holder as this node knows it, but who it was sent to.
        if let Some(Holder { key, .. }) = at {
            self.ways.keep(id, key, way);
        }
        self.forward_now(&way, numbers, message)
    }

    #[inline]
    fn forward_now(&mut self, way: &Way, numbers: Numbers, message: MessageRef<'_>) -> Taken {
        let is_passed = self.pass(way, numbers, |numbers, page| message.forward(numbers, page));
        if is_passed { Taken::Passed } else { Taken::No }
    }

    /// The numbers on this link of the two servers, of which the second is the one in this process, between which the last
    /// message went, if others between them have nothing to wait for here.
    #[inline]
    pub(crate) const fn heard_here(&self, id: LinkId) -> Option<(u32, u32)> {
        if self.queues.restoring > 0 {
            return None;
        }
        self.ways.heard_on(id)
    }

    /// Counts messages that the endpoint in this process has taken by the short way.
    pub(crate) const fn count_forwarded(&mut self, count: u64) {
        self.counters.forwarded += count;
    }

    /// Notes that something has come by a link; false when nothing is taken from it.
    pub(crate) fn heard_from(&mut self, now: MonoTime, id: LinkId) -> bool {
        match self.links.get_mut(&id) {
            Some(link) if link.is_heard() => {
                link.heard_at = now;
                true
            }
            _ => false,
        }
    }

    fn way_of(&mut self, id: LinkId, to: &str, numbers: Numbers, at: Option<Holder>) -> Option<Way> {
        let link = self.links.get(&id).filter(|link| link.is_heard())?;
        match link.kind {
            LinkKind::Peer if numbers.origin == 0 => {
                let origin = link.owner?;
                let at = at.or_else(|| self.owner_of(to))?;
                self.way_to(at, origin, numbers.hops)
            }
            LinkKind::Peer => None,
            LinkKind::Node => {
                let origin = link.names.heard_in_time(numbers.origin)?;
                let owner = link.names.heard(numbers.owner)?;
                let attached = self.entry(owner).attached?;
                if self.is_restoring(to) {
                    return None;
                }
                self.note_way_back(id, origin);
                Some(Way {
                    link: attached,
                    origin,
                    owner: None,
                    claim: numbers.claim,
                    hops: numbers.hops + 1,
                    aliases: (0, 0),
                })
            }
        }
    }

    #[inline]
    fn way_to(&mut self, at: Holder, origin: OwnerKey, hops: u8) -> Option<Way> {
        let Holder { key, claim } = at;
        let owner = self.owners.get_mut(key.0 as usize)?;
        if let Some(link) = owner.attached {
            return Some(Way {
                link,
                origin,
                owner: None,
                claim,
                hops,
                aliases: (0, 0),
            });
        }
        let location = owner.location.as_ref()?;
        let is_there = |link: &Link| link.leads_to(location);
        let link = match owner.by.filter(|by| self.links.get(by).is_some_and(is_there)) {
            Some(by) => by,
            None => {
                let link = *self.places.get(location)?;
                self.links.get(&link).filter(|link| is_there(link))?;
                owner.by = Some(link);
                link
            }
        };
        Some(Way {
            link,
            origin,
            owner: Some(key),
            claim,
            hops,
            aliases: (0, 0),
        })
    }

    /// The way with its servers' numbers on the link. `None`: there is no room, or a name is to be introduced first.
    #[inline]
    fn checked(&self, way: Way) -> Option<Way> {
        let link = self.links.get(&way.link).filter(|link| link.out.has_room())?;
        Some(Way {
            aliases: (
                link.names.number(way.origin)?,
                way.owner.map_or(Some(0), |owner| link.names.number(owner))?,
            ),
            ..way
        })
    }

    /// Encodes a message to the end of a link's queue. False: there is no room, or it is too large, and nothing was done.
    #[inline]
    fn pass(
        &mut self,
        way: &Way,
        numbers: Numbers,
        encode: impl FnOnce(&Numbers, &mut Page) -> Result<(), EncodeError>,
    ) -> bool {
        let Some(link) = self.links.get_mut(&way.link).filter(|link| link.out.has_room()) else {
            return false;
        };
        let numbers = way.numbers(numbers);
        let is_awaited = numbers.id != 0;
        let encode = |page: &mut Page| encode(&numbers, page);
        let Ok(wake) = link.out.push_encoded(is_awaited, encode) else {
            return false;
        };
        if wake && link.is_open() && self.woken.last() != Some(&way.link) {
            self.woken.push(way.link);
        }
        self.counters.forwarded += 1;
        true
    }
}
