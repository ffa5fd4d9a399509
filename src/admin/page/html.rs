//! Text in HTML.

use std::fmt::{self, Write};

use crate::telemetry::Printable;

/// Text from outside, safe between tags and in a quoted attribute; control characters are made visible.
pub(super) struct Html<T>(pub(super) T);

impl<T: fmt::Display> fmt::Display for Html<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        write!(Escaping(f), "{}", Printable(&text))
    }
}

/// Passes text on, with what means something to HTML escaped.
struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            let (before, after) = rest.split_at(at);
            self.0.write_str(before)?;
            self.0.write_str(match after.as_bytes().first() {
                Some(b'&') => "&amp;",
                Some(b'<') => "&lt;",
                Some(b'>') => "&gt;",
                Some(b'"') => "&quot;",
                _ => "&#39;",
            })?;
            rest = &after[1..];
        }
        self.0.write_str(rest)
    }
}

/// A name as the value of an `id` and of a fragment: letters, digits, `-` and `_` stay, all else is `.` and its code.
pub(in crate::admin) fn anchor(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            out.push(c);
        } else {
            let _ = write!(out, ".{:x}", u32::from(c));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_html_would_read_is_escaped() {
        assert_eq!(Html("<a href='x'>\"&\u{1b}é").to_string(), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\\u{1b}é");
        assert_eq!(Html(12).to_string(), "12");
    }

    #[test]
    fn an_anchor_is_one_word() {
        assert_eq!(anchor("my search\"/1-a_b"), "my.20search.22.2f1-a_b");
    }
}
