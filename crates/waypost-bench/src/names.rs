//! Addresses of the clients, and which one comes next.

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
    fn random_numbers_cover_the_range_and_stay_in_it() {
        let mut random = Random::new(7);
        let mut seen = [0; 10];
        for _ in 0..10_000 {
            seen[random.below(10)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
    }
}
