//! Copies of a few bytes.

/// Copies a few bytes by words: to call a function for that would take longer than the copy. Both are equally long.
#[inline]
pub(crate) fn copy_short(into: &mut [u8], from: &[u8]) {
    let len = from.len();
    if len < 8 {
        for (into, from) in into.iter_mut().zip(from) {
            *into = *from;
        }
        return;
    }
    // Most are not even two words long, and need no loop.
    into[..8].copy_from_slice(&from[..8]);
    if len > 16 {
        for (into, from) in into[8..].chunks_exact_mut(8).zip(from[8..].chunks_exact(8)) {
            into.copy_from_slice(from);
        }
    }
    // The last word may overlap the one before it.
    into[len - 8..].copy_from_slice(&from[len - 8..]);
}

#[cfg(test)]
mod tests {
    use super::copy_short;

    #[test]
    fn every_length_is_copied_whole() {
        let from: Vec<u8> = (1..=100).collect();
        for len in 0..=from.len() {
            let mut into = vec![0; len];
            copy_short(&mut into, &from[..len]);
            assert_eq!(into, from[..len]);
        }
    }
}
