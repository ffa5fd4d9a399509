//! How long a body will be, by the one before it: asked for at once, its memory is neither copied nor asked for twice over.

/// Memory that is asked for beforehand, at most: one sample with a long text says nothing of thousands that come after it.
const BYTES_MAX: usize = 8 << 20;

/// What is expected of the next body; kept in the cache of a lane.
#[derive(Debug, Default)]
pub(super) struct Expected {
    bytes_a_sample: usize,
}

impl Expected {
    /// Bytes of a body of so many samples, and a little more.
    pub fn bytes(&self, samples: u64) -> usize {
        let a_sample = self.bytes_a_sample.saturating_add(self.bytes_a_sample / 16);
        a_sample.saturating_mul(usize::try_from(samples).unwrap_or(usize::MAX)).min(BYTES_MAX)
    }

    /// Notes what a body of so many samples came to, where there are any.
    pub fn note(&mut self, bytes: usize, samples: usize) {
        if samples > 0 {
            self.bytes_a_sample = bytes.div_ceil(samples);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_sample_does_not_ask_for_memory_for_thousands() {
        let mut expected = Expected::default();
        assert_eq!(expected.bytes(1000), 0);
        expected.note(16_000, 100);
        expected.note(0, 0);
        assert_eq!(expected.bytes(1000), 170_000);
        expected.note(1 << 20, 1);
        assert_eq!((expected.bytes(1), expected.bytes(10_000)), ((1 << 20) + (1 << 16), BYTES_MAX));
    }
}
