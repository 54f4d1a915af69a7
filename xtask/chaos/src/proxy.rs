//! A TCP proxy between two processes: passes bytes on, cuts them up, holds them back, or breaks the link.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

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
}

impl Proxy {
    /// Listens on a free port and passes on to a `tcp://` endpoint.
    ///
    /// # Errors
    /// From the system, or when the endpoint is none.
    pub fn start(endpoint: &str) -> Result<Self> {
        let to = endpoint.strip_prefix("tcp://").context("not a tcp endpoint")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            to: Mutex::new(to.to_owned()),
            way: AtomicU8::new(0),
            refuses: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            streams: Mutex::default(),
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
        for (from, into) in [(inward, outward), (outward_too, inward_too)] {
            let shared = Arc::clone(self);
            thread::spawn(move || shared.pass_on(from, into));
        }
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

    fn pass_on(&self, mut from: TcpStream, mut into: TcpStream) {
        let mut bytes = vec![0; 64 << 10];
        loop {
            if self.way() == Way::Coalesce {
                thread::sleep(Duration::from_millis(5));
            }
            let count = match from.read(&mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            while self.way() == Way::Hold
                && !self.ended.load(Ordering::Acquire)
                && !self.refuses.load(Ordering::Acquire)
            {
                thread::sleep(Duration::from_millis(5));
            }
            let written = match self.way() {
                Way::Dribble => bytes[..count]
                    .chunks(7)
                    .try_for_each(|piece| into.write_all(piece)),
                _ => into.write_all(&bytes[..count]),
            };
            if written.is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = into.shutdown(Shutdown::Both);
    }
}
