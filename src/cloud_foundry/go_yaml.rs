//! How Go's yaml.v3 writes texts and sorts keys.
//!
//! metrics-agent's targets file and the messages on NATS are written by it; with the same bytes, nothing changes for whoever
//! compares files or greps in them. Source: gopkg.in/yaml.v3 v3.0.1, `encode.go`, `resolve.go`, `sorter.go`, `emitterc.go`.
//!
//! Left out on purpose: what yaml.v3 writes and does not read back, or what YAML 1.2 reads otherwise, is written in double
//! quotes: line separators (U+2028, U+2029), several lines that begin with white space, and `<<` as a key.

use std::cmp::Ordering;
use std::fmt::Write as _;

/// Keys with more bytes than this are written behind `?`.
const SIMPLE_KEY_BYTES_MAX: usize = 128;

/// Writes `text` behind a key or a dash. Its lines, where it has several, are indented by `indent` blanks.
pub(super) fn push_value(out: &mut String, text: &str, indent: usize) {
    match Style::of(text) {
        Style::Block => push_block(out, text, indent),
        style => style.push(out, text),
    }
}

/// Writes `text` on one line.
pub(super) fn push_line(out: &mut String, text: &str) {
    match Style::of(text) {
        Style::Block => Style::Double.push(out, text),
        style => style.push(out, text),
    }
}

/// Writes a key and its colon, `indent` blanks in front.
pub(super) fn push_key(out: &mut String, key: &str, indent: usize) {
    let is_simple = key.len() <= SIMPLE_KEY_BYTES_MAX && !key.contains(['\n', '\r', '\u{85}']);
    let _ = write!(out, "{:indent$}{}", "", if is_simple { "" } else { "? " });
    match key {
        "<<" => Style::Double.push(out, key),
        _ => push_line(out, key),
    }
    match is_simple {
        true => out.push(':'),
        false => {
            let _ = write!(out, "\n{:indent$}:", "");
        }
    }
}

/// The keys in the order in which yaml.v3 writes those of a map: `a2` before `a10`.
pub(super) fn sorted_keys<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut sorted: Vec<&str> = Vec::new();
    for key in keys {
        // Not `sort_by`, which may panic where an order contradicts itself, as this one may for digits of other scripts.
        let at = sorted.partition_point(|held| natural_order(held, key) != Ordering::Greater);
        sorted.insert(at, key);
    }
    sorted
}

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Plain,
    Single,
    Double,
    /// Lines of their own, behind `|`.
    Block,
}

impl Style {
    fn of(text: &str) -> Self {
        let seen = Seen::of(text);
        let needs_escapes = seen.has_special || seen.blank_before_break || text.starts_with('\u{feff}');
        if text.contains('\n') {
            let is_block = !needs_escapes && !text.starts_with([' ', '\n', '\t']) && !text.ends_with(' ');
            return if is_block { Self::Block } else { Self::Double };
        }
        if needs_escapes || text.contains('\t') || reads_as_something_else(text) {
            return Self::Double;
        }
        match seen.has_indicator || text.starts_with(' ') || text.ends_with(' ') {
            true => Self::Single,
            false => Self::Plain,
        }
    }

    fn push(self, out: &mut String, text: &str) {
        match self {
            Self::Plain | Self::Block => out.push_str(text),
            Self::Single => {
                let _ = write!(out, "'{}'", text.replace('\'', "''"));
            }
            Self::Double => push_double(out, text),
        }
    }
}

/// What in a text decides about its quotes.
#[derive(Default)]
struct Seen {
    /// Something that would be read as YAML's own.
    has_indicator: bool,
    /// A character that is only written as an escape.
    has_special: bool,
    blank_before_break: bool,
}

impl Seen {
    fn of(text: &str) -> Self {
        let mut seen = Self { has_indicator: text.starts_with("---") || text.starts_with("..."), ..Self::default() };
        let mut before = None;
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            let is_followed_by_blank = characters.peek().is_none_or(|next| matches!(next, ' ' | '\t'));
            let is_indicator = match (c, before) {
                ('#', before) => before.is_none_or(|before| matches!(before, ' ' | '\t' | '\n')),
                (':', _) | ('?' | '-', None) => is_followed_by_blank,
                (',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`', None) => {
                    true
                }
                _ => false,
            };
            seen.has_indicator |= is_indicator;
            seen.has_special |= c != '\t' && !is_printable(c);
            seen.blank_before_break |= c == '\n' && before == Some(' ');
            before = Some(c);
        }
        seen
    }
}

fn is_printable(c: char) -> bool {
    // Line separators are printable to yaml.v3.
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

fn push_double(out: &mut String, text: &str) {
    // A slip of yaml.v3's: behind a byte order mark all is escaped.
    let all = text.starts_with('\u{feff}');
    out.push('"');
    for c in text.chars() {
        let escape = match c {
            '"' | '\\' => c,
            '\n' => 'n',
            _ if !all && is_printable(c) => {
                out.push(c);
                continue;
            }
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '\u{85}' => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            _ => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02X}"),
                    0x100..=0xffff => write!(out, "\\u{code:04X}"),
                    _ => write!(out, "\\U{code:08X}"),
                };
                continue;
            }
        };
        out.push('\\');
        out.push(escape);
    }
    out.push('"');
}

fn push_block(out: &mut String, text: &str, indent: usize) {
    let breaks = text.len() - text.trim_end_matches('\n').len();
    out.push_str(match breaks {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    let lines = text.strip_suffix('\n').unwrap_or(text);
    for line in lines.split('\n') {
        let indent = if line.is_empty() { 0 } else { indent };
        let _ = write!(out, "\n{:indent$}{line}", "");
    }
}

/// Whether a plain text would be read as a number, a time, a switch or as nothing, by YAML 1.1 or 1.2.
fn reads_as_something_else(text: &str) -> bool {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => true,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => true,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => true,
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => true,
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" => true,
        "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" => true,
        _ => match text.as_bytes().first() {
            Some(b'.') => is_float(text),
            Some(b'+' | b'-' | b'0'..=b'9') => {
                let plain = text.replace('_', "");
                is_time(text) || is_integer(&plain) || is_float(&plain) || is_base_60(text)
            }
            _ => false,
        },
    }
}

/// A decimal number that a 64-bit float can hold.
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = unsigned.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    is_number && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// An integer with Go's prefixes that 64 bits can hold. What is too large and decimal is still a float.
fn is_integer(text: &str) -> bool {
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (&text[..1], digits),
        None => ("", text),
    };
    let (radix, digits) = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        _ => (10, digits),
    };
    // A slip of yaml.v3's: it takes a sign behind these prefixes.
    let may_have_sign = text.starts_with("0b") || text.starts_with("0o");
    let unsigned = digits.strip_prefix(['+', '-']).filter(|_| may_have_sign).unwrap_or(digits);
    let is_number = unsigned.chars().all(|c| c.is_digit(radix));
    let signed = || i64::from_str_radix(&format!("{sign}{digits}"), radix).is_ok();
    is_number && (signed() || (sign.is_empty() && u64::from_str_radix(digits, radix).is_ok()))
}

/// `12:30:45`, a number to YAML 1.1.
fn is_base_60(text: &str) -> bool {
    let mut parts = text.strip_prefix(['+', '-']).unwrap_or(text).split(':');
    let first = parts.next().unwrap_or_default();
    let is_first = first.starts_with(|c: char| c.is_ascii_digit()) && is_digits(&first.replace('_', ""));
    let rest: Vec<&str> = parts.collect();
    let Some((last, middle)) = rest.split_last() else { return false };
    let (last, fraction) = last.split_once('.').unwrap_or((last, ""));
    let is_part = |part: &str| match part.as_bytes() {
        [b'0'..=b'5', digit] | [digit] => digit.is_ascii_digit(),
        _ => false,
    };
    is_first
        && middle.iter().all(|part| is_part(part))
        && is_part(last)
        && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A day, or a day and a time of day, as Go's `time.Parse` takes it.
fn is_time(text: &str) -> bool {
    let (day, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((text.as_bytes()[at], &text[at + 1..]))),
        None => (text, None),
    };
    let mut parts = day.splitn(3, '-');
    let (Some(year), Some(month), Some(day)) = (parts.next(), parts.next(), parts.next()) else { return false };
    if year.len() != 4 || !is_digits(year) {
        return false;
    }
    let (Some(month), Some(day)) = (number_below(month, 13), number_below(day, 32)) else { return false };
    let year: i16 = year.parse().unwrap_or(0);
    let is_day = jiff::civil::Date::new(year, month as i8, day as i8).is_ok();
    is_day && time.is_none_or(|(separator, time)| is_time_of_day(time, separator != b' '))
}

fn is_time_of_day(text: &str, has_zone: bool) -> bool {
    let text = match (has_zone, text.strip_suffix('Z'), text.len().checked_sub(6)) {
        (false, ..) => text,
        (true, Some(text), _) => text,
        (true, None, Some(at)) if text.is_char_boundary(at) => {
            let (time, zone) = text.split_at(at);
            let Some((hours, minutes)) = zone.strip_prefix(['+', '-']).and_then(|zone| zone.split_once(':')) else {
                return false;
            };
            let is_zone = hours.len() == 2 && minutes.len() == 2;
            if !is_zone || number_below(hours, 25).is_none() || number_below(minutes, 61).is_none() {
                return false;
            }
            time
        }
        _ => return false,
    };
    let (clock, fraction) = text.split_once(['.', ',']).unwrap_or((text, "0"));
    let parts: Vec<&str> = clock.split(':').collect();
    let limits = [24, 60, 60];
    parts.len() == limits.len()
        && parts.iter().zip(limits).all(|(part, limit)| number_below(part, limit).is_some())
        && is_digits(fraction)
}

/// A number of one or two digits, below a limit.
fn number_below(text: &str, limit: u8) -> Option<u8> {
    let number = Some(text).filter(|text| is_digits(text) && text.len() <= 2)?.parse().ok()?;
    (number < limit).then_some(number)
}

/// yaml.v3's order of keys: numbers within them by their value.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    let (Some((before, a)), Some(b)) = (a.split_at_checked(at), b.get(at..)) else { return Ordering::Equal };
    let (Some(first_a), Some(first_b)) = (a.first(), b.first()) else { return Ordering::Equal };
    match (first_a.is_alphabetic(), first_b.is_alphabetic()) {
        (true, true) => return first_a.cmp(first_b),
        (false, false) => {}
        // Behind a digit a letter comes first, else last.
        (a_is_letter, _) => {
            let is_behind_digit = before.last().is_some_and(char::is_ascii_digit);
            return if a_is_letter == is_behind_digit { Ordering::Less } else { Ordering::Greater };
        }
    }
    let digits_before: String = before.iter().rev().take_while(|c| c.is_ascii_digit()).collect();
    let is_in_number = (*first_a == '0' || *first_b == '0') && digits_before.contains(|c| c != '0');
    let number = |text: &[char]| {
        let digits = text.iter().map_while(|c| c.to_digit(10));
        digits.fold((i64::from(is_in_number), 0), |(number, length), digit| {
            (number.wrapping_mul(10).wrapping_add(i64::from(digit)), length + 1)
        })
    };
    number(a).cmp(&number(b)).then(first_a.cmp(first_b))
}
