//! Addresses of the clients, and which one comes next.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Every address has this many bytes.
pub(crate) const LEN_BYTES: usize = 10;

/// The addresses of one server's clients: `b/00000017`. One block of memory, so that all systems pay the same for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    text: String,
}

impl Names {
    pub(crate) fn new(side: char, count: usize) -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(count * LEN_BYTES);
        for number in 0..count {
            // Writing to a string cannot fail.
            let _ = write!(text, "{side}/{number:08}");
        }
        Self { text }
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len() / LEN_BYTES
    }

    pub(crate) fn get(&self, at: usize) -> &str {
        &self.text[at * LEN_BYTES..(at + 1) * LEN_BYTES]
    }
}

/// Who sends to whom, drawn before anything is measured: a look-up in a table of a million addresses at random takes longer than
/// most of what is to be measured, and is not the systems' work.
#[derive(Debug)]
pub(crate) struct Pairs {
    /// For each message the sender's address and then the receiver's.
    text: String,
    next: AtomicUsize,
}

/// At least so many pairs, and as many as there are clients.
const PAIRS_MIN: usize = 1 << 16;

impl Pairs {
    /// Between the first `senders` of `from` and the first `targets` of `to`.
    pub(crate) fn new([from, to]: [&Names; 2], senders: usize, targets: usize, random: &mut Random) -> Self {
        let count = targets.max(PAIRS_MIN);
        let mut text = String::with_capacity(count * 2 * LEN_BYTES);
        for _ in 0..count {
            text.push_str(from.get(random.below(senders)));
            text.push_str(to.get(random.below(targets)));
        }
        let next = AtomicUsize::new(0);
        Self { text, next }
    }

    /// The next one; after the last comes the first. One task at a time calls this.
    pub(crate) fn next(&self) -> (&str, &str) {
        let at = self.next.load(Relaxed);
        let end = at + 2 * LEN_BYTES;
        self.next
            .store(if end < self.text.len() { end } else { 0 }, Relaxed);
        let (from, to) = (at..at + LEN_BYTES, at + LEN_BYTES..at + 2 * LEN_BYTES);
        (&self.text[from], &self.text[to])
    }
}

/// A small generator, the same for all systems (xorshift64*).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from((word * bound as u64) >> 32).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered() {
        let names = Names::new('b', 12);
        assert_eq!(names.len(), 12);
        assert_eq!(names.get(11), "b/00000011");
    }

    #[test]
    fn pairs_go_round_and_are_between_those_that_are_named() {
        let (from, to) = (Names::new('a', 3), Names::new('b', 100));
        let pairs = Pairs::new([&from, &to], 2, 100, &mut Random::new(7));
        let count = pairs.text.len() / (2 * LEN_BYTES);
        let first: Vec<_> = (0..count)
            .map(|_| {
                let (from, to) = pairs.next();
                (from.to_owned(), to.to_owned())
            })
            .collect();
        assert!(
            first
                .iter()
                .all(|(from, to)| from < &"a/00000002".to_owned() && to.starts_with("b/"))
        );
        let again: Vec<_> = (0..count)
            .map(|_| {
                let (from, to) = pairs.next();
                (from.to_owned(), to.to_owned())
            })
            .collect();
        assert_eq!(first, again);
    }

    #[test]
    fn random_numbers_cover_the_range_and_stay_in_it() {
        let mut random = Random::new(7);
        let mut seen = [0; 10];
        for _ in 0..10_000 {
            seen[random.below(10)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
    }
}
