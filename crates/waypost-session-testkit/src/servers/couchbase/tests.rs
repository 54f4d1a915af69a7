//! Our own documents are held to what `memcached` answers, which is not ours.

use std::time::{Duration, Instant};

use super::documents::Documents;
use super::frame::{Answer, Request};
use super::memcached::Link;
use super::opcode::{self, status};
use super::options::Manners;
use crate::Rng;

const STEPS: usize = 4000;
const TEXTS: [&[u8]; 3] = [b"a", b"b", b"\x00\xff"];
const NUMBERS: [&[u8]; 2] = [b"n", b"m"];

/// One place where documents are, asked by one client.
struct Side {
    documents: Documents,
    link: Option<Link>,
}

impl Side {
    async fn start(in_memcached: bool) -> Self {
        Self {
            documents: Documents::start(in_memcached, Manners::Server).await.unwrap(),
            link: None,
        }
    }

    async fn ask(&mut self, key: &[u8], request: &Request) -> Answer {
        self.documents
            .serve(&mut self.link, (0, key.to_vec()), request)
            .await
    }

    /// The version that stands there; 0 for none.
    async fn version(&mut self, key: &[u8]) -> u64 {
        self.ask(
            key,
            &Request {
                opcode: opcode::GET,
                ..Request::default()
            },
        )
        .await
        .cas
    }
}

/// Which version a request names.
#[derive(Debug, Clone, Copy)]
enum Version {
    None,
    Standing,
    Other,
}

impl Version {
    const fn of(self, standing: u64) -> u64 {
        match self {
            Self::None => 0,
            Self::Standing if standing != 0 => standing,
            Self::Standing | Self::Other => standing ^ 1 << 40,
        }
    }
}

/// What must be the same on both sides: versions are everybody's own.
fn comparable(opcode: u8, mut answer: Answer) -> Answer {
    answer.cas = 0;
    if opcode == opcode::GET_META && answer.status == status::OK {
        answer.extras[12..20].fill(0);
    }
    if matches!(opcode, opcode::GET | opcode::GET_AND_TOUCH) {
        // A number that has become shorter keeps its length there, filled with spaces.
        while answer.value.last() == Some(&b' ') {
            answer.value.pop();
        }
    }
    answer
}

fn store(rng: &mut Rng, value: &[u8]) -> Request {
    let opcode = [opcode::SET, opcode::ADD, opcode::REPLACE][rng.below(3)];
    let flags = [0_u32, 3 << 24][rng.below(2)].to_be_bytes();
    let expiry = [0_u32, 3600, 4_000_000_000][rng.below(3)].to_be_bytes();
    Request {
        opcode,
        extras: [flags, expiry].concat(),
        value: value.to_vec(),
        ..Request::default()
    }
}

/// `may_make` says that a number may be made where there is none.
fn count(rng: &mut Rng, may_make: bool) -> Request {
    let number = |number: u64| number.to_be_bytes().to_vec();
    let expiry = if may_make && rng.below(2) == 0 {
        0
    } else {
        u32::MAX
    };
    let expiry = expiry.to_be_bytes().to_vec();
    Request {
        opcode: [opcode::INCREMENT, opcode::DECREMENT][rng.below(2)],
        extras: [number(rng.next() % 50), number(rng.next() % 50), expiry].concat(),
        ..Request::default()
    }
}

fn plain(opcode: u8) -> Request {
    Request {
        opcode,
        extras: match opcode {
            opcode::TOUCH | opcode::GET_AND_TOUCH => 3600_u32.to_be_bytes().to_vec(),
            opcode::GET_META => vec![2],
            _ => Vec::new(),
        },
        ..Request::default()
    }
}

/// A request for a text, or for a number.
fn draw(rng: &mut Rng) -> (&'static [u8], Request) {
    let about_text = rng.below(3) > 0;
    let key = if about_text {
        TEXTS[rng.below(TEXTS.len())]
    } else {
        NUMBERS[rng.below(NUMBERS.len())]
    };
    let value: &[u8] = if about_text { b"text" } else { b"41" };
    let request = match rng.below(10) {
        0..=2 => store(rng, value),
        3 => plain(opcode::DELETE),
        4 => plain([opcode::TOUCH, opcode::GET_AND_TOUCH][rng.below(2)]),
        5 => plain(opcode::GET_META),
        6..=7 if about_text => Request {
            opcode: [opcode::APPEND, opcode::PREPEND][rng.below(2)],
            value: b"more".to_vec(),
            ..Request::default()
        },
        // A text is never made a number: to one that has become shorter `memcached` appends behind the spaces that fill it, and
        // Couchbase Server does not fill.
        6..=8 => count(rng, !about_text),
        _ => plain(opcode::GET),
    };
    (key, request)
}

#[tokio::test]
async fn random_requests_are_answered_as_memcached_answers_them() {
    let (mut own, mut other) = (Side::start(false).await, Side::start(true).await);
    let seed = Rng::fresh_seed();
    let mut rng = Rng::new(seed);
    for step in 0..STEPS {
        let (key, mut request) = draw(&mut rng);
        let version = match request.opcode {
            // No client names one here.
            opcode::ADD | opcode::INCREMENT | opcode::DECREMENT => Version::None,
            opcode::SET | opcode::REPLACE | opcode::DELETE | opcode::APPEND | opcode::PREPEND => {
                [Version::None, Version::Standing, Version::Other][rng.below(3)]
            }
            _ => Version::None,
        };
        let before = (own.version(key).await, other.version(key).await);
        request.cas = version.of(before.0);
        let ours = comparable(request.opcode, own.ask(key, &request).await);
        request.cas = version.of(before.1);
        let theirs = comparable(request.opcode, other.ask(key, &request).await);
        let what = format!("seed {seed}, step {step}: {request:?} on {key:?} with version {version:?}");
        assert_eq!(ours, theirs, "{what}");
        let after = (own.version(key).await, other.version(key).await);
        if !matches!(request.opcode, opcode::TOUCH | opcode::GET_AND_TOUCH) {
            let changed = (before.0 != after.0, before.1 != after.1);
            assert_eq!(changed.0, changed.1, "{what}: a new version");
        }
    }
}

#[tokio::test]
async fn documents_expire_as_in_memcached_and_make_room_for_new_ones() {
    let (mut own, mut other) = (Side::start(false).await, Side::start(true).await);
    for (side, name) in [(&mut own, "own"), (&mut other, "memcached")] {
        let add = |expiry: u32| Request {
            opcode: opcode::ADD,
            extras: [[0; 4], expiry.to_be_bytes()].concat(),
            value: b"x".to_vec(),
            ..Request::default()
        };
        assert_eq!(side.ask(b"k", &add(2)).await.status, status::OK, "{name}");
        assert_eq!(side.ask(b"k", &add(2)).await.status, status::EXISTS, "{name}");
        let start = Instant::now();
        while side.version(b"k").await != 0 {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{name}: it does not expire"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Clocks of whole seconds may be up to one short.
        assert!(
            start.elapsed() > Duration::from_millis(900),
            "{name}: {:?}",
            start.elapsed()
        );
        assert_eq!(side.ask(b"k", &add(0)).await.status, status::OK, "{name}");
    }
}
