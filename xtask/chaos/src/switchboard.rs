//! Proxies between every two processes of a cluster, for machines on which there may be no network namespaces.
//!
//! A process that listens is known to the others by the address of a proxy. Who has dialled is read from what a link begins
//! with: a node says in its `Hello` where it is itself.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::BytesMut;
use waypost_session_testkit::servers::ReservedPort;
use waypost_wire::{Frame, PREFACE_BYTES, decode, split_frame};

use crate::links::Place;
use crate::proxy::{Proxy, Way};

/// Largest frame before a link is open, in bytes.
const HELLO_BYTES_MAX: usize = 4096;

/// Which ways are cut, shared by all proxies of a cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    cut: HashSet<(Place, Place)>,
    /// Who can be dialled where.
    locations: HashMap<String, Place>,
}

impl Rules {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_cut(&self, from: Place, to: Place) -> bool {
        self.known().cut.contains(&(from, to))
    }

    /// Who says `Hello` with this; `None` when it cannot be known, or not yet.
    pub(crate) fn dialler(&self, begins_with: &[u8]) -> Option<Place> {
        let mut bytes = BytesMut::from(begins_with.get(PREFACE_BYTES..)?);
        let frame = split_frame(&mut bytes, HELLO_BYTES_MAX).ok()??;
        let Ok(Frame::Hello(hello)) = decode(frame) else {
            return None;
        };
        self.known().locations.get(hello.location?.as_str()).copied()
    }
}

/// The proxies of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Switchboard {
    rules: Rules,
    /// By who dials, where that is known beforehand, and who is dialled.
    proxies: HashMap<(Option<Place>, Place), Proxy>,
    /// Where each that says itself who it is listens, and does so again when it is restarted.
    ports: HashMap<Place, ReservedPort>,
}

impl Switchboard {
    pub(crate) fn cut(&self, from: Place, to: Place) {
        self.rules.known().cut.insert((from, to));
    }

    pub(crate) fn mend(&self, from: Place, to: Place) {
        self.rules.known().cut.remove(&(from, to));
    }

    fn before(&self, place: Place) -> impl Iterator<Item = &Proxy> {
        let to_it = move |((_, to), proxy): (&(Option<Place>, Place), _)| (*to == place).then_some(proxy);
        self.proxies.iter().filter_map(to_it)
    }

    pub(crate) fn break_links(&self, to: Place) {
        self.before(to).for_each(Proxy::cut);
    }

    pub(crate) fn hold_links(&self, to: Place) {
        self.before(to).for_each(|proxy| proxy.set_way(Way::Hold));
    }

    pub(crate) fn mend_links(&self, to: Place) {
        self.before(to).for_each(Proxy::mend);
    }

    /// Where `place` listens, and where the others find it.
    pub(crate) fn listen(&mut self, place: Place) -> Result<(String, String)> {
        let port = match self.ports.entry(place) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(ReservedPort::new()?),
        };
        let endpoint = format!("tcp://{}", port.address());
        let location = self.way(None, place, &endpoint)?;
        Ok((endpoint, location))
    }

    /// Where `from` is to dial `to`, which listens at `endpoint`.
    pub(crate) fn way(&mut self, from: Option<Place>, to: Place, endpoint: &str) -> Result<String> {
        if let Some(proxy) = self.proxies.get(&(from, to)) {
            return Ok(proxy.endpoint());
        }
        let proxy = Proxy::between(from, to, endpoint, self.rules.clone())?;
        let location = proxy.endpoint();
        if from.is_none() {
            self.rules.known().locations.insert(location.clone(), to);
        }
        self.proxies.insert((from, to), proxy);
        Ok(location)
    }
}
