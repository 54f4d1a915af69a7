//! A TCP proxy between two processes: passes bytes on, cuts them up, holds them back, or breaks the link.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::links::Place;
use crate::switchboard::Rules;

/// A dialler has said who it is within so many bytes.
const BEGINNING_BYTES_MAX: usize = 8192;

/// How it passes bytes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Way {
    /// As they come.
    Whole,
    /// A few bytes a segment.
    Dribble,
    /// Whatever has come within a few milliseconds as one segment: many frames in each.
    Coalesce,
    /// Not at all, and the connection stays open: a cable pulled.
    Hold,
}

const WAYS: [Way; 4] = [Way::Whole, Way::Dribble, Way::Coalesce, Way::Hold];

/// A listening proxy. It ends with its handle.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: Mutex<String>,
    way: AtomicU8,
    refuses: AtomicBool,
    ended: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
    between: Option<Between>,
}

/// Whose links these are, and what says which of them are cut.
#[derive(Debug)]
struct Between {
    /// Nobody: each connection says so itself.
    dialler: Option<Place>,
    listener: Place,
    rules: Rules,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    shared: Arc<Shared>,
    dialler: OnceLock<Place>,
}

impl Proxy {
    /// Listens on a free port and passes on to a `tcp://` endpoint.
    ///
    /// # Errors
    /// From the system, or when the endpoint is none.
    pub fn start(endpoint: &str) -> Result<Self> {
        Self::listen(endpoint, None)
    }

    /// Passes on what `dialler`, or whoever says so itself, sends to `listener` and gets from it, unless that is cut.
    pub(crate) fn between(
        dialler: Option<Place>,
        listener: Place,
        endpoint: &str,
        rules: Rules,
    ) -> Result<Self> {
        let between = Between {
            dialler,
            listener,
            rules,
        };
        Self::listen(endpoint, Some(between))
    }

    fn listen(endpoint: &str, between: Option<Between>) -> Result<Self> {
        let to = endpoint.strip_prefix("tcp://").context("not a tcp endpoint")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            to: Mutex::new(to.to_owned()),
            way: AtomicU8::new(0),
            refuses: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            streams: Mutex::default(),
            between,
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for inward in listener.incoming().map_while(Result::ok) {
                if accepting.ended.load(Ordering::Acquire) {
                    return;
                }
                accepting.open(inward);
            }
        });
        Ok(Self { port, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// From now on passes bytes on that way.
    pub fn set_way(&self, way: Way) {
        self.shared.way.store(way as u8, Ordering::Release);
    }

    /// Breaks all connections, and takes none until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.shared.refuses.store(true, Ordering::Release);
        self.shared.break_all();
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.shared.refuses.store(false, Ordering::Release);
        self.set_way(Way::Whole);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.break_all();
        // Wakes the thread that accepts, so that it ends.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn open(self: &Arc<Self>, inward: TcpStream) {
        if self.refuses.load(Ordering::Acquire) {
            return;
        }
        let to = self.to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Ok(outward) = TcpStream::connect(to) else {
            return;
        };
        let pair = (inward.try_clone(), outward.try_clone());
        let (Ok(inward_too), Ok(outward_too)) = pair else {
            return;
        };
        let _ = (inward.set_nodelay(true), outward.set_nodelay(true));
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.extend(
            [&inward, &outward]
                .into_iter()
                .filter_map(|stream| stream.try_clone().ok()),
        );
        drop(streams);
        let connection = Arc::new(Connection {
            shared: Arc::clone(self),
            dialler: OnceLock::new(),
        });
        if let Some(dialler) = self.between.as_ref().and_then(|between| between.dialler) {
            // It is new: nobody has set it.
            let _ = connection.dialler.set(dialler);
        }
        let too = Arc::clone(&connection);
        thread::spawn(move || connection.pass_on(inward, outward, true));
        thread::spawn(move || too.pass_on(outward_too, inward_too, false));
    }

    fn break_all(&self) {
        for stream in self
            .streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn way(&self) -> Way {
        WAYS[usize::from(self.way.load(Ordering::Acquire)) % WAYS.len()]
    }

    fn may_hold(&self) -> bool {
        !self.ended.load(Ordering::Acquire) && !self.refuses.load(Ordering::Acquire)
    }
}

impl Connection {
    /// Whether that way is cut now.
    fn is_cut(&self, inward: bool) -> bool {
        let (Some(between), Some(&dialler)) = (&self.shared.between, self.dialler.get()) else {
            return false;
        };
        if inward {
            between.rules.is_cut(dialler, between.listener)
        } else {
            between.rules.is_cut(between.listener, dialler)
        }
    }

    /// Waits while nothing goes through, not even the end of the connection.
    fn hold(&self, inward: bool) {
        while (self.shared.way() == Way::Hold || self.is_cut(inward)) && self.shared.may_hold() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn pass_on(&self, mut from: TcpStream, mut into: TcpStream, inward: bool) {
        let mut bytes = vec![0; 64 << 10];
        let mut beginning = Vec::new();
        loop {
            if self.shared.way() == Way::Coalesce {
                thread::sleep(Duration::from_millis(5));
            }
            let count = match from.read(&mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            if let Some(between) = &self.shared.between
                && inward
                && self.dialler.get().is_none()
                && beginning.len() < BEGINNING_BYTES_MAX
            {
                beginning.extend_from_slice(&bytes[..count]);
                if let Some(dialler) = between.rules.dialler(&beginning) {
                    // Only this thread sets it.
                    let _ = self.dialler.set(dialler);
                }
            }
            self.hold(inward);
            let written = match self.shared.way() {
                Way::Dribble => bytes[..count]
                    .chunks(7)
                    .try_for_each(|piece| into.write_all(piece)),
                _ => into.write_all(&bytes[..count]),
            };
            if written.is_err() {
                break;
            }
        }
        if self.is_cut(inward) {
            self.hold(inward);
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = into.shutdown(Shutdown::Both);
    }
}
