//! UniqueNames that are given once.

use std::collections::{HashMap, HashSet};

/// UniqueNames that are in use.
#[derive(Default)]
pub(super) struct UniqueNames {
    taken: HashSet<String>,
    /// The number that the last of those had that wished for the same: nobody looks at all before it again.
    numbers: HashMap<String, usize>,
}

impl UniqueNames {
    /// `wish`, or, where that was given away, `wish` with a number from 2 on behind `dash`.
    pub(super) fn unique(&mut self, wish: &str, dash: char) -> String {
        let number = self.numbers.entry(wish.to_owned()).or_default();
        loop {
            *number += 1;
            let name = if *number == 1 { wish.to_owned() } else { format!("{wish}{dash}{number}") };
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_given_twice() {
        let mut names = UniqueNames::default();
        let given = ["a", "a", "a-2", "a", "a-2", "b"].map(|wish| names.unique(wish, '-'));
        assert_eq!(given, ["a", "a-2", "a-2-2", "a-3", "a-2-3", "b"]);
    }
}
