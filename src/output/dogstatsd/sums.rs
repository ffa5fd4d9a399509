//! Gauges that are the sum of several samples of one scrape, such as what is free and what is taken of a machine's memory.
//!
//! What is added up has the same labels, and comes to the same name: a batch is never divided between such samples. It stays one item, with the lines that its samples have
//! themselves: so it is sent, sent again and read back from disk as a whole, or not at all. A sample that has no number spoils
//! the sum, which is not sent then.

use std::collections::HashMap;

/// The sums of the slice that is being written.
#[derive(Default)]
pub struct Sums {
    sums: Vec<Sum>,
    by_line: HashMap<(u64, Vec<u8>), usize>,
}

/// One sum so far.
#[derive(Default)]
pub struct Sum {
    /// Its line, the value missing.
    line: Vec<u8>,
    /// Where the value belongs.
    value_at: usize,
    value: f64,
    is_spoilt: bool,
    /// The lines of the samples themselves.
    pub own: Vec<u8>,
    /// The samples, numbered as an item's points.
    pub points: Vec<u32>,
    /// Whether a counter's rise is among the lines.
    pub is_counted: bool,
}

impl Sums {
    /// The sum over a group of series that this line is to say: what stands before its value, and behind it.
    pub fn of(&mut self, group: u64, head: &str, tail: &[u8]) -> &mut Sum {
        let line = [head.as_bytes(), tail].concat();
        let at = *self.by_line.entry((group, line)).or_insert_with_key(|(_, line)| {
            self.sums.push(Sum { line: line.clone(), value_at: head.len(), ..Sum::default() });
            self.sums.len() - 1
        });
        &mut self.sums[at]
    }

    /// All of them, in the order in which they began.
    pub fn take(&mut self) -> Vec<Sum> {
        self.by_line.clear();
        std::mem::take(&mut self.sums)
    }
}

impl Sum {
    /// Adds a part.
    pub fn add(&mut self, value: f64) {
        self.value += value;
    }

    /// A part has no number.
    pub fn spoil(&mut self) {
        self.is_spoilt = true;
    }

    /// The line before the value, the value, and the line behind it; `None` where a part of it is missing.
    pub fn line(&self) -> Option<(&[u8], f64, &[u8])> {
        let (head, tail) = self.line.split_at(self.value_at);
        (!self.is_spoilt && self.value.is_finite()).then_some((head, self.value, tail))
    }
}
