//! The documents, and what requests do to them.

use core::time::Duration;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::frame::{Answer, Request};
use super::opcode::{self, status};
use super::options::Manners;

pub(super) const VALUE_MAX: usize = 20 << 20;
/// Longer expiries are points in time, in seconds since 1970.
const RELATIVE_MAX: u32 = 30 * 24 * 60 * 60;
/// A counter with this expiry is not made when it is missing.
const NEVER_MAKE: u32 = u32::MAX;

/// A document's collection and key.
pub(super) type Name = (u32, Vec<u8>);

#[derive(Debug, Clone)]
struct Document {
    value: Vec<u8>,
    flags: u32,
    expires: Option<Instant>,
    cas: u64,
}

/// All collections of the one bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    manners: Manners,
    documents: HashMap<Name, Document>,
    last_cas: u64,
}

impl State {
    /// The document, unless it has expired.
    fn live(&mut self, name: &Name) -> Option<&mut Document> {
        let now = Instant::now();
        if self
            .documents
            .get(name)
            .is_some_and(|document| document.expires.is_some_and(|at| at <= now))
        {
            self.documents.remove(name);
        }
        self.documents.get_mut(name)
    }

    /// A version that was never given before: the time, as servers do; or a number.
    fn next_cas(&mut self) -> u64 {
        if self.manners == Manners::Caves {
            self.last_cas += 1;
            return self.last_cas << 8 | 0xca;
        }
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| u64::try_from(since.as_nanos()).ok())
            .unwrap_or(0);
        self.last_cas = (self.last_cas + 1).max(clock);
        self.last_cas
    }
}

fn expiry(seconds: u32) -> Option<Instant> {
    if seconds == 0 {
        return None;
    }
    let from_now = if seconds <= RELATIVE_MAX {
        Duration::from_secs(u64::from(seconds))
    } else {
        let at = UNIX_EPOCH + Duration::from_secs(u64::from(seconds));
        at.duration_since(SystemTime::now()).unwrap_or_default()
    };
    Some(Instant::now() + from_now)
}

impl Bucket {
    pub(super) fn new(manners: Manners) -> Self {
        Self {
            state: Mutex::new(State {
                manners,
                documents: HashMap::new(),
                last_cas: 0,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clear(&self) {
        self.lock().documents.clear();
    }

    /// Begins anew, with versions that may have been given before.
    pub(super) fn create_anew(&self) {
        let state = &mut *self.lock();
        state.documents.clear();
        state.last_cas = 0;
    }

    pub(super) fn lose(&self, part: &str) {
        self.lock()
            .documents
            .retain(|(_, key), _| !String::from_utf8_lossy(key).contains(part));
    }

    pub(super) fn write_over(&self, part: &str, value: &[u8]) {
        let state = &mut *self.lock();
        let cas = state.next_cas();
        for ((_, key), document) in &mut state.documents {
            if String::from_utf8_lossy(key).contains(part) {
                document.value = value.to_vec();
                document.cas = cas;
            }
        }
    }

    pub(super) fn keys(&self) -> Vec<String> {
        let state = self.lock();
        let mut keys: Vec<_> = state
            .documents
            .keys()
            .map(|(_, key)| String::from_utf8_lossy(key).into_owned())
            .collect();
        keys.sort_unstable();
        keys
    }

    /// Does what a request for a document asks. One after the other, so each is atomic.
    pub(super) fn serve(&self, name: Name, request: &Request) -> Answer {
        let state = &mut *self.lock();
        let answer = match request.opcode {
            opcode::GET => get(state, &name),
            opcode::SET | opcode::ADD | opcode::REPLACE => store(state, name, request),
            opcode::DELETE => delete(state, &name, request),
            opcode::INCREMENT | opcode::DECREMENT => count(state, name, request),
            opcode::APPEND | opcode::PREPEND => extend(state, &name, request),
            opcode::TOUCH | opcode::GET_AND_TOUCH => touch(state, &name, request),
            opcode::GET_META => meta(state, &name),
            _ => Err(status::UNKNOWN_COMMAND),
        };
        answer.unwrap_or_else(Answer::status)
    }
}

fn get(state: &mut State, name: &Name) -> Result<Answer, u16> {
    let document = state.live(name).ok_or(status::MISSING)?;
    Ok(found(document))
}

fn found(document: &Document) -> Answer {
    Answer {
        cas: document.cas,
        extras: document.flags.to_be_bytes().to_vec(),
        value: document.value.clone(),
        ..Answer::default()
    }
}

fn written(cas: u64) -> Answer {
    Answer {
        cas,
        ..Answer::default()
    }
}

/// A version that was named must be the one that stands there.
fn check_cas(document: &Document, request: &Request) -> Result<(), u16> {
    if request.cas == 0 || request.cas == document.cas {
        Ok(())
    } else {
        Err(status::EXISTS)
    }
}

fn store(state: &mut State, name: Name, request: &Request) -> Result<Answer, u16> {
    let (Some(flags), Some(seconds)) = (request.extra_u32(0), request.extra_u32(4)) else {
        return Err(status::INVALID);
    };
    if request.value.len() > VALUE_MAX {
        return Err(status::TOO_BIG);
    }
    let mut expires = expiry(seconds);
    match (state.live(&name), request.opcode) {
        (Some(_), opcode::ADD) => return Err(status::EXISTS),
        (None, opcode::REPLACE) => return Err(status::MISSING),
        (None, opcode::SET) if request.cas != 0 => return Err(status::MISSING),
        (Some(document), _) => {
            check_cas(document, request)?;
            if request.keeps_expiry() {
                expires = document.expires;
            }
        }
        (None, _) => {}
    }
    let cas = state.next_cas();
    let document = Document {
        value: request.value.clone(),
        flags,
        expires,
        cas,
    };
    state.documents.insert(name, document);
    Ok(written(cas))
}

fn delete(state: &mut State, name: &Name, request: &Request) -> Result<Answer, u16> {
    let document = state.live(name).ok_or(status::MISSING)?;
    check_cas(document, request)?;
    state.documents.remove(name);
    Ok(written(state.next_cas()))
}

fn count(state: &mut State, name: Name, request: &Request) -> Result<Answer, u16> {
    let (Some(delta), Some(initial), Some(seconds)) =
        (request.extra_u64(0), request.extra_u64(8), request.extra_u32(16))
    else {
        return Err(status::INVALID);
    };
    let cas = state.next_cas();
    let bad_number = match state.manners {
        Manners::Server => status::BAD_DELTA,
        Manners::Caves => status::INTERNAL,
    };
    let number = match state.live(&name) {
        Some(document) => {
            let before: u64 = core::str::from_utf8(&document.value)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(bad_number)?;
            let after = if request.opcode == opcode::INCREMENT {
                before.wrapping_add(delta)
            } else {
                before.saturating_sub(delta)
            };
            document.value = after.to_string().into_bytes();
            document.cas = cas;
            after
        }
        None if seconds == NEVER_MAKE => return Err(status::MISSING),
        None => {
            let document = Document {
                value: initial.to_string().into_bytes(),
                flags: 0,
                expires: expiry(seconds),
                cas,
            };
            state.documents.insert(name, document);
            initial
        }
    };
    Ok(Answer {
        value: number.to_be_bytes().to_vec(),
        ..written(cas)
    })
}

fn extend(state: &mut State, name: &Name, request: &Request) -> Result<Answer, u16> {
    let cas = state.next_cas();
    let missing = match state.manners {
        Manners::Server => status::NOT_STORED,
        Manners::Caves => status::MISSING,
    };
    let document = state.live(name).ok_or(missing)?;
    check_cas(document, request)?;
    if document.value.len() + request.value.len() > VALUE_MAX {
        return Err(status::TOO_BIG);
    }
    let at = if request.opcode == opcode::APPEND {
        document.value.len()
    } else {
        0
    };
    document.value.splice(at..at, request.value.iter().copied());
    document.cas = cas;
    Ok(written(cas))
}

fn touch(state: &mut State, name: &Name, request: &Request) -> Result<Answer, u16> {
    let seconds = request.extra_u32(0).ok_or(status::INVALID)?;
    let cas = state.next_cas();
    let document = state.live(name).ok_or(status::MISSING)?;
    document.expires = expiry(seconds);
    document.cas = cas;
    if request.opcode == opcode::TOUCH {
        Ok(written(cas))
    } else {
        Ok(found(document))
    }
}

fn meta(state: &mut State, name: &Name) -> Result<Answer, u16> {
    let document = state.live(name).ok_or(status::MISSING)?;
    Ok(Answer::meta(&document.flags.to_be_bytes(), document.cas))
}
