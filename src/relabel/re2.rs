//! Regular expressions as Prometheus reads them, on the `regex` crate.
//!
//! Rules are written for Go's RE2 syntax. The two dialects look alike and differ where it hurts: `\d`, `\w`, `\s` and `\b` are
//! ASCII in RE2, `\Q…\E` quotes, `{` that starts no repetition is a character, `[` inside a class is one too, `\<` is `<`, a
//! group's name may start with a digit. So an expression is read here by RE2's rules and written again by the crate's; what
//! RE2 refuses is refused with its reason. Names of groups are kept here, not in the crate.
//!
//! Left out on purpose: the order of preference among empty alternatives under a star, in which the two engines may differ,
//! and a repetition right behind `(?i)`, which RE2 applies to what stands before the flags.

use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};

/// Memory of one compiled expression, in bytes.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// Repetitions that `{n,m}` may ask for, as in RE2.
const REPEAT_MAX: u32 = 1000;

/// Parentheses inside parentheses, at most.
const NESTING_MAX: usize = 200;

/// An anchored expression: it matches whole values only.
#[derive(Clone, Debug)]
pub(super) struct Anchored {
    matcher: Matcher,
    /// Names of the groups; the whole match is group 0 and has none.
    names: Vec<Option<String>>,
}

#[derive(Clone, Debug)]
enum Matcher {
    /// `(.*)`, the default.
    Everything,
    /// Words without any meta character, with `|` between them: `node|cadvisor`.
    Words(Vec<String>),
    Regex(Regex),
}

/// The groups of a match; `None` for a group that took no part.
pub(super) struct Groups<'v> {
    found: Vec<Option<&'v str>>,
}

impl Anchored {
    /// Compiles `^(?s:…)$` around `pattern`; the error says what is wrong with it.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        if pattern == "(.*)" {
            return Ok(Self { matcher: Matcher::Everything, names: vec![None, None] });
        }
        let is_words = |c: char| c.is_alphanumeric() || matches!(c, '_' | '|' | '-' | ':' | '/' | ';' | ' ' | ',');
        if pattern.chars().all(is_words) {
            let words = pattern.split('|').map(str::to_owned).collect();
            return Ok(Self { matcher: Matcher::Words(words), names: vec![None] });
        }
        let translated = Translator::new(pattern).run()?;
        let regex = RegexBuilder::new(&format!("^(?s:{})$", translated.out))
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    format!("it needs more than {} MiB when compiled", COMPILED_BYTES_MAX >> 20)
                }
                // The crate prints the pattern, which is not the one that was typed, and then the reason.
                other => {
                    let text = other.to_string();
                    text.rsplit("error: ").next().unwrap_or(&text).trim().to_owned()
                }
            })?;
        Ok(Self { matcher: Matcher::Regex(regex), names: translated.names })
    }

    /// Whether it matches all of `value`.
    pub(super) fn is_match(&self, value: &str) -> bool {
        match &self.matcher {
            Matcher::Everything => true,
            Matcher::Words(words) => words.iter().any(|word| word == value),
            Matcher::Regex(regex) => regex.is_match(value),
        }
    }

    /// The groups of its match with all of `value`.
    pub(super) fn groups<'v>(&self, value: &'v str) -> Option<Groups<'v>> {
        let found = match &self.matcher {
            Matcher::Everything => vec![Some(value), Some(value)],
            Matcher::Words(_) => self.is_match(value).then(|| vec![Some(value)])?,
            Matcher::Regex(regex) => {
                regex.captures(value)?.iter().map(|group| group.map(|found| found.as_str())).collect()
            }
        };
        Some(Groups { found })
    }

    /// Replaces `$1`, `${1}`, `$name`, `${name}` and `$$` in `template`, as Go's `Regexp.Expand` does: a name is as long as it
    /// can be (`$1x` is the group named `1x`), an unknown group is empty, a `$` that starts nothing stays.
    pub(super) fn expand(&self, template: &str, groups: &Groups<'_>) -> String {
        let mut out = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = reference(after) {
                out.push_str(self.group(name, groups));
                rest = after;
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
        out
    }

    fn group<'v>(&self, name: &str, groups: &Groups<'v>) -> &'v str {
        let is_number = name.bytes().all(|b| b.is_ascii_digit()) && (name.len() == 1 || !name.starts_with('0'));
        if is_number && name.len() <= 9 {
            let at = name.parse().unwrap_or(usize::MAX);
            return groups.found.get(at).copied().flatten().unwrap_or("");
        }
        // Several groups may have one name; the first that took part counts.
        let mut named = self.names.iter().zip(&groups.found).filter(|(held, _)| held.as_deref() == Some(name));
        named.find_map(|(_, found)| *found).unwrap_or("")
    }
}

/// What follows a `$`: the group's name, and the rest of the template. `None` when it names no group.
fn reference(after: &str) -> Option<(&str, &str)> {
    let (text, is_braced) = match after.strip_prefix('{') {
        Some(inner) => (inner, true),
        None => (after, false),
    };
    let length = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(length);
    let rest = if is_braced { rest.strip_prefix('}')? } else { rest };
    (!name.is_empty()).then_some((name, rest))
}

/// What a repetition sign would apply to.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    Atom,
    Repetition,
}

/// Reads RE2, writes the crate's syntax.
struct Translator<'p> {
    rest: &'p str,
    out: String,
    names: Vec<Option<String>>,
    depth: usize,
    before: Before,
}

impl<'p> Translator<'p> {
    fn new(pattern: &'p str) -> Self {
        Self { rest: pattern, out: String::new(), names: vec![None], depth: 0, before: Before::Nothing }
    }

    fn run(mut self) -> Result<Self, String> {
        while let Some(c) = self.next() {
            match c {
                '(' => self.open()?,
                ')' if self.depth == 0 => return Err("it has a `)` without a `(`".into()),
                ')' => {
                    self.depth -= 1;
                    self.atom(")");
                }
                '|' => {
                    self.out.push('|');
                    self.before = Before::Nothing;
                }
                '*' | '+' | '?' => self.repeat(&c.to_string())?,
                '{' => match self.counts()? {
                    Some(counts) => self.repeat(&counts)?,
                    None => self.literal('{'),
                },
                '[' => self.class()?,
                '\\' => self.escape()?,
                '.' | '^' | '$' => self.atom(c.encode_utf8(&mut [0; 4])),
                other => self.literal(other),
            }
        }
        if self.depth > 0 { Err("it has a `(` without a `)`".into()) } else { Ok(self) }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let stripped = self.rest.strip_prefix(prefix);
        self.rest = stripped.unwrap_or(self.rest);
        stripped.is_some()
    }

    fn atom(&mut self, written: &str) {
        self.out.push_str(written);
        self.before = Before::Atom;
    }

    fn literal(&mut self, c: char) {
        push_literal(&mut self.out, c);
        self.before = Before::Atom;
    }

    fn repeat(&mut self, sign: &str) -> Result<(), String> {
        match self.before {
            Before::Nothing => return Err(format!("nothing stands before `{sign}` that could be repeated")),
            Before::Repetition => return Err(format!("`{sign}` repeats a repetition")),
            Before::Atom => self.out.push_str(sign),
        }
        if self.eat("?") {
            self.out.push('?');
        }
        self.before = Before::Repetition;
        Ok(())
    }

    /// After a `{`: the whole of `{n}`, `{n,}` or `{n,m}`, or `None` where the brace is just a character.
    fn counts(&mut self) -> Result<Option<String>, String> {
        let Some((inside, rest)) = self.rest.split_once('}') else { return Ok(None) };
        let (low, high) = inside.split_once(',').map_or((inside, None), |(low, high)| (low, Some(high)));
        let is_count = |text: &str| {
            text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() && (text.len() == 1 || !text.starts_with('0'))
        };
        if !is_count(low) || !high.is_none_or(|high| high.is_empty() || is_count(high)) {
            return Ok(None);
        }
        let number = |text: &str| text.parse::<u32>().ok().filter(|&n| n <= REPEAT_MAX);
        let low_count = number(low);
        let is_fine = low_count.is_some()
            && high.is_none_or(|high| high.is_empty() || number(high).is_some_and(|high| Some(high) >= low_count));
        if !is_fine {
            return Err(format!("`{{{inside}}}` is no repetition; counts rise and are at most {REPEAT_MAX}"));
        }
        self.rest = rest;
        Ok(Some(format!("{{{inside}}}")))
    }

    /// After a `(`.
    fn open(&mut self) -> Result<(), String> {
        if !self.eat("?") {
            self.names.push(None);
            return self.enter("(");
        }
        if self.eat("P<") || self.eat("<") {
            let Some((name, rest)) = self.rest.split_once('>') else {
                return Err("the name of a group does not end in `>`".into());
            };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(format!(
                    "`{}` is not the name of a group; use letters, digits and `_`",
                    name.escape_debug()
                ));
            }
            self.names.push(Some(name.to_owned()));
            self.rest = rest;
            return self.enter("(");
        }
        self.flags()
    }

    fn enter(&mut self, written: &str) -> Result<(), String> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(format!("its parentheses are nested more than {NESTING_MAX} deep"));
        }
        self.out.push_str(written);
        self.before = Before::Nothing;
        Ok(())
    }

    /// After `(?`: `i-s)` or `i-s:`.
    fn flags(&mut self) -> Result<(), String> {
        let Some(end) = self.rest.find([')', ':']) else { return Err("it has a `(?` without an end".into()) };
        let (flags, rest) = self.rest.split_at(end);
        let (on, off) = flags.split_once('-').map_or((flags, None), |(on, off)| (on, Some(off)));
        let are_known = |flags: &str| flags.bytes().all(|b| b"imsU".contains(&b));
        if !are_known(on) || !off.is_none_or(|off| are_known(off) && !off.is_empty()) {
            return Err(format!(
                "`(?{}` is not known; there are `(?:`, `(?P<name>`, and the flags i, m, s and U",
                flags.escape_debug()
            ));
        }
        self.rest = &rest[1..];
        if rest.starts_with(':') {
            return self.enter(&format!("(?{flags}:"));
        }
        if !flags.is_empty() {
            write!(self.out, "(?{flags})").unwrap_or_default();
        }
        self.before = Before::Nothing;
        Ok(())
    }

    /// After a `\` outside of a class.
    fn escape(&mut self) -> Result<(), String> {
        if self.eat("Q") {
            // Prometheus puts its own end behind the expression, which an open quote would swallow.
            let Some((quoted, rest)) = self.rest.split_once("\\E") else {
                return Err("it has a `\\Q` without a `\\E`".into());
            };
            self.rest = rest;
            quoted.chars().for_each(|c| self.literal(c));
        } else if self.eat("A") {
            self.atom("\\A");
        } else if self.eat("z") {
            self.atom("\\z");
        } else if self.eat("b") {
            self.atom("(?-u:\\b)");
        } else if self.eat("B") {
            self.atom("(?-u:\\B)");
        } else if let Some(class) = self.class_escape()? {
            self.atom(&format!("[{class}]"));
        } else {
            let c = self.char_escape()?;
            self.literal(c);
        }
        Ok(())
    }

    /// After a `\`: `d`, `D`, `pL`, `P{Greek}` and the like, as they are written inside brackets.
    fn class_escape(&mut self) -> Result<Option<String>, String> {
        let class = match self.rest.as_bytes().first() {
            Some(b'd') => "0-9".into(),
            Some(b'D') => "[^0-9]".into(),
            Some(b'w') => "0-9A-Za-z_".into(),
            Some(b'W') => "[^0-9A-Za-z_]".into(),
            Some(b's') => r"\t\n\f\r\x20".into(),
            Some(b'S') => r"[^\t\n\f\r\x20]".into(),
            Some(b'p' | b'P') => return self.unicode_class().map(Some),
            _ => return Ok(None),
        };
        self.next();
        Ok(Some(class))
    }

    fn unicode_class(&mut self) -> Result<String, String> {
        let is_negative = self.next() == Some('P');
        let name = if self.eat("{") {
            let Some((name, rest)) = self.rest.split_once('}') else { return Err("`\\p{` has no `}`".into()) };
            self.rest = rest;
            name
        } else {
            let end = self.rest.chars().next().map_or(0, char::len_utf8);
            let (name, rest) = self.rest.split_at(end);
            self.rest = rest;
            name
        };
        let (name, is_inverted) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(format!("`\\p{{{}}}` is not a class of characters", name.escape_debug()));
        }
        Ok(format!("\\{}{{{name}}}", if is_negative != is_inverted { 'P' } else { 'p' }))
    }

    /// After a `\`: one character.
    fn char_escape(&mut self) -> Result<char, String> {
        let at = self.rest;
        let invalid = || {
            let c = at.chars().next().map(|c| c.escape_debug().to_string()).unwrap_or_default();
            format!("`\\{c}` is not known; write `\\\\` for a backslash")
        };
        let c = self.next().ok_or_else(|| "it ends in a single backslash".to_owned())?;
        match c {
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0b'),
            'x' => self.hex().ok_or_else(invalid),
            '0' => self.octal(0).ok_or_else(invalid),
            // A single digit would refer back to a group, which RE2 cannot do.
            '1'..='7' if self.rest.starts_with(|d: char| d.is_digit(8)) => {
                self.octal(c.to_digit(8).unwrap_or(0)).ok_or_else(invalid)
            }
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => Ok(other),
            _ => Err(invalid()),
        }
    }

    fn hex(&mut self) -> Option<char> {
        let digits = if self.eat("{") {
            let (digits, rest) = self.rest.split_once('}')?;
            self.rest = rest;
            digits
        } else {
            let digits = self.rest.get(..2)?;
            self.rest = &self.rest[2..];
            digits
        };
        let is_hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        is_hex.then(|| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)).flatten()
    }

    fn octal(&mut self, first: u32) -> Option<char> {
        let mut value = first;
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else { break };
            value = value * 8 + digit;
            self.next();
        }
        char::from_u32(value)
    }

    /// After a `[`.
    fn class(&mut self) -> Result<(), String> {
        const UNCLOSED: &str = "it has a `[` without a `]`";
        self.out.push('[');
        if self.eat("^") {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            if self.rest.is_empty() {
                return Err(UNCLOSED.into());
            }
            if !is_first && self.eat("]") {
                break;
            }
            is_first = false;
            if self.rest.starts_with("[:")
                && let Some((name, rest)) = self.rest[2..].split_once(":]")
            {
                let bare = name.strip_prefix('^').unwrap_or(name);
                if bare.is_empty() || !bare.bytes().all(|b| b.is_ascii_lowercase()) {
                    return Err(format!("`[:{}:]` is not a class of characters", name.escape_debug()));
                }
                write!(self.out, "[:{name}:]").unwrap_or_default();
                self.rest = rest;
                continue;
            }
            if self.eat("\\") {
                if let Some(class) = self.class_escape()? {
                    self.out.push_str(&class);
                    continue;
                }
                let low = self.char_escape()?;
                self.range(low)?;
            } else if let Some(low) = self.next() {
                self.range(low)?;
            }
        }
        self.before = Before::Atom;
        self.out.push(']');
        Ok(())
    }

    /// After the first character of a class's item: writes it, or the range that it starts.
    fn range(&mut self, low: char) -> Result<(), String> {
        let mut high = low;
        if self.rest.len() >= 2 && self.rest.starts_with('-') && !self.rest.starts_with("-]") {
            self.next();
            high = match self.eat("\\") {
                true => self.char_escape()?,
                false => self.next().unwrap_or(low),
            };
        }
        if high < low {
            return Err(format!(
                "`{}-{}` is a range that ends before it starts",
                low.escape_debug(),
                high.escape_debug()
            ));
        }
        push_literal(&mut self.out, low);
        if high != low {
            self.out.push('-');
            push_literal(&mut self.out, high);
        }
        Ok(())
    }
}

fn push_literal(out: &mut String, c: char) {
    if matches!(
        c,
        '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' | '#' | '&' | '-' | '~'
    ) {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        Anchored::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).is_match(value)
    }

    #[test]
    fn matches_are_anchored_and_a_dot_takes_newlines() {
        assert!(matches("a|b", "b"));
        assert!(!matches("a|b", "ab"));
        assert!(matches("a.b", "a\nb"));
        assert!(matches("x.", "xé"));
        assert!(!matches("a", "a\n"));
        assert!(!matches("a$", "a\n"));
        assert!(matches("", ""));
        assert!(!matches("", "a"));
        assert!(matches("(?i)GET", "get"));
        assert!(matches("a(?i)b|c", "C"));
        assert!(matches("(?m)a$\n^b", "a\nb"));
        assert!(!matches("a$\n^b", "a\nb"));
        assert!(matches(".+é-x", "vé-x"));
    }

    #[test]
    fn perl_classes_are_ascii() {
        assert!(matches(r"\d+", "019"));
        assert!(!matches(r"\d", "٣"));
        assert!(!matches(r"\w", "é"));
        assert!(matches(r"\W", "é"));
        assert!(!matches(r"[\w-]", "é"));
        assert!(matches(r"[^\d]", "٣"));
        assert!(matches(r"[\D]", "٣"));
        assert!(matches(r"\s\S", " x"));
        assert!(!matches(r"\s", "\u{b}"));
        assert!(!matches(r"\s", "\u{a0}"));
        assert!(matches(r"é\bx", "éx"));
        assert!(!matches(r"a\bb", "ab"));
        assert!(matches(r"a\Bb", "ab"));
        assert!(matches(r"\pL\p{Greek}\P{^Greek}\p{^Greek}", "éααx"));
        assert!(matches("[[:alpha:]_]+", "a_b"));
        assert!(!matches("[[:alpha:]]", "é"));
    }

    #[test]
    fn what_is_a_character_in_re2_is_one_here() {
        assert!(matches(r"\Qa.b|c\E+", "a.b|cc"));
        assert!(!matches(r"\Qa.b\E", "axb"));
        assert!(matches(r"{foo}a{,2}", "{foo}a{,2}"));
        assert!(matches(r"a{2}b{1,}c{0,1}", "aabb"));
        assert!(matches(r"a{01}", "a{01}"));
        assert!(matches(r"\<\>\_\-\/\:", "<>_-/:"));
        assert!(matches(r"[[a]", "["));
        assert!(matches(r"[]a]", "]"));
        assert!(matches(r"[^]a]", "x"));
        assert!(matches(r"[a&&b]", "&"));
        assert!(matches(r"[+--]", ","));
        assert!(matches(r"[a-]", "-"));
        assert!(matches(r"[a~~b]", "~"));
        assert!(matches(r"\x41\x{e9}\101\0", "AéA\0"));
        assert!(matches(r"\a\f\t\n\r\v", "\x07\x0c\t\n\r\x0b"));
        assert!(matches(r"(?)a#b c", "a#b c"));
    }

    #[test]
    fn what_re2_refuses_is_refused_with_a_reason() {
        let refused = |pattern: &str| Anchored::new(pattern).expect_err(pattern);
        assert_eq!(refused("a)(b"), "it has a `)` without a `(`");
        assert_eq!(refused("(a"), "it has a `(` without a `)`");
        assert_eq!(refused("*a"), "nothing stands before `*` that could be repeated");
        assert_eq!(refused("a**"), "`*` repeats a repetition");
        assert_eq!(refused("a|+"), "nothing stands before `+` that could be repeated");
        assert_eq!(refused("a{2,1}"), "`{2,1}` is no repetition; counts rise and are at most 1000");
        assert_eq!(refused("a{1001}"), "`{1001}` is no repetition; counts rise and are at most 1000");
        assert_eq!(refused(r"(a)\1"), r"`\1` is not known; write `\\` for a backslash");
        assert_eq!(refused(r"\Qa"), r"it has a `\Q` without a `\E`");
        assert_eq!(refused(r"a\"), "it ends in a single backslash");
        assert_eq!(refused(r"\y"), r"`\y` is not known; write `\\` for a backslash");
        assert_eq!(refused("[b-a]"), "`b-a` is a range that ends before it starts");
        assert_eq!(refused("[a"), "it has a `[` without a `]`");
        assert_eq!(refused("(?=a)"), "`(?=a` is not known; there are `(?:`, `(?P<name>`, and the flags i, m, s and U");
        assert_eq!(refused("(?x: a)"), "`(?x` is not known; there are `(?:`, `(?P<name>`, and the flags i, m, s and U");
        assert_eq!(refused(r"(\w{1000}){1000}"), "it needs more than 4 MiB when compiled");
        assert!(refused(r"\p{Klingon}").contains("not found"), "{}", refused(r"\p{Klingon}"));
        assert!(refused(&"(".repeat(300)).contains("nested"));
    }

    #[test]
    fn templates_expand_as_in_go() {
        let expand = |pattern: &str, value: &str, template: &str| {
            let regex = Anchored::new(pattern).unwrap();
            regex.expand(template, &regex.groups(value).unwrap())
        };
        assert_eq!(expand("(.*)", "v", "$1-${1}-$0-$$1-$"), "v-v-v-$1-$");
        assert_eq!(expand("(.*)", "v", "$1x|${1}x|$2|${2}|$name"), "|vx|||");
        assert_eq!(expand("(?P<n>a)(?<m>b)?", "a", "$n,${n},$m,$1,$2"), "a,a,,a,");
        assert_eq!(expand("(?P<1x>a)", "a", "$1x"), "a");
        assert_eq!(expand("(?P<n>a)?(?P<n>b)", "b", "$n"), "b");
        assert_eq!(expand("(a)", "a", "${1"), "${1");
        assert_eq!(expand("(a)", "a", "${}$-$ ${1 }"), "${}$-$ ${1 }");
        assert_eq!(expand("(a)", "a", "$01|${00}|$1é"), "||");
        assert_eq!(expand("(a)", "a", "$99999999999999999999"), "");
        assert_eq!(expand("a|b", "b", "$0$1"), "b");
    }
}
