//! Room for what comes in pieces, of which nobody says how many there are.
//!
//! What grows is copied, and what is in a table is hashed again. A list or table that turns out too small while it is small is
//! made four times as large as what is in it, so that this happens once or twice; a large one is made twice as large.

use hashbrown::HashTable;

/// What has fewer entries is small.
const SMALL: usize = 4096;

/// Makes room for `more` entries of a list.
pub(crate) fn in_list<T>(list: &mut Vec<T>, more: usize) {
    if list.capacity() - list.len() < more {
        list.reserve(room(list.len(), more));
    }
}

/// Makes room for `more` entries of a table.
pub(crate) fn in_table<T>(table: &mut HashTable<T>, more: usize, hash: impl Fn(&T) -> u64) {
    if table.capacity() - table.len() < more {
        table.reserve(room(table.len(), more), hash);
    }
}

fn room(len: usize, more: usize) -> usize {
    if len < SMALL { more.max(3 * len) } else { more }
}
