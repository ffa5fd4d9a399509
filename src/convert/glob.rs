//! Telegraf's filters as regular expressions.
//!
//! A list in which no pattern has `*`, `?` or `[` is compared letter by letter, braces too; else every one is a glob of
//! `gobwas/glob`: `*` and `**`, `?`, `[abc]`, `[a-c]`, `[!abc]`, `{a,b}`, `\` before any character. (Telegraf 1.37, `filter`.)

use std::fmt::Write as _;

use regex::Regex;

/// Bytes of the patterns of one filter, at most.
const BYTES_MAX: usize = 64 << 10;

/// A filter's patterns as one expression (RE2), which is matched against whole texts.
#[derive(Clone, Debug)]
pub(super) struct Globs {
    /// Without anchors; alternatives are not in a group.
    pub(super) regex: String,
    /// Whether every pattern takes anything behind its last letter.
    pub(super) is_open_ended: bool,
    /// Whether the empty text matches, which no tag ever is.
    pub(super) takes_empty: bool,
    compiled: Regex,
}

impl Globs {
    /// # Errors
    /// Why Telegraf would not take them, or why they cannot be carried over.
    pub(super) fn new(patterns: &[String]) -> Result<Self, &'static str> {
        if patterns.iter().map(String::len).sum::<usize>() > BYTES_MAX {
            return Err("its patterns are longer than 64 KiB");
        }
        let is_glob = patterns.iter().any(|pattern| pattern.contains(['*', '?', '[']));
        let parts = patterns.iter().map(|pattern| if is_glob { glob(pattern) } else { Ok(literal(pattern)) });
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let regex = parts.join("|");
        let compiled = Regex::new(&format!("^(?s:{regex})$")).map_err(|_| "it cannot be made a regular expression")?;
        Ok(Self {
            is_open_ended: is_glob
                && patterns.iter().all(|pattern| pattern.ends_with('*') && !pattern.ends_with("\\*")),
            takes_empty: compiled.is_match(""),
            regex,
            compiled,
        })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// The expression for values of tags: one that is empty is none. `None` where that cannot be said.
    pub(super) fn of_values(&self) -> Option<String> {
        match self.takes_empty {
            false => Some(self.regex.clone()),
            true => (self.regex == ".*").then(|| ".+".to_owned()),
        }
    }
}

/// A text as an expression that matches it alone. A dash outside brackets needs no backslash.
pub(super) fn literal(text: &str) -> String {
    regex::escape(text).replace("\\-", "-")
}

fn glob(pattern: &str) -> Result<String, &'static str> {
    let mut out = String::new();
    let mut depth = 0_usize;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => {
                while chars.next_if_eq(&'*').is_some() {}
                out.push_str(".*");
            }
            '?' => out.push('.'),
            '{' => {
                depth += 1;
                out.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth -= 1;
                out.push(')');
            }
            ',' if depth > 0 => out.push('|'),
            '[' => class(&mut out, &mut chars)?,
            '\\' => escaped(&mut out, chars.next().ok_or("a pattern ends with a backslash")?),
            other => escaped(&mut out, other),
        }
    }
    if depth > 0 {
        return Err("a pattern has a { without its }");
    }
    Ok(out)
}

fn class(out: &mut String, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<(), &'static str> {
    out.push('[');
    if chars.next_if_eq(&'!').is_some() {
        out.push('^');
    }
    let mut is_empty = true;
    loop {
        match chars.next().ok_or("a pattern has a [ without its ]")? {
            ']' if is_empty => return Err("a pattern has nothing between [ and ]"),
            ']' => break,
            '-' if !is_empty && chars.peek().is_some_and(|next| *next != ']') => out.push('-'),
            '\\' => escaped_in_class(out, chars.next().ok_or("a pattern has a [ without its ]")?),
            other => escaped_in_class(out, other),
        }
        is_empty = false;
    }
    out.push(']');
    Ok(())
}

fn escaped(out: &mut String, c: char) {
    out.push_str(&literal(c.encode_utf8(&mut [0; 4])));
}

fn escaped_in_class(out: &mut String, c: char) {
    match c.is_alphanumeric() || c == '_' {
        true => out.push(c),
        false => _ = write!(out, "\\x{{{:x}}}", u32::from(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(patterns: &[&str]) -> Result<Globs, &'static str> {
        Globs::new(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn globs_match_what_telegraf_matches() {
        type Case = (&'static [&'static str], &'static str, &'static [&'static str], &'static [&'static str]);
        let cases: [Case; 9] = [
            (&["go_*"], "go_.*", &["go_", "go_x"], &["xgo_"]),
            (&["a.b"], r"a\.b", &["a.b"], &["axb"]),
            (&["a{b,c}"], r"a\{b,c\}", &["a{b,c}"], &["ab"]),
            (&["a{b,c}*"], "a(?:b|c).*", &["ab", "acx"], &["a", "ad"]),
            (&["?at"], ".at", &["cat"], &["at"]),
            (&["[a-c]at", "x"], "[a-c]at|x", &["bat", "x"], &["dat"]),
            (&["[!a.]at"], r"[^a\x{2e}]at", &["bat"], &["aat", ".at"]),
            (&[r"a\*b*"], r"a\*b.*", &["a*b"], &["axb"]),
            (&["**"], ".*", &["", "a"], &[]),
        ];
        for (patterns, regex, matching, others) in cases {
            let globs = globs(patterns).unwrap();
            assert_eq!(globs.regex, regex);
            matching.iter().for_each(|text| assert!(globs.matches(text), "{regex} {text}"));
            others.iter().for_each(|text| assert!(!globs.matches(text), "{regex} {text}"));
        }
        assert!(globs(&["a*", "b*"]).unwrap().is_open_ended && !globs(&["a*", "b"]).unwrap().is_open_ended);
        assert_eq!(globs(&["*"]).unwrap().of_values().as_deref(), Some(".+"));
        assert_eq!(globs(&["{a,}*"]).unwrap().of_values(), None);
    }

    #[test]
    fn what_is_no_glob_is_said() {
        for pattern in ["*[", "*{a", "[]*", "*\\", "*[a", "*[\\"] {
            assert!(globs(&[pattern]).is_err(), "{pattern}");
        }
    }
}
