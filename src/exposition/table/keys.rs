//! The keyed hash by which lines, comments and contexts are known again.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

/// Hashes text with a secret of this process.
///
/// Foldhash spreads well and is keyed by 64 random bits a process and 64 more a table, so that a target cannot choose text
/// that collides. Two given texts collide with a probability of about 2⁻⁶⁴: a target with 100,000 lines that are all new at
/// every scrape, every second, would see one line mistaken for another about once in ten thousand years.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    shared: &'static SharedSeed,
    seed: u64,
}

impl Keys {
    pub(super) fn new() -> Self {
        use std::hash::BuildHasher;
        let seed = foldhash::quality::RandomState::default().hash_one(0u8);
        Self { shared: SharedSeed::global_random(), seed }
    }

    #[inline]
    pub(super) fn hash(&self, seed: u64, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher(seed);
        hasher.write(bytes);
        hasher.finish()
    }

    #[inline]
    pub(super) fn hasher(&self, seed: u64) -> FoldHasher<'static> {
        FoldHasher::with_seed(seed, self.shared)
    }

    /// The seed of what depends on no context.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }
}
