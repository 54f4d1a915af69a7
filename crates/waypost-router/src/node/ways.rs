//! Ways that were found a moment ago.
//!
//! Most messages go to a server to which others went just before, and find the same way. What led to it, the
//! server's location, the link there and the numbers of both servers on it, is looked up once and kept until anything
//! else is done with the router: each of its methods that could change a way forgets them all first.

use super::quick::Way;
use super::{LinkId, OwnerKey};

/// Ways that are kept, a place for each by the number of its server.
const KEPT: usize = 16;

/// Ways by where a message comes from and which server it is for.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    /// Grows when all are forgotten.
    round: u64,
    kept: [Option<Kept>; KEPT],
    heard: Option<(u64, Heard)>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    round: u64,
    from: LinkId,
    owner: OwnerKey,
    way: Way,
}

/// Messages on a node's link that are for the endpoint in this process, while nothing waits before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) link: LinkId,
    /// The numbers of the two servers on that link.
    pub(super) origin: u32,
    pub(super) owner: u32,
    /// The number by which the endpoint knows the sending server, if it has one yet.
    pub(super) known_as: Option<u32>,
}

impl Ways {
    /// Something else happens, which may change them.
    pub(super) const fn forget(&mut self) {
        self.round += 1;
    }

    #[inline]
    pub(super) fn get(&self, from: LinkId, owner: OwnerKey) -> Option<Way> {
        let kept = self.kept[owner.0 as usize % KEPT].as_ref()?;
        (kept.round == self.round && kept.from == from && kept.owner == owner).then_some(kept.way)
    }

    pub(super) const fn keep(&mut self, from: LinkId, owner: OwnerKey, way: Way) {
        self.kept[owner.0 as usize % KEPT] = Some(Kept {
            round: self.round,
            from,
            owner,
            way,
        });
    }

    /// By which number the endpoint knows the sender of a message with these numbers, if the one before it was alike.
    #[inline]
    pub(super) fn known_as(&self, link: LinkId, origin: u32, owner: u32) -> Option<Option<u32>> {
        let (round, heard) = self.heard.as_ref()?;
        (*round == self.round && heard.link == link && heard.origin == origin && heard.owner == owner)
            .then_some(heard.known_as)
    }

    /// The numbers of the two servers between which the last message on this link went, if they are known.
    #[inline]
    pub(super) const fn heard_on(&self, link: LinkId) -> Option<(u32, u32)> {
        match &self.heard {
            Some((round, heard)) if *round == self.round && heard.link.0 == link.0 => {
                Some((heard.origin, heard.owner))
            }
            _ => None,
        }
    }

    pub(super) const fn hear(&mut self, heard: Heard) {
        self.heard = Some((self.round, heard));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_kept_for_its_link_and_server_until_all_are_forgotten() {
        const ALIKE: u32 = 3 + 16;
        const { assert!(ALIKE as usize % KEPT == 3) };
        let mut ways = Ways::default();
        let way = |link| Way::direct(LinkId(link), OwnerKey(0));
        let link_of = |ways: &Ways, from, owner| ways.get(LinkId(from), OwnerKey(owner)).map(Way::link);
        ways.keep(LinkId(1), OwnerKey(3), way(7));
        assert_eq!(link_of(&ways, 1, 3), Some(LinkId(7)));
        assert_eq!(link_of(&ways, 2, 3), None);
        assert_eq!(link_of(&ways, 1, ALIKE), None);
        ways.keep(LinkId(1), OwnerKey(ALIKE), way(8));
        assert_eq!(link_of(&ways, 1, 3), None, "they share a place");
        ways.forget();
        assert_eq!(link_of(&ways, 1, ALIKE), None);
    }

    #[test]
    fn who_was_heard_is_known_by_all_three_numbers_until_all_are_forgotten() {
        let mut ways = Ways::default();
        ways.hear(Heard {
            link: LinkId(1),
            origin: 2,
            owner: 3,
            known_as: Some(4),
        });
        assert_eq!(ways.known_as(LinkId(1), 2, 3), Some(Some(4)));
        assert_eq!(ways.heard_on(LinkId(1)), Some((2, 3)));
        assert_eq!(ways.heard_on(LinkId(2)), None);
        assert_eq!(ways.known_as(LinkId(2), 2, 3), None);
        assert_eq!(ways.known_as(LinkId(1), 3, 3), None);
        assert_eq!(ways.known_as(LinkId(1), 2, 2), None);
        ways.forget();
        assert_eq!(ways.known_as(LinkId(1), 2, 3), None);
        assert_eq!(ways.heard_on(LinkId(1)), None);
    }
}
