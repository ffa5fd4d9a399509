//! The keyed hash by which lines, comments and contexts are known again.

use std::hash::BuildHasher;

/// Hashes text with a secret of this table.
///
/// Eight bytes are taken to a number at a time, and pairs of them multiplied to 128 bits whose halves are folded, as wyhash and
/// foldhash do. It is keyed by 256 random bits, so that a target cannot choose text that collides. Two given texts collide with
/// a probability of about 2⁻⁶⁴: a target with 100,000 lines that are all new at every scrape, every second, would see one line
/// mistaken for another about once in ten thousand years.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    secret: [u64; 3],
    seed: u64,
}

impl Keys {
    pub(super) fn new() -> Self {
        // The one hasher of the standard library, whose keys are from the system.
        let random = std::hash::RandomState::new();
        let word = |number: u64| random.hash_one(number);
        Self { secret: [word(1), word(2), word(3)], seed: word(0) }
    }

    #[inline(always)]
    pub(super) fn hash(&self, seed: u64, bytes: &[u8]) -> u64 {
        let [first, second, third] = self.secret;
        let (mut a, mut b) = (seed ^ first, seed ^ second);
        if bytes.len() <= 16 {
            let (low, high) = short(bytes);
            return fold(low ^ a, high ^ b);
        }
        if let Some(last) = bytes.last_chunk::<32>() {
            // All but the last bytes, which are taken from the end, some of them perhaps once more.
            for block in bytes[..bytes.len() - 1].as_chunks::<32>().0 {
                a = fold(word(block, 0) ^ a, word(block, 8) ^ third);
                b = fold(word(block, 16) ^ b, word(block, 24) ^ third);
            }
            a = fold(word(last, 0) ^ a, word(last, 8) ^ first);
            b = fold(word(last, 16) ^ b, word(last, 24) ^ first);
        } else if let (Some(begin), Some(last)) = (bytes.first_chunk::<16>(), bytes.last_chunk::<16>()) {
            a = fold(word(begin, 0) ^ a, word(begin, 8) ^ second);
            b = fold(word(last, 0) ^ b, word(last, 8) ^ third);
        }
        a ^ b.rotate_left(32)
    }

    /// Puts two hashes together.
    pub(super) fn join(&self, one: u64, other: u64) -> u64 {
        fold(one ^ self.secret[0], other ^ self.secret[1])
    }

    /// The seed of what depends on no context.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline(always)]
fn word<const N: usize>(block: &[u8; N], at: usize) -> u64 {
    block[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Up to sixteen bytes as two numbers. Texts of different length may be the same numbers: whoever compares, compares lengths.
#[inline(always)]
fn short(bytes: &[u8]) -> (u64, u64) {
    if let (Some(low), Some(high)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (u64::from_le_bytes(*low), u64::from_le_bytes(*high))
    } else if let (Some(low), Some(high)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (u64::from(u32::from_le_bytes(*low)), u64::from(u32::from_le_bytes(*high)))
    } else {
        let at = |place: usize| u64::from(bytes.get(place).copied().unwrap_or_default());
        (at(0) | at(1) << 8 | at(2) << 16, bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts() {
        let keys = Keys::new();
        let mut seen = std::collections::HashSet::new();
        let mut text: Vec<u8> = (0..200u8).collect();
        for len in 0..text.len() {
            assert!(seen.insert((len, keys.hash(1, &text[..len]))));
            for at in 0..len {
                text[at] ^= 0x80;
                assert!(seen.insert((len, keys.hash(1, &text[..len]))), "byte {at} of {len}");
                text[at] ^= 0x80;
            }
            assert!(seen.insert((len, keys.hash(2, &text[..len]))), "the seed counts too");
        }
    }
}
