//! The lines that a target has served, and the order in which they last came.
//!
//! A line is known by a keyed hash of what does not change in it: of a sample everything before the value, of a comment all
//! of it. The order predicts which line comes next; the index finds a line that came out of order, and the prediction goes
//! on behind it, so that lines that were added, removed or moved cost a look-up each and no more.

use hashbrown::HashTable;

use super::intern::NONE;

/// What a known line is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    /// A sample of a series.
    Series { series: u32, slot: u32 },
    /// A sample that the relabelling dropped.
    Dropped,
    /// A `# HELP` or `# TYPE`, by number.
    Comment(u32),
}

/// A line, without what changes in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) hash: u64,
    /// Bytes that the hash is about.
    pub(super) len: u32,
    pub(super) known: Known,
}

/// Comments and the sample behind them, recognised by one hash over all of their bytes up to the sample's value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Seeded by the context before the first comment.
    pub(super) hash: u64,
    /// Bytes that the hash is about.
    pub(super) len: u32,
    /// How many lines it is, the sample's included.
    pub(super) lines: u32,
    /// The sample's line.
    pub(super) sample: u32,
    /// The context that the comments lead to.
    pub(super) context: u32,
}

/// How far ahead of the prediction a line is looked for before it is taken to have moved.
const LOOK_AHEAD: usize = 8;

/// All lines remembered.
#[derive(Default)]
pub(super) struct Lines {
    lines: Vec<Line>,
    index: HashTable<u32>,
    /// The lines of the last good scrape, in order.
    order: Vec<u32>,
    /// For each line its place in `order`; checked before use.
    places: Vec<u32>,
    blocks: Vec<Block>,
    /// For each line the block that starts with it, or [`NONE`].
    block_of: Vec<u32>,
    /// Which place of `order` is predicted to come next.
    cursor: usize,
    /// The lines of this scrape, once they differ from `order`.
    now: Vec<u32>,
    differs: bool,
}

impl Lines {
    /// How many lines are remembered.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// How many lines the last good scrape had.
    /// Bytes of memory that it has.
    pub(super) fn bytes(&self) -> usize {
        let numbers = [&self.order, &self.places, &self.block_of, &self.now];
        self.lines.capacity() * size_of::<Line>()
            + self.index.allocation_size()
            + self.blocks.capacity() * size_of::<Block>()
            + numbers.iter().map(|numbers| numbers.capacity() * size_of::<u32>()).sum::<usize>()
    }

    pub(super) fn order_len(&self) -> usize {
        self.order.len()
    }

    /// The line that should come next.
    #[inline]
    pub(super) fn predicted(&self) -> Option<&Line> {
        self.lines.get(*self.order.get(self.cursor)? as usize)
    }

    /// The number of the line that should come next.
    pub(super) fn predicted_number(&self) -> Option<u32> {
        self.order.get(self.cursor).copied()
    }

    /// The block that should come next, and the sample at its end.
    #[inline]
    pub(super) fn predicted_block(&self) -> Option<(Block, Known)> {
        let first = *self.order.get(self.cursor)?;
        let block = *self.blocks.get(*self.block_of.get(first as usize)? as usize)?;
        let sample = *self.order.get(self.cursor + block.lines as usize - 1)?;
        (sample == block.sample).then(|| (block, self.lines[sample as usize].known))
    }

    /// Remembers the block that starts with the line `first`, instead of one that it had.
    pub(super) fn set_block(&mut self, first: u32, block: Block) {
        let held = &mut self.block_of[first as usize];
        match self.blocks.get_mut(*held as usize) {
            Some(old) => *old = block,
            None => {
                *held = self.blocks.len() as u32;
                self.blocks.push(block);
            }
        }
    }

    /// As many predicted lines came.
    #[inline]
    pub(super) fn came(&mut self, lines: usize) {
        if self.differs {
            self.now.extend_from_slice(&self.order[self.cursor..self.cursor + lines]);
        }
        self.cursor += lines;
    }

    /// Finds a line that was not predicted.
    pub(super) fn find(&self, hash: u64, len: usize) -> Option<u32> {
        let is_it = |&at: &u32| {
            let line = &self.lines[at as usize];
            line.hash == hash && line.len as usize == len
        };
        self.index.find(hash, is_it).copied()
    }

    /// The line with this number.
    pub(super) fn get(&self, line: u32) -> &Line {
        &self.lines[line as usize]
    }

    /// A known line came that was not predicted: the next prediction is what followed it.
    pub(super) fn came_instead(&mut self, line: u32) {
        self.differ();
        self.now.push(line);
        let ahead = self.order[self.cursor..].iter().take(LOOK_AHEAD).position(|&held| held == line);
        let place = self.places[line as usize] as usize;
        if let Some(ahead) = ahead {
            self.cursor += ahead + 1;
        } else if self.order.get(place) == Some(&line) {
            self.cursor = place + 1;
        }
    }

    /// A line came that was never seen.
    pub(super) fn add(&mut self, line: Line) {
        self.differ();
        let at = self.lines.len() as u32;
        self.now.push(at);
        self.places.push(NONE);
        self.block_of.push(NONE);
        self.lines.push(line);
        self.index.insert_unique(line.hash, at, |&held| self.lines[held as usize].hash);
    }

    fn differ(&mut self) {
        if !self.differs {
            self.differs = true;
            self.now.clear();
            self.now.extend_from_slice(&self.order[..self.cursor]);
        }
    }

    /// The scrape was good: its order is the next one's prediction.
    pub(super) fn accept(&mut self) {
        if self.differs {
            std::mem::swap(&mut self.order, &mut self.now);
            for (place, &line) in self.order.iter().enumerate() {
                self.places[line as usize] = place as u32;
            }
        } else {
            self.order.truncate(self.cursor);
        }
        self.restart();
    }

    /// Starts at the first line again; what came since the last time is forgotten.
    pub(super) fn restart(&mut self) {
        self.cursor = 0;
        self.differs = false;
    }

    /// The lines of the last good scrape.
    pub(super) fn last(&self) -> impl Iterator<Item = &Line> {
        self.order.iter().map(|&line| self.get(line))
    }

    /// Forgets all lines but those of the last good scrape that `change` returns, changed by it.
    pub(super) fn compact(&mut self, change: impl Fn(&Line) -> Option<Line>) {
        let mut numbers = vec![NONE; self.lines.len()];
        let mut kept = Self::default();
        for &line in &self.order {
            let number = &mut numbers[line as usize];
            if *number == NONE {
                let Some(changed) = change(&self.lines[line as usize]) else { continue };
                *number = kept.lines.len() as u32;
                kept.add(changed);
            } else {
                kept.now.push(*number);
            }
        }
        kept.accept();
        *self = kept;
    }
}
