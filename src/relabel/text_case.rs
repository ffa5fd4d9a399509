//! Upper and lower case, one character for one character.
//!
//! Prometheus uses Go's `strings.ToUpper` and `strings.ToLower`, which map each character to one other. Rust's own map a
//! character to several where the language wants it (`ß` to `SS`), so a label would get another value than in Prometheus.

/// As Go's `strings.ToLower`.
pub(super) fn lower(text: &str) -> String {
    text.chars().map(|c| single(c, c.to_lowercase()).unwrap_or(if c == 'İ' { 'i' } else { c })).collect()
}

/// As Go's `strings.ToUpper`.
pub(super) fn upper(text: &str) -> String {
    text.chars().map(|c| single(c, c.to_uppercase()).unwrap_or_else(|| with_iota(c))).collect()
}

fn single(c: char, mut mapped: impl ExactSizeIterator<Item = char>) -> Option<char> {
    if mapped.len() == 1 { Some(mapped.next().unwrap_or(c)) } else { None }
}

/// Greek letters with an iota below have a capital of one character (UnicodeData.txt, simple mappings); all others that Rust
/// maps to several characters have none.
fn with_iota(c: char) -> char {
    let distance = match c {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => 0,
    };
    char::from_u32(c as u32 + distance).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_stays_one_character() {
        assert_eq!(lower("ABC-É-Σ-İ"), "abc-é-σ-i");
        assert_eq!(upper("abc-é-ß-ﬁ-ŉ-ᾀ-ᾳ-ÿ"), "ABC-É-ß-ﬁ-ŉ-ᾈ-ᾼ-Ÿ");
    }
}
