//! What is wrong with a file, and where: one line a problem.

use std::fmt;
use std::sync::Arc;

/// A place in a text. Both count from 1; the column counts characters. 0 and 0 is "the file as a whole".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// The line.
    pub line: u32,
    /// The character in that line.
    pub column: u32,
}

/// One thing that is wrong. `Display` is the line that an operator reads: `FILE:LINE:COLUMN: MESSAGE`.
///
/// No message ever holds the value of a secret, nor a control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name, as it was given.
    pub file: Arc<str>,
    /// Where in it.
    pub at: Pos,
    /// The key, the value, what is wrong with it and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, Pos { line, column }) = (escaped(&self.file), self.at);
        match line {
            0 => write!(f, "{file}: {}", self.message),
            _ => write!(f, "{file}:{line}:{column}: {}", self.message),
        }
    }
}

impl std::error::Error for Problem {}

/// All that is wrong with a file, in its order; never empty where it is an error. `Display` is a line a problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let line_break = if i == 0 { "" } else { "\n" };
            write!(f, "{line_break}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// Characters of a value that a message repeats, at most.
const SHOWN_CHARS_MAX: usize = 80;

/// `text` in double quotes for a message: control characters escaped, cut after 80 characters.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => format!("\"{}\"", escaped(text)),
        Some((end, _)) => format!("\"{}…\"", escaped(&text[..end])),
    }
}

/// `text` with quotes, backslashes and what does not print escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\'' => out.push('\''),
            _ => out.extend(character.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_escaped_and_cut() {
        assert_eq!(quoted("a\"b'\u{1b}[31m\u{202e}"), r#""a\"b'\u{1b}[31m\u{202e}""#);
        assert_eq!(quoted(&"ä".repeat(81)), format!("\"{}…\"", "ä".repeat(80)));
        assert_eq!(quoted(&"ä".repeat(80)), format!("\"{}\"", "ä".repeat(80)));
    }

    #[test]
    fn a_problem_of_the_whole_file_has_no_line() {
        let whole = Problem { file: "a\nb.yml".into(), at: Pos::default(), message: "cannot be read".into() };
        let placed = Problem { at: Pos { line: 2, column: 18 }, ..whole.clone() };
        assert_eq!(whole.to_string(), r"a\nb.yml: cannot be read");
        assert_eq!(
            Problems(vec![whole, placed]).to_string(),
            "a\\nb.yml: cannot be read\na\\nb.yml:2:18: cannot be read"
        );
    }
}
