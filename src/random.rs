//! Random delays and names. Not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A random duration in `[0, limit)`; zero for a zero limit.
pub fn below(limit: Duration) -> Duration {
    limit.mul_f64((bits() >> 11) as f64 / (1u64 << 53) as f64)
}

/// Puts items into a random order.
pub fn shuffle<T>(items: &mut [T]) {
    for at in (1..items.len()).rev() {
        items.swap(at, (bits() % (at as u64 + 1)) as usize);
    }
}

/// A GUID, version 4 (RFC 9562), in lower case.
pub fn guid() -> String {
    let (high, low) = (bits() & !0xf000 | 0x4000, bits() & !(0b11 << 62) | 0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low << 16 >> 16
    )
}

/// Any number.
pub fn number() -> u16 {
    bits() as u16
}

fn bits() -> u64 {
    // Each `RandomState` of a thread has other keys, seeded by the system's random source.
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_keeps_all_and_makes_each_the_first_one() {
        let mut firsts = std::collections::BTreeSet::new();
        while firsts.len() < 3 {
            let mut items = [1, 2, 3];
            shuffle(&mut items);
            firsts.insert(items[0]);
            items.sort_unstable();
            assert_eq!(items, [1, 2, 3]);
        }
    }

    #[test]
    fn a_guid_says_its_version_and_is_not_made_twice() {
        let made = guid();
        let parts: Vec<usize> = made.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{made}");
        assert!(made.as_bytes()[14] == b'4' && b"89ab".contains(&made.as_bytes()[19]), "{made}");
        assert!(made.bytes().all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{made}");
        assert_ne!(made, guid());
    }
}
