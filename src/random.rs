//! Random delays. Not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A random duration in `[0, limit)`; zero for a zero limit.
pub fn below(limit: Duration) -> Duration {
    // Each `RandomState` of a thread has other keys, seeded by the system's random source.
    let random = RandomState::new().build_hasher().finish();
    limit.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}
