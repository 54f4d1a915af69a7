//! Links that this node opens itself, and locations that could not be reached a moment ago.

use core::time::Duration;

use waypost_types::{Location, MonoTime};
use waypost_wire::CloseCode;

use super::{LinkId, LinkKind, State};
use crate::node::{Command, Router};

/// A location that could not be dialled.
#[derive(Debug)]
pub(crate) struct Down {
    pub(super) until: MonoTime,
    pub(super) pause: Duration,
}

impl Router {
    /// A link that was to be dialled is ready for frames.
    pub fn link_dialled(&mut self, now: MonoTime, id: LinkId) {
        self.ways.forget();
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if !link.out.is_empty() {
            self.woken.push(id);
        }
        if link.state == State::Closing {
            // Ordered while it was dialled, when the driver had no link to close yet.
            let (code, text) = (CloseCode::GoingAway, "closed while it was being dialled");
            return self.commands.push_back(Command::Close { link: id, code, text });
        }
        link.state = State::Open;
        link.heard_at = now;
        let location = link.location.clone();
        if let Some(location) = location {
            self.down.remove(&location);
            self.is_back(now, &location);
        }
    }

    /// A link that was to be dialled could not be opened.
    pub fn dial_failed(&mut self, now: MonoTime, id: LinkId) {
        self.ways.forget();
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        if let Some(location) = &link.location {
            let pause = self
                .down
                .get(location)
                .map_or(Duration::from_millis(100), |down| down.pause * 2);
            let pause = pause.min(Duration::from_secs(1));
            self.down.insert(
                location.clone(),
                Down {
                    until: now + pause,
                    pause,
                },
            );
            if self.places.get(location) == Some(&id) {
                self.places.remove(location);
            }
        }
        self.ended(now, id, link, true);
    }

    /// Forgets locations that nobody has dialled for a lease term: servers that have ended, as a rule, each of which had its
    /// own.
    pub(in crate::node) fn forget_down(&mut self, now: MonoTime) {
        let term = self.settings.lease_term;
        self.down.retain(|_, down| now < down.until + term);
    }

    /// Whether a location was found down a moment ago and is not dialled before a pause is over.
    pub(in crate::node) fn is_down(&self, now: MonoTime, location: &Location) -> bool {
        !self.places.contains_key(location) && self.down.get(location).is_some_and(|down| down.until > now)
    }

    /// The link to a location, dialled now if there is none. `None` when it was found down a moment ago.
    pub(in crate::node) fn link_to(&mut self, now: MonoTime, location: &Location) -> Option<LinkId> {
        if let Some(link) = self.places.get(location) {
            return Some(*link);
        }
        if self.is_down(now, location) {
            return None;
        }
        let link = self.new_link_id();
        self.add_link(now, link, LinkKind::Node, State::Dialling, Some(location.clone()));
        self.places.insert(location.clone(), link);
        self.commands.push_back(Command::Dial {
            link,
            location: location.clone(),
        });
        Some(link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn a_location_that_nobody_dials_any_more_is_forgotten() {
        let settings = Settings::default();
        let mut router = Router::new(settings.clone(), Location::new("tcp://here:1").unwrap(), true);
        let mut now = MonoTime::from_micros(1);
        for port in 1..=100 {
            let location = Location::new(&format!("tcp://gone:{port}")).unwrap();
            let link = router.link_to(now, &location).unwrap();
            router.dial_failed(now, link);
            assert!(router.is_down(now, &location));
        }
        let until = now + settings.lease_term * 2;
        while now < until {
            now = router.next_timeout().unwrap();
            router.handle_timeout(now);
        }
        assert!(router.down.is_empty(), "{} are remembered", router.down.len());
    }
}
