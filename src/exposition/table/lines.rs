//! The lines that a target has served, and the order in which they last came.
//!
//! A line is known by its key: a hash of what does not change in it, and how many bytes that is. Of a sample that is everything
//! before the value, of a comment all of it. The lines of the last good scrape lie in their order, so that reading a steady
//! body is a walk through one piece of memory. Which lines else there are, and where a line stands that came out of order, is
//! known to an index that exists only while a target is not steady: it is made when the first line is looked for, and goes
//! with the lines that are in no order once some scrapes came exactly as predicted.

use hashbrown::HashTable;

use crate::model::room;

/// What a known line is: in the highest bits its kind, in the others a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct What(u32);

const KIND_SHIFT: u32 = 28;
const NUMBER: u32 = (1 << KIND_SHIFT) - 1;
const HISTOGRAM: u32 = 1;
const TIMED: u32 = 2;
const DROPPED: u32 = 4;
const COMMENT: u32 = 5;
const BLOCK: u32 = 6;

/// Series, comments and blocks that a table can number. No target has as many: they would need ten gigabytes.
pub(super) const NUMBERS_MAX: usize = NUMBER as usize;

impl What {
    /// A sample that the relabelling dropped.
    pub(super) const DROPPED: Self = Self(DROPPED << KIND_SHIFT);

    /// A sample of a series: a float or a native histogram, with a time of its own that counts or without.
    #[inline]
    pub(super) fn sample(series: u32, is_histogram: bool, is_timed: bool) -> Self {
        let kind = if is_histogram { HISTOGRAM } else { 0 } | if is_timed { TIMED } else { 0 };
        Self(kind << KIND_SHIFT | series)
    }

    /// A comment, by number.
    pub(super) fn comment(number: u32) -> Self {
        Self(COMMENT << KIND_SHIFT | number)
    }

    fn block(number: u32) -> Self {
        Self(BLOCK << KIND_SHIFT | number)
    }

    /// The series, if this is a float without a time of its own.
    #[inline(always)]
    pub(super) fn is_plain(self) -> bool {
        self.0 <= NUMBER
    }

    /// The series of a sample.
    #[inline]
    pub(super) fn series(self) -> Option<u32> {
        (self.0 < DROPPED << KIND_SHIFT).then_some(self.0 & NUMBER)
    }

    pub(super) fn is_timed(self) -> bool {
        self.0 < DROPPED << KIND_SHIFT && self.0 >> KIND_SHIFT & TIMED != 0
    }

    pub(super) fn is_histogram(self) -> bool {
        self.0 < DROPPED << KIND_SHIFT && self.0 >> KIND_SHIFT & HISTOGRAM != 0
    }

    #[inline]
    pub(super) fn is_comment(self) -> bool {
        self.0 >> KIND_SHIFT >= COMMENT
    }

    /// The number of a comment.
    pub(super) fn comment_number(self) -> Option<u32> {
        (self.0 >> KIND_SHIFT == COMMENT).then_some(self.0 & NUMBER)
    }

    #[inline]
    fn block_number(self) -> Option<u32> {
        (self.0 >> KIND_SHIFT == BLOCK).then_some(self.0 & NUMBER)
    }
}

/// By what a line is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) hash: u64,
    /// Bytes that the hash is about.
    pub(super) len: u32,
}

/// A line, without what changes in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) hash: u64,
    pub(super) len: u32,
    pub(super) what: What,
}

impl Line {
    pub(super) fn new(key: Key, what: What) -> Self {
        Self { hash: key.hash, len: key.len, what }
    }

    #[inline]
    pub(super) fn is(&self, key: Key) -> bool {
        self.hash == key.hash && self.len == key.len
    }
}

/// Comments and the sample behind them, recognised by one hash over all of their bytes up to the sample's value. It stands in
/// the order instead of the first comment, whose own line it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// That of the line that stands for it, else it is another's by now.
    hash: u64,
    first: Line,
    /// How many lines it is, the sample's included.
    pub(super) lines: u32,
    /// The context that the comments lead to.
    pub(super) context: u32,
}

struct Known {
    line: Line,
    /// Where it stands in the order, if `Index::has_places`; checked before use.
    place: u32,
}

struct Index {
    lines: HashTable<Known>,
    has_places: bool,
}

/// How far ahead of the prediction a line is looked for before it is taken to have moved.
const LOOK_AHEAD: usize = 8;
/// After how many scrapes that came exactly as predicted a target counts as steady, once it was not.
const STEADY_SCRAPES: u32 = 2;
/// Lines that may be in no order before they are forgotten, beyond as many as are in it.
const GARBAGE_MIN: usize = 1024;

/// All lines remembered.
#[derive(Default)]
pub(super) struct Lines {
    /// The lines of the last good scrape.
    order: Vec<Line>,
    blocks: Vec<Block>,
    /// Which place of `order` is predicted to come next.
    cursor: usize,
    /// The lines of this scrape, once they differ from `order`.
    now: Vec<Line>,
    differs: bool,
    index: Option<Index>,
    /// Scrapes in a row that came exactly as predicted.
    steady: u32,
}

impl Lines {
    /// Bytes of memory that it has.
    pub(super) fn bytes(&self) -> usize {
        (self.order.capacity() + self.now.capacity()) * size_of::<Line>()
            + self.blocks.capacity() * size_of::<Block>()
            + self.index.as_ref().map_or(0, |index| index.lines.allocation_size())
    }

    /// Whether nothing is known, and no line is predicted.
    pub(super) fn are_none_known(&self) -> bool {
        self.order.is_empty() && self.index.is_none()
    }

    /// Makes room for so many lines.
    pub(super) fn make_room(&mut self, lines: usize) {
        room::in_list(&mut self.now, lines);
    }

    /// How many lines the last good scrape had.
    pub(super) fn order_len(&self) -> usize {
        self.order.len()
    }

    /// Whether this scrape has come as predicted up to now.
    #[inline]
    pub(super) fn is_even(&self) -> bool {
        !self.differs
    }

    /// Whether all that was predicted has come.
    pub(super) fn is_complete(&self) -> bool {
        self.cursor == self.order.len()
    }

    /// The lines that should come next.
    #[inline]
    pub(super) fn predicted(&self) -> &[Line] {
        &self.order[self.cursor..]
    }

    /// The lines that came as predicted, while the scrape is even.
    pub(super) fn came_so_far(&self) -> &[Line] {
        &self.order[..self.cursor]
    }

    /// The block of a line that stands for one.
    #[inline]
    pub(super) fn block(&self, line: &Line) -> Option<&Block> {
        self.blocks.get(line.what.block_number()? as usize).filter(|block| block.hash == line.hash)
    }

    /// The line that should come next, as it stands for itself.
    pub(super) fn predicted_line(&self) -> Option<Line> {
        Some(plain(&self.blocks, self.predicted().first()?))
    }

    /// How many lines of this scrape came again, at least.
    pub(super) fn repeats(&self) -> usize {
        match &self.index {
            Some(index) if self.differs => self.now.len().saturating_sub(index.lines.len()),
            _ => 0,
        }
    }

    /// The predicted line came, and not as a part of its block.
    pub(super) fn came_alone(&mut self) {
        if self.differs {
            self.now.push(plain(&self.blocks, &self.order[self.cursor]));
        }
        self.cursor += 1;
    }

    /// As many predicted lines came.
    #[inline]
    pub(super) fn came(&mut self, lines: usize) {
        if self.differs {
            self.now.extend_from_slice(&self.order[self.cursor..self.cursor + lines]);
        }
        self.cursor += lines;
    }

    /// As many lines, comments and then a sample, that have come alone and as predicted just now may come as one.
    pub(super) fn set_block(&mut self, key: Key, lines: usize, context: u32) {
        let at = self.cursor - lines;
        let first = plain(&self.blocks, &self.order[at]);
        let block = Block { hash: key.hash, first, lines: lines as u32, context };
        let number = match self.order[at].what.block_number() {
            Some(number) => {
                self.blocks[number as usize] = block;
                number
            }
            None if self.blocks.len() > NUMBERS_MAX => return,
            None => {
                self.blocks.push(block);
                self.blocks.len() as u32 - 1
            }
        };
        self.order[at] = Line::new(key, What::block(number));
        if self.differs {
            let came = self.now.len() - lines;
            self.now[came] = self.order[at];
        }
    }

    /// Finds a line that was not predicted.
    pub(super) fn find(&mut self, key: Key) -> Option<What> {
        // A first scrape has no line that could be known but those of the same body.
        if self.are_none_known() {
            return None;
        }
        let index = self.index.get_or_insert_with(|| Index::of(&self.order, &self.blocks));
        let is_it = |known: &Known| known.line.is(key);
        index.lines.find(key.hash, is_it).map(|known| known.line.what)
    }

    /// A known line came that was not predicted: the next prediction is what followed it.
    pub(super) fn came_instead(&mut self, line: Line) {
        self.differ();
        self.now.push(line);
        let mut ahead = self.predicted().iter().take(LOOK_AHEAD);
        let ahead = ahead.position(|held| plain(&self.blocks, held).hash == line.hash);
        let place = match ahead {
            Some(ahead) => Some(self.cursor + ahead),
            None => self.place(line.hash),
        };
        if let Some(place) = place {
            self.cursor = place + 1;
        }
    }

    /// A line came that was never seen.
    pub(super) fn add(&mut self, line: Line) {
        self.differ();
        self.now.push(line);
        if let Some(index) = &mut self.index {
            index.add(line, u32::MAX);
        }
    }

    /// The scrape is not as the one before.
    #[inline]
    pub(super) fn differ(&mut self) {
        if !self.differs {
            self.begin_anew();
        }
    }

    fn begin_anew(&mut self) {
        self.differs = true;
        self.now.clear();
        self.now.extend_from_slice(&self.order[..self.cursor]);
        // A block that came in part only, because a piece of the body ended in it, stands for what came of it.
        let comments = self.now.iter_mut().rev().take_while(|line| line.what.is_comment());
        comments.for_each(|line| *line = plain(&self.blocks, line));
    }

    /// The scrape was good: its order is the next one's prediction.
    pub(super) fn accept(&mut self) {
        if self.differs {
            // After its first scrape a target is taken for steady at once: thousands of them start within one interval, and what
            // they all had at the same time would leave the heap full of holes.
            self.steady = if self.order.is_empty() { STEADY_SCRAPES } else { 0 };
            std::mem::swap(&mut self.order, &mut self.now);
            if self.blocks.len() > 2 * self.order.len() + GARBAGE_MIN {
                self.renumber_blocks();
            }
            match &mut self.index {
                Some(index) if index.lines.len() > 2 * self.order.len() + GARBAGE_MIN => self.index = None,
                Some(index) => index.has_places = false,
                None => {}
            }
        } else {
            self.steady = self.steady.saturating_add(1);
        }
        self.restart();
    }

    /// Whether the target has just become steady.
    pub(super) fn has_settled(&self) -> bool {
        self.steady == STEADY_SCRAPES
    }

    /// Gives back the memory that a steady target does not need.
    pub(super) fn settle(&mut self) {
        self.index = None;
        self.now = Vec::new();
        self.renumber_blocks();
        self.order.shrink_to_fit();
        self.blocks.shrink_to_fit();
    }

    /// Starts at the first line again; what came since the last time is forgotten.
    pub(super) fn restart(&mut self) {
        self.cursor = 0;
        self.differs = false;
    }

    /// The lines of the last good scrape.
    pub(super) fn last(&self) -> impl Iterator<Item = Line> {
        self.order.iter().map(|line| plain(&self.blocks, line))
    }

    /// Forgets all lines but those of the last good scrape that `change` returns, changed by it.
    pub(super) fn compact(&mut self, change: impl Fn(Line) -> Option<Line>) {
        self.order = self.last().filter_map(change).collect();
        *self = Self { order: std::mem::take(&mut self.order), ..Self::default() };
    }

    /// Where a line stands in the order.
    fn place(&mut self, hash: u64) -> Option<usize> {
        let index = self.index.as_mut()?;
        if !index.has_places {
            index.set_places(&self.order, &self.blocks);
        }
        let place = index.lines.find(hash, |known| known.line.hash == hash)?.place as usize;
        let held = self.order.get(place)?;
        (plain(&self.blocks, held).hash == hash).then_some(place)
    }

    fn renumber_blocks(&mut self) {
        let mut kept = Vec::new();
        for line in &mut self.order {
            if let Some(number) = line.what.block_number() {
                line.what = What::block(kept.len() as u32);
                kept.push(self.blocks[number as usize]);
            }
        }
        self.blocks = kept;
    }
}

impl Index {
    fn of(order: &[Line], blocks: &[Block]) -> Self {
        let mut index = Self { lines: HashTable::with_capacity(order.len() + order.len() / 8), has_places: true };
        for (place, line) in order.iter().enumerate() {
            index.add(plain(blocks, line), place as u32);
        }
        index
    }

    fn add(&mut self, line: Line, place: u32) {
        let entry = self.lines.entry(line.hash, |known| known.line.hash == line.hash, |known| known.line.hash);
        entry.or_insert(Known { line, place });
    }

    fn set_places(&mut self, order: &[Line], blocks: &[Block]) {
        for (place, line) in order.iter().enumerate() {
            let hash = plain(blocks, line).hash;
            if let Some(known) = self.lines.find_mut(hash, |known| known.line.hash == hash) {
                known.place = place as u32;
            }
        }
        self.has_places = true;
    }
}

/// A line as it stands for itself.
fn plain(blocks: &[Block], line: &Line) -> Line {
    match line.what.block_number() {
        Some(number) => blocks[number as usize].first,
        None => *line,
    }
}
