//! What is written of a chunk again and again, as it stands in a message: a steady series costs copies of this.
//!
//! It is kept for each distinct label, name and family, not for each series: many series share them, and a rendered series would be
//! ten times as large as the one in the chunk.

use crate::model::{Chunk, METRIC_NAME, SeriesRef};

/// Pieces of a message, by number.
#[derive(Default)]
pub(super) struct Pieces {
    text: Vec<u8>,
    ends: Vec<u32>,
}

impl Pieces {
    /// One for each number below `count`, as it is written.
    pub fn each(count: usize, mut write: impl FnMut(&mut Vec<u8>, u32)) -> Self {
        let mut pieces = Self { text: Vec::new(), ends: Vec::with_capacity(count) };
        for number in 0..count as u32 {
            write(&mut pieces.text, number);
            pieces.ends.push(pieces.text.len() as u32);
        }
        pieces.text.shrink_to_fit();
        pieces
    }

    /// The piece with this number, which must be below their count.
    #[inline]
    pub fn get(&self, number: u32) -> &[u8] {
        let at = number as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start as usize..self.ends[at] as usize]
    }

    /// Writes the pieces with these numbers. Those of consecutive numbers stand one behind the other, and a chunk gives the labels
    /// that come together consecutive numbers: they are few copies.
    #[inline]
    fn write(&self, out: &mut Vec<u8>, numbers: &[u32]) {
        for run in numbers.chunk_by(|left, right| left.wrapping_add(1) == *right) {
            let (first, last) = (run[0] as usize, run[run.len() - 1] as usize);
            let start = if first == 0 { 0 } else { self.ends[first - 1] };
            out.extend_from_slice(&self.text[start as usize..self.ends[last] as usize]);
        }
    }

    /// How long the pieces with these numbers are.
    #[inline]
    fn len(&self, numbers: &[u32]) -> usize {
        let start = |number: u32| if number == 0 { 0 } else { self.ends[number as usize - 1] };
        numbers.iter().map(|&number| (self.ends[number as usize] - start(number)) as usize).sum()
    }
}

/// The pieces of one chunk.
#[derive(Default)]
pub(super) struct Rendered {
    pub chunk: u64,
    /// By the number of the metric: its name, as a label.
    pub names: Pieces,
    /// By the number of the pair.
    pub pairs: Pieces,
    /// By the number of the pair, whether its name stands before that of the metric's; empty where that is so of none.
    before: Vec<bool>,
    /// By the number of the family: its metadata. Empty where they are not a part of series.
    pub families: Pieces,
}

impl Rendered {
    /// Of this chunk, with these pieces.
    pub fn new(chunk: &Chunk, names: Pieces, pairs: Pieces, families: Pieces) -> Self {
        let is_before = |pair| chunk.pair(pair).0 < METRIC_NAME;
        let pair_numbers = 0..chunk.pairs() as u32;
        let has_any = pair_numbers.clone().any(is_before);
        let before = if has_any { pair_numbers.map(is_before).collect() } else { Vec::new() };
        Self { chunk: chunk.id(), names, pairs, before, families }
    }

    /// How long all labels of a series are.
    #[inline]
    pub fn labels_len(&self, series: SeriesRef<'_>) -> usize {
        self.names.get(series.metric_number()).len() + self.pairs.len(series.pairs())
    }

    /// Writes all labels of a series, in the order of their names.
    #[inline]
    pub fn labels(&self, out: &mut Vec<u8>, series: SeriesRef<'_>) {
        let pairs = series.pairs();
        let is_before = |pair: &&u32| self.before.get(**pair as usize) == Some(&true);
        // Labels are sorted: those before the name are the first.
        let split = if self.before.is_empty() { 0 } else { pairs.iter().take_while(is_before).count() };
        self.pairs.write(out, &pairs[..split]);
        out.extend_from_slice(self.names.get(series.metric_number()));
        self.pairs.write(out, &pairs[split..]);
    }
}

/// What is rendered of some chunks, in the order in which they are used.
#[derive(Default)]
pub(super) struct Shelf {
    pub chunks: Vec<Rendered>,
}

impl Shelf {
    /// What is rendered of a chunk. `at` is where the last one was found.
    #[inline]
    pub fn of(&self, chunk: &Chunk, at: &mut usize) -> Option<&Rendered> {
        let is_it = |rendered: &Rendered| rendered.chunk == chunk.id();
        if !self.chunks.get(*at).is_some_and(is_it) {
            let behind = self.chunks.iter().skip(*at).position(is_it).map(|found| found + *at);
            *at = behind.or_else(|| self.chunks.iter().position(is_it))?;
        }
        self.chunks.get(*at)
    }
}
