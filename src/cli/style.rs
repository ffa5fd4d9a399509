//! How output for people looks: colour where somebody can see it.

use std::fmt;
use std::io::{self, IsTerminal};

use serde_json::Value;

use crate::telemetry::is_unprintable;

/// `--color`, for commands that people read.
#[derive(clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Colour what is printed; auto does where stdout is a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t = When::Auto, value_name = "WHEN")]
    color: When,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

impl Arguments {
    /// The style that stdout is written in.
    pub(super) fn style(&self) -> Style {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_colored = match self.color {
            When::Always => true,
            When::Never => false,
            // https://no-color.org: any value but an empty one.
            When::Auto => {
                let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
                io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb
            }
        };
        Style { is_colored }
    }
}

/// What a piece of text means; a colour where there is any. No meaning is told by its colour alone.
#[derive(Clone, Copy)]
pub(super) struct Style {
    is_colored: bool,
}

impl Style {
    /// Without colour.
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self { is_colored: false };

    /// All is well: green.
    pub(super) fn good<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.paint("32", text)
    }

    /// Somebody should look at it: yellow.
    pub(super) fn warning<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.paint("33", text)
    }

    /// It failed: red.
    pub(super) fn bad<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.paint("31", text)
    }

    /// What it is all about: bold.
    pub(super) fn strong<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.paint("1", text)
    }

    /// What stands beside it: faint.
    pub(super) fn faint<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.paint("2", text)
    }

    /// As it is.
    pub(super) fn plain<T: fmt::Display>(self, text: T) -> Painted<T> {
        Painted { code: None, text }
    }

    /// `code` is that of "select graphic rendition" (ECMA-48, 8.3.117).
    fn paint<T>(self, code: &'static str, text: T) -> Painted<T> {
        Painted { code: self.is_colored.then_some(code), text }
    }
}

/// Text that is coloured as it is written. Width and alignment are those of the text.
pub(super) struct Painted<T> {
    code: Option<&'static str>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(code) = self.code else { return self.text.fmt(f) };
        write!(f, "\x1b[{code}m")?;
        self.text.fmt(f)?;
        f.write_str("\x1b[0m")
    }
}

/// A value as one line of JSON in which nothing stands that a terminal would obey: outside of strings there is no such character,
/// and in them it can be escaped.
pub(super) fn json_line(value: &Value) -> String {
    let text = value.to_string();
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unprintable(c) {
            // All of them are in the basic plane.
            true => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_the_same_without_what_a_terminal_obeys() {
        let value = serde_json::json!({"a": "\u{1b}[31m\u{9b}2J\u{202e}\n\"\u{e9}"});
        let line = json_line(&value);
        assert_eq!(line, r#"{"a":"\u001b[31m\u009b2J\u202e\n\"é"}"#);
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }

    #[test]
    fn colour_leaves_the_width_of_the_text_alone() {
        let coloured = Style { is_colored: true };
        assert_eq!(format!("{:>4}", coloured.bad("x")), "\u{1b}[31m   x\u{1b}[0m");
        assert_eq!(format!("{:>4}", Style::PLAIN.bad("x")), "   x");
    }
}
